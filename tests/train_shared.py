"""A training of two small decoders without noise, run as a program: alone, or as one of several processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def train(out: Path) -> dict[str, list[dict[str, float]]]:
    """Train, and return the lines of each stage's log, which the first process writes."""
    import decoder_samples as ds

    from pipeline.methods.semvideo import CONFIGS
    from training.config import plan, replace
    from training.decoders import train_semvideo

    quiet = {"dropout": 0.0, "voxel_dropout": 0.0}
    config = replace(
        CONFIGS["semvideo-tiny"],
        {
            "sad": {**quiet, "refiner_layers": 0, "mixco_share": 0.0},
            "mad": {**quiet, "condition": "true", "condition_dropout": 0.0},
        },
    )
    stage = {"pretrain": {"epochs": 2, "batch_size": 24, "lr": 1e-2}, "finetune": None}
    chosen = replace(plan("semvideo-tiny"), {"sad": stage, "mad": stage})
    clips, held = ds.split()
    train_semvideo(clips, held, ds.targets(), out, config=config, plan=chosen, stages=("motion", "mad"))
    logs = {p.parent.name: p.read_text().splitlines() for p in sorted(out.glob("stages/*/log.jsonl"))}
    return {name: [json.loads(line) for line in lines] for name, lines in logs.items()}


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT.parent), str(ROOT)]
    train(Path(sys.argv[1]))
