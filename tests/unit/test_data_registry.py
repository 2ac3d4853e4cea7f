"""Data sets by name: built in, imported, damaged, unknown."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.data import import_dataset, list_datasets, load, quality
from pipeline.data.lag import scan_lags
from pipeline.errors import ConfigError, DataError, ResourceError
from tests.unit.data_makers import make_bids


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_bids(tmp_path_factory.mktemp("bids") / "study", np.random.default_rng(5))


def test_a_new_home_lists_the_phantoms(home):
    cards = list_datasets(home)
    assert [card.name for card in cards] == ["phantom-tiny", "phantom", "phantom-full"]
    assert all(card.simulated and card.built_in and not card.ready for card in cards)
    assert cards[1].subject_names == ("sub-01", "sub-02", "sub-03")
    assert not home.exists()


@pytest.mark.parametrize("name", ["nothing", "../evil", ""])
def test_unknown_data_set_lists_the_known(name):
    with pytest.raises(ConfigError, match="known are phantom"):
        load(name, "sub-01")


def test_unknown_subject_and_split_list_the_known(study):
    import_dataset(study, "study")
    with pytest.raises(ConfigError, match="there are sub-01"):
        load("study", "sub-09")
    with pytest.raises(ConfigError, match="train, val, test, all"):
        load("study", "sub-01", "dev")


@pytest.mark.parametrize("name", ["phantom", "Has Space", "../up", "a/b", "-x", ""])
def test_bad_names_are_refused(study, name):
    with pytest.raises(ConfigError, match="choose another"):
        import_dataset(study, name)


def test_a_taken_name_is_kept_unless_replaced(study):
    import_dataset(study, "study")
    with pytest.raises(ConfigError, match="--replace"):
        import_dataset(study, "study")
    assert import_dataset(study, "study", replace=True, lag_s=2.5).options["lag_s"] == 2.5


def test_a_failed_replacement_keeps_the_old(study, tmp_path):
    import_dataset(study, "study")
    with pytest.raises(DataError):
        import_dataset(study, "study", replace=True, mask=tmp_path / "none.nii")
    assert len(load("study", "sub-01"))


@pytest.mark.parametrize("options", [{"lag_s": -1}, {"colour": "red"}, {"select": "some"}, {"alpha": "x"}])
def test_bad_options_are_named(study, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        import_dataset(study, "study", **options)


def test_a_full_disk_is_said_before_anything_is_written(study, home, monkeypatch):
    monkeypatch.setattr("pipeline.paths.shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(ResourceError, match="make room"):
        import_dataset(study, "study")
    assert [p.name for p in (home / "datasets").iterdir()] == [".study.lock"]


def test_truncated_arrays_are_reported(study, home):
    import_dataset(study, "study")
    path = home / "datasets" / "study" / "sub-01" / "train.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"train\.safetensors.*import the data set again"):
        load("study", "sub-01")


def test_a_damaged_card_is_listed_with_its_fault(study, home):
    import_dataset(study, "study")
    (home / "datasets" / "study" / "dataset.json").write_text('{"form')
    card = list_datasets(home)[-1]
    assert (card.name, card.ready) == ("study", False)
    assert "import the data set again" in card.notes[0]


def test_reading_changes_nothing(study):
    import_dataset(study, "study")
    first = load("study", "sub-01").fmri
    first[:] = 0
    assert load("study", "sub-01").fmri.any()


def test_lag_scan_finds_the_shift_that_is_left(rng):
    from pipeline.clipset import ClipSet, VoxelSpace

    kinds = np.array(["a", "b", "c"])[rng.integers(0, 3, 240)]
    code = rng.standard_normal((3, 10))[np.searchsorted(["a", "b", "c"], kinds)]
    fmri = (np.roll(code, 2, axis=0) + 0.3 * rng.standard_normal(code.shape)).astype(np.float32)[:, None]
    clips = ClipSet(
        "sub-01", fmri, np.arange(10), VoxelSpace("unknown"), np.array([f"c{i}" for i in range(240)]),
        np.repeat([f"run-{i}" for i in range(6)], 40), 2.0, np.ones((240, 1), bool),
        labels={"trial_type": kinds, "volume": np.tile(np.arange(40), 6)},
    )  # fmt: skip
    assert scan_lags(clips).best == 2


def test_lag_scan_refuses_a_recording_with_rests(study):
    import_dataset(study, "study")
    with pytest.raises(DataError, match="rests"):
        scan_lags(load("study", "sub-01", "all"))


@pytest.mark.parametrize("subject", ["sub-01", "sub-02"])
def test_the_tiny_phantom_loads_through_the_same_reader(phantom_home, subject):
    clips = load("phantom-tiny", subject, "train", phantom_home)
    assert clips.simulated
    assert clips.space.kind == "fs_LR_32k"
    assert clips.fmri.shape[:2] == (40, 2)
    assert set(clips.captions) == {"basic", "anchor", "motion", "holi"}
    assert clips.stimulus.frames(3, 6).shape == (6, 64, 64, 3)
    found = quality("phantom-tiny", subject, phantom_home)
    assert np.array_equal(found["voxel_ids"][found["selected"]], clips.voxel_ids)
