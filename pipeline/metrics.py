"""Scores of a reconstruction against what was shown, each under a named convention.

Two conventions stand side by side. ``corrected`` computes what a metric's name means. ``paper`` follows the rules of
the released code behind the SemVideo and Mind-Animator tables, faults included, so that a figure can stand beside a
published one. Some metrics know a named third (``neurons``).

Videos are (n_clips, n_frames, height, width, 3) uint8 RGB, taken from lossless frames; the published protocol is 6
frames at 3 frames a second (:func:`sample_frames`). A metric returns one value a clip; ``nan`` where it is not defined.
:func:`score` adds what a figure needs to be read: convention, frames, number of clips, chance level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError
from pipeline.flow import EPE_CONVENTIONS, EPE_SIZE, end_point_errors, shuffle_test
from pipeline.nway import n_way_accuracy, n_way_accuracy_closed_form, n_way_chance
from pipeline.ssim import column_ssim, gaussian_ssim, uniform_ssim

__all__ = [
    "METRICS",
    "PSNR_CAP",
    "Score",
    "bootstrap_interval",
    "controls",
    "epe",
    "hue_pcc",
    "mispairings",
    "n_way_accuracy",
    "n_way_accuracy_closed_form",
    "n_way_chance",
    "psnr",
    "sample_frames",
    "score",
    "shuffle_test",
    "shuffled_pairs",
    "ssim",
]

N_PAIRINGS = 5  # mispairings behind the chance of scores that are cheap: every clip against so many others
PSNR_CAP = 100.0  # dB, for identical frames; one grey level in one value of a 224 x 224 frame gives 99.9

Video = NDArray[np.uint8]
Values = NDArray[np.float64]


def sample_frames(video: Video, n_frames: int) -> Video:
    """Take ``n_frames`` evenly spaced in time along axis -4: frame i is the one shown at i / n_frames of the clip.

    From 16 frames at 8 fps, 6 gives those at 0, 1/3, 2/3, ... s: 0, 2, 5, 8, 10, 13.

    Raises
    ------
    DataError
        When the video holds fewer frames than asked for.
    """
    n_available = video.shape[-4]
    if n_available < n_frames:
        raise DataError(f"sample_frames: at least {n_frames} frames a clip are needed, got {n_available}")
    index = np.arange(n_frames) * n_available // n_frames
    return np.take(video, index, axis=-4)


def psnr(truth: Video, reconstruction: Video, convention: str = "corrected") -> Values:
    """Peak signal-to-noise ratio, 10 log10(255^2 / MSE) dB: per frame, then the mean over the clip's frames.

    Identical frames count as ``PSNR_CAP`` instead of infinity. Both conventions are the same.
    """
    _known("psnr", convention, ("corrected", "paper"))
    _check_pair("psnr", truth, reconstruction)
    values = np.empty(truth.shape[:2])
    for i, (a, b) in enumerate(zip(truth, reconstruction, strict=True)):  # by clip: 1,200 clips as floats fill memory
        squared = np.square(a.astype(np.float32) - b.astype(np.float32)).mean(axis=(1, 2, 3), dtype=np.float64)
        with np.errstate(divide="ignore"):
            values[i] = np.minimum(10 * np.log10(255.0**2 / squared), PSNR_CAP)
    return values.mean(axis=1)


def ssim(truth: Video, reconstruction: Video, convention: str = "corrected") -> Values:
    """Structural similarity in -1..1: per frame, then the mean over the clip's frames.

    Parameters
    ----------
    truth, reconstruction : (n_clips, n_frames, height, width, 3) uint8
    convention : {"corrected", "paper", "neurons"}
        ``corrected``: two-dimensional, RGB, Gaussian window (sigma 1.5, 11 x 11), population covariance, data range 1,
        as Wang et al. 2004 define it. ``paper``: RGB, uniform 7 x 7 window, sample covariance, data range 255
        (Mind-Video, Mind-Animator). ``neurons``: grey frames whose columns are taken for channels, so that a
        one-dimensional SSIM of each column is averaged; nearly twice as high, kept only for comparison.
    """
    _known("ssim", convention, ("corrected", "paper", "neurons"))
    _check_pair("ssim", truth, reconstruction, min_side=11 if convention == "corrected" else 7)
    one = {"corrected": gaussian_ssim, "paper": uniform_ssim, "neurons": column_ssim}[convention]
    return np.array(
        [np.mean([one(a, b) for a, b in zip(*pair, strict=True)]) for pair in _pairs(truth, reconstruction)]
    )


def hue_pcc(truth: Video, reconstruction: Video, convention: str = "corrected") -> Values:
    """Likeness of the hue (HSV, in degrees) of two videos, in -1..1, per frame, then the mean over frames.

    Parameters
    ----------
    truth, reconstruction : (n_clips, n_frames, height, width, 3) uint8
    convention : {"corrected", "paper"}
        ``corrected``: Pearson correlation over the pixels of a frame. It is not defined where a hue is constant (a grey
        frame): such frames are left out, and a clip without any other is ``nan``. ``paper``: the uncentred cosine of
        two hues computed with red and blue swapped, over the first six frames; it is high for almost any pair.
    """
    _known("hue_pcc", convention, ("corrected", "paper"))
    _check_pair("hue_pcc", truth, reconstruction)
    swap = convention == "paper"
    values = np.empty(len(truth))
    for i, (a, b) in enumerate(_pairs(truth, reconstruction)):
        frames = [(_hue(x, swap), _hue(y, swap)) for x, y in zip(a, b, strict=True)]
        per_frame = [_cosine(x, y) if swap else _pearson(x, y) for x, y in (frames[:6] if swap else frames)]
        defined = [value for value in per_frame if np.isfinite(value)]
        values[i] = np.mean(defined) if defined else np.nan
    return values


def epe(truth: Video, reconstruction: Video, convention: str = "corrected", size: int = EPE_SIZE) -> Values:
    """Mean end-point error: |flow of the truth - flow of the reconstruction| between adjacent frames, in pixels.

    The figure means something only with its frame rate and size: pixels of a ``size`` x ``size`` frame per frame
    interval (a third of a second under the published protocol). Lower is better.

    Parameters
    ----------
    truth, reconstruction : (n_clips, n_frames, height, width, 3) uint8
        At least two frames; a clip with one has no motion and is ``nan``.
    convention : {"corrected", "paper"}
        ``corrected``: OpenCV's DIS flow (medium preset) on luma. ``paper``: Farneback's flow (0.5, 3, 15, 3, 5, 1.2, 0)
        at 512 x 512, with red and blue swapped before the change to grey.
    size : int
        Side, pixels, that frames are brought to first under ``corrected``.
    """
    _known("epe", convention, EPE_CONVENTIONS)
    _check_pair("epe", truth, reconstruction)
    return end_point_errors(truth, reconstruction, convention, size)


def mispairings(n_clips: int, rng: np.random.Generator, n_pairings: int = N_PAIRINGS) -> NDArray[np.int64]:
    """Return pairings that tell the chance level, (n_pairings, n_clips): rows of indices, none of which is its own.

    The clips are laid on a random cycle first, and each is paired with others at evenly spaced steps along it.
    Neighbours in a film share a shot, so pairs told by the film's own order would be alike and chance too high. With
    ``n_pairings`` = n_clips - 1 (more are not possible) every pair occurs once.
    """
    if n_clips < 2:
        raise DataError(f"mispairings: at least two clips are needed to mispair them, got {n_clips}")
    order = rng.permutation(n_clips)
    steps = np.unique(np.linspace(1, n_clips - 1, min(n_pairings, n_clips - 1)).astype(np.int64))
    partner = np.empty((len(steps), n_clips), dtype=np.int64)
    for row, step in zip(partner, steps, strict=True):
        row[order] = np.roll(order, step)
    return partner


def shuffled_pairs(n_clips: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return one of the :func:`mispairings`, (n_clips,): each clip's neighbour on a random cycle."""
    return np.asarray(mispairings(n_clips, rng, 1)[0])


