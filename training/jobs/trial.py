"""A short trial of a training: a few of its own steps on some of its own clips, timed in a process of its own.

``python -m training.jobs.trial CONFIG HOME`` writes what it measured as the last line of its output.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import NeuroVisError
from training.config import Plan, TrainingConfig, plan
from training.jobs.plan import check_stages, chosen_subjects

STEPS = 4  # epochs of one to a few steps; the first is left out, since it also warms up
WALK = ("sad", "mad")


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

    from pipeline.backbones import World, local, profile
    from pipeline.data import load
    from pipeline.methods.semvideo import preset
    from training.config import replace
    from training.decoders import train_semvideo
    from training.samples import join_targets, make_targets

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
    spec = settings.world or "phantom"
    world = World(local(Path(spec), name=spec) if Path(spec).is_dir() else profile(spec))
    make_targets(world, next(iter(some.values())).take(np.arange(2)), method.n_frames)
    loaded = time.monotonic()
    # Subjects have mostly seen the same clips; each is encoded once, as in the training.
    fresh: dict[str, np.ndarray] = {}
    known: set[str] = set()
    for subject, clipset in some.items():
        fresh[subject] = np.asarray([i for i, c in enumerate(clipset.clip_ids) if str(c) not in known], dtype=np.int64)
        known |= {str(c) for c in clipset.clip_ids}
    targets = join_targets(
        [make_targets(world, some[s].take(rows), method.n_frames) for s, rows in fresh.items() if len(rows)]
    )
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
