"""Scores on held-out training runs: what epochs are chosen by. Test data never comes here."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.mad import MAD
from pipeline.methods.sad import SAD

NOISE_SEED = 0


def noise_for(part: SAD, n: int) -> Tensor | None:
    """Return the noise that refining starts from when ``n`` samples are scored; None where nothing is refined.

    Drawn on the processor from a seed of its own: neither the training's draws nor the device change the criterion.
    """
    if part.refiner is None or not part.config.refine_steps:
        return None
    noise = torch.randn(n, *part.space.mean.shape, generator=torch.Generator().manual_seed(NOISE_SEED))
    return part.config.refine_temperature * noise


def text_scores(part: SAD, fmri: dict[str, Tensor], text: Tensor, noise: Tensor | None) -> dict[str, float]:
    """Score what a SAD decodes: mean centred cosine (``score``), R2, and share of samples whose own text is nearest.

    Where it refines its guess, the refined text is scored, as that is what will be decoded; ``score_guess`` is then the
    cosine of the guess alone. The nearest is sought among the distinct texts of the set.

    Parameters
    ----------
    part : SAD
    fmri : mapping of subject to (n, n_inputs)
    text : (n, n_tokens, d_text)
    noise : (n, n_tokens - 1, d_text), optional
        From :func:`noise_for`.
    """
    guess = part.guess(part.mapper(fmri)).float().flatten(1)
    found = guess if noise is None else part.space.encode(part.decode(fmri, noise)[:, 1:].float()).flatten(1)
    with torch.autocast(guess.device.type, enabled=False):
        target = part.space.encode(text[:, 1:]).flatten(1)
        distinct, own = torch.unique(target, dim=0, return_inverse=True)
        nearest = (F.normalize(found, dim=1) @ F.normalize(distinct, dim=1).T).argmax(1)
        r2 = 1 - (found - target).pow(2).sum() / target.pow(2).sum()
        scores = {
            "score": F.cosine_similarity(found, target).mean(),
            "r2": r2,
            "nearest": (nearest == own).float().mean(),
        }
        if noise is not None:
            scores["score_guess"] = F.cosine_similarity(guess, target).mean()
    return {name: float(value.detach()) for name, value in scores.items()}


def video_scores(part: MAD, fmri: dict[str, Tensor], text: Tensor | None, video: Tensor) -> dict[str, float]:
    """Score MAD: negative mean absolute error (``score``), the same with the null text, cosine of frame changes."""
    target = part.space.encode(video)
    found, null = part(fmri, text).float(), part(fmri, None).float()
    change = F.cosine_similarity(found.diff(dim=1).flatten(1), target.diff(dim=1).flatten(1)).mean()
    return {
        "score": -float(F.l1_loss(found, target)),
        "score_null": -float(F.l1_loss(null, target)),
        "cosine": float(F.cosine_similarity(found.flatten(1), target.flatten(1)).mean()),
        "change": float(change),
    }
