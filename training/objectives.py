"""The losses of SAD and MAD on training samples, as the loop asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.methods.semvideo import MAD, SAD, Batch
from training.resident import pick, place
from training.samples import Samples, Targets

LossOf = Callable[[Samples], Callable[..., Any]]


def sad_loss(targets: Targets, device: str, level: str) -> LossOf:
    """Return the loss of a level's SAD, for some samples."""
    text = place(targets.level(level), device)

    def of(samples: Samples) -> Callable[..., Any]:
        def compute(part: SAD, fmri: dict[str, Tensor], rows: Tensor, share: float, g: torch.Generator) -> Any:
            return part.training_step(Batch(fmri, pick(text, samples.target[rows], device)), share, g)

        return compute

    return of


def mad_loss(targets: Targets, device: str, *, with_text: bool, predicted: Mapping[str, Tensor]) -> LossOf:
    """Return MAD's loss, for some samples.

    Parameters
    ----------
    targets : Targets
    device : str
    with_text : bool
        False: MAD never sees a text.
    predicted : mapping of subject to (n_samples, n_tokens, d_text) float16
        Text of each training sample; empty means the true one.
    """
    video = place(targets.video(), device)
    truth = place(targets.level("motion"), device) if with_text else None

    def of(samples: Samples) -> Callable[..., Any]:
        known = place(torch.cat([predicted[s] for s in samples.subjects]), device) if predicted else None

        def compute(part: MAD, fmri: dict[str, Tensor], rows: Tensor, share: float, g: torch.Generator) -> Any:
            target = samples.target[rows]
            text = None
            if truth is not None:
                text = pick(truth, target, device) if known is None else pick(known, rows, device)
            return part.training_step(Batch(fmri, text, pick(video, target, device)), share, g)

        return compute

    return of
