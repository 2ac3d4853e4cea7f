"""Work on data in the background: one child process at a time examines, imports, makes, scans; watched and stopped."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neurovis.children import THREADS
from neurovis.dataplans import Plan, command, read_path
from neurovis.datasets import Datasets, read_paces
from pipeline.data import describe
from pipeline.data.importing import built_in_bytes
from pipeline.errors import ConfigError, DataError
from pipeline.paths import ROOT, write_json

PATIENCE = 20.0  # seconds that a stopped child has to tidy up
REPORTS = 20
STOPPED = {
    "import": "Stopped; nothing was imported.",
    "doctor": "Stopped; nothing was changed.",
    "make": "Stopped; the recordings that are finished are kept.",
}


@dataclass
class Job:
    """One piece of work and how far it is; ``subject`` is what it is about: a path, or a data set."""

    kind: str  # doctor, import, make, recover, lag
    about: str
    request: dict[str, Any]
    state: str = "running"  # running, done, stopped, failed
    message: str = "starting"
    done: int = 0
    total: int = 0
    result: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    ended: float | None = None
    process: subprocess.Popen[str] | None = None
    stopping: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what the page shows."""
        return {
            "kind": self.kind, "about": self.about, "state": self.state, "message": self.message, "done": self.done,
            "total": self.total, "result": self.result, "stopping": self.stopping,
            "seconds": round((self.ended or time.time()) - self.started, 1),
        }  # fmt: skip


class DataJobs:
    """Examine, import, make and scan on request, one after the other.

    Parameters
    ----------
    datasets : Datasets
    """

    def __init__(self, datasets: Datasets) -> None:
        self.datasets, self.home = datasets, datasets.home
        self.job: Job | None = None
        self.reports: dict[str, dict[str, Any]] = {}  # the doctor's, by full path
        self._table = threading.Lock()
        atexit.register(self.stop)

    def start(self, kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Start a piece of work; while one is under way, another is refused.

        Parameters
        ----------
        kind : {"doctor", "import", "make", "recover", "lag"}
        request : mapping
            ``path`` (doctor, import, recover), ``name`` and ``options`` (import), ``dataset``, ``subject``.

        Raises
        ------
        ConfigError, DataError
            What was asked for cannot be.
        """
        with self._table:
            if self.job and self.job.state == "running":
                raise ConfigError(f"{self.job.about}: this is under way; wait until it has ended, or stop it")
            job = self._job(kind, request)
            job.process = _launch(job, self.home)
            self.job = job
            threading.Thread(target=self._watch, args=(job,), daemon=True, name="data").start()
            return job.to_dict()

    def status(self) -> dict[str, Any]:
        """Return the progress of the work under way, or of the last; ``idle`` where there was none."""
        return self.job.to_dict() if self.job else {"state": "idle"}

    def report(self, path: object) -> dict[str, Any] | None:
        """Return the doctor's last report of a folder, where it was examined since the server started."""
        with contextlib.suppress(ConfigError, DataError):
            return self.reports.get(str(read_path(path)))
        return None

    def plan(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Say what an import as asked would be: the command, and a sentence where it cannot start."""
        try:
            plan = Plan.read(request)
        except (ConfigError, DataError) as error:
            return {"command": "", "fault": str(error)}
        try:
            plan.check(self.reports.get(str(plan.path)), self.home)
        except ConfigError as error:
            return {"command": plan.command(self.home), "fault": str(error)}
        return {"command": plan.command(self.home), "fault": ""}

    def stop(self) -> None:
        """End the work under way; the child removes what it has not finished."""
        job = self.job
        if job is None or job.process is None or job.process.poll() is not None:
            return
        job.stopping = True
        _signal(job.process, signal.SIGTERM)
        killer = threading.Timer(PATIENCE, _signal, (job.process, _KILL))
        killer.daemon = True
        killer.start()

    def _job(self, kind: str, request: Mapping[str, Any]) -> Job:
        """Check what was asked for."""
        if kind in ("doctor", "import", "recover") and not self.datasets.library.local:
            raise ConfigError(
                "folders are read only for who sits at this machine, and the server can be reached from others; "
                "use the command, or start the app without --host"
            )
        if kind == "doctor":
            path = read_path(request.get("path"))
            return Job(kind, str(path), {"path": str(path), "command": command(self.home, "doctor", str(path))})
        if kind == "import":
            plan = Plan.read(request)
            plan.check(self.reports.get(str(plan.path)), self.home)
            options = plan.options.model_dump(mode="json", exclude_unset=True)
            return Job(kind, plan.name, {"path": str(plan.path), "name": plan.name, "options": options})
        card = describe(str(request.get("dataset") or ""), self.home)
        if kind == "make" and card.built_in:
            return Job(kind, card.name, {"name": card.name, "subjects": list(card.subject_names)})
        if kind == "recover":
            return Job(kind, card.name, {"name": card.name, "raw": str(read_path(request.get("path")))})
        if kind == "lag":
            subject = str(request.get("subject") or "")
            self.datasets.subject(card.name, subject)  # raises where there is none at hand
            return Job(kind, f"{card.name} {subject}", {"name": card.name, "subject": subject})
        raise ConfigError(f"{card.name}: there is no work called {kind!r} for it; reload the page")

    def _watch(self, job: Job) -> None:
        assert job.process is not None and job.process.stdout is not None
        fresh = job.kind == "make" and not describe(job.about, self.home).subjects
        for line in job.process.stdout:
            with contextlib.suppress(ValueError):
                self._heard(job, json.loads(line))
        code = job.process.wait()
        job.process.stdout.close()
        job.ended = time.time()
        if job.result:  # it was finished, whatever came afterwards
            self._finish(job, fresh)
        elif job.stopping:
            job.message, job.state = STOPPED.get(job.kind, "Stopped; nothing was kept."), "stopped"
        elif job.state == "running":
            job.message = f"{job.about}: the work was ended from outside (status {code}); nothing was kept, start again"
            job.state = "failed"

    def _heard(self, job: Job, said: dict[str, Any]) -> None:
        """Take in one line of the child."""
        if "failed" in said:
            job.message, job.state = said["failed"], "failed"
        elif "result" in said:
            job.result = said["result"]
        else:
            job.done, job.total, job.message = said["done"], said["total"], said["message"]

    def _finish(self, job: Job, fresh: bool) -> None:
        if job.kind == "doctor":
            while len(self.reports) >= REPORTS:
                self.reports.pop(next(iter(self.reports)))
            self.reports[job.about] = job.result | {"command": job.request["command"]}
        elif fresh:  # made from nothing, so that its time tells how long another takes
            seconds = (job.ended or time.time()) - job.started
            pace = {"dataset": job.about, "bytes": built_in_bytes(job.about), "seconds": seconds}
            write_json(self.home / "cache" / "made.json", {**read_paces(self.home), job.about: pace})
        job.message, job.state = str(job.result.get("told", "Done.")), "done"


_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def _signal(process: subprocess.Popen[str], number: int) -> None:
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, number)  # with the processes that it started
        else:
            process.terminate()


def _launch(job: Job, home: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "neurovis.datajobs_child"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, encoding="utf-8", start_new_session=True,
        env={**os.environ, **dict.fromkeys(THREADS, "1"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps({"kind": job.kind, "home": str(home), **job.request}))
    process.stdin.close()
    return process
