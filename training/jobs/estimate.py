"""What a training will take, measured before it starts: a short trial of its own steps on some of its own clips.

The trial is a process of its own (``python -m training.jobs.estimate CONFIG HOME``), so that its memory can be read
and nothing stays loaded. Everything that asks for an estimate calls :func:`estimate`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, NeuroVisError, ResourceError
from pipeline.paths import ROOT, write_json
from training.config import LoopConfig, Plan, TrainingConfig, plan
from training.jobs.checks import data_bytes
from training.jobs.plan import check_stages, chosen_subjects, stage_list
from training.jobs.process import threads

STEPS = 4  # that a stage is timed over
LIMIT = 180.0  # s
WALK = ("sad", "mad")


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

    return json.dumps(without_epochs(settings.model_dump(mode="json", exclude={"out"})), sort_keys=True)


def _loop(settled: Plan, kind: str, *, fine: bool) -> LoopConfig:
    own = settled.mad if kind == "mad" else settled.sad
    return own.finetune if fine and own.finetune is not None else own.pretrain


def _trial(settings: TrainingConfig, home: Path) -> dict[str, Any]:
    """Run the trial and return what it measured."""
    limit = str(threads())
    own = {name: os.environ.get(name, limit) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with tempfile.TemporaryDirectory(prefix="estimate-") as folder:
        path = Path(folder) / "config.json"
        write_json(path, settings.model_dump(mode="json"))
        command = [sys.executable, "-m", "training.jobs.estimate", str(path), str(home)]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env={**os.environ, **own}, capture_output=True, text=True, timeout=LIMIT, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ResourceError(
                f"{settings.dataset}: {STEPS} steps took over {LIMIT:.0f} s; it will be slow"
            ) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1].removeprefix("error: ")
        raise ConfigError(f"the trial of some steps failed: {last}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(settings: TrainingConfig, home: Path) -> dict[str, Any]:
    """Train each kind of network for a few steps on some clips and return times and sizes.

    Returns
    -------
    dict
        ``start``: seconds of loading; ``clip``: seconds to encode a clip, of ``clips``; ``step``: seconds by kind;
        ``samples`` by subject; ``memory``, ``data``, ``state`` by kind and ``checkpoint``: bytes; ``trial``: seconds.
    """
    begun = time.monotonic()
    import numpy as np

    from pipeline.data import load
    from pipeline.methods.semvideo import preset
    from training.__main__ import _targets, _world
    from training.config import replace
    from training.decoders import train_semvideo

    subjects = list(settings.subjects) or _all_subjects(settings, home)
    method = replace(preset(settings.method), settings.method_overrides)
    settled = plan(settings.method, settings.plan_overrides)
    batch = max(settled.sad.pretrain.batch_size, settled.mad.pretrain.batch_size)
    full = {subject: load(settings.dataset, subject, "train", home) for subject in subjects}
    samples = {s: int(c.present.sum()) if settled.repeats != "average" else len(c) for s, c in full.items()}
    ids = {str(clip) for clipset in full.values() for clip in clipset.clip_ids}
    each = -(-batch // len(subjects)) + 1
    some = {s: c.take(np.arange(min(len(c), each))) for s, c in full.items()}
    data = sum(clipset.fmri.nbytes for clipset in full.values())
    world = _world(settings.world)
    _targets(world, [next(iter(some.values())).take(np.arange(2))], method, _quiet)
    loaded = time.monotonic()
    targets = _targets(world, list(some.values()), method, _quiet)
    encoded = time.monotonic()
    chosen = check_stages(settings.stages)
    found: dict[str, Any] = {"step": dict.fromkeys(WALK, 0.0), "state": dict.fromkeys(WALK, 0.0)}
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        out = Path(folder)
        short = _short(settled, {kind: _batches(kind, settled, samples, some) for kind in WALK})
        walk = ("motion", "mad") if "mad" in chosen else (chosen[0],)
        train_semvideo(some, {}, targets, out, config=method, plan=short, stages=walk, device=settings.device)
        for stage in walk:
            kind = "mad" if stage == "mad" else "sad"
            lines = [json.loads(line) for line in (out / "stages" / f"{stage}-all" / "log.jsonl").open()]
            found["step"][kind] = (lines[-1]["seconds"] - lines[1]["seconds"]) / (lines[-1]["step"] - lines[1]["step"])
            found["state"][kind] = _size(out / "stages" / f"{stage}-all")
        found["checkpoint"] = _size(out / subjects[0])
    return found | {
        "start": loaded - begun,
        "clip": (encoded - loaded) / max(1, len(targets.clip_ids)),
        "clips": len(ids),
        "samples": samples,
        "data": data,
        "memory": _peak(),
        "trial": time.monotonic() - begun,
    }


def _short(settled: Plan, batches: Mapping[str, int]) -> Plan:
    """Return a plan of a few steps: no fine-tuning, no ridge start, nothing scored."""
    quick = {"epochs": STEPS, "keep": "last", "patience": None, "checkpoint_every": STEPS}
    parts = {
        kind: getattr(settled, kind).model_copy(
            update={
                "pretrain": getattr(settled, kind).pretrain.model_copy(update={**quick, "batch_size": batches[kind]}),
                "finetune": None,
            }
        )
        for kind in WALK
    }
    return settled.model_copy(update={**parts, "start": "random", "crossfit_folds": 2})


def _batches(kind: str, settled: Plan, samples: Mapping[str, int], some: Mapping[str, Any]) -> int:
    """Return the batch size of the training itself, as far as the clips of the trial fill it."""
    wanted = getattr(settled, kind).pretrain.batch_size
    there = sum(int(clipset.present.sum()) for clipset in some.values())
    return int(max(2, min(wanted, sum(samples.values()), there)))


def _all_subjects(settings: TrainingConfig, home: Path) -> list[str]:
    from pipeline.data import describe

    return chosen_subjects(settings, describe(settings.dataset, home))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _peak() -> float:
    """Return the most memory that this process had, in bytes."""
    import psutil

    try:
        import resource
    except ImportError:  # Windows tells it itself
        return float(psutil.Process().memory_info().peak_wset)
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _quiet(done: int, total: int, what: str) -> None:
    """Tell nobody."""


def main(arguments: Sequence[str]) -> None:
    """Measure: ``CONFIG HOME``; the last line of the output is the result."""
    from pipeline.cli import quiet_libraries
    from training.config import read_config

    quiet_libraries()
    try:
        found = measure(read_config(Path(arguments[0])), Path(arguments[1]))
    except NeuroVisError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
