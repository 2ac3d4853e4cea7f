"""The process that measures an error budget for the Evaluate tab: one request on its input, a line of JSON a step."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.errors import NeuroVisError


def main() -> int:
    """Read the request, wait for the evaluation at work, measure, keep, and tell."""
    if hasattr(os, "nice"):
        os.nice(10)  # the page goes first
    request = json.load(sys.stdin)
    out = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no message of ours

    def tell(**facts: Any) -> None:
        out.write(json.dumps(facts) + "\n")
        out.flush()

    from filelock import FileLock

    from pipeline.cli import quiet_libraries

    quiet_libraries()
    lock = Path(request["lock"])
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, poll_interval=0.5):  # until its turn comes; stopping ends the process
            measure(request, tell)
    except BrokenPipeError:
        raise
    except NeuroVisError as error:
        tell(failed=str(error))
    except OSError as error:
        tell(failed=f"a file could not be read or written ({error.strerror or error}); make room and measure again")
    except Exception as error:
        import traceback

        traceback.print_exc()  # on the server's log
        tell(failed=f"measuring failed unexpectedly ({type(error).__name__}); see the log")
    return 0


def measure(request: dict[str, Any], tell: Any) -> None:
    """Measure and keep one run's budget."""
    tell(done=0, total=request["clips"], message="opening the recording; the phantom's is made the first time")
    from pipeline.data import load
    from pipeline.evaluate.budget import keep_budget, measure_budget
    from pipeline.runs import Run

    run, home = Run.open(Path(request["path"])), Path(request["home"])
    load(run.manifest.dataset, run.manifest.subject, "test", home)  # once for all, so no part of a clip's time
    tell(done=0, total=request["clips"], message="loading the models")
    began = time.perf_counter()

    def progress(done: int, total: int, message: str) -> None:
        told = "rendering from true cues" if message.startswith("rendering") else message
        tell(done=done, total=total, message=told)

    steps = measure_budget(run, home, progress, request["clips"])
    keep_budget(steps, run, Path(request["out"]), round(time.perf_counter() - began, 1))
    tell(finished=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)  # the app is gone
