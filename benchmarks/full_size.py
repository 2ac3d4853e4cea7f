"""What training and rendering cost at the paper's sizes, against plain ways to do the same and the memory's speed.

    python -m benchmarks.full_size [--sizes small|full] [--only sad,mad,render,first_steps] [--steps 200] [--out FILE]

Weights and data are random, of the exact shapes; nothing is downloaded. Each figure stands beside

(a) the same model in a plain PyTorch loop with a ``DataLoader`` (SAD, MAD): float32, targets copied every step;
(b) diffusers' own pipelines, called clip by clip (rendering);
(c) the floor: the bytes that one step must move over the device's measured memory bandwidth.

Sizes ``full`` are the paper's and want a card; ``small`` are for a processor and say nothing of the paper's speed.
``agreement`` runs the fast way and the plain loop over the same batches and compares their losses.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.full_parts import SIZES, Job, Shapes, make_job, render_fast, render_stock

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4  # of the relative difference of the two loss curves, float32, same noise and order


class _Rows(Dataset):
    """One sample a time, as a loader of the field gives them."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __len__(self) -> int:
        return len(self.job.fmri)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        job = self.job
        rest = () if job.latents is None else (job.latents[job.clip[index]],)
        return (job.fmri[index], job.text[job.clip[index]], *rest)


class _Order(torch.utils.data.Sampler):
    """The same order in both loops."""

    def __init__(self, order: torch.Tensor) -> None:
        self.order = order.tolist()

    def __iter__(self):  # noqa: ANN204
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)


def sync(device: str) -> None:
    """Wait for the card."""
    if device != "cpu":
        torch.cuda.synchronize()


def fast(job: Job, n_steps: int, device: str, dtype: str, compiled: bool) -> dict[str, Any]:
    """Data resident on the device, autocast, fused AdamW, losses read once at the end."""
    from training.resident import Resident

    data = Resident(job.fmri, job.text, job.latents, job.clip, device)
    module = job.build().to(device)
    if compiled:
        # In place: names of weights stay, so that a checkpoint does not show it.
        module.compile(mode="max-autotune-no-cudagraphs") if job.stage == "mad" else module.mlp.compile()
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)
    losses, generator = [], torch.Generator().manual_seed(1)
    autocast = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=dtype == "bfloat16")
    started = 0.0
    for step, rows in enumerate(job.order(n_steps).split(job.batch)):
        if step == job.warm:
            sync(device)
            started = time.perf_counter()
        with autocast:
            loss = job.loss(module, data.batch(rows), generator)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.detach())
    sync(device)
    seconds = (time.perf_counter() - started) / (n_steps - job.warm)
    return {"s_per_step": seconds, "losses": torch.stack(losses).float().cpu().tolist(), "resident": data.resident}


def plain(job: Job, n_steps: int, device: str) -> dict[str, Any]:
    """A ``DataLoader``, float32, AdamW as it comes, the loss read every step."""
    module = job.build().to(device)
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-4)
    losses, generator = [], torch.Generator().manual_seed(1)
    loader = DataLoader(
        _Rows(job),
        batch_size=job.batch,
        sampler=_Order(job.order(n_steps)),
        generator=torch.Generator(),
        pin_memory=device != "cpu",
    )
    started = 0.0
    for step, values in enumerate(loader):
        if step == job.warm:
            sync(device)
            started = time.perf_counter()
        loss = job.loss(module, tuple(value.to(device).float() for value in values), generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return {"s_per_step": (time.perf_counter() - started) / (n_steps - job.warm), "losses": losses}


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
    n_bytes = 4 * sum(p.numel() for p in job.build("meta").parameters())
    # A step reads the weights twice and writes gradients once; AdamW reads weights, gradients and two moments and
    # writes weights and moments.
    floor = 10 * n_bytes / bandwidth(device)
    return {
        "parameters": n_bytes // 4,
        "batch": job.batch,
        "steps": n_steps,
        "fast_s_per_step": round(quick["s_per_step"], 5),
        "plain_s_per_step": round(slow["s_per_step"], 5),
        "floor_s_per_step": round(floor, 5),
        "fast_over_floor": round(quick["s_per_step"] / floor, 2),
        "fast_peak_gib": quick["peak_gib"],
        "plain_peak_gib": slow["peak_gib"],
        "dtype": dtype,
        "compiled": compiled,
        "resident": quick["resident"],
        "agreement": max(abs(a - b) / max(abs(b), 1e-12) for a, b in pairs),
        "agreement_tolerance": TOLERANCE,
    }


def first_steps(device: str, dtype: str, batch: int | None, n_steps: int = 10) -> dict[str, Any]:
    """Run a few optimiser steps of the full-size SAD on 960 samples: does it fit, and how long is a step."""
    job = make_job("sad", SIZES["full"], n_samples=960)
    job.warm, job.batch = 2, batch or job.batch
    n_parameters = sum(p.numel() for p in job.build("meta").parameters())
    found = measured(device, lambda: fast(job, n_steps, device, dtype, False))
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "dtype": dtype,
        "batch": job.batch,
        "processor_s": round(spent.ru_utime + spent.ru_stime, 1),
        "load": round(os.getloadavg()[0], 1),
        "parameters": n_parameters,
        "weights_gradients_moments_gib": round(16 * n_parameters / 2**30, 2),
        "steps": n_steps,
        "s_per_step": round(found["s_per_step"], 2),
        "peak_gib": found["peak_gib"],
        "losses": [round(value, 4) for value in found["losses"]],
    }


def measured(device: str, work: Any) -> dict[str, Any]:
    """Run something and add its peak memory: of the card, or of this process so far."""
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
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "full_size.json")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = options.dtype or ("float32" if device == "cpu" else "bfloat16")
    shapes = SIZES[options.sizes]
    known = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    kind = "gpu" if device != "cpu" else "cpu"
    before = known.get(kind) if isinstance(known.get(kind), dict) else {}
    found: dict[str, Any] = {**before, "sizes": options.sizes, **machine(device)}
    for name in options.only.split(","):
        if name == "first_steps":
            found[name] = first_steps(device, dtype, options.batch)
        elif name == "render":
            found[name] = render(shapes, device)
        else:
            found[name] = train(make_job(name, shapes), options.steps, device, dtype, options.compile)
        print(name, json.dumps(found[name]))
    known[kind] = found
    known.setdefault("gpu", "not yet measured")
    options.out.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
