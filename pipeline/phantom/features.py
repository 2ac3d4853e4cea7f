"""What the phantom's neurons respond to: numbers taken from a clip's pixels and from its record.

Retinotopic groups are maps on a grid of 8 x 8 cells, made from the rendered frames; the others are read off the record.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.phantom.scenes import BACKGROUNDS, MOTIONS, OBJECTS, Scene

GRID = 8
N_CELLS = GRID * GRID
# The order of the direction-selective energy maps, then the one that is not selective.
ENERGY_DIRECTIONS = ("right", "left", "down", "up")
FLOW = (*(motion for motion in MOTIONS if motion != "still"), "speed", "pan_right", "pan_left")
WIDTHS = {
    "contrast": N_CELLS,
    "colour": 3 * N_CELLS,
    "energy": (len(ENERGY_DIRECTIONS) + 1) * N_CELLS,
    "object": len(OBJECTS),
    "place": len(BACKGROUNDS),
    "flow": len(FLOW),
    "drive": 3,
}


def columns(group: str) -> slice:
    """Return where a group's columns lie in the feature matrix."""
    names = list(WIDTHS)
    start = sum(WIDTHS[name] for name in names[: names.index(group)])
    return slice(start, start + WIDTHS[group])


def clip_features(frames: NDArray[np.uint8], scene: Scene) -> NDArray[np.float32]:
    """Return the features of one clip.

    Parameters
    ----------
    frames : (n_frames, 64, 64, 3) uint8
        The rendered clip, RGB; height and width are multiples of 16.
    scene : Scene
        Its record.

    Returns
    -------
    (n_features,) float32
        The groups of ``WIDTHS`` in its order; see ``columns``.
    """
    rgb = frames.astype(np.float32) / 255.0
    grey = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    contrast = _local_contrast(grey)
    return np.concatenate(
        [
            contrast,
            _colour(rgb.mean(0)),
            _motion_energy(grey),
            np.array([scene.object == name for name in OBJECTS], np.float32),
            np.array([scene.background == name for name in BACKGROUNDS], np.float32),
            _flow(scene),
            np.array([grey.mean() * 4, contrast.mean() * 10, scene.cut], np.float32),
        ]
    )


def film_features(clips: Sequence[NDArray[np.uint8]], scenes: Sequence[Scene]) -> NDArray[np.float32]:
    """Return the features of each clip of a film: (n_clips, n_features) float32."""
    return np.stack([clip_features(frames, scene) for frames, scene in zip(clips, scenes, strict=True)])


def _cells(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Split the last two axes into cells: (..., h, w) -> (..., 64 cells, pixels of a cell)."""
    *lead, height, width = maps.shape
    tall, wide = height // GRID, width // GRID
    split = maps.reshape(*lead, GRID, tall, GRID, wide)
    return np.moveaxis(split, -2, -3).reshape(*lead, N_CELLS, tall * wide)


def _local_contrast(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the standard deviation of brightness within each cell, averaged over frames: (64,)."""
    return np.asarray(_cells(grey).std(-1).mean(0))


def _colour(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return brightness, red against green and blue against yellow in each cell: (3 * 64,), channel by channel."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    channels = np.stack([(red + green + blue) / 3, red - green, blue - (red + green) / 2])
    return np.asarray(_cells(channels).mean(-1)).ravel()


def _motion_energy(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return direction-selective motion energy in each cell, then the unselective one: (5 * 64,).

    A pattern that moves by v has dI/dt = -v dI/dx, so that -dI/dt dI/dx is positive where things move to the right;
    opponent energy of Adelson and Bergen (1985) in its gradient form. Half-wave rectified per frame, then the square
    root, which compresses contrast.
    """
    half = grey.reshape(len(grey), grey.shape[1] // 2, 2, grey.shape[2] // 2, 2).mean((2, 4))
    change = half[1:] - half[:-1]
    middle = (half[1:] + half[:-1]) / 2
    across = np.zeros_like(middle)
    across[:, :, 1:-1] = (middle[:, :, 2:] - middle[:, :, :-2]) / 2
    along = np.zeros_like(middle)
    along[:, 1:-1] = (middle[:, 2:] - middle[:, :-2]) / 2
    rightward, downward = _cells(-change * across).mean(-1), _cells(-change * along).mean(-1)
    signed = np.stack([rightward, -rightward, downward, -downward])
    selective = np.sqrt(np.maximum(signed, 0)).mean(1)
    return np.concatenate([selective.ravel(), np.abs(_cells(change)).mean((0, -1))]).astype(np.float32)


def _flow(scene: Scene) -> NDArray[np.float32]:
    """Return what moves how: a channel per kind of motion that grows with speed, the speed, and the camera's pan."""
    moving = scene.motion != "still"
    strength = 0.7 + 0.3 * (scene.speed - 1.0)
    kinds = [strength * (scene.motion == name) for name in MOTIONS if name != "still"]
    return np.array([*kinds, scene.speed * moving, scene.pan > 0, scene.pan < 0], np.float32)
