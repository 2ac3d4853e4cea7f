"""What the Train tab asks for: the form, the jobs, their curves; starting, stopping, resuming, rendering."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from neurovis import training_form as form
from pipeline.errors import ConfigError
from training.config import TrainingConfig, parse_config, plan
from training.jobs import queue
from training.jobs.estimate import Measured, measure
from training.jobs.plan import STAGES
from training.jobs.progress import curves, stage_logs
from training.jobs.store import Job

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
TAIL = 200  # lines of a log that the page shows
CLIPS = "0:4"  # test clips that are rendered to look at
_SHORT = (
    "id", "kind", "title", "state", "device", "executor", "parent", "turn", "attempt", "created", "queued", "started",
    "ended", "message", "progress", "config",
)  # fmt: skip


class TrainingService:
    """Answer the page; everything lasting is in the table of jobs, so another server answers the same.

    Parameters
    ----------
    home : Path
        The working folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._trials: dict[str, Measured] = {}
        self._trial = threading.Lock()

    def form(self) -> dict[str, Any]:
        """Return what the form is made from."""
        from pipeline.data import list_datasets
        from pipeline.methods import PRESETS

        datasets = [
            {"name": c.name, "title": c.title, "simulated": c.simulated, "ready": c.ready, "subjects": c.subject_names}
            for c in list_datasets(self.home)
            if c.subject_names
        ]
        presets = [{"name": name, "about": PRESETS[name][1]} for name in form.plans() if name in PRESETS]
        return {
            "datasets": datasets, "presets": presets, "plans": form.plans(), "fields": form.plan_fields(),
            "own": form.own_fields(), "stages": STAGES, "descriptions": form.descriptions(), "devices": devices(),
        }  # fmt: skip

    def settings(self, values: Mapping[str, Any]) -> TrainingConfig:
        """Return the config of what the form holds.

        Parameters
        ----------
        values : mapping
            Fields of the config; ``name`` in place of ``out``.

        Raises
        ------
        ConfigError
            When a name or a field is not possible.
        """
        given = {key: value for key, value in values.items() if key not in ("name", "device")}
        given["device"] = str(values.get("device") or "cpu").partition(":")[0]
        name = str(values.get("name") or "").strip()
        if not NAME.fullmatch(name):
            raise ConfigError(f"name: must be of a-z, 0-9, dot, dash and underscore, at most 64, got {name!r}")
        settings = parse_config({**given, "out": str(self.home / "training" / name)}, "the form")
        plan(settings.method, settings.plan_overrides)
        return settings

    def start(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Queue a training; returns its row."""
        return self._row(queue.submit(self.home, self.settings(values), device=str(values.get("device") or "cpu")))

    def cancel(self, number: int) -> dict[str, Any]:
        """Stop a job; returns its row."""
        return self._row(queue.cancel(self.home, number))

    def resume(self, number: int) -> dict[str, Any]:
        """Queue a job again; returns its row."""
        return self._row(queue.resume(self.home, number))

    def render(self, number: int, subject: str) -> dict[str, Any]:
        """Queue the rendering of some test clips with a training's decoders; returns its row."""
        return self._row(queue.submit_render(self.home, number, subject, CLIPS))

    def estimate(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the time, memory and disk that a training will take, and what is free; one trial at a time."""
        settings = self.settings(values)
        with self._trial:
            found = asdict(measure(settings, self.home, self._trials))
        return {**found, "free_memory": free_memory(), "free_disk": free_disk(self.home)}

    def jobs(self) -> list[dict[str, Any]]:
        """Return a row per job, the newest first."""
        return [self._row(job) for job in queue.look_all(self.home)]

    def job(self, number: int) -> dict[str, Any]:
        """Return everything about one job: its row, curves, result, command and the end of its log."""
        job = queue.look(self.home, number)
        logs = stage_logs(Path(job.out)) if job.kind == "train" else {}
        lines = queue.log_lines(self.home, number)
        return {
            **self._row(job), "curves": curves(logs), "log": lines[-TAIL:], "log_lines": len(lines), "out": job.out,
            "command": f"python {' '.join(job.command)}", "report": job.result.get("report", {}),
        }  # fmt: skip

    def compare(self, first: int, second: int) -> list[dict[str, Any]]:
        """Return the settings in which two trainings differ, with everything that a preset fills in."""
        one, other = (_settled(queue.look(self.home, number)) for number in (first, second))
        names = sorted({*one, *other})
        return [{"name": n, "values": [one.get(n), other.get(n)]} for n in names if one.get(n) != other.get(n)]

    def _row(self, job: Job) -> dict[str, Any]:
        row = {key: value for key, value in asdict(job).items() if key in _SHORT}
        report = job.result.get("report") or {}
        scores = {n: e.get("best_score") for n, e in report.items() if isinstance(e, dict) and n.endswith("-all")}
        checkpoints = sorted(job.result.get("checkpoints") or {}) if queue.can_render(job) else []
        return {**row, "scores": scores, "subjects": checkpoints}


def devices() -> list[str]:
    """Return the devices of this machine, without loading torch."""
    import shutil
    import subprocess

    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ["cpu"]
    try:
        told = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=3, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        told = ""
    return ["cpu", *(f"cuda:{i}" for i, line in enumerate(told.splitlines()) if line.startswith("GPU "))]


def free_memory() -> int:
    """Return the bytes of memory that are free."""
    import psutil

    return int(psutil.virtual_memory().available)


def free_disk(folder: Path) -> int:
    """Return the bytes that are free on the disk of a folder, which need not exist yet."""
    import shutil

    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def _settled(job: Job) -> dict[str, Any]:
    """Return every setting of a job by its dotted name, the preset's plan included."""
    values = {key: value for key, value in job.config.items() if key not in ("out", "plan_overrides")}
    if job.kind == "train":
        settled = plan(str(job.config["method"]), job.config.get("plan_overrides"))
        values["plan"] = settled.model_dump(mode="json")
    return _flat(values)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: json.loads(json.dumps(value, default=str))} if path else {}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{path}.{key}" if path else str(key))
    return found
