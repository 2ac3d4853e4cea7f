"""What a training will take, measured before it starts in a process of its own, so that nothing stays loaded here.

Everything that asks for an estimate calls :func:`estimate`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, ResourceError
from pipeline.paths import ROOT, write_json
from training.config import LoopConfig, Plan, TrainingConfig, plan
from training.jobs.checks import data_bytes
from training.jobs.plan import chosen_subjects, stage_list
from training.jobs.process import threads

LIMIT = 180.0  # s


@dataclass(frozen=True)
class Estimate:
    """What a training is expected to take.

    Parameters
    ----------
    seconds : float
        Of loading, encoding what was shown, and all steps; without scoring on held-out runs and the ridge start.
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


def estimate(settings: TrainingConfig, home: Path, known: dict[str, dict[str, Any]] | None = None) -> Estimate:
    """Measure some steps and say what the whole will take.

    Parameters
    ----------
    settings : TrainingConfig
    home : Path
        Working folder.
    known : dict, optional
        Earlier trials, by what they depend on; a new one is added. Another number of epochs needs no new trial.

    Raises
    ------
    ConfigError, DataError, ResourceError
        One sentence; also where the trial itself fails, as the training would.
    """
    from pipeline.data import describe

    card = describe(settings.dataset, home)
    subjects = chosen_subjects(settings, card)
    stages = stage_list(settings, subjects)
    if not card.ready:
        raise ConfigError(f"{settings.dataset} is made when it is first used; there is nothing to measure before")
    known = {} if known is None else known
    if importlib.util.find_spec("training.estimate") is not None:
        return _by_command(settings, home, known)
    key = _depends_on(settings)
    if key not in known:
        known[key] = _trial(settings, home)
    found = known[key]
    settled = plan(settings.method, settings.plan_overrides)
    counts = {str(k): int(v) for k, v in found["samples"].items()}
    steps = 0.0
    for name, epochs in stages:
        stage, _, who = str(name).partition("-")
        kind = "mad" if stage == "mad" else "sad"
        loop = _loop(settled, kind, fine=who != "all")
        n_samples = sum(counts.values()) if who == "all" else counts[who]
        steps += int(epochs) * max(1, n_samples // min(loop.batch_size, n_samples)) * found["step"][kind]
    rest = 2 * max(0.0, data_bytes(card, subjects) - found["data"])
    disk = sum(found["state"]["mad" if str(n).startswith("mad") else "sad"] for n, _ in stages)
    seconds = found["start"] + found["clip"] * found["clips"] + steps
    disk += found["checkpoint"] * len(subjects)
    return Estimate(seconds, found["memory"] + rest, disk, found["step"], found["trial"])


def _depends_on(settings: TrainingConfig) -> str:
    """Return all that a trial depends on: everything but the folder and the numbers of epochs."""

    def without_epochs(value: Any) -> Any:
        return {k: without_epochs(v) for k, v in value.items() if k != "epochs"} if isinstance(value, dict) else value

    settled = plan(settings.method, settings.plan_overrides).model_dump(mode="json")
    values = {**settings.model_dump(mode="json", exclude={"out", "plan_overrides"}), "plan": settled}
    return json.dumps(without_epochs(values), sort_keys=True)


def _loop(settled: Plan, kind: str, *, fine: bool) -> LoopConfig:
    own = settled.mad if kind == "mad" else settled.sad
    return own.finetune if fine and own.finetune is not None else own.pretrain


def _trial(settings: TrainingConfig, home: Path) -> dict[str, Any]:
    """Run a trial of a few steps and return what it measured."""
    return _ask(["-m", "training.jobs.trial"], lambda path: [str(path), str(home)], settings)


def _by_command(settings: TrainingConfig, home: Path, known: dict[str, dict[str, Any]]) -> Estimate:
    """Ask ``python -m training estimate``."""
    key = settings.model_dump_json(exclude={"out"})
    if key not in known:
        begun = time.monotonic()
        ends = ["--home", str(home), "--json"]
        found = _ask(["-m", "training", "estimate"], lambda path: ["--config", str(path), *ends], settings)
        known[key] = {**found, "trial": time.monotonic() - begun}
    found = known[key]
    steps: dict[str, list[float]] = {"sad": [], "mad": []}
    for leg in found.get("legs", []):
        steps["mad" if str(leg["name"]).startswith("mad") else "sad"].append(float(leg["seconds_per_step"]))
    means = {kind: sum(values) / len(values) if values else 0.0 for kind, values in steps.items()}
    return Estimate(found["seconds"], found["memory"], found["disk"], means, found["trial"])


def _ask(command: list[str], ends: Callable[[Path], list[str]], settings: TrainingConfig) -> dict[str, Any]:
    """Run a command on a config and return its last line."""
    limit = str(threads())
    own = {name: os.environ.get(name, limit) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with tempfile.TemporaryDirectory(prefix="estimate-") as folder:
        path = Path(folder) / "config.json"
        write_json(path, settings.model_dump(mode="json"))
        try:
            done = subprocess.run(
                [sys.executable, *command, *ends(path)],
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
