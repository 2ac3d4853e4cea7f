"""Draw a scene: a textured place, and an object that moves in front of it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.phantom.scenes import FRAME_SIZE, N_FRAMES, Scene
from pipeline.phantom.sprites import SPRITE_SIZE, scrambled, sheet

SUPERSAMPLE = 2
PAN_MARGIN = 0.32
# Top and bottom colour of each place, and the strength of its texture, in 0..1 RGB.
PLACES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], float]] = {
    "sky": ((0.35, 0.62, 0.95), (0.80, 0.90, 1.00), 0.10),
    "meadow": ((0.55, 0.80, 0.40), (0.16, 0.48, 0.14), 0.14),
    "beach": ((0.97, 0.90, 0.66), (0.84, 0.68, 0.38), 0.09),
    "sea": ((0.10, 0.62, 0.66), (0.02, 0.26, 0.48), 0.12),
    "night": ((0.03, 0.03, 0.14), (0.14, 0.10, 0.30), 0.06),
    "wall": ((0.66, 0.32, 0.24), (0.48, 0.20, 0.15), 0.10),
    "snow": ((0.86, 0.89, 0.94), (0.97, 0.97, 0.99), 0.05),
    "sunset": ((0.46, 0.20, 0.50), (0.98, 0.56, 0.24), 0.08),
}


def render_clip(scene: Scene, n_frames: int = N_FRAMES, size: int = FRAME_SIZE) -> NDArray[np.uint8]:
    """Draw the clip of a scene.

    Parameters
    ----------
    scene : Scene
    n_frames : int
        Frames over the 2 s, evenly spaced, first and last included.
    size : int
        Side of the square frames, pixels.

    Returns
    -------
    (n_frames, size, size, 3) uint8, RGB
    """
    place = _place(scene, size)
    sprite = scrambled(scene.seed) if scene.object == "scrambled" else sheet()[scene.object]
    margin = (place.shape[1] - size) // 2
    side = size * SUPERSAMPLE
    frames = np.empty((n_frames, size, size, 3), np.uint8)
    for i, (x, y, width, angle) in enumerate(scene.path(n_frames)):
        scale = width * side / SPRITE_SIZE
        matrix = cv2.getRotationMatrix2D((SPRITE_SIZE / 2, SPRITE_SIZE / 2), -float(angle), float(scale))
        matrix[:, 2] += (x * side - SPRITE_SIZE / 2, y * side - SPRITE_SIZE / 2)
        drawn = cv2.warpAffine(sprite, matrix, (side, side), flags=cv2.INTER_LINEAR)
        drawn = cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA)
        shift = margin + int(round(scene.pan * (i / max(n_frames - 1, 1) - 0.5) * size))
        canvas = place[:, shift : shift + size] * (1.0 - drawn[..., 3:]) + drawn[..., :3]
        frames[i] = np.clip(canvas * (scene.light * 255.0) + 0.5, 0, 255)
    return frames


def _place(scene: Scene, side: int) -> NDArray[np.float32]:
    """Draw the background, wider than the frame by the pan margin: (side, side * (1 + PAN_MARGIN), 3) in 0..1."""
    rng = np.random.default_rng([scene.seed, 5])
    width = side + 2 * int(round(PAN_MARGIN / 2 * side))
    top, bottom, strength = PLACES[scene.background]
    ramp = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    colour = np.asarray(top, np.float32) * (1 - ramp) + np.asarray(bottom, np.float32) * ramp
    canvas = np.repeat(colour, width, axis=1)
    grid = (3, 8) if scene.background in ("sea", "beach", "sunset") else (6, 8)
    noise = cv2.resize(rng.uniform(-1, 1, grid).astype(np.float32), (width, side), interpolation=cv2.INTER_CUBIC)
    canvas += strength * noise[..., None]
    if scene.background == "wall":
        rows, columns = np.mgrid[:side, :width]
        height = side // 5
        course = rows // height
        joint = (rows % height < side / 40) | ((columns + (course % 2) * height) % (2 * height) < side / 40)
        canvas[joint] = (0.70, 0.50, 0.42)
    elif scene.background == "night":
        for row, column in zip(rng.integers(4, side - 4, 14), rng.integers(4, width - 4, 14), strict=True):
            cv2.circle(canvas, (int(column), int(row)), max(side // 48, 1) - 1, (0.95, 0.93, 0.75), -1)
    return np.clip(canvas, 0, 1)
