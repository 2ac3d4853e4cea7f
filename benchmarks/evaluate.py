"""How long scoring takes: pixel, hue and flow metrics of 256 px clips, and N-way accuracy in closed form.

    python benchmarks/evaluate.py [--seconds 20] [--workers 2] [--out benchmarks/evaluate.json]

Random moving patterns stand in for clips: 6 frames of 256 x 256 a clip, read from folders of PNG. As many clips as fit
in about ``--seconds`` a convention are scored by the very engine that the command uses, without the shuffle test, and
with as large a share of clips behind the chance level as 200 of 1,200. Times for 1,200 clips are extrapolated from them
and say so; beside the wall time stands what the processor time comes to on cores that have nothing else to do, for
machines that are busy. The start of the processes counts as if it grew with the clips. The sampled rule in plain loops
is timed on a few frames.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
N_CLIPS, N_FRAMES, SIZE, N_CLASSES, N_WAY = 1200, 6, 256, 1000, 50


def make_clips(folder: Path, n_clips: int) -> None:
    """Write pairs of clips: a coarse pattern that moves, and a noisy copy that moves otherwise."""
    import cv2

    rng = np.random.default_rng(0)
    for role, step in (("truth", 3), ("recon", 2)):
        for clip in range(n_clips):
            cells = cv2.resize(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8), (SIZE + 32, SIZE + 32))
            target = folder / role / f"{clip:04d}"
            target.mkdir(parents=True)
            for t in range(N_FRAMES):
                frame = cells[t * step : t * step + SIZE, t : t + SIZE]
                cv2.imwrite(str(target / f"{t}.png"), frame)


def score_clips(folder: Path, conventions: tuple[Any, ...], n_clips: int, workers: int) -> dict[str, Any]:
    """Score the clips, with as many mispaired ones as 200 of 1,200 are: seconds and memory of all processes, GiB."""
    import psutil

    from pipeline.evaluate.engine import evaluate
    from pipeline.evaluate.settings import Settings
    from pipeline.evaluate.sources import FolderSource

    chance = max(2, round(n_clips * 200 / N_CLIPS))
    settings = Settings(conventions=conventions, shuffle=False, chance_clips=chance)
    source = FolderSource(folder / "truth", folder / "recon", None, 3.0, 3.0)
    peak = [0]

    def watch(done: int, total: int, what: str) -> None:
        me = psutil.Process()
        peak[0] = max(peak[0], sum(p.memory_info().rss for p in (me, *me.children(recursive=True))))

    with tempfile.TemporaryDirectory() as out:
        began, used = time.perf_counter(), _processor_seconds()
        evaluate(source, settings, Path(out), workers=workers, progress=watch)
        seconds, used = time.perf_counter() - began, _processor_seconds() - used
    per_clip = seconds / n_clips
    return {
        "clips_measured": n_clips,
        "seconds": round(seconds, 1),
        "minutes_for_1200_extrapolated": round(per_clip * N_CLIPS / 60, 2),
        "processor_seconds": round(used, 1),
        "minutes_for_1200_on_idle_cores_extrapolated": round(used / n_clips * N_CLIPS / 60 / workers, 2),
        "peak_gib_of_all_processes": round(peak[0] / 2**30, 2),
    }


def sampled(truth: Any, made: Any, n_trials: int, rng: np.random.Generator) -> float:
    """The released rule in plain loops, for one frame: top-3 classes, 100 draws of N - 1 others."""
    top = np.argsort(truth)[-3:]
    others = [c for c in range(len(truth)) if c not in set(top.tolist())]
    wins = 0
    for _ in range(n_trials):
        drawn = rng.choice(others, N_WAY - 1, replace=False)
        wins += any(made[c] > max(made[d] for d in drawn) for c in top)
    return wins / n_trials


def n_way() -> dict[str, Any]:
    """Time the closed form on all frames, and the sampled rule on twenty of them."""
    from pipeline.nway import n_way_accuracy

    rng = np.random.default_rng(0)
    truth, made = (rng.random((N_CLIPS * N_FRAMES, N_CLASSES), dtype=np.float32) for _ in range(2))
    found: dict[str, Any] = {}
    for convention in ("corrected", "paper"):
        found[f"closed_form_{convention}_s"] = round(
            _best(lambda c=convention: n_way_accuracy(truth, made, N_WAY, c)), 4
        )
    n_looped = 20
    began = time.perf_counter()
    for i in range(n_looped):
        sampled(truth[i], made[i], 100, rng)
    per_frame = (time.perf_counter() - began) / n_looped
    frames = N_CLIPS * N_FRAMES
    found |= {"sampled_ms_per_frame": round(1000 * per_frame, 2), "sampled_frames_measured": n_looped}
    for convention in ("corrected", "paper"):
        found[f"ratio_{convention}"] = round(per_frame * frames / found[f"closed_form_{convention}_s"])
    return found


def machine() -> dict[str, Any]:
    """Name what the figures were measured on, and how busy it was."""
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "date": datetime.date.today().isoformat(),
    }


def _processor_seconds() -> float:
    """Seconds of processor time of this process and of those that it has ended."""
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in each)


def _best(call: Callable[[], Any], times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "evaluate.json")
    options = parser.parse_args()
    found: dict[str, Any] = {"workers": options.workers, **n_way()}
    for name, conventions, guess in (("corrected", ("corrected",), 0.2), ("both", ("corrected", "paper"), 1.0)):
        n_clips = max(12, round(options.seconds * options.workers / guess / 2))
        with tempfile.TemporaryDirectory() as folder:
            make_clips(Path(folder), n_clips)
            found[name] = score_clips(Path(folder), conventions, n_clips, options.workers)
    found |= machine()
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
