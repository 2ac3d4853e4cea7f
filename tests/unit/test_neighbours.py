"""Clips that follow one another in a film: which are drawn together, and what that does to intervals and tests."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluate.compare import compare
from pipeline.evaluate.settings import Settings
from pipeline.evaluate.summary import Row, summarise
from pipeline.metrics import bootstrap_interval
from pipeline.neighbours import blocks, blocks_of, interval_over_clips, told

N_CLIPS, SHOT = 240, 4
FILM = [f"test1_{i:04d}" for i in range(N_CLIPS)]


def film(rng, n_clips=N_CLIPS):
    """Scores that a shot of four clips shares, with a little noise: their mean is nought."""
    return rng.normal(size=n_clips // SHOT).repeat(SHOT) + 0.2 * rng.normal(size=n_clips)


def test_a_block_is_a_stretch_of_eight_places_in_one_film():
    ids = ("test1_0007", "test1_0008", "test1_0015", "test2_0008", "cat", "452", "455", "dog")
    assert list(blocks_of(ids)) == [0, 1, 1, 2, 3, 4, 4, 5]
    assert blocks_of(("test1_0007", "test1_0008", "a_0009")) is None
    assert blocks_of(("cat", "dog")) is None


def test_sums_are_of_the_defined_clips_of_each_block():
    values = np.arange(N_CLIPS, dtype=float)
    values[:9] = np.nan
    sums, counts = blocks(FILM, values)
    assert len(sums) == N_CLIPS // 8 - 1
    assert (sums[0], counts[0]) == (sum(range(9, 16)), 7)
    assert sums.sum() == np.nansum(values)


def test_the_interval_of_a_film_holds_its_mean_as_often_as_it_says(rng):
    held = {"blocks": 0, "clips": 0}
    for _ in range(200):
        values = film(rng)
        low, high, n_blocks = interval_over_clips(FILM, values, rng, n_draws=300)
        held["blocks"] += low <= 0 <= high
        low, high = bootstrap_interval(values, rng, n_draws=300)
        held["clips"] += low <= 0 <= high
    assert n_blocks == N_CLIPS // 8
    assert held["blocks"] >= 0.88 * 200
    assert held["clips"] < 0.8 * 200  # which is why


@pytest.mark.parametrize(
    "ids", [FILM[:60], [f"{name}_0001" for name in FILM], [f"{name}x" for name in FILM]], ids=["few", "far", "unnamed"]
)
def test_clips_without_neighbours_or_with_few_blocks_are_drawn_one_by_one(ids):
    values = film(np.random.default_rng(1), 60 if len(ids) == 60 else N_CLIPS)
    found = interval_over_clips(ids, values, np.random.default_rng(2))
    assert found == (*bootstrap_interval(values, np.random.default_rng(2)), None)


def test_two_runs_that_do_not_differ_are_told_apart_no_more_often_than_the_test_says(rng):
    sure = {"corrected": 0, "paper": 0}
    for _ in range(120):
        values = film(rng)
        one = [Row(i, "full", "ssim", c, v) for c in sure for i, v in zip(FILM, values, strict=True)]
        other = [Row(i, "full", "ssim", c, 0.0) for c in sure for i in FILM]
        for test in compare(one, other):
            sure[test.convention] += test.p < 0.05
            assert test.n_blocks == (None if test.convention == "paper" else N_CLIPS // 8)
            assert test.n == N_CLIPS
    assert sure["corrected"] <= 0.12 * 120
    assert sure["paper"] > 0.2 * 120  # single clips, as published


def test_a_figure_says_how_many_blocks_are_behind_its_interval(rng):
    rows = [Row(i, "full", "ssim", c, v) for c in ("corrected", "paper") for i, v in zip(FILM, film(rng), strict=True)]
    own, paper = summarise(rows, Settings(conventions=("corrected", "paper")), "6 frames")
    assert (own.n_blocks, paper.n_blocks) == (30, None)
    assert own.interval[1] - own.interval[0] > 1.3 * (paper.interval[1] - paper.interval[0])


def test_what_is_drawn_is_told_where_clips_follow_one_another():
    assert "the 30 stretches of 8 clips" in told(FILM)
    assert "too few to draw from" in told(FILM[:60])
    assert told(FILM[::8]) is None
