"""Processes that outlive whoever started them: who they are, and how they are started and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.paths import ROOT

# Clocks that are set while a process runs shift its reported start a little.
_SAME = 1.0  # s
NICE = 10


@dataclass(frozen=True)
class Identity:
    """A process and when it started, since the system gives the numbers of dead processes to new ones.

    Parameters
    ----------
    pid : int
    started : float
        Seconds since 1970.
    host : str
    """

    pid: int
    started: float
    host: str

    @property
    def here(self) -> bool:
        """Whether it is a process of this machine, so that it can be looked at."""
        return self.host == socket.gethostname()

    def alive(self) -> bool:
        """Tell whether this very process still runs; False for one of another machine."""
        if not self.here:
            return False
        try:
            process = psutil.Process(self.pid)
            return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - self.started) < _SAME
        except psutil.Error:
            return False

    def signal(self, number: int) -> None:
        """Send a signal to the process and all that it started, if it still runs."""
        if not self.alive():
            return
        try:
            if hasattr(os, "killpg"):
                os.killpg(self.pid, number)
            else:  # no groups on Windows, where every signal ends a process
                for process in (*psutil.Process(self.pid).children(recursive=True), psutil.Process(self.pid)):
                    process.terminate()
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass  # it ended in between

    def stop(self, grace: float) -> bool:
        """Ask the process to end, end it after ``grace`` seconds, and return whether it is gone."""
        for number, seconds in ((signal.SIGTERM, grace), (getattr(signal, "SIGKILL", signal.SIGTERM), 2.0)):
            self.signal(number)
            deadline = time.monotonic() + seconds
            while self.alive():
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            else:
                return True
        return not self.alive()


def identify(pid: int) -> Identity:
    """Return the identity of a running process; one that is gone already gets a start that matches none."""
    try:
        started = psutil.Process(pid).create_time()
    except psutil.Error:
        started = 0.0
    return Identity(pid, started, socket.gethostname())


def start_detached(
    command: Sequence[str], out: Path, err: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, so that the end of this process or of its terminal does not reach it.

    Parameters
    ----------
    command : sequence of str
    out, err : Path
        Files that its output is appended to.
    environment : mapping, optional
        Added to this process's own.
    """
    flags = getattr(subprocess, "DETACHED_PROCESS", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out, "ab") as stdout, open(err, "ab") as stderr:
        return subprocess.Popen(
            list(command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
            creationflags=flags, env={**os.environ, **(environment or {})},
        )  # fmt: skip


def yield_to_others(pid: int) -> None:
    """Lower a process's claim on the processor, so that the app stays quick beside it."""
    try:
        process = psutil.Process(pid)
        windows = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", None)
        process.nice(windows if windows is not None else max(process.nice(), NICE))
    except psutil.Error:
        return  # gone already, or not allowed: it merely runs at its usual priority


def threads() -> int:
    """Return how many threads a job may use: all processors of this process but one, at least 1."""
    known = getattr(os, "sched_getaffinity", None)
    count = len(known(0)) if known else (os.cpu_count() or 1)
    return max(1, count - 1)
