"""How much a region's mean would vary over recordings: an interval from leaving out one run at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.importance.shifts import region_names
from pipeline.importance.statistics import STATISTICS
from pipeline.importance.study import Array, Study

LEAST_RUNS = 3  # fewer say nothing of how runs vary: stretches of clips then stand for them
MOST_PARTS = 20
STRETCHES = 10


def parts_of(groups: NDArray[np.str_]) -> list[NDArray[np.bool_]]:
    """Cut the clips into what is left out at a time: runs, some of them together where there are many.

    Parameters
    ----------
    groups : (n_clips,) str
        Run of each clip. Of fewer than three runs, ten stretches of neighbouring clips are taken instead.

    Returns
    -------
    list of (n_clips,) bool
    """
    runs = list(dict.fromkeys(groups.tolist()))
    if len(runs) >= LEAST_RUNS:
        return [np.isin(groups, some) for some in np.array_split(runs, min(len(runs), MOST_PARTS))]
    stretch = np.arange(len(groups)) * min(STRETCHES, len(groups)) // len(groups)
    return [stretch == number for number in range(stretch[-1] + 1)]


def region_intervals(
    study: Study, module: str, statistic: str, values: Array, regions: NDArray[np.str_]
) -> Mapping[str, tuple[float, float]]:
    r"""Return 95 % intervals of the mean of a pattern over each region, over runs, with the same voxels and weights.

    .. math:: \bar I_R \pm t_{g-1}\, se, \quad se^2 = \frac{g-1}{g} \sum_i (\bar I_R^{(i)} - \overline{I_R^{(\cdot)}})^2

    :math:`\bar I_R^{(i)}` is computed anew without part i of g. Few runs make a wide interval, by Student's t; a
    bootstrap of seven runs would be too narrow, and takes hundreds of maps instead of seven.

    Parameters
    ----------
    study : Study
    module, statistic : str
        A pattern; weights depend on no run.
    values : (n_voxels,) float32
        The map of all runs.
    regions : (n_voxels,) str

    Returns
    -------
    mapping of region to (low, high)
        In the statistic's units.

    Notes
    -----
    Source: Efron and Tibshirani 1993, chapter 11; whole runs, as Künsch 1989 leaves out
    blocks, since clips of a run are no independent draws.
    """
    from scipy.stats import t

    names = region_names(regions)
    voxels = [np.flatnonzero(regions == name) for name in names]
    parts = parts_of(study.groups)
    without = np.empty((len(parts), len(names)))
    for number, part in enumerate(parts):
        found = STATISTICS[statistic].function(study.take(~part), module)
        without[number] = [found[at].mean() for at in voxels]
    spread = np.sqrt((len(parts) - 1) * without.var(0))
    half = float(t.ppf(0.975, len(parts) - 1)) * spread
    means = [float(values[at].mean()) for at in voxels]
    return {name: (mean - float(h), mean + float(h)) for name, mean, h in zip(names, means, half, strict=True)}
