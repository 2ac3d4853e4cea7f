"""The positions of preprocessed voxels are found again from the raw runs, or the match is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from pipeline.data import describe, import_dataset, load, quality
from pipeline.data import recover as module
from pipeline.data.cc2017 import scan_cc2017
from pipeline.data.images import read_cifti
from pipeline.data.preprocess import trim_window
from pipeline.data.recover import MIN_R, recover_index
from pipeline.errors import ConfigError, DataError
from tests.unit.test_data_cli import call

N_VOXELS = 47


@pytest.fixture(scope="module")
def raw(phantom_home):
    return phantom_home / "datasets" / "phantom-tiny" / "raw"


def tensors_of(raw, folder, rng, subject="sub-01", shift=0):
    """Make the preprocessed files of some of a subject's vertices, in another order, scaled; return their ids."""
    layout = scan_cc2017(raw)
    runs = layout.subjects[subject]
    first = read_cifti(runs["seg1"][1])
    columns = rng.permutation(len(first.voxel_ids))[:N_VOXELS]
    scale, offset = rng.uniform(0.5, 7, N_VOXELS), rng.uniform(-90, 90, N_VOXELS)
    folder.mkdir(parents=True, exist_ok=True)
    for part, kind in (("train", "seg"), ("test", "test")):
        segments = []
        for segment in layout.segments(subject, kind):
            # The repeats in reverse: their order must not matter.
            series = [read_cifti(path).data for path in list(runs[segment].values())[::-1]]
            cut = [x[trim_window(len(x), layout.n_clips, shift, segment)][:, columns] for x in series]
            segments.append(np.stack(cut, axis=1))
        data = np.concatenate(segments) * scale + offset
        torch.save(torch.from_numpy(data.astype(np.float32)), folder / f"subj{subject[-2:]}_{part}_fmri.pt")
    card = {"title": "test", "simulated": True, "clips_per_segment": layout.n_clips}
    (folder / "dataset.json").write_text(json.dumps(card))
    return first.voxel_ids[columns]


@pytest.fixture
def made(raw, tmp_path, rng):
    return tmp_path / "pt", tensors_of(raw, tmp_path / "pt", rng)


def change(folder, edit):
    """Change the training tensor of a preprocessed folder."""
    path = folder / "subj01_train_fmri.pt"
    data = torch.load(path)
    edit(data)
    torch.save(data, path)


def state(home):
    return {p.relative_to(home): p.read_bytes() for p in sorted(home.rglob("*")) if p.is_file()}


def test_shuffled_and_scaled_voxels_are_found_again(raw, made, home):
    folder, ids = made
    import_dataset(folder, "clips")
    before = load("clips", "sub-01", "test").fmri
    (found,) = recover_index("clips", raw)
    clips = load("clips", "sub-01", "test")
    assert clips.voxel_ids.tolist() == ids.tolist()
    assert clips.space.kind == describe("clips").space == "fs_LR_32k"
    assert np.array_equal(clips.fmri, before)
    assert found.accepted and found.shift == 0 and found.lowest_r > 0.999
    assert not set(found.segments) & set(found.verified_on)
    assert quality("clips", "sub-01")["tsnr"].shape == (N_VOXELS,)
    assert "not beyond" not in " ".join(describe("clips").subjects[0]["notes"])
    with pytest.raises(ConfigError, match="positions already"):
        recover_index("clips", raw)


def test_another_window_of_volumes_is_found_too(raw, tmp_path, rng, home):
    ids = tensors_of(raw, tmp_path / "pt", rng, shift=2)
    import_dataset(tmp_path / "pt", "clips")
    (found,) = recover_index("clips", raw)
    assert found.shift == 2
    assert load("clips", "sub-01").voxel_ids.tolist() == ids.tolist()


def test_small_blocks_of_the_product_give_the_same(raw, made, home, monkeypatch):
    folder, ids = made
    import_dataset(folder, "clips")
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    recover_index("clips", raw)
    assert load("clips", "sub-01").voxel_ids.tolist() == ids.tolist()


def noise_in_one_voxel(data):
    data[..., 5] = torch.randn(data.shape[:2], generator=torch.Generator().manual_seed(0))


def the_same_voxel_twice(data):
    data[..., 5] = 3 * data[..., 6] + 1


def another_voxel_in_the_second_segment(data):
    data[20:40, :, 5] = data[20:40, :, 6]


def blurred_together(data):
    # Two voxels' mean: alike to both, and not beyond doubt either of them.
    data[..., 5] = data[..., 5] / data[..., 5].std() + data[..., 6] / data[..., 6].std()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (noise_in_one_voxel, f"1 below {MIN_R}"),
        (the_same_voxel_twice, "2 sharing a grayordinate"),
        (another_voxel_in_the_second_segment, "1 not confirmed"),
        (blurred_together, "[1-9] (below|without)"),
    ],
)
def test_one_voxel_that_fails_is_enough_to_refuse(raw, made, home, edit, message):
    change(made[0], edit)
    import_dataset(made[0], "clips")
    before = state(home / "datasets" / "clips")
    with pytest.raises(DataError, match=rf"{message}.*nothing was changed"):
        recover_index("clips", raw)
    assert state(home / "datasets" / "clips") == before


@pytest.mark.parametrize(("rule", "value"), [("MARGIN", 1e9), ("MIN_LEFT", 3.0)])
def test_a_runner_up_that_is_too_near_is_refused(raw, made, home, monkeypatch, rule, value):
    import_dataset(made[0], "clips")
    monkeypatch.setattr(module, rule, value)
    with pytest.raises(DataError, match=r"[1-9]\d* without margin, 0 sharing a grayordinate, 0 not confirmed"):
        recover_index("clips", raw)


def test_another_subjects_raw_runs_are_refused(raw, made, home, tmp_path):
    import_dataset(made[0], "clips")
    other = tmp_path / "other"
    shutil.copytree(raw / "subject2", other / "subject1")
    shutil.copy(raw / "dataset.json", other)
    with pytest.raises(DataError, match="not beyond doubt"):
        recover_index("clips", other)
    shutil.rmtree(other / "subject1" / "fmri" / "seg2")
    with pytest.raises(DataError, match="two or more training segments"):
        recover_index("clips", other)


def test_a_data_set_with_positions_and_a_missing_folder_are_refused(raw, made, home, tmp_path):
    import_dataset(raw, "films")
    with pytest.raises(ConfigError, match="positions already"):
        recover_index("films", raw)
    import_dataset(made[0], "clips")
    with pytest.raises(DataError, match="got nothing"):
        recover_index("clips", tmp_path / "nowhere")


def test_the_command_ends_with_one_json_line(raw, made, home, capsys):
    import_dataset(made[0], "clips")
    status, out, _ = call(capsys, "recover-index", "clips", "--raw", raw, "--json")
    assert status == 0
    assert json.loads(out.splitlines()[-1])["subjects"][0]["accepted"] is True
    status, _, err = call(capsys, "recover-index", "clips", "--raw", raw)
    assert status == 2
    assert err.count("\n") == 1
