"""Dense optical flow between frames, the end-point error of two videos, and the shuffle test built on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError

EPE_SIZE = 256  # pixels; flow is measured on frames of this side unless told otherwise
EPE_CONVENTIONS = ("corrected", "paper")

Video = NDArray[np.uint8]
Flow = NDArray[np.float32]
FlowOfPair = Callable[[NDArray[np.uint8], NDArray[np.uint8]], Flow]


@dataclass(frozen=True)
class ShuffleTest:
    """How often random orders of a reconstruction's frames fit the true motion better than its own order.

    A low share is no evidence by itself: any video that moves smoothly beats most random orders of its own frames,
    whatever it shows. Only a share below that of mispaired clips (the same test of the same reconstructions against
    other clips' truths) speaks for the true motion.

    Parameters
    ----------
    share : (n_clips,) float64
        Share of the shuffled orders with a lower end-point error than the order as reconstructed, 0..1; about one
        half where the frames come in a random order. A still reconstruction has the same error in every order and so
        a share of 0: read it beside ``epe``.
    epe : (n_clips,) float64
        End-point error in the order as reconstructed, pixels.
    shuffled : (n_clips, n_orders) float64
        End-point error of each shuffled order, pixels.
    """

    share: NDArray[np.float64]
    epe: NDArray[np.float64]
    shuffled: NDArray[np.float64]


def shuffle_test(
    truth: Video,
    reconstruction: Video,
    rng: np.random.Generator,
    *,
    n_orders: int = 100,
    convention: str = "corrected",
    size: int = EPE_SIZE,
) -> ShuffleTest:
    """Compare the end-point error of the reconstruction with that of its frames in random order.

    P = #{orders : EPE(order) < EPE(as reconstructed)} / n_orders

    The flow of every ordered pair of frames is computed once, n (n - 1) of them instead of n_orders (n - 1).

    Parameters
    ----------
    truth, reconstruction : (n_clips, n_frames, height, width, 3) uint8
        At least three frames.
    rng : numpy.random.Generator
        Draws the orders, for each clip its own; the order as reconstructed may be drawn and does not count.
    n_orders : int
    convention, size
        As in :func:`pipeline.metrics.epe`.

    References
    ----------
    SemVideo, section 4.4 and figure 5.
    """
    _check(truth, reconstruction, min_frames=3)
    n_clips, n_frames = truth.shape[:2]
    orders = rng.permuted(np.tile(np.arange(n_frames), (n_clips, n_orders, 1)), axis=2)
    step = np.arange(n_frames - 1)
    true_order, shuffled = np.empty(n_clips), np.empty((n_clips, n_orders))
    flow, prepare = pair_flow(convention), _prepare(convention, size)
    for i in range(n_clips):
        shown, made = prepare(truth[i]), prepare(reconstruction[i])
        table = _pair_table(shown, made, flow)
        true_order[i] = table[step, step + 1, step].mean()
        shuffled[i] = table[orders[i, :, :-1], orders[i, :, 1:], step].mean(axis=1)
    return ShuffleTest((shuffled < true_order[:, None]).mean(axis=1), true_order, shuffled)


def end_point_errors(
    truth: Video, reconstruction: Video, convention: str = "corrected", size: int = EPE_SIZE
) -> NDArray[np.float64]:
    """Return each clip's mean end-point error, pixels (:func:`pipeline.metrics.epe` says what it means)."""
    _check(truth, reconstruction, min_frames=1)
    values = np.full(len(truth), np.nan)
    if truth.shape[1] < 2:
        return values
    flow, prepare = pair_flow(convention), _prepare(convention, size)
    for i in range(len(truth)):
        shown, made = prepare(truth[i]), prepare(reconstruction[i])
        pairs = [(flow(*shown[t : t + 2]), flow(*made[t : t + 2])) for t in range(len(shown) - 1)]
        values[i] = np.mean([_distance(a, b) for a, b in pairs])
    return values


def _pair_table(shown: Video, made: Video, flow: FlowOfPair) -> NDArray[np.float64]:
    """(n, n, n - 1): distance of the flow made[i] -> made[j] from the flow shown[t] -> shown[t + 1]."""
    n_frames = len(shown)
    true_flows = [flow(shown[t], shown[t + 1]) for t in range(n_frames - 1)]
    table = np.full((n_frames, n_frames, n_frames - 1), np.nan)
    for i in range(n_frames):
        for j in range(n_frames):
            if i != j:
                one = flow(made[i], made[j])
                table[i, j] = [_distance(one, true) for true in true_flows]
    return table


def grey_frames(clip: Video, size: int) -> Video:
    """Return a clip (n_frames, h, w, 3) as the grey frames (n_frames, size, size) that flow is measured on."""
    return _prepare("corrected", size)(clip)


def _distance(a: Flow, b: Flow) -> float:
    return float(np.sqrt(np.square(a - b).sum(axis=-1)).mean(dtype=np.float64))


def pair_flow(convention: str) -> FlowOfPair:
    """Return what computes the flow (height, width, 2) px from one grey frame to the next under a convention."""
    import cv2

    if convention == "paper":
        return lambda a, b: cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return lambda a, b: dis.calc(a, b, None)


def _prepare(convention: str, size: int) -> Callable[[Video], Video]:
    """Return what turns a clip (n_frames, h, w, 3) into grey frames (n_frames, size, size)."""
    import cv2

    if convention not in EPE_CONVENTIONS:
        raise ConfigError(f"epe: the convention must be one of {', '.join(EPE_CONVENTIONS)}, got {convention!r}")
    side = 512 if convention == "paper" else size
    if side < 32:
        raise ConfigError(f"epe: flow needs frames of at least 32 x 32 pixels, got size={side}")
    code = cv2.COLOR_BGR2GRAY if convention == "paper" else cv2.COLOR_RGB2GRAY

    def one(frame: Video) -> Video:
        grey = cv2.cvtColor(np.ascontiguousarray(frame), code)
        if grey.shape == (side, side):
            return np.asarray(grey)
        shrinks = min(grey.shape) > side
        return np.asarray(cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))

    return lambda clip: np.stack([one(frame) for frame in clip])


def _check(truth: Video, reconstruction: Video, min_frames: int) -> None:
    if truth.ndim != 5 or truth.shape != reconstruction.shape:
        raise DataError(
            f"flow: truth and reconstruction must share one shape (n_clips, n_frames, height, width, 3), "
            f"got {truth.shape} and {reconstruction.shape}"
        )
    if truth.shape[1] < min_frames:
        raise DataError(f"shuffle_test: at least {min_frames} frames a clip are needed, got {truth.shape[1]}")
