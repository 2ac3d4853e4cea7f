"""The importance maps that ship: those of the decoders that ship, there before anything is imported."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from neurovis.cortex import Cortex
from neurovis.library import Library
from neurovis.renders import Renders
from pipeline.importance.kept import SHIPPED, MapKey, MapStore, recording_of
from pipeline.importance.maps import Settings
from pipeline.paths import PHANTOM_ASSETS
from pipeline.phantom.tuning import planted
from pipeline.provenance import weights_sha256
from training.world.shipped import SHIPPED_STATISTICS

SUBJECTS = ("sub-01", "sub-02", "sub-03")


def key_of(subject: str, statistic: str, home: Path) -> MapKey:
    recording = recording_of("phantom", subject, home)
    assert recording is not None
    decoder = weights_sha256(PHANTOM_ASSETS / "decoders" / subject)
    return MapKey(decoder, "phantom", subject, recording, Settings(statistic=statistic))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_fresh_working_folder_shows_them_at_once(tmp_path, subject):
    library = Library(tmp_path)
    cortex = Cortex(library, Renders(library))
    for statistic in SHIPPED_STATISTICS:
        found = cortex.facts(f"phantom-{subject}", subject, statistic)
        assert found["state"] == "ready", "the decoders were trained anew: run `python -m training phantom`"
        assert list(found["modules"]) == ["anchor", "motion", "holi", "mad"]
        assert all(one["note"] == "" and one["table"] for one in found["modules"].values())  # there are shifts enough
    assert cortex.facts(f"phantom-{subject}", subject, "pattern_alone")["state"] == "missing"
    assert not (tmp_path / "datasets").exists()


@pytest.mark.parametrize(("module", "least"), [("anchor", 0.95), ("motion", 0.9)])
def test_they_find_what_was_planted(tmp_path, module, least):
    for subject in SUBJECTS:
        found = MapStore(tmp_path).get(key_of(subject, "pattern", tmp_path))[module]
        assert found.simulated
        assert roc_auc_score(planted(found.voxel_ids)[module], found.values) > least


def test_a_damaged_one_is_computed_again_and_left_where_it_is(tmp_path):
    key, shipped = key_of("sub-02", "weight", tmp_path), tmp_path / "shipped"
    shutil.copytree(SHIPPED, shipped)
    file = shipped / f"{key.name}.safetensors"
    whole = MapStore(tmp_path / "own", shipped).get(key)
    assert np.isfinite(whole["holi"].values).all()
    file.write_bytes(file.read_bytes()[:-9])
    store = MapStore(tmp_path / "own", shipped)
    assert store.get(key) is None
    assert file.is_file()
    store.put(key, whole)
    assert MapStore(tmp_path / "own", shipped).get(key) is not None


def test_what_is_imported_is_told_by_its_import(tmp_path):
    assert recording_of("study", "sub-01", tmp_path) is None
    file = tmp_path / "datasets" / "study" / "sub-01" / "subject.json"
    file.parent.mkdir(parents=True)
    file.write_text("one")
    first = recording_of("study", "sub-01", tmp_path)
    file.write_text("other")
    assert recording_of("study", "sub-01", tmp_path) not in (None, first)
    assert recording_of("phantom", "sub-01", tmp_path) != recording_of("phantom-tiny", "sub-01", tmp_path)
