"""The check against the phantom's planted truth: does a statistic find the voxels that were planted to matter?

Nothing was planted for MAD. For ``holi`` the truth is wherever object, place or motion was planted, yet the shipped
holistic decoders' outputs covary little with the motion areas: a low AUC there says as much of them as of a statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.importance.maps import find_checkpoints
from pipeline.importance.statistics import STATISTICS
from pipeline.importance.study import Array, Study, study_of
from pipeline.paths import PHANTOM_ASSETS

SHOWN = ("pattern", "pattern_alone", "pattern_joint", "weight", "weight_signed")


@dataclass(frozen=True)
class TruthRow:
    """How well a statistic tells planted voxels from the others that were selected.

    Parameters
    ----------
    subject, module, statistic : str
    auc : float
        Area under the ROC curve over voxels; 0.5 is chance, 1 is perfect.
    low, high : float
        95 % bootstrap interval over regions.
    n_planted, n_other : int
        Voxels.
    """

    subject: str
    module: str
    statistic: str
    auc: float
    low: float
    high: float
    n_planted: int
    n_other: int

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return asdict(self)


def auc_with_interval(
    values: Array,
    planted: NDArray[np.bool_],
    regions: NDArray[np.str_],
    n_bootstrap: int = 300,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return the AUC of ``values`` for ``planted`` voxels and its 95 % interval.

    The bootstrap draws regions, planted ones and others apart, and keeps all voxels of each: voxels of a region share
    what was planted and are no independent draws.

    Parameters
    ----------
    values : (n_voxels,) float
    planted : (n_voxels,) bool
    regions : (n_voxels,) str
    n_bootstrap, seed : int

    Raises
    ------
    DataError
        When all voxels, or none, are planted.
    """
    from sklearn.metrics import roc_auc_score

    if planted.all() or not planted.any():
        raise DataError(f"an AUC needs planted and other voxels, got {planted.sum()} planted of {len(planted)}")
    names, region = np.unique(regions, return_inverse=True)
    sides = [np.unique(region[planted]), np.unique(region[~planted])]
    rng = np.random.default_rng([seed, 4])
    draws = []
    for _ in range(n_bootstrap):
        count = np.zeros(len(names))
        for side in sides:
            np.add.at(count, rng.choice(side, len(side)), 1)
        times = count[region]
        draws.append(roc_auc_score(planted, values, sample_weight=times))
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(roc_auc_score(planted, values)), float(low), float(high)


def truth_rows(
    study: Study,
    voxel_ids: NDArray[np.int64],
    statistics: Sequence[str] = SHOWN,
    n_bootstrap: int = 300,
) -> list[TruthRow]:
    """Check statistics of one phantom subject; modules for which nothing was planted (MAD) are left out."""
    from pipeline.phantom.tuning import areas_of, planted

    truth, regions = planted(voxel_ids), areas_of(voxel_ids)
    rows = []
    for module in (m for m in study.layers if m in truth):
        for statistic in statistics:
            values = STATISTICS[statistic].function(study, module)
            auc = auc_with_interval(values, truth[module], regions, n_bootstrap)
            counts = int(truth[module].sum()), int((~truth[module]).sum())
            rows.append(TruthRow(study.subject, module, statistic, *auc, *counts))
    return rows


def truth_table(
    home: Path | None = None,
    decoders: Path | None = None,
    subjects: Sequence[str] = (),
    statistics: Sequence[str] = SHOWN,
    dataset: str = "phantom",
) -> list[TruthRow]:
    """Check the statistics on the phantom's subjects with a folder of their decoders.

    Parameters
    ----------
    home : path, optional
        Working folder.
    decoders : path, optional
        Holds a checkpoint per subject; the shipped ones by default.
    subjects : sequence of str
        Default: all that ``decoders`` holds.
    statistics : sequence of str
    dataset : str

    Raises
    ------
    DataError
        When the data are not simulated: no truth is known.
    """
    from pipeline.checkpoints import load_checkpoint
    from pipeline.data import load

    rows = []
    for subject, folder in find_checkpoints(None, decoders or PHANTOM_ASSETS / "decoders", subjects).items():
        clipset = load(dataset, subject, "train", home)
        if not clipset.simulated:
            raise DataError(f"{dataset}: a planted truth is known of the phantom alone; name a phantom data set")
        study = study_of(load_checkpoint(folder, subject=subject), clipset)
        rows += truth_rows(study, clipset.voxel_ids, statistics)
    return rows


def as_text(rows: Sequence[TruthRow]) -> str:
    """Return the table for people, in Markdown: a row per subject and module, a column per statistic."""
    statistics = list(dict.fromkeys(row.statistic for row in rows))
    lines = ["| subject | module | " + " | ".join(statistics) + " |", "|---|---|" + "---|" * len(statistics)]
    for subject, module in dict.fromkeys((row.subject, row.module) for row in rows):
        cells = {r.statistic: r for r in rows if (r.subject, r.module) == (subject, module)}
        told = [f"{cells[s].auc:.3f} [{cells[s].low:.2f}, {cells[s].high:.2f}]" for s in statistics]
        lines.append(f"| {subject} | {module} | " + " | ".join(told) + " |")
    return "\n".join(lines)
