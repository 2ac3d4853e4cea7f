"""Can importance's null be failed? The share of areas at p <= .05 on recordings that hold no shared signal, and some.

    python benchmarks/importance_null.py [--repeats 20] [--out benchmarks/importance_null.json]

Recordings are drawn anew each time: areas of unequal sizes, a decoder with random weights of which none was trained.
``white`` and ``slow`` (first-order autoregressive, 0.7) hold nothing that areas share, so that one area in twenty
should pass. ``planted`` gives six areas one common signal, a tenth of their variance; the other six should pass no more
often than by chance. ``shared noise`` gives all areas the same weak noise, a fiftieth of the variance: it passes as a
signal does, and is the limit of the test. Intervals: ``coverage`` is the share of the areas' 95 % intervals over runs
that hold the mean over all repeats of the planted recordings.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

SIZES = (5, 7, 9, 12, 15, 18, 21, 25, 30, 36, 43, 51)  # voxels of each area
N_RUNS, RUN = 7, 120  # clips of a run
N_OUTPUTS, N_COUNTERPART = 24, 16
PLANTED = 6
KINDS = ("white", "slow", "planted", "shared noise")
STATISTICS = ("pattern", "pattern_alone", "pattern_joint")


def slowed(noise: np.ndarray, keep: float) -> np.ndarray:
    """Return first-order autoregressive noise of variance 1."""
    from scipy.signal import lfilter

    return np.asarray(lfilter([np.sqrt(1 - keep**2)], [1, -keep], noise, axis=0))


def recording(kind: str, rng: np.random.Generator, weights: dict[str, np.ndarray]) -> tuple[Any, np.ndarray]:
    """Draw a recording; returns the study and each voxel's area."""
    from pipeline.importance.study import Study

    areas = np.repeat([f"area-{n:02d}" for n in range(len(SIZES))], SIZES)
    n_clips = N_RUNS * RUN
    x = rng.standard_normal((n_clips, len(areas)))
    if kind == "slow":
        x = slowed(x, 0.7)
    common = slowed(rng.standard_normal((n_clips, 1)), 0.5)
    if kind == "shared noise":
        x += np.sqrt(1 / 49) * common
    if kind == "planted":
        x[:, areas < f"area-{PLANTED:02d}"] += np.sqrt(1 / 9) * common
    groups = np.repeat([f"run-{n}" for n in range(N_RUNS)], RUN)
    return Study("simulated", weights, (x / x.std(0)).astype(np.float32)[:, None], groups), areas


def random_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw weights of a module and of its counterpart that nothing was trained into."""
    sizes = {"anchor": N_OUTPUTS, "motion": N_COUNTERPART}
    return {m: rng.standard_normal((k, 1, sum(SIZES))).astype(np.float32) for m, k in sizes.items()}


def measure(kind: str, statistic: str, repeats: int, seed: int) -> dict[str, Any]:
    """Test every area of ``repeats`` recordings; returns shares at p <= .05 and, for planted ones, the coverage."""
    from scipy.stats import binomtest

    from pipeline.importance import statistics
    from pipeline.importance.jackknife import region_intervals
    from pipeline.importance.shifts import shift_test

    rng = np.random.default_rng([seed, KINDS.index(kind)])
    weights = random_weights(rng)
    passed, voxels, means, ends = [], [], [], []
    for _ in range(repeats):
        # Without a planted signal each repeat has a decoder of its own; the coverage needs one that stays.
        study, areas = recording(kind, rng, weights if kind == "planted" else random_weights(rng))
        test = shift_test(study, "anchor", statistic, areas)
        assert test is not None
        passed.append(
            [(1 + (test.null[a] >= v).sum()) / (1 + len(test.null[a])) <= 0.05 for a, v in test.tested.items()]
        )
        voxels.append(float((test.voxel_p <= 0.05).mean()))
        if kind == "planted":
            values = statistics.STATISTICS[statistic].function(study, "anchor")
            found = region_intervals(study, "anchor", statistic, values, areas)
            means.append([values[areas == a].mean() for a in found])
            ends.append(list(found.values()))
    told: dict[str, Any] = {"kind": kind, "statistic": statistic, "recordings": repeats}
    parts = (
        {"planted": slice(0, PLANTED), "others": slice(PLANTED, None)} if kind == "planted" else {"all": slice(None)}
    )
    for name, part in parts.items():
        hits = np.array(passed)[:, part]
        low, high = binomtest(int(hits.sum()), hits.size).proportion_ci(method="wilson")
        told[f"areas_{name}"] = {"n": hits.size, "share": round(float(hits.mean()), 4)}
        told[f"areas_{name}"]["interval"] = [round(float(low), 4), round(float(high), 4)]
    told["voxels"] = round(float(np.mean(voxels)), 4)
    if kind == "planted":
        limits = np.array(ends)
        truth = np.mean(means, axis=0)
        held = (limits[..., 0] <= truth) & (truth <= limits[..., 1])
        told["coverage"] = round(float(held.mean()), 4)
    return told


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "importance_null.json")
    args = parser.parse_args()
    start, rows = time.perf_counter(), []
    for kind in KINDS:
        for statistic in STATISTICS:
            rows.append(measure(kind, statistic, args.repeats, args.seed))
            print(json.dumps(rows[-1]), flush=True)
    facts = {
        "what": "share of areas at p <= .05, uncorrected, 95 % Wilson interval; simulated recordings, random weights",
        "date": datetime.date.today().isoformat(),
        "machine": platform.machine(),
        "seconds": round(time.perf_counter() - start, 1),
        "seed": args.seed,
        "rows": rows,
    }
    args.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
