"""VBench-style measures on videos whose motion is known."""

import cv2
import numpy as np
import pytest

from pipeline.vbench import dynamic_degree, motion_smoothness, temporal_consistency


def drifting(step, n=6, side=256):
    """A smooth texture that drifts ``step`` pixels a frame."""
    noise = np.random.default_rng(7).integers(0, 256, (side, side + 400, 3), dtype=np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 5), None, 0, 255, cv2.NORM_MINMAX)
    return np.stack([texture[:, 300 - round(step * t) : 300 - round(step * t) + side] for t in range(n)])


def test_a_still_video_is_perfectly_smooth_and_does_not_move():
    still = np.repeat(drifting(0)[:1], 6, axis=0)
    assert motion_smoothness(still) == pytest.approx(1, abs=1e-3)
    assert dynamic_degree(still, 8) == 0


def test_steady_motion_is_smooth_and_frames_in_disorder_are_not():
    steady = drifting(4)
    jumbled = steady[[0, 4, 1, 5, 2, 3]]
    assert motion_smoothness(steady) > 0.98
    assert motion_smoothness(jumbled) < motion_smoothness(steady) - 0.03


def test_the_guess_between_two_plain_frames_is_their_mean():
    levels = (0, 100, 50)  # the guess for the middle one is 25
    video = np.stack([np.full((40, 34, 3), level, np.uint8) for level in levels])
    assert motion_smoothness(video) == pytest.approx(1 - 75 / 255, abs=1e-6)


@pytest.mark.parametrize(("step", "fps", "moves"), [(4, 8, 0), (9, 8, 1), (9, 3, 0), (20, 3, 1), (9, 30, 1)])
def test_a_video_moves_from_six_pixels_at_eight_frames_a_second_on(step, fps, moves):
    assert dynamic_degree(drifting(step), fps) == moves


def test_one_jump_in_eight_frames_is_too_little_and_two_are_enough():
    frame, other = drifting(12, 2)
    once, twice = np.stack([frame] * 4 + [other] * 4), np.stack([frame] * 3 + [other] * 2 + [frame] * 3)
    assert (dynamic_degree(once, 8), dynamic_degree(twice, 8)) == (0, 1)


def test_temporal_consistency_by_hand():
    # cosines with the frame before: 0, 0; with the first: 0, 1 -> (0 + 1/2) / 2
    rows = np.array([[1.0, 0], [0, 2], [3, 0]])
    assert temporal_consistency(rows) == pytest.approx(0.25)
    assert temporal_consistency(np.array([[1.0, 0], [-1, 0]])) == 0  # never below


def test_too_few_frames_are_undefined():
    assert np.isnan([motion_smoothness(drifting(1, 2)), dynamic_degree(drifting(1, 1), 8)]).all()
    assert np.isnan(temporal_consistency(np.ones((1, 3))))
