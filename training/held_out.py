"""Scores on held-out training runs: what epochs are chosen by. Test data never comes here."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.mad import MAD
from pipeline.methods.sad import SAD


def text_scores(part: SAD, fmri: dict[str, Tensor], text: Tensor) -> dict[str, float]:
    """Score a SAD's guess: mean centred cosine (``score``), R2, and share of samples whose own text is the nearest.

    The nearest is sought among the distinct texts of the set; ``text`` is (n, n_tokens, d_text).
    """
    target = part.space.encode(text[:, 1:]).flatten(1)
    guess = part.guess(part.mapper(fmri)).flatten(1)
    cosine = F.cosine_similarity(guess, target).mean()
    distinct, own = torch.unique(target, dim=0, return_inverse=True)
    nearest = (F.normalize(guess, dim=1) @ F.normalize(distinct, dim=1).T).argmax(1)
    r2 = 1 - (guess - target).pow(2).sum() / target.pow(2).sum()
    return {"score": float(cosine), "r2": float(r2), "nearest": float((nearest == own).float().mean())}


def video_scores(part: MAD, fmri: dict[str, Tensor], text: Tensor | None, video: Tensor) -> dict[str, float]:
    """Score MAD: negative mean absolute error (``score``), the same with the null text, cosine of frame changes."""
    target = part.space.encode(video)
    found, null = part(fmri, text), part(fmri, None)
    change = F.cosine_similarity(found.diff(dim=1).flatten(1), target.diff(dim=1).flatten(1)).mean()
    return {
        "score": -float(F.l1_loss(found, target)),
        "score_null": -float(F.l1_loss(null, target)),
        "cosine": float(F.cosine_similarity(found.flatten(1), target.flatten(1)).mean()),
        "change": float(change),
    }
