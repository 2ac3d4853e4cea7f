"""CC2017's preprocessed tensors, from files to ClipSet, and files that must not be believed."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch

from pipeline.data import describe, doctor, import_dataset, load, quality
from pipeline.data.picklefree import open_tensor, read_texts
from pipeline.errors import ConfigError, DataError
from tests.unit.layout_makers import (
    HEIGHT,
    N_FRAMES,
    N_TEST,
    N_TRAIN,
    N_TRAIN_SEGMENTS,
    N_VOXELS,
    SEGMENT,
    TEST_REPEATS,
    TRAIN_REPEATS,
    WIDTH,
    make_pt,
)


@pytest.fixture(scope="module")
def tensors(tmp_path_factory):
    return make_pt(tmp_path_factory.mktemp("pt") / "raw", np.random.default_rng(5), n_subjects=2)


@pytest.fixture(scope="module")
def imported(tensors, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    import_dataset(tensors, "clips", home)
    return home


@pytest.fixture
def copy(tensors, tmp_path):
    return shutil.copytree(tensors, tmp_path / "copy")


class Canary:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_clips_have_the_names_and_runs_of_the_raw_layout(imported):
    train, val = load("clips", "sub-02", "train", imported), load("clips", "sub-02", "val", imported)
    assert train.fmri.shape == ((N_TRAIN_SEGMENTS - 1) * SEGMENT, TRAIN_REPEATS, N_VOXELS)
    assert set(val.groups) == {f"seg{N_TRAIN_SEGMENTS}"}
    assert train.clip_ids[SEGMENT + 3] == "seg2_0003"
    assert load("clips", "sub-02", "test", imported).fmri.shape == (N_TEST, TEST_REPEATS, N_VOXELS)
    assert train.simulated


def test_every_run_and_repeat_is_z_scored_by_itself(tensors, imported):
    test = load("clips", "sub-01", "test", imported)
    raw = torch.load(tensors / "subj01_test_fmri.pt")[SEGMENT:, 2].numpy()
    expected = (raw - raw.mean(0)) / raw.std(0, ddof=1)
    assert np.allclose(test.fmri[SEGMENT:, 2], expected, atol=1e-4)


def test_truth_frames_come_from_the_tensor_and_match_their_clips(imported):
    val = load("clips", "sub-01", "val", imported)
    first = (N_TRAIN_SEGMENTS - 1) * SEGMENT
    frames = val.stimulus.frames(4)
    assert frames.shape == (N_FRAMES, HEIGHT, WIDTH, 3)
    assert frames[:, 0, 0, 0].tolist() == [((first + 4) * N_FRAMES + k) % 256 for k in range(N_FRAMES)]
    assert val.stimulus.frames(4, 3)[:, 0, 0, 0].tolist() == frames[::2, 0, 0, 0].tolist()
    assert val.stimulus.fps == 3
    assert val.captions["basic"][4] == f"train {first + 4} café"


def test_films_take_the_place_of_the_tensors(copy, home):
    from tests.unit.data_makers import FPS, write_film

    names = [f"seg{i + 1}" for i in range(N_TRAIN_SEGMENTS)] + ["test1", "test2"]
    for name in names:
        write_film(copy / "stimuli" / f"{name}.mp4", 2 * SEGMENT * FPS)
    import_dataset(copy, "clips", subjects=["sub-01"])
    val = load("clips", "sub-01", "val")
    assert val.stimulus.frames(3)[:, 0, 0, 0].tolist() == list(range(24, 32))


def test_voxels_have_no_position_and_a_note_says_what_finds_it(imported):
    card = describe("clips", imported)
    assert (card.layout, card.space) == ("cc2017-pt", "unknown")
    assert "recover-index" in card.subjects[0]["notes"][0]


def test_reliability_is_known_though_every_voxel_is_kept(imported):
    found = quality("clips", "sub-01", imported)
    assert found["selected"].all()
    assert (found["reliability"] > 0.8).all()
    assert (found["noise_ceiling"] > found["test_reliability"]).all()
    assert "tsnr" not in found


def test_unreliable_voxels_are_left_out_on_request(copy, home):
    path = copy / "subj01_train_fmri.pt"
    data = torch.load(path)
    data[..., 2] = torch.from_numpy(np.random.default_rng(0).standard_normal(data.shape[:2]).astype(np.float32))
    torch.save(data, path)
    import_dataset(copy, "clips", subjects=["sub-01"], select="reliability")
    assert load("clips", "sub-01").voxel_ids.tolist() == [0, 1, *range(3, N_VOXELS)]


def test_a_number_that_is_no_multiple_of_a_segment_gives_blocks_and_a_note(tmp_path, home):
    root = make_pt(tmp_path / "odd", np.random.default_rng(6), n_train=N_TRAIN + 2)
    card = import_dataset(root, "odd")
    assert any("no whole number of segments" in note for note in card.subjects[0]["notes"])
    val = load("odd", "sub-01", "val")
    assert set(val.groups) == {"segblock10"}
    assert len(load("odd", "sub-01", "train")) + len(val) == N_TRAIN + 2
    assert len(val) < 9


def test_bad_voxels_and_empty_or_copied_repeats_are_left_out_and_said(copy, home):
    path = copy / "subj01_test_fmri.pt"
    data = torch.load(path)
    data[3, 0, 4], data[SEGMENT:, 3], data[:SEGMENT, 2] = float("nan"), 0, data[:SEGMENT, 1]
    torch.save(data, path)
    card = import_dataset(copy, "clips", subjects=["sub-01"])
    notes = " ".join(card.subjects[0]["notes"])
    assert "test2_4: every voxel" in notes
    assert "test1_3: holds the same values as test1_2" in notes
    assert "1 voxels are NaN" in notes
    test = load("clips", "sub-01", "test")
    assert test.fmri.shape[2] == N_VOXELS - 1
    assert test.present.sum() == N_TEST * TEST_REPEATS - 2 * SEGMENT
    assert doctor(copy).ok


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("subj01_train_fmri.pt", torch.zeros(N_TRAIN, N_VOXELS), r"expected fMRI \(n_clips, n_repeats, n_voxels\)"),
        ("subj01_train_fmri.pt", torch.zeros(N_TRAIN, 2, 11).random_(), "expected the 11 voxels"),
        ("subj01_train_fmri.pt", torch.zeros(N_TRAIN, 2, N_VOXELS, dtype=torch.int64), "real numbers"),
        ("subj01_train_fmri.pt", {"fmri": torch.zeros(3)}, "expected one tensor, got dict"),
        ("subj01_train_fmri.pt", torch.zeros(1).expand(2**30, 2, N_VOXELS), "claims .* bytes and holds 4"),
        ("GT_train_3fps.pt", torch.zeros(N_TRAIN, N_FRAMES, HEIGHT, WIDTH, 3), r"expected frames \(n_clips"),
        ("GT_train_3fps.pt", torch.full((N_TRAIN, N_FRAMES, 3, 2, 2), 255.0), r"expected frames in \[0, 1\]"),
        ("GT_train_3fps.pt", torch.zeros(N_TRAIN - 1, N_FRAMES, 3, 2, 2), f"frames of {N_TRAIN} clips, got"),
        ("GT_train_caption.pt", np.array(["one", "two"]), f"expected {N_TRAIN} train captions, got 2"),
    ],
)
def test_wrong_shapes_are_refused_and_named(copy, home, name, value, message):
    torch.save(value, copy / name)
    with pytest.raises(DataError, match=message):
        import_dataset(copy, "clips", subjects=["sub-01"])
    assert not doctor(copy).ok
    assert [p.name for p in (home / "datasets").iterdir() if p.name[0] != "."] == []


@pytest.mark.parametrize("name", ["subj01_test_fmri.pt", "GT_test_3fps.pt", "GT_test_caption.pt"])
def test_truncated_files_are_refused(copy, home, name):
    path = copy / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(DataError, match=rf"{name}: .*truncated"):
        import_dataset(copy, "clips", subjects=["sub-01"])


@pytest.mark.parametrize("name", ["subj01_train_fmri.pt", "GT_train_3fps.pt", "GT_train_caption.pt"])
def test_a_pickle_that_would_run_is_refused_and_runs_nothing(copy, home, tmp_path, name):
    canary = tmp_path / "canary"
    torch.save([Canary(canary)], copy / name)
    with pytest.raises(DataError, match=rf"{name}: .*nothing of it was run"):
        import_dataset(copy, "clips", subjects=["sub-01"])
    assert not doctor(copy).ok
    assert not canary.exists()
    torch.load(copy / name, weights_only=False)  # the canary does sing where a pickle is run
    assert canary.exists()


def test_a_missing_part_and_a_copied_subject_are_named(copy, home):
    shutil.copyfile(copy / "subj01_train_fmri.pt", copy / "subj02_train_fmri.pt")
    with pytest.raises(DataError, match="sub-02: seg1_1 holds the same values as seg1_1 of sub-01"):
        import_dataset(copy, "clips")
    (copy / "subj01_test_fmri.pt").unlink()
    with pytest.raises(DataError, match=r"sub-01: expected subj01_test_fmri\.pt beside"):
        import_dataset(copy, "clips")


def test_regions_and_lags_need_what_these_files_do_not_have(tensors, home):
    with pytest.raises(ConfigError, match="--rois"):
        import_dataset(tensors, "clips", rois=["V1"])
    with pytest.raises(ConfigError, match="--lag-tr"):
        import_dataset(tensors, "clips", lag_tr=1)


@pytest.mark.parametrize(
    "value",
    [
        ["a cat", "ein Hündchen"],
        np.array(["a cat", "ein Hündchen"]),
        np.array(["a cat", "ein Hündchen"], dtype=object),
        np.array([["a cat"], ["ein Hündchen"]]),
        [np.str_("a cat"), np.str_("ein Hündchen")],
        ("a cat", "ein Hündchen"),
    ],
)
def test_texts_are_read_in_every_form_they_are_saved_in(tmp_path, value):
    torch.save(value, tmp_path / "texts.pt")
    assert read_texts(tmp_path / "texts.pt") == ["a cat", "ein Hündchen"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([1.0, 2.0]), "expected texts, got values of the type 'f8'"),
        ([1, "a"], "got int"),
        ({"a": "b"}, "EMPTY_DICT"),
        (np.array([["a", "b"], ["c", "d"]]), "one text a clip"),
        ([[[[[["deep"]]]]]], "list of texts, got list"),
    ],
)
def test_other_values_than_texts_are_refused(tmp_path, value, message):
    torch.save(value, tmp_path / "texts.pt")
    with pytest.raises(DataError, match=message):
        read_texts(tmp_path / "texts.pt")


def test_an_older_format_and_nothing_are_named(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match="older than PyTorch 1.6"):
        open_tensor(tmp_path / "old.pt")
    with pytest.raises(DataError, match="got nothing"):
        open_tensor(tmp_path / "none.pt")


def test_the_doctor_compares_with_the_published_counts(tensors, copy):
    assert doctor(tensors).ok
    assert doctor(tensors).facts["subjects"]["sub-02"]["train_clips"] == N_TRAIN
    card = copy / "dataset.json"
    card.write_text(card.read_text().replace("true", "false"))
    text = doctor(copy).text()
    assert "published are 4320 of 2" in text
    assert "published are 13,447" in text
