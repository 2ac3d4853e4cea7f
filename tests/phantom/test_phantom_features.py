"""Features: each group says what it should about a clip drawn by hand or from a record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.phantom import features as feat
from pipeline.phantom.scenes import MOTIONS, OBJECTS, Scene

SCENE = Scene("cat", "sea", "left", 0.5, 0.5, 0.5, 2.0, 0.0, 0.92, seed=7, shot=0, cut=True)


def bar(step: int, axis: int) -> NDArray[np.uint8]:
    """A soft bright bar that moves ``step`` pixels a frame along an axis (0 down, 1 right): (16, 64, 64, 3)."""
    at = np.arange(64)
    profile = [np.exp(-((at - 32 - step * (i - 7.5)) ** 2) / 40) for i in range(16)]
    grey = np.array([np.tile(p, (64, 1)) if axis == 1 else np.tile(p[:, None], (1, 64)) for p in profile])
    return np.repeat((255 * grey)[..., None], 3, axis=-1).astype(np.uint8)


def group(vector: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    return vector[feat.columns(name)]


def test_columns_tile_the_vector() -> None:
    vector = feat.clip_features(bar(1, 1), SCENE)
    assert len(vector) == sum(feat.WIDTHS.values()) == feat.columns("drive").stop
    assert np.isfinite(vector).all()


@pytest.mark.parametrize(
    ("step", "axis", "direction"), [(1, 1, "right"), (-1, 1, "left"), (1, 0, "down"), (-1, 0, "up")]
)
def test_motion_energy_prefers_the_true_direction(step: int, axis: int, direction: str) -> None:
    energy = group(feat.clip_features(bar(step, axis), SCENE), "energy").reshape(5, -1)[:4].sum(1)
    assert feat.ENERGY_DIRECTIONS[int(energy.argmax())] == direction
    assert energy.max() > 3 * np.sort(energy)[-2]


def test_motion_energy_of_a_still_clip_is_zero() -> None:
    assert not group(feat.clip_features(bar(0, 1), SCENE), "energy").any()


def test_contrast_lies_where_the_object_is() -> None:
    frames = np.full((16, 64, 64, 3), 90, np.uint8)
    frames[:, 42:46, 10:14] = 250
    contrast = group(feat.clip_features(frames, SCENE), "contrast").reshape(8, 8)
    assert np.unravel_index(contrast.argmax(), (8, 8)) == (5, 1)


def test_colour_tells_red_from_green() -> None:
    red, green = (np.zeros((16, 64, 64, 3), np.uint8) for _ in range(2))
    red[..., 0], green[..., 1] = 200, 200
    first, second = (group(feat.clip_features(f, SCENE), "colour").reshape(3, -1)[1] for f in (red, green))
    assert (first > 0.5).all()
    assert (second < -0.5).all()


def test_object_is_one_hot() -> None:
    assert group(feat.clip_features(bar(1, 1), SCENE), "object").argmax() == OBJECTS.index("cat")


def test_each_motion_has_its_own_flow() -> None:
    rows = [group(feat.clip_features(bar(0, 1), replace(SCENE, motion=m)), "flow") for m in MOTIONS]
    assert len(np.unique(np.array(rows), axis=0)) == len(MOTIONS)
    assert not rows[MOTIONS.index("still")].any()


def test_flow_grows_with_speed() -> None:
    slow, fast = (group(feat.clip_features(bar(0, 1), replace(SCENE, speed=v)), "flow") for v in (1.0, 2.0))
    assert fast.sum() > slow.sum() > 0
