"""How good a subject's data is: per-voxel arrays to draw, their summaries, counts against published ones, the lag.

Everything per voxel was measured at import (:func:`pipeline.data.registry.quality`), where the unscaled series still
are: signal-to-noise cannot be had from z-scored data, and is missing, with the reason, where nothing else was imported.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.cc2017 import PUBLISHED_VOXELS
from pipeline.data.hcp7t import PUBLISHED_VOXELS as HCP_VOXELS
from pipeline.data.lag import LagScan, scan_lags
from pipeline.data.options import Progress
from pipeline.data.registry import describe, load, quality
from pipeline.errors import DataError

# What can be measured per voxel: its title, and why it may be missing.
MEASURES = {
    "tsnr": ("temporal signal-to-noise", "the data came z-scored; raw files would give it"),
    "reliability": ("correlation of two repeats, training", "no training run was recorded twice"),
    "test_reliability": ("correlation of two repeats, test", "no test run was recorded twice"),
    "noise_ceiling": ("noise ceiling of the mean over test repeats", "no test run was recorded twice"),
}


@dataclass(frozen=True)
class Histogram:
    """Counts of voxels by value: ``edges`` (n_bins + 1,), ``selected`` and ``others`` (n_bins,)."""

    edges: NDArray[np.float64]
    selected: NDArray[np.int64]
    others: NDArray[np.int64]


@dataclass(frozen=True)
class QualityReport:
    """What is known of one subject's data.

    Parameters
    ----------
    dataset, subject, layout, space : str
    simulated : bool
    arrays : mapping of name to (n_all_voxels,) array
        ``voxel_ids``, ``selected``, ``bad`` and those of :data:`MEASURES` that were measured.
    missing : mapping of measure to the reason
    n_selected, n_bad, n_seen : int
        Voxels chosen, unusable, and looked at.
    published : int or None
        Published number of chosen voxels; None for a simulated, another or an unknown subject.
    selection : dict
        How the voxels were chosen.
    lag : LagScan or None
    """

    dataset: str
    subject: str
    layout: str
    space: str
    simulated: bool
    arrays: dict[str, NDArray[Any]]
    missing: dict[str, str]
    n_selected: int
    n_bad: int
    n_seen: int
    published: int | None
    selection: dict[str, Any] = field(default_factory=dict)
    lag: LagScan | None = None

    def measured(self) -> list[str]:
        """Names of the measures that there are, in the order of :data:`MEASURES`."""
        return [name for name in MEASURES if name in self.arrays]

    def summary(self) -> dict[str, dict[str, float]]:
        """Median and 5th and 95th percentile of each measure over the chosen voxels."""
        chosen = self.arrays["selected"]
        found = {}
        for name in self.measured():
            low, middle, high = np.percentile(self.arrays[name][chosen].astype(np.float64), (5, 50, 95))
            found[name] = {"p05": round(float(low), 4), "median": round(float(middle), 4), "p95": round(float(high), 4)}
        return found

    def histogram(self, name: str, n_bins: int = 40) -> Histogram:
        """Count voxels by the value of a measure; those that are bad are left out."""
        if name not in self.arrays or name not in MEASURES:
            reason = self.missing.get(name, f"measures are {', '.join(self.measured())}")
            raise DataError(f"{self.dataset} {self.subject}: {name} was not measured; {reason}")
        values, chosen = self.arrays[name].astype(np.float64), self.arrays["selected"]
        usable = ~self.arrays["bad"] if "bad" in self.arrays else np.ones(len(values), bool)
        edges = np.histogram_bin_edges(values[usable], n_bins)
        selected, others = (np.histogram(values[usable & mask], edges)[0] for mask in (chosen, ~chosen))
        return Histogram(edges, selected, others)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, without the arrays."""
        return {
            "dataset": self.dataset,
            "subject": self.subject,
            "layout": self.layout,
            "space": self.space,
            "simulated": self.simulated,
            "n_selected": self.n_selected,
            "n_bad": self.n_bad,
            "n_seen": self.n_seen,
            "published": self.published,
            "selection": self.selection,
            "summary": self.summary(),
            "missing": self.missing,
            "lag": None if self.lag is None else self.lag.to_dict(),
        }

    def text(self) -> str:
        """Word the report for people."""
        published = "" if self.published is None else f"; published are {self.published:,}"
        kind = ", simulated" if self.simulated else ""
        lines = [f"{self.subject}{kind}: {self.n_selected:,} of {self.n_seen:,} voxels, {self.n_bad} bad{published}"]
        for name, row in self.summary().items():
            lines.append(
                f"  {MEASURES[name][0]}: median {row['median']:g} (5 to 95 %: {row['p05']:g} to {row['p95']:g})"
            )
        if self.lag is not None:
            lines.append(f"  lag that is left: {self.lag.best:+d} volumes, by {self.lag.target}")
        lines += [f"  {MEASURES[n][0] if n in MEASURES else n}: not known, {why}" for n, why in self.missing.items()]
        return "\n".join(lines)


def quality_report(
    name: str,
    subject: str,
    home: str | os.PathLike[str] | None = None,
    *,
    lag: bool = True,
    progress: Progress | None = None,
) -> QualityReport:
    """Gather what is known of one subject's data.

    Parameters
    ----------
    name, subject : str
    home : path, optional
    lag : bool
        Also scan the lag on the training runs (:func:`pipeline.data.lag.scan_lags`).
    progress : callable, optional
        Called with (done, total, what).

    Raises
    ------
    ConfigError
        Unknown data set or subject.
    DataError
        Damaged files.
    """
    arrays = quality(name, subject, home, progress)
    card = describe(name, home)
    entry = next(e for e in card.subjects if e["subject"] == subject)
    missing = {measure: why for measure, (_, why) in MEASURES.items() if measure not in arrays}
    scan = None
    if lag:
        try:
            scan = scan_lags(load(name, subject, "train", home), progress=progress)
        except DataError as error:
            missing["lag"] = str(error)
    counts = {"cc2017": PUBLISHED_VOXELS, "cc2017-pt": PUBLISHED_VOXELS, "hcp7t": {subject: HCP_VOXELS}}
    return QualityReport(
        dataset=name,
        subject=subject,
        layout=card.layout,
        space=card.space,
        simulated=card.simulated,
        arrays=arrays,
        missing=missing,
        n_selected=int(arrays["selected"].sum()),
        n_bad=int(arrays["bad"].sum()) if "bad" in arrays else 0,
        n_seen=len(arrays["voxel_ids"]),
        published=None if card.simulated else counts.get(card.layout, {}).get(subject),
        selection=entry["selection"],
        lag=scan,
    )
