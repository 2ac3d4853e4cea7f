"""From clips to figures: means with bootstrap intervals, chance, and what it takes to read them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.aligned import spread
from pipeline.evaluate.settings import CAPTION, LOWER_IS_BETTER, VBENCH, Settings, label_of
from pipeline.flow import EPE_SIZE
from pipeline.metrics import bootstrap_interval
from pipeline.neighbours import interval_over_clips
from pipeline.vbench import SIDE

N_DRAWS = {"paper": 100}  # bootstrap means of the released code; 2,000 elsewhere
CONTROL = "control-"


@dataclass(frozen=True)
class Row:
    """One value of one clip; ``chance`` is the same metric over a mispaired clip."""

    clip_id: str
    variant: str
    metric: str
    convention: str
    value: float | None
    chance: float | None = None
    judge: str = ""


@dataclass(frozen=True)
class Summary:
    """One figure of a run, with what is needed to read it.

    Parameters
    ----------
    variant, metric, label, convention, judge, frames : str
    value : float or None
        Mean over the clips for which the metric is defined.
    interval : tuple of float or None
        95 % bootstrap interval over clips, neighbours in a film drawn together.
    chance : float or None
        The same metric over mispaired clips, or the level known from the rule.
    n, n_undefined, n_chance, seed : int
    higher_is_better : bool
    n_blocks : int or None
        Stretches of film behind the interval; None where clips were drawn one by one.
    """

    variant: str
    metric: str
    label: str
    convention: str
    judge: str
    frames: str
    value: float | None
    interval: tuple[float, float] | None
    chance: float | None
    n: int
    n_undefined: int
    n_chance: int
    seed: int
    higher_is_better: bool
    n_blocks: int | None = None

    @property
    def is_control(self) -> bool:
        """Tell whether this is one of the five controls."""
        return self.variant.startswith(CONTROL)

    def line(self) -> str:
        """Return the figure as a line for people."""
        value = "not defined" if self.value is None else f"{self.value:.3f}"
        chance = "not measured" if self.chance is None else f"{self.chance:.3f}"
        chance += f" over {self.n_chance} clips" if 0 < self.n_chance < self.n else ""
        by = f", {self.judge}" if self.judge else ""
        return f"{self.variant}: {self.label} {value} (chance {chance}, {self.n} clips, {self.convention}{by})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def summarise(rows: Sequence[Row], settings: Settings, frames: str) -> list[Summary]:
    """Average rows over clips, in the order in which variants and metrics first appear."""
    groups: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.variant, row.metric, row.convention, row.judge].append(row)
    found = []
    for (variant, metric, convention, judge), members in groups.items():
        values = np.array([np.nan if row.value is None else row.value for row in members], dtype=np.float64)
        chance = np.array([row.chance for row in members if row.chance is not None], dtype=np.float64)
        defined = values[np.isfinite(values)]
        # A generator of its own for each figure: an added metric changes no other interval.
        rng = np.random.default_rng([settings.seed, *f"{variant}|{metric}|{convention}|{judge}".encode()])
        if convention in N_DRAWS:  # over single clips, as published
            (low, high), n_blocks = bootstrap_interval(values, rng, n_draws=N_DRAWS[convention]), None
        else:
            low, high, n_blocks = interval_over_clips([row.clip_id for row in members], values, rng)
        found.append(
            Summary(
                variant,
                metric,
                label_of(metric),
                convention,
                judge,
                _brought(frames, metric, convention),
                float(defined.mean()) if len(defined) else None,
                (low, high) if len(defined) else None,
                float(chance.mean()) if len(chance) else None,
                len(defined),
                len(values) - len(defined),
                len(chance),
                settings.seed,
                metric not in LOWER_IS_BETTER,
                n_blocks,
            )  # fmt: skip
        )
    return found


def frames_line(facts: Sequence[dict[str, Any]]) -> str:
    """Say what was compared: "6 frames at 3 fps, 256 x 256, nearest in time"."""
    if not facts:
        return ""
    rates = [f["fps"] for f in facts if f["fps"]]
    sizes = {(f["width"], f["height"]) for f in facts}
    size = "{} x {}".format(*sizes.pop()) if len(sizes) == 1 else "each truth's own size"
    pace = f" at {spread(rates)} fps" if rates else ""
    return f"{spread([f['n'] for f in facts])} frames{pace}, {size}, nearest in time"


def _brought(frames: str, metric: str, convention: str) -> str:
    if metric.startswith(CAPTION):
        return "decoded captions against true ones"
    if metric in VBENCH:
        return f"{frames}, brought to {SIDE} x {SIDE}"
    if metric not in ("epe", "shuffle_share"):
        return frames
    side = 512 if convention == "paper" else EPE_SIZE
    return f"{frames}, brought to {side} x {side}"
