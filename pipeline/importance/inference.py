"""How sure an importance map is: split halves, null distributions, intervals, corrected p, tables side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError
from pipeline.importance.statistics import STATISTICS, loadings
from pipeline.importance.study import Array, Study

CORRECTIONS = ("benjamini-hochberg", "holm", "none")
LEAST_SHIFT = 10  # clips (20 s), beyond the haemodynamic response


@dataclass(frozen=True)
class RegionRow:
    """One region of one module's map.

    Parameters
    ----------
    subject, module, statistic, region : str
    n_voxels : int
        Of those that the decoder reads.
    mean, low, high : float
        Mean over voxels and its 95 % bootstrap interval, on the map scaled to [0, 1]; for ``permutation`` the loss
        of the held-out score and its interval over clips.
    raw : float
        Mean of the statistic itself.
    null : float
        Mean under the null distribution, in the units of ``mean``.
    p, p_corrected : float
        One-sided, against the null; corrected over the regions of the module.
    """

    subject: str
    module: str
    statistic: str
    region: str
    n_voxels: int
    mean: float
    low: float
    high: float
    raw: float
    null: float
    p: float
    p_corrected: float

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return asdict(self)


def split_half(study: Study, module: str, statistic: str) -> float:
    """Return the correlation over voxels of the map from two halves, -1..1, or NaN where there are none.

    Patterns: odd and even training runs, the same weights. Weights: odd and even outputs of the first layer, as a
    second training would be needed for halves of the recording.

    Parameters
    ----------
    study : Study
    module, statistic : str
    """
    entry = STATISTICS[statistic]
    if entry.sources is None:
        if len(study.weights(module)) < 2:
            return float("nan")
        halves = [study.with_outputs(start, 2) for start in (0, 1)]
    else:
        runs = list(dict.fromkeys(study.groups.tolist()))
        parts = [np.isin(study.groups, runs[start::2]) for start in (0, 1)]
        if min(part.sum() for part in parts) < 3:
            return float("nan")
        halves = [study.take(part) for part in parts]
    first, second = (entry.function(half, module) for half in halves)
    return _correlation(first, second)


def null_maps(
    study: Study,
    module: str,
    statistic: str,
    n_null: int = 100,
    seed: int = 0,
    tell: Callable[[int], None] | None = None,
) -> Array | None:
    """Return maps under the hypothesis that voxels and outputs have nothing to do with each other.

    Patterns: the sources are shifted in a circle against the clips, by at least ten clips, which keeps the
    autocorrelation of both (no label is exchangeable in a film). Weights depend on no clip, and shuffled targets would
    need a new training for each draw: they have none here, and :func:`region_table` tests their regions by shuffling
    the labels of the voxels instead.

    Parameters
    ----------
    study : Study
    module, statistic : str
    n_null : int
    seed : int
    tell : callable, optional
        Called with the count of finished maps; what it raises ends the work.

    Returns
    -------
    (n_null, n_voxels) float32 or None
    """
    entry = STATISTICS[statistic]
    n_clips = len(study.groups)
    if entry.sources is None or n_null < 1:
        return None
    sources = entry.sources(study, module)
    least = min(LEAST_SHIFT, n_clips // 4)
    shifts = np.arange(max(1, least), n_clips - least)
    rng = np.random.default_rng([seed, 1])
    drawn = rng.choice(shifts, n_null, replace=n_null > len(shifts))
    found = np.empty((n_null, study.n_voxels), np.float32)
    for number, shift in enumerate(drawn):
        found[number] = loadings(study, np.roll(sources, shift, axis=0))
        if tell:
            tell(number + 1)
    return found


def region_table(
    values: Array,
    regions: NDArray[np.str_],
    null: Array | None,
    names: tuple[str, str, str],
    n_bootstrap: int = 1000,
    correction: str = "benjamini-hochberg",
    seed: int = 0,
) -> list[RegionRow]:
    r"""Average a map over regions, with intervals and p-values.

    .. math:: p = (1 + \#\{null \ge observed\}) / (1 + n_{null})

    Against ``null`` the question is whether the region takes part at all. Without one (weights) the null shuffles the
    labels of the voxels ``n_bootstrap`` times, and the question is whether the region's mean lies above that of as
    many voxels from anywhere; it takes neighbours for independent, and so is somewhat liberal.

    Parameters
    ----------
    values : (n_voxels,) float32
    regions : (n_voxels,) str
        Empty: in no region.
    null : (n_null, n_voxels) float32 or None
    names : tuple
        Subject, module, statistic.
    n_bootstrap : int
        Resamplings of a region's voxels.
    correction : {"benjamini-hochberg", "holm", "none"}
    seed : int

    Returns
    -------
    list of RegionRow, highest mean first

    Raises
    ------
    DataError
        When no voxel lies in a region.
    """
    found = sorted({str(region) for region in regions if region})
    if not found:
        raise DataError(f"{names[0]}: none of the {len(values)} voxels lies in a region; choose another parcellation")
    rng = np.random.default_rng([seed, 2])
    low, span = float(values.min()), float(np.ptp(values)) or 1.0
    draws = null if null is not None else np.stack([rng.permutation(values) for _ in range(n_bootstrap)])
    rows = []
    for region in found:
        at = np.flatnonzero(regions == region)
        own = values[at]
        resampled = own[rng.integers(len(own), size=(n_bootstrap, len(own)))].mean(1)
        under = draws[:, at].mean(1)
        interval = (np.quantile(resampled, (0.025, 0.975)) - low) / span
        p = (1 + int((under >= own.mean()).sum())) / (1 + len(under))
        mean, chance = (float(own.mean()) - low) / span, (float(under.mean()) - low) / span
        ends = float(interval[0]), float(interval[1])
        rows.append(RegionRow(*names, region, len(at), mean, *ends, float(own.mean()), chance, p, p))
    return corrected(rows, correction)


def corrected(rows: Sequence[RegionRow], correction: str = "benjamini-hochberg") -> list[RegionRow]:
    """Fill ``p_corrected`` over the rows given, and sort them by mean, highest first.

    Parameters
    ----------
    rows : sequence of RegionRow
    correction : {"benjamini-hochberg", "holm", "none"}
        Of the false discovery rate, of the family-wise error, or not at all.
    """
    from dataclasses import replace

    p = adjust(np.array([row.p for row in rows]), correction)
    filled = [replace(row, p_corrected=float(value)) for row, value in zip(rows, p, strict=True)]
    return sorted(filled, key=lambda row: -row.mean)


def adjust(p: NDArray[np.float64], correction: str) -> NDArray[np.float64]:
    """Correct p-values for their number.

    Raises
    ------
    ConfigError
        Unknown correction.
    """
    if correction not in CORRECTIONS:
        raise ConfigError(f"correction {correction!r} is not one of {', '.join(CORRECTIONS)}; name another")
    if correction == "none" or not len(p):
        return p
    if correction == "holm":
        order = np.argsort(p)
        stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
        found = np.empty_like(p)
        found[order] = stepped
        return found
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p, method="bh"))


def compare(tables: Mapping[str, Sequence[RegionRow]]) -> list[dict[str, Any]]:
    """Put region tables side by side: one row a region, one column a table (a module, a subject, or both).

    Returns
    -------
    list of dict
        ``region`` and, per table, its mean; None where a table lacks the region. Highest mean over tables first.
    """
    by_region: dict[str, dict[str, Any]] = {}
    for title, rows in tables.items():
        for row in rows:
            by_region.setdefault(row.region, dict.fromkeys(tables))[title] = row.mean
    order = sorted(by_region, key=lambda r: -np.mean([v for v in by_region[r].values() if v is not None]))
    return [{"region": region, **by_region[region]} for region in order]


def likeness(maps: Mapping[str, Array]) -> dict[tuple[str, str], float]:
    """Return the correlation over voxels of every two maps of one subject."""
    titles = list(maps)
    return {
        (one, other): _correlation(maps[one], maps[other]) for i, one in enumerate(titles) for other in titles[i + 1 :]
    }


def _correlation(first: Array, second: Array) -> float:
    if len(first) < 3 or first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
