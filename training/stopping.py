"""One process a run, and an orderly end: a lock on the run's folder, and signals that are answered with a state."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pipeline.errors import ResourceError

GRACE = 4.5  # seconds from the signal to the end of a step; a job is promised 5


class Stopped(Exception):
    """The training was asked to stop; its exit status is 128 and the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; go on with --resume")
        self.number = number
        self.exit_code = 128 + number


class Stop:
    """Whether a signal has asked the training to stop.

    In the loop, which asks after every step, a signal only sets the flag; elsewhere (data, targets, predictions)
    nothing would be lost and :class:`Stopped` is raised at once.
    """

    def __init__(self, on_force: Callable[[int], None] | None = None) -> None:
        self.number: int | None = None
        self.on_force = on_force
        self._asked = 0
        self._timer: threading.Timer | None = None

    def __call__(self) -> bool:
        """Return whether to stop; the caller then writes its state, for which it may take the time it needs."""
        if self.number is not None:
            self.calm()
        return self.number is not None

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Mark a block that asks for itself."""
        self._asked += 1
        try:
            yield
        finally:
            self._asked -= 1

    def calm(self) -> None:
        """Take back the forced end."""
        if self._timer is not None:
            self._timer.cancel()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        first, self.number = self.number is None, number
        if not self._asked:
            raise Stopped(number)
        if first:
            self._timer = threading.Timer(GRACE, self._force)
            self._timer.daemon = True
            self._timer.start()

    def _force(self) -> None:
        assert self.number is not None
        if self.on_force:
            self.on_force(self.number)
        os._exit(128 + self.number)


@contextmanager
def signals_answered(stop: Stop) -> Iterator[None]:
    """Send SIGTERM and SIGINT to ``stop`` during the block; only the main thread can."""
    kinds = (signal.SIGTERM, signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(kind, stop.handle) for kind in kinds]
    try:
        yield
    finally:
        stop.calm()
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


@contextmanager
def sole_owner(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder during the block; the system lets go of it when the process dies.

    Raises
    ------
    ResourceError
        When another process holds it.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    # A singleton, so that a caller and what it calls may both hold it.
    lock = FileLock(str(folder / ".lock"), is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ResourceError(
            f"{folder}: another process is training in this folder; wait until it ends, cancel it, or set another `out`"
        ) from error
    try:
        yield
    finally:
        lock.release()
