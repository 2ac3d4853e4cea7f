"""Child processes that work in the background: started on one request, heard line by line, ended with all of theirs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from pipeline.errors import ResourceError
from pipeline.paths import ROOT

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def start_child(module: str, request: dict[str, Any], what: str) -> subprocess.Popen[str]:
    """Start ``python -m module`` with ``request`` as JSON on its input; nothing is fetched by it.

    Parameters
    ----------
    module : str
    request : dict
    what : str
        The work, as an error names it.

    Raises
    ------
    ResourceError
        The machine starts no other process.
    """
    quiet = {**dict.fromkeys(THREADS, "1"), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            encoding="utf-8", start_new_session=True, env={**os.environ, **quiet},
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(request))
        process.stdin.close()
    except OSError as error:
        raise ResourceError(
            f"{what}: expected to start a process, got {error.strerror or error}; close other programs and try again"
        ) from error
    return process


def end_child(process: subprocess.Popen[str]) -> None:
    """End a child with the processes that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()


def told_by(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """Yield the child's lines of JSON until it ends; anything else that it prints is passed over."""
    assert process.stdout is not None
    for line in process.stdout:
        with contextlib.suppress(ValueError):
            yield json.loads(line)
    process.wait()
    process.stdout.close()
