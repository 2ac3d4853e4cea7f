"""The loop under every stage of the phantom's world: fixed steps, exact resume, atomic checkpoints, a log to plot.

Batches are a function of the step alone (``batch(step)`` seeds its own generator) and torch's generator is seeded anew
at each step, so that a stage which was killed continues on the very curve it would have followed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.paths import atomic_file

Loss = Callable[[int], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class FitOptions:
    """How a stage is optimised.

    Parameters
    ----------
    steps : int
        Optimiser steps.
    lr : float
        Maximum of the one-cycle schedule (5 % rise, cosine fall to a hundredth).
    weight_decay : float
    clip : float
        Largest gradient norm.
    ema : float
        Decay of the averaged weights, which are the ones that are kept; 0 keeps the last.
    save_every : float
        Seconds between checkpoints.
    """

    steps: int
    lr: float
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.995
    save_every: float = 60.0


def fit(name: str, model: torch.nn.Module, loss: Loss, options: FitOptions, work: Path, seed: int = 0) -> float:
    """Train the parameters of ``model`` that require gradients; leave its averaged weights in it.

    Parameters
    ----------
    name : str
        Stage name, for the checkpoint and the log.
    model : torch.nn.Module
    loss : callable
        ``loss(step)`` draws its own batch and returns named terms; they are summed.
    options : FitOptions
    work : Path
        Folder of checkpoints (``NAME.safetensors``) and logs (``NAME.jsonl``); a checkpoint found here is continued.
    seed : int

    Returns
    -------
    float
        Seconds spent, earlier tries included.
    """
    work.mkdir(parents=True, exist_ok=True)
    parameters = {k: p for k, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=options.lr, weight_decay=options.weight_decay)
    average = {k: p.detach().clone() for k, p in parameters.items()}
    start, spent = _resume(work / f"{name}.safetensors", parameters, average, optimizer)
    began = saved = time.monotonic()
    model.train()
    with open(work / f"{name}.jsonl", "a", encoding="utf-8") as log:
        for step in range(start, options.steps):
            torch.manual_seed(seed * 1_000_003 + step)
            optimizer.param_groups[0]["lr"] = options.lr * _one_cycle(step / options.steps)
            terms = loss(step)
            total = torch.stack([v.float() for v in terms.values()]).sum()
            total.backward()
            torch.nn.utils.clip_grad_norm_(parameters.values(), options.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            decay = min(options.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(list(average.values()), list(parameters.values()), 1 - decay)
            now = time.monotonic()
            if step % 20 == 0 or step + 1 == options.steps:
                row = {"step": step, "seconds": round(spent + now - began, 1)}
                log.write(json.dumps(row | {k: round(float(v.detach()), 5) for k, v in terms.items()}) + "\n")
                log.flush()
            if now - saved > options.save_every or step + 1 == options.steps:
                _save(work / f"{name}.safetensors", parameters, average, optimizer, step + 1, spent + now - began)
                saved = now
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(average[key])
    model.eval()
    return spent + time.monotonic() - began


def _one_cycle(progress: float) -> float:
    """Return the share of the maximal learning rate at ``progress`` in 0..1."""
    if progress < 0.05:
        return 0.1 + 0.9 * progress / 0.05
    cosine = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * (progress - 0.05) / 0.95)).item())
    return 0.01 + 0.99 * cosine


def _save(
    path: Path,
    parameters: dict[str, torch.nn.Parameter],
    average: dict[str, torch.Tensor],
    optimizer: torch.optim.AdamW,
    step: int,
    seconds: float,
) -> None:
    """Write weights, averages and both moments as one safetensors file."""
    from safetensors.torch import save_file

    tensors = {f"now.{k}": p.detach().contiguous() for k, p in parameters.items()}
    tensors |= {f"ema.{k}": v.contiguous() for k, v in average.items()}
    for key, parameter in parameters.items():
        state = optimizer.state[parameter]
        tensors |= {f"{m}.{key}": state[m].contiguous() for m in ("exp_avg", "exp_avg_sq") if m in state}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata={"step": str(step), "seconds": str(seconds)})


def _resume(
    path: Path,
    parameters: dict[str, torch.nn.Parameter],
    average: dict[str, torch.Tensor],
    optimizer: torch.optim.AdamW,
) -> tuple[int, float]:
    """Continue from a checkpoint if there is one: (first step to do, seconds already spent)."""
    from safetensors import safe_open

    if not path.is_file():
        return 0, 0.0
    with safe_open(path, "pt") as stored, torch.no_grad():
        metadata = stored.metadata()
        step = int(metadata["step"])
        for key, parameter in parameters.items():
            parameter.copy_(stored.get_tensor(f"now.{key}"))
            average[key].copy_(stored.get_tensor(f"ema.{key}"))
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                "exp_avg": stored.get_tensor(f"exp_avg.{key}"),
                "exp_avg_sq": stored.get_tensor(f"exp_avg_sq.{key}"),
            }
    return step, float(metadata["seconds"])
