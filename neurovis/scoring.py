"""Scoring in the background: one child process at a time, watched, timed and stopped; it goes on where it stopped."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from neurovis.children import end_child, start_child, told_by
from neurovis.evaluations import Choice, Evaluations, Place
from pipeline.errors import ConfigError, DataError, ResourceError
from pipeline.paths import write_json

PACE = {"run", "start", "per_clip", "clips"}
ENOUGH = 5  # clips after the first that tell a pace
WORKERS = max(1, min(4, (os.cpu_count() or 2) // 2))  # the other half is for the page


@dataclass
class Job:
    """One evaluation and how far it is; ``done`` and ``total`` count clips of all its runs."""

    runs: dict[str, Place]
    already: dict[str, int]
    trial: bool = False
    state: str = "running"  # running, done, stopped, failed
    message: str = "starting"
    current: str | None = None
    done: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.time)
    ended: float | None = None
    paced: tuple[float, int] | None = None  # when the pace began to be measured, and the clips done by then
    process: subprocess.Popen[str] | None = None
    stopping: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what the page shows."""
        total = sum(len(place.source.clip_ids) for place in self.runs.values())
        return {
            "state": self.state, "message": self.message, "run": self.current, "trial": self.trial,
            "runs": list(self.runs), "conventions": self._conventions(),
            "done": sum(self.done.values()), "total": total, "errors": self.errors,
            "notes": self.notes, "seconds": round((self.ended or time.time()) - self.started, 1),
            "left": self._left(total),
        }  # fmt: skip

    def _conventions(self) -> list[str]:
        """Return the conventions that are scored, which are the same for all runs of an evaluation."""
        return list(next((place.settings.conventions for place in self.runs.values()), ()))

    def _left(self, total: int) -> float | None:
        """Estimate the seconds left from the pace since the first clip, which also loads the judges."""
        done = sum(self.done.values())
        if self.state != "running" or self.paced is None or done <= self.paced[1]:
            return None
        since, first = self.paced
        return round((time.time() - since) / (done - first) * (total - done), 1)


