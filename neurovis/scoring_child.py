"""The process that scores runs for the Evaluate tab: one request on its input, a line of JSON for every step."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import NeuroVisError

Tell = Callable[..., None]
TRIAL_CLIPS = 2


def main() -> int:
    """Read the request, score, and tell; a reader that is gone ends it."""
    if hasattr(os, "nice"):
        os.nice(10)  # the page goes first
    request = json.load(sys.stdin)
    out = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no message of ours

    def tell(**facts: Any) -> None:
        out.write(json.dumps(facts) + "\n")
        out.flush()

    from filelock import FileLock, Timeout

    lock = Path(request["lock"])
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            work(request, tell)
    except Timeout:
        tell(failed="another evaluation is at work in this working folder; wait until it has ended or stop it there")
    return 0


def work(request: dict[str, Any], tell: Tell) -> None:
    """Score run after run; one that cannot be scored tells why and does not keep the others waiting."""
    for one in request["runs"]:
        try:
            (measure if request.get("trial") else score)(one, request, tell)
        except BrokenPipeError:
            raise
        except NeuroVisError as error:
            tell(run=one["run"], error=str(error))
        except OSError as error:
            told = f"a file could not be read or written ({error.strerror or error}); make room or mend it"
            tell(run=one["run"], error=f"{one['run']}: {told} and score again, finished clips are kept")
        except Exception as error:
            import traceback

            traceback.print_exc()  # on the server's log
            tell(
                run=one["run"], error=f"{one['run']}: scoring failed unexpectedly ({type(error).__name__}); see the log"
            )


def score(one: dict[str, Any], request: dict[str, Any], tell: Tell) -> None:
    """Score what is not scored yet of one run."""
    from pipeline.evaluate.engine import evaluate

    source, settings, out = _opened(one)
    healed = heal(out / "parts")
    if healed:
        tell(
            run=one["run"],
            note=f"{one['run']}: {healed} damaged part results were dropped; their clips are scored anew",
        )
    total = len(source.clip_ids)
    tell(run=one["run"], done=0, total=total, message="opening the clips and the judges")

    def progress(done: int, of: int, message: str) -> None:
        judging = of != total or not message.startswith("clip ")
        told = f"every clip is measured, now judging: {message}" if judging else message
        tell(run=one["run"], done=total if judging else done, total=total, message=told)

    evaluate(source, settings, out, workers=request["workers"], restart=request["again"], progress=progress)
    tell(run=one["run"], finished=True)


def measure(one: dict[str, Any], request: dict[str, Any], tell: Tell) -> None:
    """Time the first clips of a run, and keep nothing: how long the start takes, and a clip."""
    from pipeline.evaluate.engine import lay_cycle
    from pipeline.evaluate.work import Worker

    source, settings, _ = _opened(one)
    began = time.perf_counter()
    worker = Worker(source, settings)
    start = time.perf_counter() - began
    tasks = lay_cycle(len(source.clip_ids), settings)[:TRIAL_CLIPS]
    began = time.perf_counter()
    for k, task in enumerate(tasks):
        worker.score(task)
        tell(run=one["run"], done=k + 1, total=len(tasks), message="timing two clips")
    tell(run=one["run"], start=start, per_clip=(time.perf_counter() - began) / len(tasks), clips=len(tasks))


def heal(parts: Path) -> int:
    """Drop the part results that cannot be read, so that their clips are scored anew; returns how many."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    bad = []
    for path in sorted((parts / "seen").glob("*.safetensors")) if parts.is_dir() else ():
        try:
            load_file(path)
        except (SafetensorError, OSError):
            bad.append(path.stem)
            path.unlink()
    table = parts / "part.jsonl"
    if bad and table.is_file():
        from pipeline.paths import atomic_file

        kept = [
            line for line in table.read_text(encoding="utf-8", errors="replace").splitlines() if _clip(line) not in bad
        ]
        with atomic_file(table) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    return len(bad)


def _clip(line: str) -> str | None:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(line)["clip_id"])
    return None


def _opened(one: dict[str, Any]) -> tuple[Any, Any, Path]:
    from pipeline.evaluate.settings import Settings
    from pipeline.evaluate.sources import RunSource

    return RunSource(Path(one["path"])), Settings.model_validate_json(one["settings"]), Path(one["out"])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)  # the app is gone; finished clips are on disk
