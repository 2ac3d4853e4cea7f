"""Jobs that go on in threads while the next batch renders: begun in order, never more than fit in memory.

Meant for what spends its time outside Python (encoders, decoders, files), so that it keeps neither the processor's
other cores nor a card waiting.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from pipeline.render.steps import Stopped

MOST_THREADS = 4  # four encode a clip of the paper's size several times as fast as a card renders one


class Background:
    """Do jobs in threads, within a ``with`` block that ends when all are done.

    The first error of a job is raised by the next :meth:`put`, or at the end of the block; jobs that have not begun
    by then are dropped. When the block itself fails, the jobs are finished first.

    Parameters
    ----------
    limit : int
        Most jobs that may be unfinished; :meth:`put` waits for one to end.
    threads : int, optional
        By default one for each processor of this process, up to four.
    """

    def __init__(self, limit: int, threads: int | None = None) -> None:
        n = threads or min(MOST_THREADS, _processors())
        self._free = threading.Semaphore(max(limit, n))
        self._first = ThreadPoolExecutor(1, thread_name_prefix="in-turn")
        self._then = ThreadPoolExecutor(n, thread_name_prefix="background")
        self._error: BaseException | None = None

    def __enter__(self) -> Background:
        return self

    def put(self, first: Callable[..., Any], then: Callable[[Any], object], *arguments: Any) -> None:
        """Have ``then(first(*arguments))`` done; raise the error of an earlier job.

        ``first`` is called for one job at a time, in the order of the jobs, as it suits a film that is read forwards.
        """
        self._free.acquire()
        if self._error is not None:
            self._free.release()
            raise self._error
        self._first.submit(self._begin, first, then, arguments)

    def failed(self) -> bool:
        """Tell whether a job ended in an error: no more is worth rendering."""
        return self._error is not None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._first.shutdown(wait=True)
            self._then.shutdown(wait=True)
        except BaseException:  # interrupted while it waits: what has not begun is let go
            self._error = self._error or error or KeyboardInterrupt()
            raise
        # Rendering that was stopped because a job failed is no news of its own.
        if self._error is not None and (error is None or isinstance(error, Stopped)):
            raise self._error

    def _begin(self, first: Callable[..., Any], then: Callable[[Any], object], arguments: tuple[Any, ...]) -> None:
        try:
            if self._error is None:
                self._then.submit(self._end, then, first(*arguments))
                return
        except BaseException as error:
            self._error = self._error or error
        self._free.release()

    def _end(self, then: Callable[[Any], object], value: Any) -> None:
        try:
            if self._error is None:
                then(value)
        except BaseException as error:
            self._error = self._error or error
        finally:
            self._free.release()


def _processors() -> int:
    known = getattr(os, "sched_getaffinity", None)  # what the job may use, where the system can say
    return len(known(0)) if known else (os.cpu_count() or 1)
