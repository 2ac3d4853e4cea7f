"""Does importance find what was planted? The AUC of each statistic on the shipped subjects, and on new ones.

    python benchmarks/importance_truth.py [--seed 4034] [--home DIR] [--out benchmarks/importance_truth.json]

The statistics were chosen with the shipped subjects' curves in view, so those are no independent test. The second half
is: a phantom of another seed (other films, other weights, other noise, other vertices; the same areas carry the same
features), imported and decoded by decoders trained on it alone with the shipped recipe, which takes about a quarter of
an hour on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def say(done: int, total: int, what: str) -> None:
    """Tell on stderr where the work stands."""
    print(f"\r{done}/{total} {what:<60}", end="", file=sys.stderr, flush=True)


def new_subjects(seed: int, home: Path, work: Path) -> list[dict[str, Any]]:
    """Make a phantom of another seed, train decoders on it, and return the rows of its table."""
    from pipeline.backbones import World, local
    from pipeline.data import describe, import_dataset, load
    from pipeline.importance.truth import truth_table
    from pipeline.paths import PHANTOM_ASSETS
    from pipeline.phantom.sizes import SIZES
    from pipeline.phantom.write import ensure_phantom
    from training.decoders import make_targets, train_semvideo
    from training.samples import join_targets

    name = f"phantom-seed-{seed}"
    size = dataclasses.replace(SIZES["small"], name=f"{name}-raw", seed=seed)
    raw = ensure_phantom(home, size, progress=say)
    if not (home / "datasets" / name).is_dir():
        import_dataset(raw, name, home, progress=say)
    subjects = [str(entry["subject"]) for entry in describe(name, home).to_dict()["subjects"]]
    train, val = ({s: load(name, s, split, home) for s in subjects} for split in ("train", "val"))
    world = World(local(PHANTOM_ASSETS))
    targets = join_targets([make_targets(world, clips[subjects[0]]) for clips in (train, val)])
    train_semvideo(train, val, targets, work, config="semvideo-phantom", provenance={"dataset": name}, progress=say)
    return [row.to_dict() for row in truth_table(home, work, subjects, dataset=name)]


def main() -> None:
    """Measure and write the figures."""
    from pipeline.importance.truth import truth_table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=4034)
    parser.add_argument("--home", type=Path, help="Working folder; default a temporary one")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "importance_truth.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="neurovis-") as folder:
        home = args.home or Path(folder)
        found = {
            "what": "AUC of planted against other selected voxels, 95 % bootstrap interval over areas; simulated data",
            "date": datetime.date.today().isoformat(),
            "versions": {name: version(name) for name in ("torch", "numpy", "scikit-learn")},
            "shipped": {"seed": 2017, "rows": [row.to_dict() for row in truth_table(home)]},
            "new": {"seed": args.seed, "rows": new_subjects(args.seed, home, Path(folder) / "decoders")},
        }
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\n{args.out}")


if __name__ == "__main__":
    main()
