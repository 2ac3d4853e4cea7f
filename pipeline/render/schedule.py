"""DDIM whose steps are counted on the host, so that none of them waits for the device."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler


class CountedDDIM(DDIMScheduler):
    """Diffusers' DDIM for its stock pipelines; the numbers are the same.

    The pipelines call :meth:`step` with a timestep that lies on the device. Diffusers' own reads its tables at that
    place, for which a card must first finish all that it was given. Here the timesteps are known beforehand as plain
    numbers, and each call of :meth:`step` takes the next one.
    """

    timesteps: torch.Tensor

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Set the steps of a run; the next call of :meth:`step` is the first."""
        super().set_timesteps(num_inference_steps)
        self._numbers, self._next = self.timesteps.tolist(), 0
        self.timesteps = self.timesteps.to(device)

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin at a later step, as image-to-image does."""
        self._next = begin_index

    def step(self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, *rest: Any, **more: Any) -> Any:
        """Take the next step; ``timestep`` is not looked at."""
        number = self._numbers[self._next]
        self._next += 1
        return super().step(model_output, number, sample, *rest, **more)
