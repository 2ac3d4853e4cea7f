"""Learning rate, optimiser and running mean of the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from training.config import LoopConfig


def learning_rate(config: LoopConfig, step: int, n_steps: int) -> float:
    """Return the learning rate of a step, 0 <= step < n_steps."""
    share = step / max(1, n_steps - 1)
    if config.schedule == "cosine":
        return config.lr * (1 + math.cos(math.pi * share)) / 2
    if share < config.warmup:
        return config.lr * (1 / 25 + 24 / 25 * (1 - math.cos(math.pi * share / config.warmup)) / 2)
    return config.lr * max(1e-4, (1 + math.cos(math.pi * (share - config.warmup) / (1 - config.warmup))) / 2)


def optimiser(module: nn.Module, config: LoopConfig) -> torch.optim.Optimizer:
    """Return AdamW; weight decay is for matrices alone."""
    matrices = [p for p in module.parameters() if p.ndim >= 2]
    others = [p for p in module.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def average(module: nn.Module, config: LoopConfig) -> Any | None:
    """Return the running mean of the weights, or None where the config has none."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    if config.ema is None:
        return None
    return AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(config.ema))


def follow(mean: Any, module: nn.Module) -> None:
    """Let the running mean from :func:`average` take up the weights of a step.

    torch's own update asks the device how many there were, and so waits for it at every step.
    """
    if mean.n_averaged.device.type != "cpu":
        mean.n_averaged = mean.n_averaged.cpu()
    if mean.n_averaged == 0:
        mean.update_parameters(module)
        return
    with torch.no_grad():
        mean.multi_avg_fn(list(mean.module.parameters()), list(module.parameters()), mean.n_averaged)
        for kept, value in zip(mean.module.buffers(), module.buffers(), strict=True):
            kept.copy_(value)
    mean.n_averaged += 1
