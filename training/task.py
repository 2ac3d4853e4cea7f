"""What the loop is given to train, and where it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Task:
    """What to train.

    Parameters
    ----------
    name : str
        Shown in progress.
    module : nn.Module
        Changed in place.
    n_samples : int
    loss : callable
        ``loss(batch, progress, generator)`` -> named losses with ``loss`` to minimise; ``progress`` runs from 0 to 1,
        all random draws come from ``generator`` or torch's own.
    validate : callable, optional
        ``validate()`` -> named numbers with ``score``, higher is better, on held-out training runs.
    draw : callable, optional
        ``draw(rows, generator)`` -> the batch of some sample numbers; without it the batch is the sample numbers.
    about : mapping
        JSON values beside the loop's own that a state must agree with to be taken up: what is trained on what.
    """

    name: str
    module: nn.Module
    n_samples: int
    loss: Callable[[Any, float, torch.Generator], dict[str, Tensor]]
    validate: Callable[[], dict[str, float]] | None = None
    draw: Callable[[Tensor, torch.Generator], Any] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Fit:
    """Where a run stands: finished epochs, steps of the next one and of all, scores by epoch, best score and epoch."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    done: bool = False
    seconds: float = 0.0
    waited: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Since:
    """What happened since the last line of progress."""

    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def take(self, batch_size: int) -> dict[str, Any]:
        """Return losses, samples a second and share of waiting, and begin anew."""
        seconds = max(self.seconds, 1e-9)
        found = {
            "losses": {name: round(value / max(1, self.steps), 6) for name, value in self.sums.items()},
            "samples_per_s": round(self.steps * batch_size / seconds, 2),
            "data_wait": round(self.waited / seconds, 4),
        }
        self.steps, self.seconds, self.waited, self.sums = 0, 0.0, 0.0, {}
        return found
