"""What a training will take, measured before it starts in a process of its own, so that nothing stays loaded here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, ResourceError
from pipeline.paths import ROOT, write_json
from training.config import TrainingConfig
from training.jobs.plan import chosen_subjects, stage_list
from training.jobs.process import threads

LIMIT = 180.0  # s


@dataclass(frozen=True)
class Measured:
    """What a training is expected to take, as ``python -m training estimate`` says.

    Parameters
    ----------
    seconds : float
        Of encoding what was shown, all steps, and scoring on held-out runs; without a start at ridge regression.
    memory : float
        Bytes, at the highest.
    disk : float
        Bytes that it leaves.
    steps : dict
        Seconds per optimiser step, by ``sad`` and ``mad``.
    trial : float
        Seconds that the trial took.
    """

    seconds: float
    memory: float
    disk: float
    steps: dict[str, float]
    trial: float


def measure(settings: TrainingConfig, home: Path, known: dict[str, Measured] | None = None) -> Measured:
    """Measure some steps and say what the whole will take.

    Parameters
    ----------
    settings : TrainingConfig
    home : Path
        Working folder.
    known : dict, optional
        Earlier trials, by the settings that they were made for; a new one is added.

    Raises
    ------
    ConfigError, DataError, ResourceError
        One sentence; also where the trial itself fails, as the training would.
    """
    from pipeline.data import describe

    card = describe(settings.dataset, home)
    stage_list(settings, chosen_subjects(settings, card))
    if not card.ready:
        raise ConfigError(f"{settings.dataset} is made when it is first used; there is nothing to measure before")
    known = {} if known is None else known
    key = settings.model_dump_json(exclude={"out"})
    if key not in known:
        begun = time.monotonic()
        found = _ask(settings, home)
        steps: dict[str, list[float]] = {"sad": [], "mad": []}
        for leg in found["legs"]:
            steps["mad" if str(leg["name"]).startswith("mad") else "sad"].append(float(leg["seconds_per_step"]))
        means = {kind: sum(values) / len(values) if values else 0.0 for kind, values in steps.items()}
        took = time.monotonic() - begun
        known[key] = Measured(found["seconds"], found["memory"], found["disk"], means, took)
    return known[key]


def _ask(settings: TrainingConfig, home: Path) -> dict[str, Any]:
    """Run the command on a config and return its last line."""
    limit = str(threads())
    own = {name: os.environ.get(name, limit) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with tempfile.TemporaryDirectory(prefix="estimate-") as folder:
        path = Path(folder) / "config.json"
        write_json(path, settings.model_dump(mode="json"))
        command = ["-m", "training", "estimate", "--config", str(path), "--home", str(home), "--json"]
        try:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=ROOT,
                env={**os.environ, **own},
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ResourceError(f"{settings.dataset}: a few steps took over {LIMIT:.0f} s; it will be slow") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1].removeprefix("error: ")
        raise ConfigError(f"the trial of some steps failed: {last}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
