"""One training per device, also where one is run by hand beside the queue."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import ResourceError
from training.jobs.plan import check_device

WAIT = 1.0  # s


def _physical(device: str) -> str:
    """Return the name that a card has where ``CUDA_VISIBLE_DEVICES`` hides none: ``cuda:0`` may be another card."""
    seen = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    index = int(device.partition(":")[2])
    return f"cuda:{seen[index]}" if index < len(seen) else device


@contextmanager
def device_turn(name: str, home: Path, tell: Callable[[int, int, str], None]) -> Iterator[None]:
    """Hold a device while the block runs.

    The lock is held by the training process itself, so that it is free exactly when that process is gone, whatever
    became of its supervisor. A job of the queue waits for its turn; a training run by hand is refused.

    Parameters
    ----------
    name : str
        ``cpu``, ``cuda`` or ``cuda:N``; a job of the queue holds the one that it was sent to.
    home : Path
        Working folder.
    tell : callable
        Called with (0, 0, what) while it waits.

    Raises
    ------
    ResourceError
        When another training holds the device.
    """
    from filelock import FileLock, Timeout

    if "SLURM_JOB_ID" in os.environ:  # Slurm gives each job devices of its own
        yield
        return
    device = check_device(os.environ.get("NEUROVIS_DEVICE", name))
    if device != "cpu" and "NEUROVIS_DEVICE" not in os.environ:
        device = _physical(device)
    folder = home / "jobs" / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"training-{device.replace(':', '-')}-{socket.gethostname()}.lock")
    while True:
        try:
            lock.acquire(timeout=WAIT if "NEUROVIS_JOB" in os.environ else 0)
            break
        except Timeout as error:
            if "NEUROVIS_JOB" not in os.environ:
                raise ResourceError(
                    f"{device}: another training holds it; wait for it, or queue this one: python -m training submit"
                ) from error
            tell(0, 0, f"waiting: another training holds {device}")
    try:
        yield
    finally:
        lock.release()
