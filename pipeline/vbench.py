"""VBench-style measures of a video by itself, not VBench's own: its models need downloads, these need OpenCV alone.

Three names of Huang et al. 2024 that CineNeuron reports, by rules that are stated here and kept close to VBench's:
:func:`motion_smoothness` with optical flow in place of a learned interpolator, :func:`dynamic_degree` with DIS flow in
place of RAFT, :func:`temporal_consistency` on whichever DINO judge is at hand. Figures are not comparable with tables
made by VBench. None of the three looks at the truth: a frozen frame is perfectly smooth and consistent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.flow import Flow, Video, grey_frames, pair_flow

SIDE = 256  # pixels; flow is measured on frames of this side
FASTEST_SHARE = 0.05  # of the pixels, whose mean speed is a frame's motion
THRESHOLD, BASE_FPS = 6.0, 8.0  # pixels of 256 between frames at 8 fps; a slower video moves further between frames
MOVING_SHARE = 0.25  # of the frames


def motion_smoothness(video: Video) -> float:
    """Return 1 - the mean error, in 0..1, of each inner frame guessed from its two neighbours.

    The guess for frame t is the mean of frames t - 1 and t + 1, each carried half of the way along DIS flow between the
    two. VBench guesses every second frame with AMT; here every inner frame is guessed.

    Parameters
    ----------
    video : (n_frames, height, width, 3) uint8
        ``nan`` with fewer than three frames.
    """
    if len(video) < 3:
        return float("nan")
    frames = _brought(video)
    grey, flow = grey_frames(frames, SIDE), pair_flow("corrected")
    errors = []
    for t in range(1, len(frames) - 1):
        before, after = grey[t - 1], grey[t + 1]
        guess = (_carried(frames[t - 1], flow(after, before)) + _carried(frames[t + 1], flow(before, after))) / 2
        errors.append(np.abs(frames[t].astype(np.float32) - guess).mean(dtype=np.float64) / 255)
    return float(1 - np.mean(errors))


def dynamic_degree(video: Video, fps: float) -> float:
    """Return 1 where the video moves, else 0.

    A pair of adjacent frames moves when the mean speed of its fastest 5 % of pixels exceeds 6 px of 256, or 6 (8 / fps)
    px below 8 fps; the video moves when at least a quarter of as many pairs as it has frames do (VBench's rule).

    Parameters
    ----------
    video : (n_frames, height, width, 3) uint8
        ``nan`` with fewer than two frames.
    fps : float
        Rate of these very frames.
    """
    if len(video) < 2:
        return float("nan")
    grey, flow = grey_frames(_brought(video), SIDE), pair_flow("corrected")
    threshold = THRESHOLD * max(1.0, BASE_FPS / fps)
    moving = sum(_fastest(flow(a, b)) > threshold for a, b in zip(grey[:-1], grey[1:], strict=True))
    return float(moving >= max(1, round(MOVING_SHARE * len(video))))


def temporal_consistency(features: NDArray[np.floating]) -> float:
    """Return the mean over frames 2..n of (cosine with the frame before + cosine with the first) / 2, each at least 0.

    On DINO features this is VBench's subject consistency, which CineNeuron calls DTC (DINO temporal consistency).

    Parameters
    ----------
    features : (n_frames, d)
        ``nan`` with fewer than two frames.
    """
    if len(features) < 2:
        return float("nan")
    unit = features.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    before, first = (unit[1:] * unit[:-1]).sum(axis=1), unit[1:] @ unit[0]
    return float(((np.maximum(before, 0) + np.maximum(first, 0)) / 2).mean())


def _brought(video: Video) -> Video:
    """Bring the frames to SIDE x SIDE."""
    from pipeline.data.video import resize_frames

    return video if video.shape[1:3] == (SIDE, SIDE) else resize_frames(video, (SIDE, SIDE))


def _carried(frame: Video, flow: Flow) -> NDArray[np.float32]:
    """Sample ``frame`` half of the way along ``flow``, which starts at the other frame."""
    import cv2

    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    x, y = columns + flow[..., 0] / 2, rows + flow[..., 1] / 2
    found = cv2.remap(frame.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, dtype=np.float32)


def _fastest(flow: Flow) -> float:
    """Mean speed of the fastest 5 % of pixels."""
    speed = np.sqrt(np.square(flow).sum(axis=-1)).ravel()
    n = max(1, int(FASTEST_SHARE * speed.size))
    return float(np.partition(speed, -n)[-n:].mean(dtype=np.float64))
