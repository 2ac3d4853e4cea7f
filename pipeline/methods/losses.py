"""Losses and augmentations that the decoders share.

Shapes: B samples of a batch, D numbers per sample once flattened. Where several processes train together, a contrast
is taken over the samples of all of them: its value is that of one process with the whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from pipeline.methods.drawing import sent


def across(x: Tensor) -> Tensor:
    """Join the samples of all processes: (n_processes * B, ...), differentiable; alone, ``x`` itself."""
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return x
    joined: Tensor = _Across.apply(x)
    return joined


class _Across(torch.autograd.Function):
    """All-gather whose gradient stays at home: each process computes the same loss, so none is lost."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, x)
        ctx.n_samples = len(x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        first = distributed.get_rank() * ctx.n_samples
        # Gradients are averaged over processes afterwards, where the parts of one loss would have to be summed.
        return gradient[first : first + ctx.n_samples] * distributed.get_world_size()


def cosine_matrix(a: Tensor, b: Tensor) -> Tensor:
    """Return the (B, B') cosines between the flattened samples of ``a`` and ``b``, float32.

    In full precision under autocast too: a contrast divides them by a temperature as low as 0.004, which is about what
    bfloat16 rounds a cosine by.
    """
    with torch.autocast(a.device.type, enabled=False):
        return F.normalize(a.flatten(1).float(), dim=1) @ F.normalize(b.flatten(1).float(), dim=1).T


def soft_clip_loss(predicted: Tensor, target: Tensor, temperature: float) -> Tensor:
    r"""Compare two batches by the similarities within the target batch (SemVideo, eq. 5, in both directions).

    .. math:: L = -\frac{1}{2B} \sum_{jk} q_{jk} (\log p_{jk} + \log p'_{jk}), \quad
              q = softmax(T T^\top / \tau), \quad p = softmax(P T^\top / \tau), \quad p' = softmax(T P^\top / \tau)

    Parameters
    ----------
    predicted, target : (B, ...) float
        L2-normalised here after flattening, so every product is a cosine.
    temperature : float
        tau, > 0; the spec anneals it from 0.004 to 0.0075.
    """
    predicted, target = across(predicted), across(target)
    soft = (cosine_matrix(target, target) / temperature).softmax(1)
    logits = cosine_matrix(predicted, target) / temperature
    forward = -(soft * logits.log_softmax(1)).sum(1).mean()
    backward = -(soft * logits.T.log_softmax(1)).sum(1).mean()
    return (forward + backward) / 2


def info_nce_loss(predicted: Tensor, target: Tensor, temperature: float) -> Tensor:
    r"""Pull each prediction to its own target and away from the others' (SemVideo, eq. 13, both directions).

    .. math:: L = -\frac{1}{2B} \sum_j \left[ \log softmax_k(\cos(\hat e_j, e_k) / \tau)_j
              + \log softmax_k(\cos(e_j, \hat e_k) / \tau)_j \right]

    Parameters
    ----------
    predicted, target : (B, ...) float
    temperature : float
    """
    logits = cosine_matrix(across(predicted), across(target)) / temperature
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def mixco_draw(n: int, alpha: float, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Draw the partners and shares of a MixCo batch: (n,) int64 and (n,) float in [0, 1], Beta(alpha, alpha)."""
    partner = torch.randperm(n, generator=generator)
    # A Beta variable from two uniform ones (Johnk), so that a torch.Generator can seed it.
    share = torch.empty(n)
    open_places = torch.arange(n)
    while len(open_places):
        u, v = (torch.rand(len(open_places), generator=generator).clamp_min(1e-12) ** (1 / alpha) for _ in range(2))
        good = (u + v <= 1) & (u + v > 0)
        share[open_places[good]] = (u / (u + v))[good]
        open_places = open_places[~good]
    return partner, share


def mix(x: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Return ``share * x + (1 - share) * x[partner]`` (SemVideo, eq. 14)."""
    weight = sent(share, x.device).to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    return weight * x + (1 - weight) * x[sent(partner, x.device)]


def mixco_loss(predicted: Tensor, target: Tensor, partner: Tensor, share: Tensor, temperature: float) -> Tensor:
    """Contrast a mixed batch with both of each sample's sources, in both directions (MixCo; MindEye, eq. 3).

    Parameters
    ----------
    predicted : (B, ...) float
        From inputs mixed by :func:`mix`.
    target : (B, ...) float
        Unmixed.
    partner, share : (B,)
        As drawn by :func:`mixco_draw`.
    temperature : float
    """
    partner, share = sent(partner, predicted.device), sent(share, predicted.device)
    logits = cosine_matrix(across(predicted), across(target)) / temperature
    if len(logits) > len(partner):
        partner = partner + distributed.get_rank() * len(partner)
    partner, share = across(partner), across(share).to(logits)
    own = torch.arange(len(logits), device=logits.device)
    blame = torch.zeros_like(logits)
    blame[own, own] += share
    blame.index_put_((own, partner), 1 - share, accumulate=True)
    forward = -(blame * logits.log_softmax(1)).sum(1).mean()
    columns = blame / blame.sum(0, keepdim=True).clamp_min(1e-8)
    backward = -(columns * logits.log_softmax(0)).sum(0).mean()
    return (forward + backward) / 2


def anneal(start: float, end: float, progress: float) -> float:
    """Return the cosine ramp from ``start`` (progress 0) to ``end`` (progress 1)."""
    import math

    share = (1 - math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
    return start + (end - start) * share
