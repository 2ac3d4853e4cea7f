"""Which frames of two videos of unlike rate are compared, and what the metrics make of them.

The rule of alignment is :func:`align`; every score of an imported run follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.data.clipfiles import ClipFile, read_frames
from pipeline.data.video import frame_indices, resize_frames
from pipeline.flow import EPE_SIZE
from pipeline.manifest import Score
from pipeline.metrics import METRICS, shuffled_pairs
from pipeline.neighbours import interval_over_clips

N_FRAMES = 6  # the published protocol: 6 frames of a 2 s clip
LABELS = {"ssim": "SSIM", "psnr": "PSNR", "hue_pcc": "hue correlation", "epe": "end-point error"}
RULE = (
    "both videos start together; of the truth's frames that start within the time both cover, up to 6 (and no more "
    "than the reconstruction has), evenly spaced from the first; beside each the reconstruction's frame that starts "
    "nearest in time, the earlier of two, never a blend; sizes brought to the truth's by area resampling"
)

Frames = NDArray[np.uint8]


class Timed(Protocol):
    """What has frames at known instants: a file that was measured, or a stream of a run."""

    @property
    def starts(self) -> NDArray[np.float64]:
        """When each frame appears, seconds."""

    @property
    def seconds(self) -> float:
        """From the first frame's start to the last one's end."""

    @property
    def n(self) -> int:
        """Number of frames."""


@dataclass(frozen=True)
class Pair:
    """A clip's two videos, measured."""

    clip_id: str
    truth: ClipFile
    reconstruction: ClipFile


def align(truth: Timed, reconstruction: Timed) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the frames that are compared, by the one rule that every imported score follows (``RULE``).

    Both videos start at 0 s and are compared over the time that both cover, T = min(length of either). With m true
    frames that start before T, n = min(6, m, frames of the reconstruction) of them are taken, the k-th being
    ``floor(k m / n)``: for 6 frames at 3 a second they are the truth's own. Beside the true frame that starts at t
    stands the reconstruction's frame whose start is nearest to t, the earlier of two as near. Nothing is
    interpolated, so a slow reconstruction may give the same frame twice.

    Returns
    -------
    of_truth, of_reconstruction : (n,) int64
        Frame numbers, from 0.
    """
    common = min(truth.seconds, reconstruction.seconds)
    within = np.flatnonzero(truth.starts < common - 1e-6)
    n = min(N_FRAMES, len(within), reconstruction.n)
    chosen = within[frame_indices(len(within), n)]
    distance = np.abs(reconstruction.starts[None, :] - truth.starts[chosen][:, None])
    return chosen, distance.round(6).argmin(axis=1)


def match(truth: Timed, shown: Frames, reconstruction: Timed, made: Frames) -> tuple[Frames, Frames]:
    """Return the frames that are compared, both (n, height, width, 3) at the truth's size, by ``RULE``."""
    of_truth, of_made = align(truth, reconstruction)
    one, other = shown[of_truth], made[of_made]
    if other.shape[1:3] != one.shape[1:3]:
        other = resize_frames(other, (one.shape[1], one.shape[2]))
    return one, other


@dataclass
class Scores:
    """The metrics that need no judge, clip by clip, each with its chance level from mispaired clips.

    A clip's reconstruction is scored against its own truth, and against the truth of one other clip, drawn once for
    the run, under the same rule of alignment. Three videos are in memory at a time.
    """

    pairs: Sequence[Pair]
    seed: int = 0
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in METRICS})
    chance: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in METRICS})

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._scored: list[str] = []  # clip ids, in the order of the values
        self._partner = shuffled_pairs(len(self.pairs), self._rng) if len(self.pairs) > 1 else None

    def add(self, index: int, truth: Frames, reconstruction: Frames) -> dict[str, float | None]:
        """Score clip ``index``, both (n_frames, height, width, 3); returns name -> value, None where not defined."""
        pair = self.pairs[index]
        self._scored.append(pair.clip_id)
        own = _compare(pair.truth, truth, pair.reconstruction, reconstruction)
        for name, value in own.items():
            self.values[name].append(value)
        if self._partner is not None:
            other = self.pairs[self._partner[index]].truth
            for name, value in _compare(other, read_frames(other), pair.reconstruction, reconstruction).items():
                self.chance[name].append(value)
        return {name: _or_none(value) for name, value in own.items()}

    def summary(self) -> dict[str, Score]:
        """Return a row for each metric that is defined for any clip."""
        found = {}
        for name, listed in self.values.items():
            values = np.array(listed)
            if not np.isfinite(values).any():
                continue
            low, high, _ = interval_over_clips(self._scored, values, self._rng)
            chance = np.array(self.chance[name])
            found[name] = Score(
                value=float(np.nanmean(values)),
                chance=float(np.nanmean(chance)) if np.isfinite(chance).any() else None,
                n=int(np.isfinite(values).sum()),
                frames=self._frames(f" brought to {EPE_SIZE} x {EPE_SIZE}" if name == "epe" else ""),
                higher_is_better=name != "epe",
                label=LABELS[name],
                interval=(low, high),
            )
        return found

    def _frames(self, brought: str) -> str:
        """Say what was compared: "6 frames at 3 fps, 256 x 256, nearest in time"."""
        counts, rates = [], []
        for pair in self.pairs:
            starts = pair.truth.starts[align(pair.truth, pair.reconstruction)[0]]
            counts.append(len(starts))
            if len(starts) > 1:
                rates.append(float(1 / np.diff(starts).mean()))
        sizes = {pair.truth.size for pair in self.pairs}
        size = "{1} x {0}".format(*sizes.pop()) if len(sizes) == 1 else "each truth's own size"
        pace = f" at {spread(rates)} fps" if rates else ""
        return f"{spread(counts)} frames{pace}, {size}{brought}, nearest in time"


def _compare(truth: ClipFile, shown: Frames, reconstruction: ClipFile, made: Frames) -> dict[str, float]:
    """Score one video against another: metric -> value, ``nan`` where it is not defined."""
    one, other = match(truth, shown, reconstruction, made)
    return {name: float(metric(one[None], other[None])[0]) for name, metric in METRICS.items()}


def spread(values: Sequence[float]) -> str:
    """Say numbers in short: "14", or "2 to 14" where they differ."""
    low, high = (f"{v:.3g}" for v in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
