r"""Does a region carry what the others' read-out carries? The null of the patterns, by shifts in time.

A module's outputs contain the voxels that they read: with :math:`s_k = \sum_v W_{kv} x_v`, :math:`cov(x_v, s_k)` holds
:math:`W_{kv} var(x_v)` for any voxel with a weight, whatever it measures, and a shift in time takes that away from the
null alone. So each region is compared with outputs in which its own weights are 0, for what is observed and under the
null alike. The price: a region that alone carries something is not found by this test.

What it cannot tell: noise that areas share (motion of the head, breathing, neighbours across a border) is carried by
the others' read-out as a signal is, and is not shifted away either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.importance.statistics import COUNTERPART, STATISTICS, Sources
from pipeline.importance.study import Array, Study

LEAST_SHIFT = 10  # clips (20 s), beyond the haemodynamic response
PER_REGION = 20  # draws for each region: 1 / (20 n + 1) times n regions lies below 0.05
BLOCK_VALUES = 2**19  # complex numbers held at once, 4 MB: a block stays in the processor's cache


@dataclass(frozen=True)
class ShiftTest:
    """What regions and voxels share with the other regions' read-out, and what they would by chance.

    Parameters
    ----------
    tested : mapping of region to float
        Mean of the statistic with the region's own weights at 0, in the statistic's units.
    null : mapping of region to (n_shifts,) float32
        The same with the outputs shifted in time.
    voxel_p : (n_voxels,) float32
        One-sided, of each voxel against its own shifts; NaN for voxels in no region.
    """

    tested: dict[str, float]
    null: dict[str, Array]
    voxel_p: Array


def region_names(regions: NDArray[np.str_]) -> list[str]:
    """Return the regions that there are, sorted; the empty name is none."""
    return sorted({str(region) for region in regions if region})


def lags(n_clips: int, wanted: int) -> tuple[int, NDArray[np.int64]]:
    """Return the step between shifts, and which multiples of it are shifts: evenly spread over the recording.

    Parameters
    ----------
    n_clips : int
    wanted : int
        Least number of shifts. A recording gives no more than one a clip, less those near 0.

    Returns
    -------
    int
        The widest step that gives as many, else 1.
    (n_shifts,) int64
        All multiples at least ten clips (a quarter of a short recording) from no shift, in a circle.
    """
    least = min(LEAST_SHIFT, n_clips // 4)
    for step in range(max(1, n_clips // max(wanted, 1)), 0, -1):
        multiples = np.arange(n_clips // step)
        distance = np.minimum(multiples, len(multiples) - multiples) * step
        found = multiples[distance >= max(1, least)]
        if len(found) >= wanted or step == 1:
            break
    return step, found


def n_shifts(statistic: str, n_clips: int, n_regions: int, wanted: int | None) -> int:
    """Return how many shifts :func:`shift_test` makes; 0 where it makes none."""
    if STATISTICS[statistic].sources is None or wanted == 0 or not n_regions:
        return 0
    return len(lags(n_clips, PER_REGION * n_regions if wanted is None else wanted)[1])


def shift_test(
    study: Study,
    module: str,
    statistic: str,
    regions: NDArray[np.str_],
    wanted: int | None = None,
    tell: Callable[[int], None] | None = None,
) -> ShiftTest | None:
    r"""Compare each region with the other regions' outputs, in time and shifted in a circle.

    .. math:: T_R(h) = \frac{1}{|R|} \sum_{v \in R} \frac{1}{K} \sum_k
        \frac{|cov(x_v(t), r_k^{-R}(t - h))|}{sd(x_v)}

    :math:`r^{-R}`: the statistic's sources with the weights of R's voxels at 0, in the counterpart module too. The
    observed value is :math:`T_R(0)`; the null keeps the autocorrelation of both sides, as no label is exchangeable in
    a film. All shifts come from one product of Fourier transforms. Weights depend on no clip: they have no such null.

    Parameters
    ----------
    study : Study
    module, statistic : str
    regions : (n_voxels,) str
        Empty: in no region.
    wanted : int, optional
        Shifts, at least; default: as many as a single true region needs to pass a correction over all.
    tell : callable, optional
        Called with the count of finished regions; what it raises ends the work.

    Returns
    -------
    ShiftTest or None
        None for weights, for ``wanted=0`` and where there is no region.
    """
    names = region_names(regions)
    make = STATISTICS[statistic].sources
    if make is None or wanted == 0 or not names:
        return None
    step, found = lags(len(study.groups), PER_REGION * len(names) if wanted is None else wanted)
    read = (module, *(other for other in COUNTERPART.get(module, ()) if other in study.layers))
    test = ShiftTest({}, {}, np.full(study.n_voxels, np.nan, np.float32))
    for number, name in enumerate(names):
        at = np.flatnonzero(regions == name)
        others = study.without(at, read)
        if module in others.layers:
            values = lagged(study, at, make(others, module), step)
        else:  # it reads this region alone: nothing is shared, at no shift
            values = np.zeros((len(at), len(study.groups) // step), np.float32)
        own, under = values[:, 0], values[:, found]
        test.tested[name], test.null[name] = float(own.mean()), under.mean(0)
        test.voxel_p[at] = (1 + (under >= own[:, None]).sum(1)) / (1 + len(found))
        if tell:
            tell(number + 1)
    return test


def lagged(study: Study, voxels: NDArray[np.int64], sources: Sources, step: int) -> Array:
    """Return the mean loading of voxels on sources shifted by 0, ``step``, 2 ``step`` ... clips in a circle.

    Parameters
    ----------
    study : Study
    voxels : (n,) int64
    sources : (n_clips, n_sources) float64
    step : int
        Clips that do not fill a step are left out at the end, fewer than ``step``.

    Returns
    -------
    (n, n_clips // step) float32
        Column 0 is :func:`pipeline.importance.statistics.loadings`, where ``step`` divides the clips.
    """
    from scipy.fft import irfft, rfft

    length = len(sources) // step
    kept = sources[: length * step]
    # A product at shifts of whole steps is a sum over each step's phases, of sequences as long as there are steps.
    phases = ((kept - kept.mean(0)) / len(kept)).astype(np.float32).reshape(length, step, -1)
    right = np.ascontiguousarray(rfft(phases, axis=0).conj().transpose(1, 2, 0))
    block = max(1, BLOCK_VALUES // (right.shape[1] * right.shape[2]))
    total = np.zeros((len(voxels), length), np.float32)
    for volume in range(study.volumes.shape[1]):
        series = study.volumes[: len(kept), volume, voxels].reshape(length, step, -1)
        left = np.ascontiguousarray(rfft(series, axis=0).transpose(1, 2, 0))
        for first in range(0, len(voxels), block):
            rows = slice(first, first + block)
            product = left[0, rows, None] * right[0]
            for phase in range(1, step):
                product += left[phase, rows, None] * right[phase]
            covariance = irfft(product, length, overwrite_x=True)
            total[rows] += np.abs(covariance, out=covariance).mean(1) / study.spread[volume, voxels[rows], None]
    return total / study.volumes.shape[1]
