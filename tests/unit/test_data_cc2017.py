"""CC2017's raw layout, from files to ClipSet."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from pipeline.data import describe, import_dataset, load, quality
from pipeline.data.cc2017 import KNOWN_BAD, scan_cc2017
from pipeline.errors import ConfigError, DataError
from tests.unit.data_makers import (
    N_CLIPS,
    N_LEFT,
    N_RIGHT,
    N_SEGMENTS,
    N_SIGNAL,
    N_TEST_REPEATS,
    cc2017_run,
    make_cc2017,
    write_cifti,
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return make_cc2017(tmp_path_factory.mktemp("cc2017") / "raw", np.random.default_rng(3), n_subjects=2)


@pytest.fixture(scope="module")
def imported(recording, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    import_dataset(recording, "film", home)
    return home


@pytest.fixture
def copy(recording, tmp_path):
    return shutil.copytree(recording, tmp_path / "copy")


def test_only_voxels_that_answer_alike_are_chosen(imported):
    found = quality("film", "sub-01", imported)
    assert len(found["voxel_ids"]) == N_LEFT + N_RIGHT
    assert found["selected"].tolist() == [True] * N_SIGNAL + [False] * (N_LEFT + N_RIGHT - N_SIGNAL)
    assert (found["reliability"][:N_SIGNAL] > 0.9).all()
    assert (found["noise_ceiling"][:N_SIGNAL] > 0.9).all()


def test_whole_runs_are_held_out_for_validation(imported):
    train, val = load("film", "sub-01", "train", imported), load("film", "sub-01", "val", imported)
    assert set(val.groups) == {f"seg{N_SEGMENTS}"}
    assert set(train.groups) == {f"seg{i}" for i in range(1, N_SEGMENTS)}
    assert len(train) == (N_SEGMENTS - 1) * N_CLIPS


def test_repeats_are_kept_and_aligned(imported):
    test = load("film", "sub-02", "test", imported)
    assert test.fmri.shape == (N_CLIPS, N_TEST_REPEATS, N_SIGNAL)
    assert test.present.all()
    # One repeat has a volume more at its start: only the right trim makes the repeats agree.
    assert np.corrcoef(test.fmri[:, 0, 0], test.fmri[:, 1, 0])[0, 1] > 0.9


def test_all_marks_absent_repeats(imported):
    everything = load("film", "sub-01", "all", imported)
    assert len(everything) == (N_SEGMENTS + 1) * N_CLIPS
    is_test = everything.groups == "test1"
    assert everything.present[is_test].all()
    assert not everything.present[~is_test, 2].any()
    assert not everything.fmri[~is_test, 2].any()


def test_clips_captions_labels_and_frames_belong_together(imported):
    clips = load("film", "sub-01", "val", imported)
    assert clips.clip_ids[5] == f"seg{N_SEGMENTS}_0005"
    assert clips.captions["basic"][5] == f"basic seg{N_SEGMENTS}_0005"
    assert set(clips.captions) == {"basic", "motion"}
    assert clips.labels["object"][0] == "cat"
    assert clips.stimulus.frames(5)[:, 0, 0, 0].tolist() == list(range(40, 48))
    assert clips.simulated


def test_importing_twice_gives_the_same_arrays(recording, imported, tmp_path):
    import_dataset(recording, "film", tmp_path)
    first, second = (load("film", "sub-01", "train", home) for home in (imported, tmp_path))
    assert np.array_equal(first.fmri, second.fmri)
    assert np.array_equal(first.voxel_ids, second.voxel_ids)


def test_lag_moves_volumes_against_clips(recording, imported, tmp_path):
    import_dataset(recording, "late", tmp_path, lag_tr=1, select="all", subjects=["sub-01"])
    import_dataset(recording, "now", tmp_path, select="all", subjects=["sub-01"])
    late, now = (load(name, "sub-01", "test", tmp_path) for name in ("late", "now"))
    assert np.corrcoef(late.fmri[:-1, 0, 0], now.fmri[1:, 0, 0])[0, 1] > 0.8


def test_select_all_keeps_every_voxel_with_a_signal(copy, tmp_path, home):
    data = 1000 + np.random.default_rng(1).standard_normal((N_CLIPS + 5, N_LEFT + N_RIGHT))
    data[:, 3], data[2, 4] = 5, np.nan
    write_cifti(cc2017_run(copy, 1, "seg2", 1), data)
    card = import_dataset(copy, "film", select="all", subjects=["sub-01"])
    assert card.subjects[0]["n_voxels"] == N_LEFT + N_RIGHT - 2
    assert "2 vertices are NaN or constant" in card.subjects[0]["notes"][0]


def test_run_of_the_wrong_length_leaves_nothing_behind(copy, home):
    write_cifti(cc2017_run(copy, 2, "seg3", 2), np.random.default_rng(1).standard_normal((N_CLIPS, N_LEFT + N_RIGHT)))
    with pytest.raises(DataError, match=rf"seg3_2_Atlas.*expected {N_CLIPS + 5} or {N_CLIPS + 6} .*got {N_CLIPS}"):
        import_dataset(copy, "film")
    left = [p.name for p in (home / "datasets").iterdir() if not p.name.endswith(".lock")]
    assert left == []


def test_other_vertices_in_one_run_are_refused(copy):
    write_cifti(cc2017_run(copy, 1, "seg3", 2), np.ones((N_CLIPS + 5, N_LEFT + 3)), N_LEFT, 3)
    with pytest.raises(DataError, match=rf"expected the {N_LEFT + N_RIGHT} vertices.*got {N_LEFT + 3}"):
        import_dataset(copy, "film")


def test_copied_subject_is_refused(copy):
    shutil.copyfile(cc2017_run(copy, 1, "seg1", 1), cc2017_run(copy, 2, "seg1", 1))
    with pytest.raises(DataError, match="sub-02: seg1_1 holds the same values as seg1_1 of sub-01"):
        import_dataset(copy, "film")


def test_missing_and_short_films_are_named(copy):
    (copy / "stimuli" / "seg4.mp4").rename(copy / "stimuli" / "other.mp4")
    with pytest.raises(DataError, match=r"stimuli/seg4\.mp4"):
        import_dataset(copy, "film")
    from tests.unit.data_makers import write_film

    write_film(copy / "stimuli" / "seg4.mp4", 20)
    with pytest.raises(DataError, match=rf"expected {2 * N_CLIPS} s .*got 5"):
        import_dataset(copy, "film")


def test_without_films_there_are_no_pixels_and_a_note(copy):
    shutil.rmtree(copy / "stimuli")
    card = import_dataset(copy, "film")
    assert load("film", "sub-01", "test").stimulus is None
    assert any("no films" in note for note in card.subjects[0]["notes"])


def test_captions_that_miss_a_clip_are_refused(copy):
    table = copy / "stimuli" / "captions.jsonl"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match="1 are missing, such as seg1_0000"):
        import_dataset(copy, "film")


def test_bad_run_is_left_out_and_said(copy):
    card = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps({**card, "bad_runs": [["sub-01", "test1", 2]]}))
    found = import_dataset(copy, "film")
    test = load("film", "sub-01", "test")
    assert test.present.tolist() == [[True, True]] * N_CLIPS
    assert "test1 repeat 2 is known to be bad" in found.subjects[0]["notes"][0]


def test_the_published_bad_run_is_known(copy):
    (copy / "dataset.json").unlink()
    assert scan_cc2017(copy).bad_runs == KNOWN_BAD == {("sub-03", "test2", 9)}


def test_card_tells_counts_without_reading_arrays(imported):
    card = describe("film", imported)
    assert card.simulated
    assert card.subject_names == ("sub-01", "sub-02")
    assert card.subjects[1]["n_clips"] == {"train": 66, "val": 11, "test": 11, "all": 88}


def test_unknown_validation_run_is_refused(recording):
    with pytest.raises(ConfigError, match="val_runs must be among seg1"):
        import_dataset(recording, "film", val_runs=["seg99"])
