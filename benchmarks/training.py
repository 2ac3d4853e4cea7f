"""How long training takes: the phantom's anchor SAD as it ships, its score beside the shipped one, and data wait.

    python benchmarks/training.py --home DIR [--out benchmarks/training.json]

The shipped recipe of one level is trained on all three subjects of ``phantom`` (simulated), then on each, with the very
command's code; the held-out training runs score it as they scored the shipped decoder. Seconds are of the whole stage,
reading and encoding apart. ``data_wait`` is the share of step time in which the network waited for its batch.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET_SECONDS, TARGET_WAIT, TARGET_SCORE = 180, 0.05, 0.02


def measure(home: Path, level: str, out: Path) -> dict[str, Any]:
    """Train one level as shipped: seconds, scores beside the shipped ones, share of waiting."""
    from training.config import TrainingConfig
    from training.decoders import train_semvideo
    from training.inputs import read_inputs, settled
    from training.progress import read_progress
    from training.tracking import trackers

    began = time.perf_counter()
    found = settled(TrainingConfig(dataset="phantom", stages=(level,)), home)
    train, val, targets = read_inputs(found, lambda *a: None)
    read = time.perf_counter() - began
    began, used = time.perf_counter(), time.process_time()
    common = {"config": found.method, "plan": found.plan, "stages": (level,), "trackers": trackers(None)}
    train_semvideo(train, val, targets, out, **common)
    seconds, used = time.perf_counter() - began, time.process_time() - used
    scores, shipped = {}, {}
    for subject in train:
        about = json.loads((ROOT / f"assets/phantom/decoders/{subject}/config.json").read_text(encoding="utf-8"))
        shipped[subject] = about["training"]["scores"][f"{level}-{subject}"]["best_score"]
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        scores[subject] = report[f"{level}-{subject}"]["best_score"]
    lines = [line for line in read_progress(out / "progress.jsonl")[0] if line["event"] == "epoch"]
    logs = [(out / "stages" / name / "log.jsonl").read_text().splitlines()[-1] for name in {x["name"] for x in lines}]
    last = [json.loads(line) for line in logs]
    wait = sum(x["data_wait"] * x["seconds"] for x in last) / sum(x["seconds"] for x in last)
    worst = max(abs(scores[s] / shipped[s] - 1) for s in scores)
    return {
        "level": level,
        "reading_and_encoding_s": round(read, 1),
        "seconds": round(seconds, 1),
        "processor_seconds": round(used, 1),
        "data_wait": round(wait, 4),
        "held_out_score": {s: round(v, 4) for s, v in scores.items()},
        "shipped_score": {s: round(v, 4) for s, v in shipped.items()},
        "largest_relative_difference": round(worst, 4),
        "within_targets": bool(seconds <= TARGET_SECONDS and wait <= TARGET_WAIT and worst <= TARGET_SCORE),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--home", type=Path, required=True, help="Working folder that holds the data set `phantom`")
    parser.add_argument("--level", default="anchor")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "training.json")
    options = parser.parse_args()
    load = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.home, options.level, Path(folder))
    found |= {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_average_before": load,
        "date": datetime.date.today().isoformat(),
    }
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
