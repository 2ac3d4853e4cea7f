"""The doctor lists every fault of a recording and changes nothing."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from pipeline.data import doctor
from pipeline.errors import DataError
from tests.unit.data_makers import (
    N_CLIPS,
    N_LEFT,
    N_RIGHT,
    cc2017_run,
    make_bids,
    make_cc2017,
    write_cifti,
    write_nifti,
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return make_cc2017(tmp_path_factory.mktemp("cc2017") / "raw", np.random.default_rng(3), n_subjects=2)


def messages(report, level="error"):
    return [f"{f.where}: {f.message}" for f in report.findings if f.level == level]


def test_a_sound_recording_has_no_errors(recording):
    report = doctor(recording)
    assert report.ok
    assert report.layout == "cc2017"
    assert report.facts["subjects"]["sub-02"]["vertices"] == N_LEFT + N_RIGHT
    assert "can be imported" in report.text()


def test_every_fault_is_listed_at_once(recording, tmp_path):
    root = shutil.copytree(recording, tmp_path / "faulty")
    cut = cc2017_run(root, 1, "seg1", 1)
    cut.write_bytes(cut.read_bytes()[:-30])
    write_cifti(cc2017_run(root, 1, "seg2", 1), np.ones((N_CLIPS, N_LEFT + N_RIGHT)))
    shutil.copyfile(cc2017_run(root, 1, "seg3", 1), cc2017_run(root, 2, "seg3", 1))
    (root / "stimuli" / "seg5.mp4").unlink()
    found = messages(doctor(root))
    assert len(found) == 4
    assert "truncated" in found[0]
    assert f"got {N_CLIPS}" in found[1]
    assert "recording of sub-01" in found[2]
    assert "seg5.mp4" in found[3]


def test_counts_are_compared_with_the_published_ones(recording, tmp_path):
    root = shutil.copytree(recording, tmp_path / "real")
    card = root / "dataset.json"
    card.write_text(card.read_text().replace("true", "false"))
    found = messages(doctor(root), "warning")
    assert any("published are 18 of 2" in line for line in found)
    assert any("59412" in line for line in found)


def test_bids_faults_are_listed(tmp_path, rng):
    root = make_bids(tmp_path / "study", rng, subjects=("01", "02"))
    func = root / "sub-01" / "func"
    (func / "sub-01_task-look_run-02_events.tsv").write_text("onset\tduration\ttrial_type\n900\t10\tcat\n")
    for run in (1, 3):
        name = f"_task-look_run-{run:02d}_bold.nii.gz"
        shutil.copyfile(func / f"sub-01{name}", root / "sub-02" / "func" / f"sub-02{name}")
    found = messages(doctor(root))
    assert "900" in found[0]
    assert sum("holds the same values" in line for line in found) == 2


def test_bad_voxels_are_counted(tmp_path, rng):
    root = make_bids(tmp_path / "study", rng)
    data = rng.standard_normal((5, 4, 3, 20)).astype(np.float32)
    data[0, 0, 0] = 3
    data[1, 1, 1, 4] = np.nan
    write_nifti(root / "sub-01" / "func" / "sub-01_task-look_run-01_bold.nii.gz", data)
    report = doctor(root)
    assert report.ok
    assert report.facts["subjects"]["sub-01"]["bad_voxels"] == 2


def test_another_folder_is_said_to_be_neither(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    report = doctor(tmp_path)
    assert not report.ok
    assert "holiday.jpg" in messages(report)[0]


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="nothing"):
        doctor(tmp_path / "none")


def test_real_haxby_is_sound(real_data):
    report = doctor(real_data / "haxby2001")
    assert report.ok
    assert report.facts["subjects"]["sub-01"] == {
        "runs": 12,
        "volumes": 1452,
        "voxels": 530,
        "bad_voxels": 0,
        "tr": 2.5,
    }
