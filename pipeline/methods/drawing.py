"""Random numbers of a training step, where the network is, without the processor waiting for the card.

A copy to a card that asks for nothing special makes the processor wait until the card has done all work before it; and
the noise of a full-size step, 5.6 million numbers, takes the processor longer to draw than the card needs for the step.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Return a small array that lies on the processor, on ``device``, without waiting for it."""
    return values.to(device, non_blocking=True)


def normal(shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Draw standard normal float32 numbers on ``device``.

    Parameters
    ----------
    shape : tuple of int
    device : torch.device
    generator : torch.Generator, optional
        On the processor. A card draws from its own generator, which torch seeds with the others: the numbers are not
        those of the processor.
    """
    if device.type == "cpu":
        return torch.randn(shape, generator=generator)
    return torch.randn(shape, device=device)
