"""How sure an importance map is: split halves, p of regions with corrections, tables of regions, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError
from pipeline.importance.shifts import PER_REGION, ShiftTest, region_names
from pipeline.importance.statistics import STATISTICS
from pipeline.importance.study import Array, Study

CORRECTIONS = ("benjamini-hochberg", "holm", "none")
ALPHA = 0.05


@dataclass(frozen=True)
class RegionRow:
    """One region of one module's map.

    Parameters
    ----------
    subject, module, statistic, region : str
    n_voxels : int
        Of those that the decoder reads.
    mean, low, high : float
        Mean over voxels and its 95 % interval, on the map scaled to [0, 1]; for ``permutation`` the loss of the
        held-out score.
    raw : float
        Mean of the statistic itself.
    tested, null : float
        What p compares: the value observed, and its mean under the null distribution, in the units of ``mean``. For
        patterns both leave the region's own voxels out of the outputs, so that ``tested`` mostly lies below ``mean``.
    p, p_corrected : float
        One-sided, of ``tested`` against the null; corrected over the regions of the module.
    interval : {"runs", "voxels", "clips"}
        What the interval is over: runs (or stretches) left out one at a time, for patterns; voxels, for weights, which
        says nothing of another recording; blocks of held-out clips, for ``permutation``.
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
    tested: float
    null: float
    p: float
    p_corrected: float
    interval: str

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


def region_table(
    values: Array,
    regions: NDArray[np.str_],
    names: tuple[str, str, str],
    test: ShiftTest | None = None,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    n_bootstrap: int = 1000,
    correction: str = "benjamini-hochberg",
    seed: int = 0,
) -> list[RegionRow]:
    r"""Average a map over regions, with intervals and p-values.

    .. math:: p = (1 + \#\{null \ge observed\}) / (1 + n_{null})

    With ``test`` the question is whether the region carries what the others' read-out carries. Without one (weights)
    the null shuffles the labels of the voxels, and the question is whether the region's mean lies above that of as
    many voxels from anywhere; it takes neighbours for independent, and so is somewhat liberal.

    Parameters
    ----------
    values : (n_voxels,) float32
    regions : (n_voxels,) str
        Empty: in no region.
    names : tuple
        Subject, module, statistic.
    test : ShiftTest, optional
        Of a pattern, from :func:`pipeline.importance.shifts.shift_test`.
    intervals : mapping of region to (low, high), optional
        In the units of ``values``, from :func:`pipeline.importance.jackknife.region_intervals`. Without them a
        region's voxels are resampled.
    n_bootstrap : int
        Resamplings of a region's voxels, and least number of shuffles of the labels.
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
    found = region_names(regions)
    if not found:
        raise DataError(f"{names[0]}: none of the {len(values)} voxels lies in a region; choose another parcellation")
    voxels = {region: np.flatnonzero(regions == region) for region in found}
    rng = np.random.default_rng([seed, 2])
    low, span = float(values.min()), float(np.ptp(values)) or 1.0
    if test is None:
        null = _shuffled(rng, values, voxels, max(n_bootstrap, PER_REGION * len(found)))
        tested = {region: float(values[at].mean()) for region, at in voxels.items()}
    else:
        tested, null = test.tested, test.null
    rows = []
    for region, at in voxels.items():
        own, under = values[at], null[region]
        ends = _over_voxels(rng, own, n_bootstrap) if intervals is None else intervals[region]
        p = (1 + int((under >= tested[region]).sum())) / (1 + len(under))
        mean, *scale = ((v - low) / span for v in (float(own.mean()), *ends, tested[region], float(under.mean())))
        kind = "voxels" if intervals is None else "runs"
        left, right, observed, chance = scale
        facts = (*names, region, len(at), mean, left, right, float(own.mean()))
        rows.append(RegionRow(*facts, observed, chance, p, p, kind))
    return corrected(rows, correction)


def _shuffled(
    rng: np.random.Generator, values: Array, voxels: Mapping[str, NDArray[np.int64]], n_draws: int
) -> dict[str, Array]:
    """Return each region's mean when the values are dealt out anew: region to (n_draws,)."""
    found = {region: np.empty(n_draws, np.float32) for region in voxels}
    for draw in range(n_draws):
        dealt = rng.permutation(values)
        for region, at in voxels.items():
            found[region][draw] = dealt[at].mean()
    return found


def _over_voxels(rng: np.random.Generator, own: Array, n_draws: int) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean over voxels."""
    low, high = np.quantile(own[rng.integers(len(own), size=(n_draws, len(own)))].mean(1), (0.025, 0.975))
    return float(low), float(high)


def floor_note(n_regions: int, n_draws: int, correction: str) -> str:
    """Say in a sentence what too few draws of a null cannot establish; empty where any single region can pass.

    Parameters
    ----------
    n_regions, n_draws : int
    correction : {"benjamini-hochberg", "holm", "none"}
    """
    least = 1 / (n_draws + 1)
    many = 1 if correction == "none" else n_regions
    if many * least <= ALPHA:
        return ""
    enough = f"{PER_REGION * many} shifts would do"
    if correction == "benjamini-hochberg" and least <= ALPHA:
        areas = int(np.ceil(many * least / ALPHA - 1e-9))
        return (
            f"With {n_draws} shifts p is at least {least:.3g}: fewer than {areas} areas of {many} cannot pass the "
            f"{correction} correction at {ALPHA:g}; {enough}."
        )
    return (
        f"With {n_draws} shifts p is at least {least:.3g}, and no area of {many} can pass at {ALPHA:g} "
        f"(correction: {correction}); {enough}."
    )


def check_draws(subject: str, n_regions: int, n_draws: int, correction: str) -> str:
    """Return :func:`floor_note`, or refuse Holm's correction where it could not establish a single region.

    Raises
    ------
    ConfigError
        Holm's least corrected p, n_regions / (n_draws + 1), lies above 0.05.
    """
    note = floor_note(n_regions, n_draws, correction)
    if note and correction == "holm":
        raise ConfigError(
            f"{subject}: holm needs {PER_REGION * n_regions} shifts for {n_regions} areas, and there are {n_draws}, so "
            "that none could ever pass; leave out --n-null, record more clips, or use --correction benjamini-hochberg"
        )
    return note


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