class Scoring:
    """Score on request, one evaluation at a time.

    Parameters
    ----------
    evaluations : Evaluations
    """

    def __init__(self, evaluations: Evaluations) -> None:
        self.evaluations = evaluations
        self.job: Job | None = None
        self._table = threading.Lock()
        atexit.register(self.stop)

    def start(self, choice: Choice, *, again: bool = False, trial: bool = False) -> dict[str, Any]:
        """Start scoring what is not scored yet; while one evaluation is at work, it is returned instead.

        Parameters
        ----------
        choice : Choice
        again : bool
            Throw away what was found and score from the start.
        trial : bool
            Only time a few clips of one run, to know how long it all would take.

        Raises
        ------
        ConfigError
            None of the runs can be scored, or all of them are.
        ResourceError
            The machine starts no other process.
        """
        with self._table:
            if self.job and self.job.state == "running":
                return self.status()
            wanted, reasons = {}, []
            for name in choice.runs:
                try:
                    place = self.evaluations.place(name, choice)
                except (ConfigError, DataError) as error:
                    reasons.append(str(error))
                    continue
                if again or not place.scored or self.evaluations.state(name, choice)["state"] == "damaged":
                    wanted[name] = place
            if not wanted:
                raise ConfigError("; ".join(reasons) or "every chosen run is scored already under these settings")
            chosen = dict(list(wanted.items())[:1]) if trial else wanted
            already = {name: 0 if again else place.n_done for name, place in chosen.items()}
            job = Job(chosen, already, trial, done={} if trial else dict(already))
            job.process = self._launch(job, again)
            self.job = job
            threading.Thread(target=self._watch, args=(self.job,), daemon=True, name="scoring").start()
            return self.status()

    def status(self) -> dict[str, Any]:
        """Return the progress of the evaluation at work, or of the last one; ``idle`` where there was none."""
        return self.job.to_dict() if self.job else {"state": "idle"}

    def stop(self) -> None:
        """End the evaluation at work; finished clips are kept."""
        job = self.job
        if job is not None and job.process is not None and job.process.poll() is None:
            job.stopping = True  # before the end, or it would pass for one from outside
            end_child(job.process)

    def estimate(self, choice: Choice) -> dict[str, Any]:
        """Say how long scoring would take, by what was measured here before; ``seconds`` is None where nothing was."""
        book, seconds, clips, told = self._book(), 0.0, 0, set()
        for name in choice.runs:
            with contextlib.suppress(ConfigError, DataError):
                place = self.evaluations.place(name, choice)
                if place.scored:
                    continue
                kind = place.settings.fingerprint()
                pace = book.get(f"{kind}/{name}") or next((p for k, p in book.items() if k.startswith(kind)), None)
                left = len(place.source.clip_ids) - place.n_done
                clips += left
                if pace is None:
                    return {"seconds": None, "clips": clips, "told": ""}
                told.add(f"{pace['clips']} clips of {pace['run']}")
                seconds += pace["start"] + left * pace["per_clip"]
        return {"seconds": round(seconds, 1), "clips": clips, "told": ", ".join(sorted(told))}

    def _launch(self, job: Job, again: bool) -> subprocess.Popen[str]:
        wanted = [
            {"run": name, "path": str(p.source.path), "out": str(p.folder), "settings": p.settings.model_dump_json()}
            for name, p in job.runs.items()
        ]
        lock = str(self.evaluations.folder / ".lock")
        request = {"lock": lock, "workers": WORKERS, "again": again, "trial": job.trial, "runs": wanted}
        return start_child("neurovis.scoring_child", request, "scoring")

    def _watch(self, job: Job) -> None:
        assert job.process is not None
        for said in told_by(job.process):
            self._heard(job, said)
        code = job.process.returncode
        job.ended = time.time()
        if job.stopping:
            job.state, job.message = "stopped", "Stopped; the clips that were finished are kept."
            self._keep_half(job)
        elif code != 0 and job.state == "running":
            job.state = "failed"
            job.message = (
                "The process that scores was ended from outside; finished clips are kept, score again to go on."
            )
        elif job.state == "running":
            failed = len(job.errors) == len(job.runs)
            job.state = "failed" if failed else "done"
            job.message = "; ".join(job.errors.values()) or "Scored."

    def _heard(self, job: Job, said: dict[str, Any]) -> None:
        """Take in one line of the child."""
        if "failed" in said:
            job.state, job.message = "failed", said["failed"]
            return
        name = str(said["run"])
        if name != job.current:
            job.current, self._since = name, time.time()
        if "error" in said:
            job.errors[name] = said["error"]
        elif "note" in said:
            job.notes.append(said["note"])
        elif "per_clip" in said:
            self._keep_pace(job, name, said["start"], said["per_clip"] / WORKERS, said["clips"])
        elif said.get("finished"):
            n = len(job.runs[name].source.clip_ids)
            job.done[name] = n
            scored = n - job.already[name]
            if scored > 0:
                self._keep_pace(job, name, 0.0, (time.time() - self._since) / scored, scored)
        else:
            job.message = said["message"]
            if not job.trial:
                job.done[name] = max(said["done"], job.already[name])
            if said["done"]:
                job.paced = job.paced or (time.time(), sum(job.done.values()))

    def _keep_half(self, job: Job) -> None:
        """Remember the pace of an evaluation that was stopped, so that going on with it is estimated."""
        if job.trial or job.current is None or job.paced is None or job.ended is None:
            return
        since, first = job.paced
        clips = sum(job.done.values()) - first
        if clips >= ENOUGH:
            self._keep_pace(job, job.current, since - job.started, (job.ended - since) / clips, clips)

    def _keep_pace(self, job: Job, name: str, start: float, per_clip: float, clips: int) -> None:
        """Remember how long a clip took here under these settings."""
        kind = job.runs[name].settings.fingerprint()
        pace = {"run": name, "start": start, "per_clip": per_clip, "clips": clips}
        # An estimate is not worth an evaluation: on a full disk it is forgotten.
        with contextlib.suppress(OSError, ResourceError):
            write_json(self.evaluations.folder / "pace.json", {**self._book(), f"{kind}/{name}": pace})

    def _book(self) -> dict[str, Any]:
        """Read what was measured before; lines that are no pace are left out."""
        try:
            found = json.loads((self.evaluations.folder / "pace.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        lines = found.items() if isinstance(found, dict) else ()
        return {key: pace for key, pace in lines if isinstance(pace, dict) and set(pace) >= PACE}
