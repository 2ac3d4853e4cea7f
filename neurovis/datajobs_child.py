"""The process that works on data for the Data tab: one request on its input, a line of JSON for every step."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import NeuroVisError

Tell = Callable[..., None]
Progress = Callable[[int, int, str], None]
PAUSE = 0.1  # seconds between two lines of progress


def main() -> int:
    """Read the request, work, and tell; being stopped, or a reader that is gone, ends it tidily."""
    if hasattr(os, "nice"):
        os.nice(10)  # the page goes first
    signal.signal(signal.SIGTERM, _stopped)
    request = json.load(sys.stdin)
    out = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no message of ours

    def tell(**facts: Any) -> None:
        out.write(json.dumps(facts) + "\n")
        out.flush()

    try:
        tell(result=WORK[request["kind"]](request, Path(request["home"]), _progress(tell)))
    except BrokenPipeError:
        raise
    except NeuroVisError as error:
        tell(failed=str(error))
    except Exception as error:
        import traceback

        traceback.print_exc()  # on the server's log
        tell(failed=f"{request['kind']}: failed unexpectedly ({type(error).__name__}); see the server's log")
    return 0


def _stopped(number: int, frame: Any) -> None:
    """End by an exception, so that half-written folders are removed on the way out."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _progress(tell: Tell) -> Progress:
    last = [0.0]

    def progress(done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if now - last[0] >= PAUSE or done >= total:
            last[0] = now
            tell(done=done, total=total, message=what)

    return progress


def _doctor(request: dict[str, Any], home: Path, progress: Progress) -> dict[str, Any]:
    from pipeline.data import doctor

    report = doctor(request["path"], progress).to_dict()
    return {"told": "Examined.", **report}


def _import(request: dict[str, Any], home: Path, progress: Progress) -> dict[str, Any]:
    from pipeline.data import import_dataset
    from pipeline.data.options import make_options

    # Through JSON lists take the place of tuples and texts that of paths; the options' own schema takes them back.
    chosen = make_options(request["options"]).model_dump(exclude_unset=True)
    card = import_dataset(request["path"], request["name"], home, progress=progress, **chosen)
    return {"told": f"Imported as {card.name}.", "dataset": card.name, "subject": card.subject_names[0]}


def _make(request: dict[str, Any], home: Path, progress: Progress) -> dict[str, Any]:
    from pipeline.data import quality

    names = request["subjects"]
    for number, subject in enumerate(names, 1):
        which = f"{subject}, subject {number} of {len(names)}: "
        quality(request["name"], subject, home, _worded(progress, which))
    return {"told": f"{request['name']} is made.", "dataset": request["name"], "subject": request["subjects"][0]}


def _worded(progress: Progress, before: str) -> Progress:
    """Put a word before each message."""
    return lambda done, total, what: progress(done, total, before + what)


def _recover(request: dict[str, Any], home: Path, progress: Progress) -> dict[str, Any]:
    from pipeline.data.recover import recover_index

    found = recover_index(request["name"], request["raw"], home, progress)
    told = " ".join(one.text() + "." for one in found)
    return {
        "told": f"{told} Train its decoders again: older ones know its voxels by number.",
        "dataset": request["name"],
    }


def _lag(request: dict[str, Any], home: Path, progress: Progress) -> dict[str, Any]:
    from neurovis.datasets import lag_file
    from pipeline.data import load
    from pipeline.data.lag import scan_lags
    from pipeline.paths import write_json

    name, subject = request["name"], request["subject"]
    stamp = (home / "datasets" / name / subject / "subject.json").stat().st_mtime_ns
    scan = scan_lags(load(name, subject, "train", home), progress=progress).to_dict()
    write_json(lag_file(home, name, subject), {"stamp": stamp, "scan": scan})
    return {"told": f"{subject}: the lag was scanned.", "dataset": name, "subject": subject}


WORK: dict[str, Callable[[dict[str, Any], Path, Progress], dict[str, Any]]] = {
    "doctor": _doctor,
    "import": _import,
    "make": _make,
    "recover": _recover,
    "lag": _lag,
}

if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)  # the app is gone; what was unfinished is removed
