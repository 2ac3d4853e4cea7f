"""N-way top-1 accuracy in closed form: the expectation over all draws of competitors, with nothing sampled.

A judge scores a reconstruction over C classes. The true class competes with N - 1 others drawn at random; it wins when
it scores above all of them. With K of the others below it, that happens with probability C(K, N - 1) / C(C - 1, N - 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError

N_TRUE = {"corrected": 1, "paper": 3}  # how many of the true frame's top classes stand for the truth
BLOCK = 64  # rows at a time

Scores = NDArray[np.floating]
Values = NDArray[np.float64]


def n_way_accuracy_closed_form(scores: Scores, true_class: NDArray[np.integer], n_way: int) -> Values:
    """Return the expected N-way top-1 accuracy of a known class; ties count as failures.

    Parameters
    ----------
    scores : (n, n_classes)
        A judge's scores of the reconstructions, on any monotone scale.
    true_class : (n,) int
        The judge's top-1 class of the true clip, or a known label.
    n_way : int
        N, in 2..n_classes.

    Returns
    -------
    (n,) float64 in 0..1
    """
    n, n_classes = _check(scores, n_way, n_true=1)
    if true_class.shape != (n,) or (n and not (true_class.min() >= 0 and true_class.max() < n_classes)):
        raise DataError(f"n_way_accuracy: true_class must be ({n},) in 0..{n_classes - 1}, got {true_class.shape}")
    n_below = _count_below(scores, scores[np.arange(n), true_class])
    return _win_table(n_classes - 1, n_way - 1)[n_below]


def n_way_accuracy(truth_scores: Scores, scores: Scores, n_way: int, convention: str = "corrected") -> Values:
    """Return the N-way top-1 accuracy of a judge's scores of reconstructions against its scores of the truth.

    Parameters
    ----------
    truth_scores, scores : (n, n_classes)
        The judge's scores of the true and of the reconstructed clips (or frames), row by row.
    n_way : int
    convention : {"corrected", "paper"}
        ``corrected``: the truth is its top-1 class. ``paper``: the truth is its top-3 classes, the N - 1 negatives
        exclude them, and one of the three above all negatives is a success; the released code draws 100 trials, this
        is their expectation. Its chance is about .75 (2-way) and .058 (50-way).

    Returns
    -------
    (n,) float64 in 0..1
    """
    if convention not in N_TRUE:
        raise ConfigError(f"n_way_accuracy: the convention must be one of {', '.join(N_TRUE)}, got {convention!r}")
    if truth_scores.shape != scores.shape:
        raise DataError(f"n_way_accuracy: scores must be {truth_scores.shape} like the truth's, got {scores.shape}")
    if convention == "corrected":
        _check(truth_scores, n_way, n_true=1)
        return n_way_accuracy_closed_form(scores, truth_scores.argmax(axis=1), n_way)
    _check(truth_scores, n_way, n_true=3)
    _, n_classes = _check(scores, n_way, n_true=3)
    true_scores = np.take_along_axis(scores, _top_classes(truth_scores, 3), axis=1)
    best = true_scores.max(axis=1)
    n_below = _count_below(scores, best) - np.count_nonzero(true_scores < best[:, None], axis=1)
    return _win_table(n_classes - 3, n_way - 1)[n_below]


def n_way_chance(truth_scores: Scores, scores: Scores, n_way: int, convention: str = "corrected") -> float:
    """Return the chance level: the mean accuracy over every pairing of a reconstruction with another clip's truth.

    All n - 1 cyclic shifts are used (at most 200 of them, evenly spaced), so that nothing is drawn at random.
    """
    n = len(scores)
    if n < 2:
        raise DataError(f"n_way_chance: at least two clips are needed to mispair them, got {n}")
    shifts = np.unique(np.linspace(1, n - 1, min(n - 1, 200)).astype(int))
    return float(
        np.mean([n_way_accuracy(np.roll(truth_scores, s, axis=0), scores, n_way, convention).mean() for s in shifts])
    )


def _count_below(scores: Scores, level: Scores) -> NDArray[np.int64]:
    """How many scores of each row (n, n_classes) lie below its level (n,).

    Eight comparisons, a byte each, are added at a time as one 64-bit number; after at most 255 sums no byte overflows.
    """
    n, n_classes = scores.shape
    width = -(-n_classes // 8)
    below = np.zeros((n, 8 * width), dtype=np.bool_)
    np.less(scores, level[:, None], out=below[:, :n_classes])
    words = below.view(np.uint64)
    total = np.zeros(n, dtype=np.int64)
    for start in range(0, width, 255):
        sums = np.ascontiguousarray(words[:, start : start + 255].sum(axis=1, dtype=np.uint64))
        total += sums.view(np.uint8).reshape(n, 8).sum(axis=1, dtype=np.int64)
    return total


def _top_classes(scores: Scores, k: int) -> NDArray[np.int64]:
    """Return the k best classes of each row, (n, k): k rounds of the maximum, in blocks that stay in the cache.

    Several times as fast as a partial sort of a thousand classes; of equal scores the first class is taken.
    """
    found = np.empty((len(scores), k), dtype=np.int64)
    for start in range(0, len(scores), BLOCK):
        block = scores[start : start + BLOCK].copy()
        rows = np.arange(len(block))
        for j in range(k):
            best = block.argmax(axis=1)
            found[start : start + BLOCK, j] = best
            block[rows, best] = -np.inf
    return found


def _win_table(n_others: int, n_drawn: int) -> Values:
    """C(K, n_drawn) / C(n_others, n_drawn) for K = 0..n_others, as products that neither overflow nor lose digits."""
    below = np.arange(n_others + 1)[:, None] - np.arange(n_drawn)
    return np.asarray(np.prod(np.maximum(below, 0) / (n_others - np.arange(n_drawn)), axis=1), dtype=np.float64)


def _check(scores: Scores, n_way: int, n_true: int) -> tuple[int, int]:
    if scores.ndim != 2:
        raise DataError(f"n_way_accuracy: scores must be (n, n_classes), got {scores.shape}")
    if not np.isfinite(scores).all():
        raise DataError("n_way_accuracy: the judge's scores must be finite, got NaN or Inf; check the frames it saw")
    n, n_classes = scores.shape
    most = n_classes - n_true + 1
    if not 2 <= n_way <= most:
        raise ConfigError(f"n_way_accuracy: n_way must be in 2..{most} for {n_classes} classes, got {n_way}")
    return n, n_classes
