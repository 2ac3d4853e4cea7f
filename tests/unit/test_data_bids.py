"""BIDS folders, small and real."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from pipeline.data import import_dataset, load
from pipeline.errors import ConfigError, DataError
from tests.unit.data_makers import BIDS_TR, N_RUNS, N_VOLUMES, SHAPE, make_bids, write_cifti, write_film, write_nifti

CAPTIONS = {"cat": {"anchor": "a cat", "holi": "a cat rests"}, "house": {"anchor": "a house", "holi": "a house stands"}}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_bids(tmp_path_factory.mktemp("bids") / "study", np.random.default_rng(5))


@pytest.fixture
def copy(study, tmp_path):
    return shutil.copytree(study, tmp_path / "copy")


def events(root, run=1):
    return root / "sub-01" / "func" / f"sub-01_task-look_run-{run:02d}_events.tsv"


def bold(root, run=1):
    return root / "sub-01" / "func" / f"sub-01_task-look_run-{run:02d}_bold.nii.gz"


def test_volumes_are_labelled_after_the_lag_and_rest_is_dropped(study):
    import_dataset(study, "study", lag_s=5.0)
    clips = load("study", "sub-01", "all")
    # Onsets 5 and 22.5 s for 10 s, seen 5 s later at 2.5 s a volume: volumes 4..7 and 11..14.
    expected = [f"run-01_vol-{v:04d}" for v in (4, 5, 6, 7, 11, 12, 13, 14)]
    assert clips.clip_ids[:8].tolist() == expected
    assert clips.labels["trial_type"][:8].tolist() == ["cat"] * 4 + ["house"] * 4
    assert len(np.unique(clips.labels["block"])) == 2 * N_RUNS
    assert clips.fmri.shape == (8 * N_RUNS, 1, 36)
    assert clips.space.shape == SHAPE
    assert clips.tr == BIDS_TR


def test_voxel_ids_are_flat_indices_of_the_mask(study):
    import_dataset(study, "study")
    mask = np.zeros(SHAPE, bool)
    mask[:3] = True
    assert np.array_equal(load("study", "sub-01", "train").voxel_ids, np.flatnonzero(mask))


def test_splits_are_whole_runs_that_do_not_overlap(study):
    import_dataset(study, "study", test_runs=["run-02"])
    groups = {split: set(load("study", "sub-01", split).groups) for split in ("train", "val", "test")}
    assert groups == {"train": {"run-01", "run-03"}, "val": {"run-04"}, "test": {"run-02"}}


def test_captions_come_from_a_mapping_of_trial_types(study, tmp_path):
    path = tmp_path / "captions.yaml"
    path.write_text("cat: {anchor: a cat, holi: a cat rests}\nhouse: {anchor: a house, holi: a house stands}\n")
    import_dataset(study, "study", captions=path)
    clips = load("study", "sub-01", "test")
    assert set(clips.captions) == {"anchor", "holi"}
    assert clips.captions["anchor"][0] == "a cat"
    assert clips.stimulus is None


def test_a_trial_type_without_captions_is_named(study, tmp_path):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"trial_type": {"cat": CAPTIONS["cat"]}}))
    with pytest.raises(DataError, match="none for house"):
        import_dataset(study, "study", captions=path)


def test_stimulus_files_play_from_the_onset(tmp_path, rng):
    root = make_bids(tmp_path / "films", rng, stim_file=True)
    for kind in ("cat", "house"):
        write_film(root / "stimuli" / f"{kind}.mp4", 60)
    import_dataset(root, "films")
    clips = load("films", "sub-01", "all")
    # The volume at 10 s answers to 5 s, the first moment of the film; the next to 2.5 s later (frame 10 at 4 fps).
    assert [clips.stimulus.frames(i)[0, 0, 0, 0] for i in (0, 1)] == [0, 10]


def test_missing_stimulus_and_paths_that_lead_out_are_refused(tmp_path, rng):
    root = make_bids(tmp_path / "films", rng, stim_file=True)
    with pytest.raises(DataError, match=r"2 are missing, such as cat\.mp4"):
        import_dataset(root, "films")
    events(root).write_text(events(root).read_text().replace("cat.mp4", "../../../etc/passwd"))
    with pytest.raises(DataError, match="leads out of stimuli"):
        import_dataset(root, "films")


def test_cifti_runs_are_read_on_the_surface(tmp_path, rng):
    root = make_bids(tmp_path / "surface", rng)
    for run in range(1, N_RUNS + 1):
        bold(root, run).unlink()
        path = bold(root, run).with_name(bold(root, run).name.replace(".nii.gz", ".dtseries.nii"))
        write_cifti(path, rng.standard_normal((N_VOLUMES, 17)), tr=BIDS_TR)
    import_dataset(root, "surface")
    clips = load("surface", "sub-01", "train")
    assert clips.space.kind == "fs_LR_32k"
    assert clips.fmri.shape[2] == 17


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onset\tduration\ttrial_type\n900\t10\tcat\n", "within the run's 50 s .*onset at 900 s"),
        ("onset\ttrial_type\n5\tcat\n", "expected columns onset and duration"),
        ("onset\tduration\ttrial_type\nsoon\t10\tcat\n", "line 2"),
        ("onset\tduration\ttrial_type\n5\t10\trest\n", "no volume"),
    ],
)
def test_faulty_events_are_named(copy, text, message):
    events(copy, 2).write_text(text)
    with pytest.raises(DataError, match=message):
        import_dataset(copy, "study")


def test_missing_events_are_named(copy):
    events(copy, 3).unlink()
    with pytest.raises(DataError, match=r"sub-01: .*run-03_bold.* no events table"):
        import_dataset(copy, "study")


def test_mask_of_another_shape_or_grid_is_refused(study, tmp_path):
    write_nifti(tmp_path / "m.nii.gz", np.ones((5, 4, 2), np.uint8))
    with pytest.raises(DataError, match=r"expected a mask of \(5, 4, 3\).*got \(5, 4, 2\)"):
        import_dataset(study, "study", mask=tmp_path / "m.nii.gz")
    write_nifti(tmp_path / "m.nii.gz", np.ones(SHAPE, np.uint8), np.diag([3.0, 2, 2, 1]))
    with pytest.raises(DataError, match="another affine"):
        import_dataset(study, "study", mask=tmp_path / "m.nii.gz")


def test_runs_on_different_grids_are_refused(copy, rng):
    write_nifti(bold(copy, 2), rng.standard_normal((5, 4, 2, N_VOLUMES)).astype(np.float32))
    with pytest.raises(DataError, match="run-01|mask"):
        import_dataset(copy, "study")


def test_reliability_needs_repeats(study):
    with pytest.raises(ConfigError, match="select all"):
        import_dataset(study, "study", select="reliability")


def test_haxby_is_labelled_as_its_reference(real_data, tmp_path):
    from sklearn.linear_model import LogisticRegression

    import_dataset(real_data / "haxby2001", "haxby2001", tmp_path)
    clips = load("haxby2001", "sub-01", "all", tmp_path)
    assert clips.fmri.shape == (864, 1, 530)
    assert set(clips.captions) == {"basic", "anchor", "motion", "holi"}
    x, y = clips.fmri[:, 0], clips.labels["trial_type"]
    scores = []
    for run in ("run-01", "run-06", "run-12"):
        test = clips.groups == run
        scores.append(
            (LogisticRegression(C=0.01, max_iter=300).fit(x[~test], y[~test]).predict(x[test]) == y[test]).mean()
        )
    assert 0.35 < np.mean(scores) < 0.6  # all twelve runs: 0.447; chance 0.125
