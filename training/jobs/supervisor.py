"""The supervisor of one device's queue: a process of its own that starts its jobs one after the other.

One process per device holds the lock ``jobs/locks/queue-<device>-<host>.lock``; a second one finds it held and leaves.
The holder takes up jobs that an earlier supervisor left running, then starts what waits, and ends when nothing is left.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.errors import NeuroVisError
from training.jobs.process import identify, start_detached, threads, yield_to_others
from training.jobs.progress import last_result, last_told, progress, read_lines, stage_logs
from training.jobs.store import Job, Store

BEAT = 2.0  # s between two signs of life
LOOK = 0.2  # s between two looks at the process
GRACE = 3.5  # s from the request to stop until the process is killed


def main(arguments: Sequence[str]) -> int:
    """Work off the queue of a device: ``HOME DEVICE``."""
    home, device = Path(arguments[0]), arguments[1]
    signal.signal(signal.SIGHUP, signal.SIG_IGN) if hasattr(signal, "SIGHUP") else None
    supervise(Store(home), device)
    return 0


def lock_path(store: Store, name: str) -> Path:
    """Return the file of a queue's lock, made with its folder."""
    folder = store.folder / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"queue-{name.replace(':', '-')}-{socket.gethostname()}.lock"


def supervise(store: Store, device: str) -> None:
    """Run the jobs of a device until none is left; leave at once where another process does that already."""
    # A job that is added while the lock is being given up is seen here, or by the supervisor that its sender starts.
    while store.active(device):
        try:
            with FileLock(lock_path(store, device), timeout=0):
                store.set_supervisor(device, identify(os.getpid()))
                _work(store, device)
        except Timeout:
            return


def _work(store: Store, device: str) -> None:
    while jobs := store.active(device):
        left = [job for job in jobs if job.state == "running"]
        job = (left or jobs)[0]
        if left:
            Watch(store, job, None).run()
            continue
        try:
            process = start(store, job)
        except (OSError, NeuroVisError) as error:
            store.update(job.id, ("queued",), state="failed", ended=time.time(), message=f"could not start: {error}")
            continue
        if process is not None:
            Watch(store, store.get(job.id), process).run()