def controls(truth: Video, rng: np.random.Generator) -> dict[str, Video]:
    """Return the five stand-ins for a method that say what a figure is worth.

    ``truth`` itself, its ``blurred`` copy (Gaussian, sigma a sixteenth of the height), a ``grey`` frame, the
    ``reversed`` order of frames, and a random other clip (``mispaired``).
    """
    import cv2

    sigma = truth.shape[2] / 16
    blurred = np.stack([np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in clip]) for clip in truth])
    return {
        "truth": truth,
        "blurred": blurred,
        "grey": np.full_like(truth, 128),
        "reversed": truth[:, ::-1],
        "mispaired": truth[shuffled_pairs(len(truth), rng)],
    }


def bootstrap_interval(
    values: Values, rng: np.random.Generator, level: float = 0.95, n_draws: int = 2000
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean over clips, undefined clips left out."""
    defined = values[np.isfinite(values)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    draws = rng.choice(defined, size=(n_draws, len(defined))).mean(axis=1)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Score:
    """One metric of one set of clips, with what it takes to read it.

    Parameters
    ----------
    name, convention : str
    values : (n_clips,) float64
        ``nan`` where the metric is not defined.
    frames : str
        What it was computed on, such as ``"6 frames at 3 fps, 64 x 64"``.
    chance : float or None
        The same metric over mispaired clips; None where there is a single clip.
    judge : str or None
        The judge's name, for metrics that use one.
    """

    name: str
    convention: str
    values: Values
    frames: str
    chance: float | None = None
    judge: str | None = None

    @property
    def value(self) -> float:
        """Mean over the clips for which the metric is defined."""
        return _mean(self.values)

    def summary(self) -> dict[str, Any]:
        """Return the row that manifests and tables keep; undefined figures are None."""
        return {
            "value": _or_none(self.value),
            "chance": self.chance,
            "n": int(np.isfinite(self.values).sum()),
            "n_undefined": int((~np.isfinite(self.values)).sum()),
            "judge": self.judge,
            "convention": self.convention,
            "frames": self.frames,
        }


METRICS: Mapping[str, Callable[..., Values]] = {"psnr": psnr, "ssim": ssim, "hue_pcc": hue_pcc, "epe": epe}


def score(
    name: str,
    truth: Video,
    reconstruction: Video,
    *,
    fps: float,
    rng: np.random.Generator,
    convention: str = "corrected",
    **settings: Any,
) -> Score:
    """Compute the metric ``name`` with its chance level.

    Parameters
    ----------
    name : str
        A key of ``METRICS``.
    truth, reconstruction : (n_clips, n_frames, height, width, 3) uint8
    fps : float
        Frame rate of these very frames; it is part of what the figure means.
    rng : numpy.random.Generator
        Draws the mispairing behind ``chance``.
    convention : str
    **settings
        Passed to the metric, such as ``size`` of :func:`epe`.
    """
    _known("score", name, tuple(METRICS), what="metric")
    metric = partial(METRICS[name], convention=convention, **settings)
    chance = None
    if len(truth) > 1:
        chance = _or_none(_mean(metric(truth[shuffled_pairs(len(truth), rng)], reconstruction)))
    n_frames, height, width = truth.shape[1:4]
    frames = f"{n_frames} frames at {fps:g} fps, {width} x {height}"
    if name == "epe":
        side = 512 if convention == "paper" else settings.get("size", EPE_SIZE)
        frames += f" brought to {side} x {side}"
    return Score(name, convention, metric(truth, reconstruction), frames, chance)


def _hue(frame: Video, swap_red_blue: bool) -> NDArray[np.float64]:
    """Hue of one frame in degrees, 0..360, flattened; 0 where a pixel is grey."""
    import cv2

    code = cv2.COLOR_BGR2HSV if swap_red_blue else cv2.COLOR_RGB2HSV
    hue = cv2.cvtColor(frame.astype(np.float32) / 255, code)[..., 0]
    return np.asarray(hue, dtype=np.float64).ravel()


def _pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return _cosine(x - x.mean(), y - y.mean())


def _cosine(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y / size) if size > 1e-9 * x.size else float("nan")


def _pairs(truth: Video, reconstruction: Video) -> Iterable[tuple[Video, Video]]:
    return zip(truth, reconstruction, strict=True)


def _mean(values: Values) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _known(who: str, value: str, known: Sequence[str], what: str = "convention") -> None:
    if value not in known:
        raise ConfigError(f"{who}: the {what} must be one of {', '.join(known)}, got {value!r}")


def _check_pair(who: str, truth: Video, reconstruction: Video, min_side: int = 1) -> None:
    for role, video in (("truth", truth), ("reconstruction", reconstruction)):
        if video.ndim != 5 or video.shape[-1] != 3 or video.dtype != np.uint8:
            raise DataError(
                f"{who}: the {role} must be (n_clips, n_frames, height, width, 3) uint8, "
                f"got {video.shape} {video.dtype}"
            )
    if truth.shape != reconstruction.shape:
        raise DataError(
            f"{who}: the reconstruction must be {truth.shape} like the truth, got {reconstruction.shape}; "
            "sample and resize both to one length and size first"
        )
    if truth.shape[1] == 0 or min(truth.shape[2:4]) < min_side:
        raise DataError(f"{who}: frames of at least {min_side} x {min_side} pixels are needed, got {truth.shape}")
