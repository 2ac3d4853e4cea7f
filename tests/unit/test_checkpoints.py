from __future__ import annotations

import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import decoder_samples as ds
import numpy as np
import pytest
import torch

from pipeline.checkpoints import load_checkpoint, read_about, save_checkpoint
from pipeline.clipset import VoxelSpace
from pipeline.errors import CheckpointError
from pipeline.methods.semvideo import CONFIGS, SemVideo, Sizes


def save(folder: Path, subject: str = "sub-01", **changes) -> Path:
    torch.manual_seed(2)
    sizes = Sizes(n_voxels={subject: ds.VOXELS[subject]}, n_tokens=ds.N_TOKENS, d_text=ds.D_TEXT, latent=ds.LATENT)
    ids = {subject: ds.clipset(subject).voxel_ids}
    given = {"simulated": True, "seed": 4, "training": {"dataset": "phantom-tiny"}} | changes
    return save_checkpoint(
        folder, SemVideo.build(CONFIGS["semvideo-tiny"], sizes), ids, VoxelSpace("fs_LR_32k"), **given
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "sub-01")


def test_decoded_cues_survive_the_disk(tmp_path):
    torch.manual_seed(3)
    sizes = Sizes(n_voxels={"sub-02": 37}, n_tokens=ds.N_TOKENS, d_text=ds.D_TEXT, latent=ds.LATENT)
    model, clips = SemVideo.build(CONFIGS["semvideo-tiny"], sizes), ds.clipset("sub-02")
    ids = {"sub-02": clips.voxel_ids}
    save_checkpoint(tmp_path / "c", model, ids, clips.space, simulated=True, seed=0, dtype="float32")
    again = load_checkpoint(tmp_path / "c")
    again.check(clips)
    before, after = model.decode(clips).cues, again.model.decode(clips).cues
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_half_precision_halves_the_file_and_reads_back_as_single(tmp_path, folder):
    full = save(tmp_path / "full", dtype="float32")
    sizes = [(f / "model.safetensors").stat().st_size for f in (folder, full)]
    assert sizes[0] < 0.7 * sizes[1]
    assert {p.dtype for p in load_checkpoint(folder).model.parameters()} == {torch.float32}


def test_config_tells_what_the_checkpoint_is(folder):
    about = read_about(folder)
    assert (about["method"], about["subjects"], about["seed"], about["simulated"]) == ("semvideo", ["sub-01"], 4, True)
    assert about["training"] == {"dataset": "phantom-tiny"}
    assert set(about["versions"]) >= {"torch", "diffusers"}


def test_folder_holds_nothing_that_runs(folder):
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors", "voxels.safetensors"]


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="name the folder of a trained decoder"):
        load_checkpoint(tmp_path / "nothing")


def test_checkpoint_of_another_subject_is_refused(folder):
    with pytest.raises(CheckpointError, match="sub-01, expected sub-02"):
        load_checkpoint(folder, subject="sub-02")
    with pytest.raises(CheckpointError, match="sub-02: the checkpoint is of sub-01"):
        load_checkpoint(folder).check(ds.clipset("sub-02"))


def test_checkpoint_of_another_method_is_refused(folder):
    with pytest.raises(CheckpointError, match="made by method semvideo, expected neuroclips"):
        load_checkpoint(folder, method="neuroclips")


def test_other_voxels_are_refused_and_counted(folder):
    clips = ds.clipset()
    moved = replace(clips, voxel_ids=np.concatenate([clips.voxel_ids[:-2], [900, 901]]))
    with pytest.raises(CheckpointError, match="reads 31 voxels, got 31, of which 29 are the same"):
        load_checkpoint(folder).check(moved)


def test_another_order_of_the_voxels_is_refused(folder):
    clips = ds.clipset()
    with pytest.raises(CheckpointError, match="of which 31 are the same"):
        load_checkpoint(folder).check(replace(clips, voxel_ids=clips.voxel_ids[::-1].copy()))


def test_another_space_is_refused(folder):
    with pytest.raises(CheckpointError, match="space fs_LR_32k, got volume"):
        load_checkpoint(folder).check(replace(ds.clipset(), space=VoxelSpace("volume", (4, 5, 6))))


def test_truncated_weights_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load_checkpoint(folder)


def test_huge_header_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load_checkpoint(folder)


def test_pickle_in_place_of_weights_is_refused_and_not_run(folder, tmp_path):
    canary = tmp_path / "canary"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (canary,))

    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)
    assert not canary.exists()


def test_missing_weight_is_refused(folder):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    state = load_file(path)
    del state["parts.mad.null"]
    save_file(state, path)
    with pytest.raises(CheckpointError, match=r"lacks parts\.mad\.null"):
        load_checkpoint(folder)


def test_weights_of_another_size_are_refused(folder, tmp_path):
    other = save(tmp_path / "other", subject="sub-02")
    config = json.loads((folder / "config.json").read_text())
    config["sizes"]["n_voxels"] = {"sub-02": 31}
    config["subjects"] = ["sub-02"]
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"must be \(12, 31\), got \(12, 37\)"):
        load_checkpoint(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 7}, "format 7"),
        ({"method": "mindvideo"}, "not known to this version"),
        ({"config": {"sad": {"depth": 3}}}, "not known to this version"),
        ({"sizes": {"n_tokens": 3}}, "not known to this version"),
        ({"space": {"kind": "volume", "colour": 1}}, "not known to this version"),
    ],
)
def test_damaged_config_is_refused(folder, change, message):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_config_that_is_not_json_is_refused(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        load_checkpoint(folder)


def test_weights_that_overflow_half_precision_are_not_written(tmp_path):
    sizes = Sizes(n_voxels={"sub-01": 31}, n_tokens=ds.N_TOKENS, d_text=ds.D_TEXT, latent=ds.LATENT)
    model = SemVideo.build(CONFIGS["semvideo-tiny"], sizes)
    with torch.no_grad():
        model.parts["mad"].null[0, 0] = 1e6
    ids = {"sub-01": ds.clipset().voxel_ids}
    with pytest.raises(CheckpointError, match="not finite as float16"):
        save_checkpoint(tmp_path / "c", model, ids, VoxelSpace("fs_LR_32k"), simulated=True, seed=0)
    assert not (tmp_path / "c").exists()


def test_voxel_ids_must_match_the_model(tmp_path):
    sizes = Sizes(n_voxels={"sub-01": 31}, n_tokens=ds.N_TOKENS, d_text=ds.D_TEXT, latent=ds.LATENT)
    model = SemVideo.build(CONFIGS["semvideo-tiny"], sizes)
    few = {"sub-01": np.arange(5)}
    with pytest.raises(CheckpointError, match="reads 31 voxels, got 5 voxel ids"):
        save_checkpoint(tmp_path, model, few, VoxelSpace("unknown"), simulated=False, seed=0)