def start(store: Store, job: Job) -> subprocess.Popen[bytes] | None:
    """Start a job's command; None when it was cancelled in the meantime."""
    now = time.time()
    if not store.update(job.id, ("queued",), state="running", started=now, beat=now, message="starting"):
        return None
    folder = store.job_folder(job.id)
    out, err = output_files(folder, job.attempt)
    (folder / f"progress-{job.attempt}.jsonl").unlink(missing_ok=True)
    limit = str(threads())
    own = {name: os.environ.get(name, limit) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    told = {"NEUROVIS_PROGRESS": str(folder / f"progress-{job.attempt}.jsonl"), "NEUROVIS_JOB": str(job.id)}
    told["NEUROVIS_DEVICE"] = job.device
    if job.device.startswith("cuda:"):
        told["CUDA_VISIBLE_DEVICES"] = _card(int(job.device.partition(":")[2]))
    process = start_detached([sys.executable, *job.command], out, err, {"PYTHONUNBUFFERED": "1", **own, **told})
    yield_to_others(process.pid)
    who = identify(process.pid)
    store.update(job.id, ("running",), pid=who.pid, pid_started=who.started, host=who.host, message="")
    note(folder, "state", f"attempt {job.attempt} started: python {' '.join(job.command)}")
    return process


def _card(index: int) -> str:
    """Return what makes one card the only one that a process sees, among those that this process sees."""
    seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return seen[index] if index < len(seen) else str(index)


def output_files(folder: Path, attempt: int) -> tuple[Path, Path]:
    """Return the files of one attempt's standard output and error."""
    return folder / f"result-{attempt}.txt", folder / f"output-{attempt}.txt"


def note(folder: Path, kind: str, text: str, **values: Any) -> None:
    """Append a line to the job's log."""
    folder.mkdir(parents=True, exist_ok=True)
    line = {"time": round(time.time(), 2), "kind": kind, "text": text, **values}
    with open(folder / "log.jsonl", "a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")


class Watch:
    """Follow one running job to its end.

    Parameters
    ----------
    store : Store
    job : Job
    process : Popen, optional
        Where this process started it; None for one that an earlier supervisor left.
    """

    def __init__(self, store: Store, job: Job, process: subprocess.Popen[bytes] | None) -> None:
        self.store, self.job, self.process = store, job, process
        self.folder = store.job_folder(job.id)
        self.known = {(line.get("stage"), line.get("epoch")) for line in read_lines(self.folder / "log.jsonl")}
        self.signalled: float | None = None

    def run(self) -> None:
        """Beat, copy progress and pass on a request to stop, until the process is gone."""
        due = 0.0
        while not self.ended():
            job = self.store.get(self.job.id)
            if job.stop_asked is not None:
                self.stop(job)
            if time.monotonic() >= due:
                due = time.monotonic() + BEAT
                self.beat()
            time.sleep(LOOK)
        self.beat()
        finish(self.store, self.store.get(self.job.id), None if self.process is None else self.process.returncode)

    def ended(self) -> bool:
        """Tell whether the process is gone."""
        if self.process is not None:
            return self.process.poll() is not None
        who = self.job.process
        return who is None or not who.alive()

    def stop(self, job: Job) -> None:
        """Ask the process to end; end it after the grace."""
        who = job.process or self.job.process
        if who is None:
            return
        if self.signalled is None:
            self.signalled = time.monotonic()
            who.signal(signal.SIGTERM)
        elif time.monotonic() - self.signalled > GRACE:
            who.signal(getattr(signal, "SIGKILL", signal.SIGTERM))

    def beat(self) -> None:
        """Write down that the job runs, and how far it is."""
        logs = stage_logs(Path(self.job.out)) if self.job.kind == "train" else {}
        told = last_told(self.folder / f"progress-{self.job.attempt}.jsonl")
        found = progress(self.job.stages, logs, told)
        self.store.update(self.job.id, ("running",), beat=time.time(), progress=found)
        for stage, lines in logs.items():
            for line in lines:
                if (stage, line.get("epoch")) not in self.known:
                    self.known.add((stage, line.get("epoch")))
                    note(self.folder, "epoch", "", stage=stage, **line)


def finish(store: Store, job: Job, code: int | None) -> None:
    """Settle how a job ended.

    Parameters
    ----------
    store : Store
    job : Job
    code : int or None
        Exit status, below nought for a signal; None where it is not known, and what was written decides.
    """
    out, err = output_files(store.job_folder(job.id), job.attempt)
    result = last_result(out)
    complete = result is not None and not result.get("stopped") and code in (0, None)
    last = last_line(err)
    if complete:
        state, message = "done", ""
    elif job.stop_asked is not None:
        state, message = "cancelled", "stopped; resume goes on from the last checkpoint"
    elif last.startswith("error: "):
        state, message = "failed", last.removeprefix("error: ")
    elif code is None or code < 0 or code in (128 + signal.SIGTERM, 128 + 9) or (result or {}).get("stopped"):
        how = f"signal {-code}" if code is not None and code < 0 else "something other than its queue"
        state, message = "lost", f"its process was ended by {how}; resume goes on from the last checkpoint"
    else:
        state, message = "failed", f"it ended with status {code}: {last or 'it said nothing'}; see its log"
    values = {"state": state, "ended": time.time(), "exit_code": code, "message": message, "result": result or {}}
    if store.update(job.id, ("running",), **values):
        note(store.job_folder(job.id), "state", f"{state}{': ' if message else ''}{message}")


def last_line(path: Path) -> str:
    """Return the last line that a command wrote; empty where there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
