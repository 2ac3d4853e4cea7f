"""Two runs on the same clips: paired tests of every figure that both have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.evaluate.summary import Row
from pipeline.metrics import bootstrap_interval
from pipeline.neighbours import block_interval, blocks

Values = NDArray[np.float64]


@dataclass(frozen=True)
class PairedTest:
    """One figure of run A less that of run B, over the clips for which both are defined.

    Parameters
    ----------
    variant, metric, convention, judge : str
    difference : float
        Mean of A - B.
    interval : tuple of float
        95 % bootstrap interval of the mean difference, over clips, neighbours in a film drawn together.
    p : float
        Wilcoxon's signed-rank test, two-sided, zero differences left out; 1 where all are zero. Of the means of blocks
        of neighbouring clips where there are enough (:mod:`pipeline.neighbours`), under ``paper`` of single clips.
    p_holm, p_bonferroni : float
        Corrected over the metrics of one variant and convention.
    n : int
        Clips.
    n_blocks : int or None
        Blocks behind interval and test; None where clips were taken one by one.
    """

    variant: str
    metric: str
    convention: str
    judge: str
    difference: float
    interval: tuple[float, float]
    p: float
    n: int
    p_holm: float = 1.0
    p_bonferroni: float = 1.0
    n_blocks: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def compare(one: Sequence[Row], other: Sequence[Row], seed: int = 0) -> list[PairedTest]:
    """Test run A (``one``) against run B (``other``), clip by clip, both with the same judges and conventions.

    Raises
    ------
    DataError
        The runs share no clip with a figure that both have.
    """
    first, second = _by_figure(one), _by_figure(other)
    tests = []
    for key in (k for k in first if k in second):
        ids = [clip_id for clip_id in first[key] if clip_id in second[key]]
        if not ids:
            continue
        rng = np.random.default_rng([seed, *"|".join(key).encode()])
        tests.append(_test(key, ids, np.array([first[key][i] - second[key][i] for i in ids]), rng))
    if not tests:
        raise DataError("compare: the two runs share no clip with a figure that both have; name runs of one test set")
    return _corrected(tests)


def holm(p: Sequence[float]) -> Values:
    """Return Holm's step-down corrected p values: the k-th smallest times (m - k + 1), never below the one before."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    found = np.empty_like(values)
    found[order] = np.minimum(stepped, 1)
    return found


def _by_figure(rows: Sequence[Row]) -> dict[tuple[str, str, str, str], dict[str, float]]:
    found: dict[tuple[str, str, str, str], dict[str, float]] = {}
    for row in rows:
        if row.value is not None and not row.variant.startswith("control-"):
            key = (row.variant, row.metric, row.convention, row.judge)
            found.setdefault(key, {})[row.clip_id] = row.value
    return found


def _test(
    key: tuple[str, str, str, str], ids: Sequence[str], differences: Values, rng: np.random.Generator
) -> PairedTest:
    from scipy.stats import wilcoxon

    found = None if key[2] == "paper" else blocks(ids, differences)
    units = differences if found is None else found[0] / found[1]
    moved = units[units != 0]
    p = float(wilcoxon(moved).pvalue) if len(moved) else 1.0
    low, high = block_interval(found, rng) if found else bootstrap_interval(differences, rng)
    n_blocks = None if found is None else len(units)
    return PairedTest(*key, float(differences.mean()), (low, high), p, len(differences), n_blocks=n_blocks)


def _corrected(tests: Sequence[PairedTest]) -> list[PairedTest]:
    """Correct over the metrics of each variant and convention."""
    from dataclasses import replace

    found = list(tests)
    for family in {(t.variant, t.convention) for t in tests}:
        places = [i for i, t in enumerate(tests) if (t.variant, t.convention) == family]
        p = [tests[i].p for i in places]
        for i, stepped in zip(places, holm(p), strict=True):
            simple = min(1.0, tests[i].p * len(places))
            found[i] = replace(tests[i], p_holm=float(stepped), p_bonferroni=simple)
    return found
