"""What the phantom's subjects watch: a film as a list of scene records.

A scene is one clip of 2 s. A shot lasts one to four scenes: its object, place and light stay, its motion may change,
and the position runs on from scene to scene as in a real film. Training and test films share no
(object, background, motion) triple, so that a decoder cannot pass the test by recalling whole scenes.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

OBJECTS = (
    "house", "face", "cat", "shoe", "scissors", "bottle", "chair", "scrambled",
    "dog", "car", "fish", "tree", "apple", "bird", "airplane", "boat",
    "mushroom", "ball", "sunflower", "butterfly", "umbrella", "hat", "guitar", "clock",
)  # fmt: skip
BACKGROUNDS = ("sky", "meadow", "beach", "sea", "night", "wall", "snow", "sunset")
MOTIONS = ("left", "right", "up", "down", "approach", "recede", "rotate", "bounce", "still")
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}

SECONDS, FPS, N_FRAMES, FRAME_SIZE = 2.0, 8.0, 16, 64
LOW, HIGH = 0.26, 0.74
SMALLEST, LARGEST = 0.38, 0.86
PAN = 15 / 64
# Translations are often cut off by the frame's edge, a bounce never: these weights even the motions out.
WEIGHTS = {"left": 1.6, "right": 1.6, "up": 1.4, "down": 1.4, "bounce": 0.8, "still": 0.8, "recede": 1.5}
TEST_SHARE = 5


@dataclass(frozen=True)
class Scene:
    """One clip of 2 s.

    Parameters
    ----------
    object, background, motion : str
        Of ``OBJECTS``, ``BACKGROUNDS``, ``MOTIONS``.
    x, y : float
        Centre of the object in the first frame, 0..1 of the frame, from the upper left.
    size : float
        Side of the object in the first frame, 0..1 of the frame.
    speed : float
        1 is slow, 2 is fast. Translations cover 0.16 of the frame a clip at speed 1.
    pan : float
        Shift of the background during the clip, in frame widths; 0 for a camera that holds still.
    light : float
        Brightness factor, 0.72 (dim) to 1.12 (bright).
    seed : int
        Seeds the texture and the scrambled pattern of the shot.
    shot : int
        Index of the shot in its film.
    cut : bool
        True when the clip is the first of a shot: the haemodynamic response then mixes two contents.
    """

    object: str
    background: str
    motion: str
    x: float
    y: float
    size: float
    speed: float
    pan: float
    light: float
    seed: int
    shot: int
    cut: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values for JSON."""
        return asdict(self)

    def path(self, n_frames: int = N_FRAMES) -> np.ndarray:
        """Return where the object is: (n_frames, 4) of x, y, size (0..1 of the frame) and angle (degrees)."""
        t = np.linspace(0.0, 1.0, n_frames)
        x, y, size, angle = (np.full(n_frames, v) for v in (self.x, self.y, self.size, 0.0))
        travel = 0.16 * self.speed
        if self.motion in DIRECTIONS:
            dx, dy = DIRECTIONS[self.motion]
            x, y = x + dx * travel * t, y + dy * travel * t
        elif self.motion in ("approach", "recede"):
            ratio = 1.0 + 0.3 * self.speed
            size = size * np.power(ratio, t if self.motion == "approach" else -t)
        elif self.motion == "rotate":
            angle = 75.0 * self.speed * t
        elif self.motion == "bounce":
            y = y - 0.17 * np.abs(np.sin(np.pi * self.speed * t))
        return np.stack([x, y, size, angle], axis=1)


def is_test_triple(obj: str, background: str, motion: str) -> bool:
    """Tell whether a triple is kept for test films (about one in five, the same on every machine)."""
    digest = hashlib.sha256(f"{obj}/{background}/{motion}".encode()).digest()
    return digest[0] % TEST_SHARE == 0


def film(n_clips: int, seed: int, split: str) -> list[Scene]:
    """Draw a film.

    Parameters
    ----------
    n_clips : int
    seed : int
    split : {"train", "test", "any"}
        ``train`` and ``test`` draw from disjoint sets of triples; ``any`` from both (for judges).

    Returns
    -------
    list of Scene, ``n_clips`` long
    """
    rng = np.random.default_rng([seed, {"train": 0, "test": 1, "any": 2}[split]])
    scenes: list[Scene] = []
    shot = 0
    while len(scenes) < n_clips:
        scenes += _shot(rng, split, shot)
        shot += 1
    return scenes[:n_clips]


def _shot(rng: np.random.Generator, split: str, shot: int) -> list[Scene]:
    """Draw the scenes of one shot."""
    obj, background = str(rng.choice(OBJECTS)), str(rng.choice(BACKGROUNDS))
    scene = Scene(
        object=obj,
        background=background,
        motion="still",
        x=float(rng.uniform(0.36, 0.64)),
        y=float(rng.uniform(0.38, 0.62)),
        size=float(rng.uniform(0.46, 0.62)),
        speed=1.0,
        pan=0.0,
        light=float(rng.choice([0.72, 0.92, 1.12])),
        seed=int(rng.integers(2**31)),
        shot=shot,
        cut=True,
    )
    scenes: list[Scene] = []
    for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.2, 0.35, 0.3, 0.15]))):
        motion, speed = _feasible_motion(rng, split, scene)
        if motion is None:
            break
        pan = float(rng.choice([-PAN, PAN])) if rng.random() < 0.12 else 0.0
        scene = replace(scene, motion=motion, speed=speed, pan=pan)
        scenes.append(scene)
        x, y, size, _ = scene.path()[-1]
        scene = replace(scene, x=float(x), y=float(y), size=float(size), cut=False)
    return scenes


def _feasible_motion(rng: np.random.Generator, split: str, scene: Scene) -> tuple[str | None, float]:
    """Draw a motion and speed that stay in the frame and whose triple belongs to the split."""
    weights = np.array([WEIGHTS.get(motion, 1.0) for motion in MOTIONS])
    for motion in rng.choice(MOTIONS, size=len(MOTIONS), replace=False, p=weights / weights.sum()):
        if split != "any" and is_test_triple(scene.object, scene.background, motion) != (split == "test"):
            continue
        for speed in rng.permutation([1.0, 2.0]):
            x, y, size, _ = replace(scene, motion=str(motion), speed=float(speed)).path()[-1]
            if LOW <= x <= HIGH and LOW <= y <= HIGH and SMALLEST <= size <= LARGEST:
                return str(motion), float(speed)
    return None, 1.0
