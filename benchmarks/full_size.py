"""What training and rendering cost at the paper's sizes, against plain ways to do the same and the memory's speed.

    python -m benchmarks.full_size [--sizes small|full] [--only sad,mad,render,first_steps,whole_sad,whole_mad]
                                   [--steps 200] [--epochs 100] [--compile] [--work DIR] [--minutes 9] [--out FILE]

Weights and data are random, of the exact shapes; nothing is downloaded. Ours is the product's own: the loop, samples
and losses of ``python -m training run``, the renderer of ``python -m pipeline reconstruct``. Beside each figure stands

(a) the same model in a plain PyTorch loop with a ``DataLoader`` (SAD, MAD): float32, targets copied every step;
(b) diffusers' own pipelines, called clip by clip (rendering);
(c) the floor: the bytes that one step must move over the device's measured memory bandwidth.

``whole_sad`` and ``whole_mad`` train one decoder through all epochs, held-out scores, states and checkpoint included;
what does not fit into ``--minutes`` goes on with the next call. ``agreement`` compares the losses of both ways over
the same batches and noise, in float32. Sizes ``full`` are the paper's and want a card; ``small`` are for a processor
and say nothing of the paper's speed.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.full_parts import SIZES, Shapes, render_fast, render_stock
from benchmarks.full_train import Job, fast, floor, make_job, plain, sync, whole

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4  # of the relative difference of the two loss curves, float32, same noise and order


def bandwidth(device: str) -> float:
    """Measure bytes a second of a large copy on the device, reading and writing counted."""
    size = 2**30 if device != "cpu" else 2**27
    a = torch.ones(size // 4, device=device)
    b = torch.empty_like(a)
    b.copy_(a)
    sync(device)
    started = time.perf_counter()
    for _ in range(5):
        b.copy_(a)
    sync(device)
    return 10 * size / (time.perf_counter() - started)


def train(job: Job, n_steps: int, device: str, dtype: str, compiled: bool) -> dict[str, Any]:
    """Measure one decoder both ways, and its floor."""
    quick = measured(device, lambda: fast(job, n_steps, device, dtype, compiled))
    slow = measured(device, lambda: plain(job, n_steps, device))
    same = quick if dtype == "float32" and not compiled else fast(job, n_steps, device, "float32", False)
    pairs = list(zip(same["losses"], slow["losses"], strict=True))
    least = floor(job, bandwidth(device))
    return {
        "parameters": job.n_parameters,
        "batch": job.loop.batch_size,
        "steps": n_steps,
        "fast_s_per_step": round(quick["s_per_step"], 5),
        "plain_s_per_step": round(slow["s_per_step"], 5),
        "floor_s_per_step": round(least, 5),
        "fast_over_floor": round(quick["s_per_step"] / least, 2),
        "fast_peak_gib": quick["peak_gib"],
        "plain_peak_gib": slow["peak_gib"],
        "dtype": dtype,
        "compiled": compiled,
        "resident": quick["resident"],
        "agreement": max(abs(a - b) / max(abs(b), 1e-12) for a, b in pairs),
        "agreement_tolerance": TOLERANCE,
        # How far the arithmetic that is timed leads the losses away from float32's, at the last step.
        "last_loss": [round(x["losses"][-1], 6) for x in (quick, slow)],
    }


def first_steps(device: str, dtype: str, batch: int | None, n_steps: int = 10) -> dict[str, Any]:
    """Run a few optimiser steps of the full-size SAD on 960 samples: does it fit, and how long is a step."""
    job = make_job("sad", SIZES["full"], n_clips=480)
    job.warm = 2
    job.loop = job.loop.model_copy(update={"batch_size": batch or job.loop.batch_size})
    found = measured(device, lambda: fast(job, n_steps, device, dtype, False))
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "dtype": dtype,
        "batch": job.loop.batch_size,
        "processor_s": round(spent.ru_utime + spent.ru_stime, 1),
        "load": round(os.getloadavg()[0], 1),
        "parameters": job.n_parameters,
        "weights_gradients_moments_gib": round(16 * job.n_parameters / 2**30, 2),
        "steps": n_steps,
        "s_per_step": round(found["s_per_step"], 2),
        "peak_gib": found["peak_gib"],
        "losses": [round(value, 4) for value in found["losses"]],
    }


def measured(device: str, work: Any) -> dict[str, Any]:
    """Run something and add its peak memory: of the card, or of this process so far."""
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    found = work()
    peak = (
        torch.cuda.max_memory_allocated()
        if device != "cpu"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {**found, "peak_gib": round(peak / 2**30, 2)}


def render(shapes: Shapes, device: str) -> dict[str, Any]:
    """Measure clips a second of our renderer and of diffusers' pipelines, clip by clip."""
    ours = measured(device, lambda: render_fast(shapes, device))
    stock = measured(device, lambda: render_stock(shapes, device))
    return {
        "clips": shapes.clips,
        "steps": shapes.render_steps,
        "size": shapes.render_size,
        "ours_s_per_clip": round(ours["s_per_clip"], 3),
        "stock_s_per_clip": round(stock["s_per_clip"], 3),
        "ours_peak_gib": ours["peak_gib"],
        "stock_peak_gib": stock["peak_gib"],
        "memory": ours["memory"],
        "batch": ours["batch"],
    }


def machine(device: str) -> dict[str, Any]:
    """Name what the figures were measured on."""
    name = torch.cuda.get_device_name() if device != "cpu" else platform.processor() or platform.machine()
    return {
        "device": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", choices=sorted(SIZES), default="full" if torch.cuda.is_available() else "small")
    parser.add_argument("--only", default="sad,mad,render")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=None, help="Samples per step of first_steps; default the paper's")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default=None)
    parser.add_argument("--compile", action="store_true", help="torch.compile the large parts")
    parser.add_argument("--epochs", type=int, default=100, help="Of whole_sad and whole_mad")
    parser.add_argument("--work", type=Path, default=Path(".work") / "full_size", help="Folder of unfinished trainings")
    parser.add_argument("--minutes", type=float, default=9.0, help="Most that one call trains")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "full_size.json")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = options.dtype or ("float32" if device == "cpu" else "bfloat16")
    shapes = SIZES[options.sizes]
    known = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    kind = "gpu" if device != "cpu" else "cpu"
    before = known.get(kind) if isinstance(known.get(kind), dict) else {}
    found: dict[str, Any] = {**before, "sizes": options.sizes, **machine(device)}
    for asked in options.only.split(","):
        name = asked
        if name == "first_steps":
            found[name] = first_steps(device, dtype, options.batch)
        elif name == "render":
            found[name] = render(shapes, device)
        elif name in ("whole_sad", "whole_mad"):
            job, compiled = make_job(name.removeprefix("whole_"), shapes), options.compile
            work = options.work / f"{name}-{options.sizes}{'-compiled' * compiled}"
            arguments = (job, options.epochs, device, compiled, work, options.minutes)
            name += "_compiled" * compiled
            found[name] = measured(device, lambda arguments=arguments: whole(*arguments))
        else:
            job = make_job(name, shapes)
            name += "_compiled" * options.compile
            found[name] = train(job, options.steps, device, dtype, options.compile)
        print(name, json.dumps(found[name]))
    known[kind] = found
    known.setdefault("gpu", "not yet measured")
    options.out.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
