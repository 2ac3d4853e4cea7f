"""Choose the voxels that answer alike when the same film is seen twice.

Per segment the two repeats are correlated, the correlations go through Fisher's z, and their mean over segments is
tested against zero, Bonferroni-corrected over voxels (Wen et al. 2018; data.md). Only training runs are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError

MIN_SEGMENTS_FOR_T = 6


@dataclass(frozen=True)
class Selection:
    """Which voxels were chosen, and why.

    Parameters
    ----------
    method : str
        ``"t"`` or ``"fisher"``.
    reliability : (n_voxels,) float32
        Mean correlation of two repeats, -1..1.
    statistic, p : (n_voxels,) float32
        t over segments or normal deviate, and its two-sided p before correction.
    selected : (n_voxels,) bool
        Corrected p below alpha and positive.
    """

    method: str
    reliability: NDArray[np.float32]
    statistic: NDArray[np.float32]
    p: NDArray[np.float64]
    selected: NDArray[np.bool_]


def repeat_correlation(runs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Correlate the repeats of one segment, voxel by voxel: the mean over all pairs of repeats, (n_voxels,).

    All pairs at once from one sum: ``((sum z)^2 - sum z^2) / (R (R - 1) (n - 1))``.

    Parameters
    ----------
    runs : list of (n_clips, n_voxels) float32
        Two or more z-scored repeats of the same segment.
    """
    if len(runs) < 2:
        raise DataError(f"a correlation of repeats needs two runs, got {len(runs)}; choose --select all")
    n, n_runs = len(runs[0]), len(runs)
    total = np.sum(runs, axis=0)
    squares = sum(np.einsum("cv,cv->v", run, run) for run in runs)
    mean = (np.einsum("cv,cv->v", total, total) - squares) / (n_runs * (n_runs - 1) * (n - 1))
    return np.clip(mean, -0.999999, 0.999999).astype(np.float32)


def effective_samples(runs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Number of independent samples in a pair of runs, given their lag-one autocorrelations (Bartlett), (n_voxels,)."""
    n = len(runs[0])
    rho = [np.einsum("cv,cv->v", run[1:], run[:-1]) / (n - 1) for run in runs[:2]]
    product = np.clip(rho[0] * rho[1], -0.95, 0.95)
    return np.clip(n * (1 - product) / (1 + product), 5, n).astype(np.float32)


def select_reliable(
    correlations: NDArray[np.float32], n_effective: NDArray[np.float32], bad: NDArray[np.bool_], alpha: float = 0.05
) -> Selection:
    """Test the mean Fisher z of the repeats' correlation against zero.

    With at least six segments: one-sample t over segments, t = mean(z) / (sd(z) / sqrt(S)). With fewer there is no
    variance worth estimating, so the known standard error of a Fisher z, 1 / sqrt(n_effective - 3), takes its place
    (Stouffer). Both two-sided, Bonferroni over the voxels that are not bad; only positive means are chosen.

    Parameters
    ----------
    correlations : (n_segments, n_voxels) float32
        From :func:`repeat_correlation`.
    n_effective : (n_segments, n_voxels) float32
        From :func:`effective_samples`; used with few segments only.
    bad : (n_voxels,) bool
        Never chosen, never counted.
    alpha : float
        Corrected level, 0..1.
    """
    from scipy import stats

    z = np.arctanh(correlations.astype(np.float64))
    n_segments = len(z)
    mean = z.mean(axis=0)
    if n_segments >= MIN_SEGMENTS_FOR_T:
        method = "t"
        error = z.std(axis=0, ddof=1) / np.sqrt(n_segments)
        statistic = mean / np.maximum(error, 1e-12)
        p = 2 * stats.t.sf(np.abs(statistic), n_segments - 1)
    else:
        method = "fisher"
        weight = np.sqrt(np.maximum(n_effective.astype(np.float64) - 3, 1))
        statistic = (z * weight).sum(axis=0) / np.sqrt(n_segments)
        p = 2 * stats.norm.sf(np.abs(statistic))
    p = np.where(bad, 1.0, p)
    n_tests = max(int((~bad).sum()), 1)
    selected = (p * n_tests < alpha) & (mean > 0) & ~bad
    reliability = np.where(bad, 0, np.tanh(mean)).astype(np.float32)
    return Selection(method, reliability, np.where(bad, 0, statistic).astype(np.float32), p, selected)


def noise_ceiling(repeat_reliability: NDArray[np.float32], n_repeats: int) -> NDArray[np.float32]:
    """Correlation that a perfect model could reach with the mean of ``n_repeats`` (Spearman-Brown, square root).

    ``sqrt(n r / (1 + (n - 1) r))`` with r the correlation of two single repeats, negative r counted as 0.
    """
    r = np.clip(repeat_reliability, 0, 0.999999)
    return np.sqrt(n_repeats * r / (1 + (n_repeats - 1) * r)).astype(np.float32)
