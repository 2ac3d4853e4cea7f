"""Films and stills, clip by clip, with exact frame numbers."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.video import VideoStimulus, frame_indices, index_film
from pipeline.errors import DataError
from tests.unit.data_makers import FPS, HEIGHT, WIDTH, write_film

N_CLIPS = 13


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "seg1.mp4"
    write_film(path, 2 * FPS * N_CLIPS)
    return path


@pytest.fixture
def stimulus(film):
    return VideoStimulus([film], np.zeros(N_CLIPS, np.int64), 2.0 * np.arange(N_CLIPS), 2.0)


def levels(frames):
    return frames[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("order", [range(N_CLIPS), reversed(range(N_CLIPS)), (7, 7, 0, 12, 3)])
def test_every_clip_is_its_own_frames_in_any_order(stimulus, order):
    for j in order:
        assert levels(stimulus.frames(j)) == list(range(8 * j, 8 * j + 8))


def test_fewer_frames_are_evenly_spaced_and_start_with_the_first(stimulus):
    assert frame_indices(16, 6).tolist() == [0, 2, 5, 8, 10, 13]
    assert levels(stimulus.frames(2, 3)) == [16, 18, 21]


def test_more_frames_than_there_are_repeat(stimulus):
    assert levels(stimulus.frames(0, 16)) == [k // 2 for k in range(16)]


def test_size_and_rate_are_the_films(stimulus):
    assert stimulus.size == (HEIGHT, WIDTH)
    assert stimulus.fps == FPS


def test_frames_cannot_be_changed_by_a_caller(stimulus):
    with pytest.raises(ValueError, match="read-only"):
        stimulus.frames(1)[:] = 0


def test_a_copy_for_a_worker_reads_the_same(stimulus):
    stimulus.frames(4)
    twin = pickle.loads(pickle.dumps(stimulus))  # noqa: S301
    assert np.array_equal(twin.frames(5), stimulus.frames(5))


def test_still_images_are_repeated_and_brought_to_one_size(tmp_path):
    for i, size in enumerate(((20, 10), (30, 30))):
        Image.new("RGB", size, (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    stills = VideoStimulus([tmp_path / "0.png", tmp_path / "1.png"], np.array([0, 1]), np.zeros(2), 2.5)
    assert stills.size == (10, 20)
    assert stills.frames(1, 6).shape == (6, 10, 20, 3)


def test_missing_and_damaged_films_are_named(tmp_path, film):
    with pytest.raises(DataError, match="nothing"):
        index_film(tmp_path / "none.mp4")
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(Path(film).read_bytes()[:300])
    with pytest.raises(DataError, match="bad.mp4"):
        index_film(bad)


def test_a_clip_behind_the_end_of_the_film_is_an_error(film):
    late = VideoStimulus([film], np.zeros(1, np.int64), np.array([500.0]), 2.0)
    with pytest.raises(DataError, match="ends before"):
        late.frames(0)
