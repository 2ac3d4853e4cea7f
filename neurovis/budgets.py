"""Error budgets for the Evaluate tab: which run can have one, and measuring it in the background."""

from __future__ import annotations

import atexit
import contextlib
import json
import shlex
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from neurovis.children import end_child, start_child, told_by
from neurovis.library import Library
from pipeline.errors import ConfigError, DataError
from pipeline.evaluate.budget import budget_rows, error_budget, kept_budget
from pipeline.runs import Run

FEW = (12, 42)  # numbers of clips that are offered beside all
LEAST = 2  # clips: chance is told from others
QUEUED = "waiting for the evaluation at work"
LOSSY = (
    "The run keeps its pictures compressed: its own rows are of those, the steps that are rendered here are not. "
    "Compression moves the end-point error most."
)


@dataclass
class Job:
    """One measurement and how far it is; ``done`` and ``total`` count rendered clips."""

    run: str
    process: subprocess.Popen[str]
    n_clips: int
    state: str = "queued"  # queued, running, done, stopped, failed
    message: str = QUEUED
    done: int = 0
    total: int = 0
    asked: float = field(default_factory=time.time)
    began: float | None = None  # when its turn came
    paced: tuple[float, int] | None = None  # when the first clips were done, and how many
    ended: float | None = None
    stopping: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what the page shows."""
        names = ("run", "state", "message", "done", "total", "n_clips", "stopping")
        seconds = (self.ended or time.time()) - (self.began or self.asked)
        return {name: getattr(self, name) for name in names} | {"seconds": round(seconds, 1), "left": self._left()}

    def _left(self) -> float | None:
        """Estimate the seconds of rendering left; scoring comes on top."""
        if self.state != "running" or self.paced is None or not self.paced[1] < self.done < self.total:
            return None
        since, first = self.paced
        return round((time.time() - since) / (self.done - first) * (self.total - self.done), 1)


class Budgets:
    """Find, and measure on request, what each step between the truth and a run's reconstructions costs.

    Parameters
    ----------
    library : Library
        Whose working folder keeps the results, in ``evaluations/budgets/RUN``.
    """

    def __init__(self, library: Library) -> None:
        self.library, self.folder = library, library.home / "evaluations" / "budgets"
        self.job: Job | None = None
        self._table = threading.Lock()
        atexit.register(self.stop)

    def found(self, name: str) -> dict[str, Any]:
        """Return a run's budget, or why there is none; what can be measured and what that takes.

        Returns
        -------
        dict
            ``rows`` (one a step and figure, empty where nothing is known), ``note`` (str or None), ``reason`` (why it
            cannot be measured here, or None), ``n_clips``, ``offers`` (numbers of clips to choose from), ``per_clip``
            (seconds, as measured here before, or None), ``command`` (str or None).

        Raises
        ------
        ConfigError, DataError
            There is no such run, or it is damaged.
        """
        run = self.library.run(name)
        reason, note = self.refusal(run), None
        rows: list[dict[str, Any]] = []
        try:
            kept = kept_budget(run, self.folder / name)
            rows = kept["rows"] if kept else budget_rows(error_budget(run))
        except DataError as error:
            note = str(error)
        if rows and run.manifest.layout == "compact" and any(row["origin"] == "measured" for row in rows):
            note = LOSSY
        n = len(run.manifest.clip_ids)
        out = shlex.quote(str(self.folder / name))
        command = f"python -m pipeline evaluate --run {shlex.quote(name)} --budget --out {out}"
        return {
            "rows": rows, "note": note, "reason": reason, "n_clips": n, "offers": [few for few in FEW if few < n],
            "per_clip": self._pace(), "command": None if reason else command,
        }  # fmt: skip

    def refusal(self, run: Run) -> str | None:
        """Say why a run's budget cannot be measured here, or None where it can."""
        from pipeline.backbones import profile
        from pipeline.weights import missing_parts

        facts = run.manifest
        if facts.source == "videos":
            return "This run was imported from videos: nothing is known of the steps that led to them."
        if not facts.simulated:
            return "The steps before the decoder need a world whose true cues are known; a real brain's are not."
        if len(facts.clip_ids) < LEAST:
            return f"The run holds {len(facts.clip_ids)} clip; chance is told from other clips, so two are needed."
        if missing := missing_parts(profile("phantom")):
            return f"The phantom's models are not whole: {', '.join(missing)} in assets/phantom; restore assets/."
        return None

    def start(self, name: str, n_clips: int | None = None) -> dict[str, Any]:
        """Start measuring; while one measurement is at work, it is returned instead.

        Parameters
        ----------
        name : str
        n_clips : int, optional
            The first clips of the run only; 2 to all of them.

        Raises
        ------
        ConfigError, DataError
            The run cannot have a budget, the number of clips is out of range, or there is no such run.
        ResourceError
            The machine starts no other process.
        """
        with self._table:
            if self.job is not None and self.job.ended is None:
                return self.status()
            run = self.library.run(name)
            if reason := self.refusal(run):
                raise ConfigError(f"{name}: {reason}")
            total = len(run.manifest.clip_ids)
            n_clips = total if n_clips is None else n_clips
            if not LEAST <= n_clips <= total:
                raise ConfigError(f"{name}: expected {LEAST} to {total} clips, got {n_clips}")
            request = {
                "lock": str(self.folder.parent / ".lock"), "path": str(run.path), "clips": n_clips,
                "home": str(self.library.home), "out": str(self.folder / name),
            }  # fmt: skip
            self.job = Job(name, start_child("neurovis.budget_child", request, "the error budget"), n_clips)
            threading.Thread(target=self._watch, args=(self.job,), daemon=True, name="budget").start()
            return self.status()

    def status(self) -> dict[str, Any]:
        """Return the progress of the measurement at work, or of the last one; ``idle`` where there was none."""
        return self.job.to_dict() if self.job else {"state": "idle"}

    def stop(self) -> None:
        """End the measurement at work; what was measured before stays."""
        job = self.job
        if job is not None and job.process.poll() is None:
            job.stopping = True
            end_child(job.process)

    def _watch(self, job: Job) -> None:
        for said in told_by(job.process):
            if "failed" in said:
                job.state, job.message = "failed", str(said["failed"])
            elif said.get("finished"):
                job.state, job.message = "done", "Measured."
            else:
                job.began = job.began or time.time()
                job.state, job.message = "running", str(said["message"])
                job.done, job.total = int(said["done"]), int(said["total"])
                if job.done:
                    job.paced = job.paced or (time.time(), job.done)
        if job.state in ("queued", "running"):
            job.state = "stopped" if job.stopping else "failed"
            outside = "The process that measured was ended from outside; nothing was kept, measure again."
            job.message = "Stopped; nothing of it was kept." if job.stopping else outside
        job.ended = time.time()

    def _pace(self) -> float | None:
        """Return the seconds that a clip took when a budget was last measured in this folder."""
        newest = sorted(self.folder.glob("*/budget.json"), key=lambda path: path.stat().st_mtime)
        for path in reversed(newest):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
                found = json.loads(path.read_text(encoding="utf-8"))
                return round(float(found["seconds"]) / max(int(row["n"]) for row in found["rows"]), 3)
        return None
