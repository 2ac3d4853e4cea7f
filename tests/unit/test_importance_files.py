"""Importance on disk: the maps of a checkpoint, their files and figure, and the command."""

import csv
import json

import decoder_samples
import nibabel
import numpy as np
import pytest

from neurovis.__main__ import app
from neurovis.importance_figure import draw, save
from pipeline.checkpoints import load_checkpoint, save_checkpoint
from pipeline.cli import run
from pipeline.clipset import VoxelSpace
from pipeline.errors import CheckpointError, ConfigError, DataError
from pipeline.grayordinates import N_CORTEX, N_LEFT, N_MESH
from pipeline.importance import export, truth
from pipeline.importance.maps import ImportanceMap, Settings, find_checkpoints, importance_maps
from pipeline.importance.study import regions_of, study_of
from pipeline.methods.semvideo import CONFIGS, SemVideo, Sizes
from tests.unit.test_importance import study


@pytest.fixture
def trained(tmp_path):
    """Save an untrained decoder of two modules' worth of checks, with its clips."""
    clips = decoder_samples.clipset()
    n_voxels = len(clips.voxel_ids)
    model = SemVideo.build(
        CONFIGS["semvideo-tiny"],
        Sizes(n_voxels={"sub-01": n_voxels}, n_tokens=7, d_text=12, latent=(4, 8, 8)),
    )
    where = {"sub-01": clips.voxel_ids}
    facts = {"simulated": True, "seed": 0, "training": {"dataset": "phantom-tiny"}}
    return save_checkpoint(tmp_path / "decoder", model, where, clips.space, **facts), clips


def test_maps_of_a_checkpoint_have_all_there_is_to_know(trained):
    folder, clips = trained
    maps = importance_maps(load_checkpoint(folder), clips, Settings(n_null=7, n_bootstrap=30))
    assert list(maps) == ["anchor", "motion", "holi"]
    found = maps["motion"]
    assert found.values.shape == found.voxel_p.shape == (31,) and found.table and found.simulated
    assert found.n_shifts >= 7 and {row.interval for row in found.table} == {"runs"}
    assert found.scaled.min() == 0 and found.scaled.max() == 1


def test_dscalar_opens_with_the_right_structure(trained, tmp_path):
    folder, clips = trained
    maps = importance_maps(load_checkpoint(folder), clips, Settings(modules=("mad", "holi"), n_null=0, n_bootstrap=9))
    image = nibabel.load(export.write_dscalar(maps, tmp_path / "importance.dscalar.nii"))
    scalars, brain = image.header.get_axis(0), image.header.get_axis(1)
    assert list(scalars.name) == ["mad pattern (simulated)", "holi pattern (simulated)"]
    sizes = [(name, len(axis)) for name, _, axis in brain.iter_structures()]
    left, right = "CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"
    assert sizes == [(left, N_LEFT), (right, N_CORTEX - N_LEFT)]
    assert image.nifti_header.get_intent()[0] == "ConnDenseScalar"
    data = image.get_fdata()
    np.testing.assert_allclose(data[1, clips.voxel_ids], maps["holi"].scaled, atol=1e-6)
    assert np.isnan(np.delete(data, clips.voxel_ids, axis=1)).all()


def test_nilearn_finds_the_values_of_the_dscalar_on_the_surfaces(trained, tmp_path):
    from nilearn.surface import InMemoryMesh, PolyMesh, SurfaceImage

    folder, clips = trained
    settings = Settings(modules=("holi", "mad"), n_null=0, n_bootstrap=9)
    export.write_files(importance_maps(load_checkpoint(folder), clips, settings), tmp_path)
    faces = InMemoryMesh(np.random.default_rng(0).random((N_MESH, 3)), np.array([[0, 1, 2]]))
    parts = {side: str(tmp_path / name) for side, name in export.GIFTI.items()}
    surface = SurfaceImage(PolyMesh(faces, faces), parts)
    assert surface.shape == (2 * N_MESH, 2)
    image = nibabel.load(tmp_path / export.DSCALAR)
    data = image.get_fdata(dtype=np.float32)
    for (_, rows, axis), side in zip(image.header.get_axis(1).iter_structures(), parts, strict=True):
        np.testing.assert_array_equal(surface.data.parts[side][axis.vertex], data[:, rows].T)
        assert np.isnan(np.delete(surface.data.parts[side], axis.vertex, axis=0)).all()


def volume_map():
    shape = (3, 4, 5)
    ids = np.array([7, 30, 31, 59])
    space = VoxelSpace("volume", shape, tuple(tuple(row) for row in np.diag([2.0, 3, 4, 1]).tolist()))
    return ImportanceMap("sub-02", "anchor", "weight", np.array([1, 3, 2, 5], np.float32), ids, space, float("nan"))


def test_a_volume_becomes_an_image_on_its_own_grid(tmp_path):
    paths = export.write_files({"anchor": volume_map()}, tmp_path)
    image = nibabel.load(paths[0])
    assert image.shape == (3, 4, 5, 1) and image.affine[2, 2] == 4
    assert np.nanmax(image.get_fdata()) == image.get_fdata()[2, 3, 4, 0] == 1
    lines = paths[1].read_text(encoding="utf-8").splitlines()
    assert lines[0] == "voxel_id,i,j,k,anchor" and lines[4] == "59,2,3,4,1"
    assert len(draw({"anchor": volume_map()}).axes) == 5  # four slices and the colour bar


def test_figure_has_a_panel_a_module_and_says_what_is_simulated(trained, tmp_path):
    folder, clips = trained
    maps = importance_maps(load_checkpoint(folder), clips, Settings(n_null=0, n_bootstrap=9))
    figure = draw(maps)
    assert len(figure.axes) == 4 and figure.axes[-1].get_ylim() == (0.25, 0.75)
    assert "simulated" in figure._suptitle.get_text()
    assert save(figure, tmp_path, ("png",), dpi=20)[0].read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ConfigError, match="rise"):
        draw(maps, (0.7, 0.2))


def test_voxels_without_position_are_refused():
    ids = np.arange(3)
    with pytest.raises(DataError, match="no known position"):
        regions_of(VoxelSpace("unknown"), ids)
    with pytest.raises(DataError, match="fs_LR 32k"):
        regions_of(VoxelSpace("fs_LR_32k"), ids + N_CORTEX)
    with pytest.raises(ConfigError, match="schaefer"):
        regions_of(VoxelSpace("fs_LR_32k"), ids, "schaefer")
    assert regions_of(VoxelSpace("volume", (1, 2, 3)), ids) is None


def test_bad_weights_and_selections_are_refused(trained):
    folder, clips = trained
    broken = load_checkpoint(folder)
    broken.model.parts["holi"].mapper.linear["sub-01"].weight.data[2, 4] = float("nan")
    with pytest.raises(CheckpointError, match="holi must be finite"):
        study_of(broken, clips)
    with pytest.raises(DataError, match="empty"):
        study(np.zeros((9, 0)), {"anchor": np.zeros((2, 0))})
    with pytest.raises(ConfigError, match="'face'"):
        importance_maps(load_checkpoint(folder), clips, Settings(modules=("face",)))
    with pytest.raises(ConfigError, match="saliency"):
        importance_maps(load_checkpoint(folder), clips, Settings(statistic="saliency"))
    with pytest.raises(DataError, match="validation"):
        importance_maps(load_checkpoint(folder), clips, Settings(statistic="permutation"))


def test_checkpoints_are_found_by_folder_and_run(trained, tmp_path):
    folder, _ = trained
    assert find_checkpoints(None, folder, ()) == {"sub-01": folder}
    assert find_checkpoints(str(folder), None, ("sub-01",)) == {"sub-01": folder}
    assert find_checkpoints("phantom-sub-03", None, (), tmp_path)["sub-03"].name == "sub-03"
    for run_name, path in ((None, None), ("nowhere", None)):
        with pytest.raises(ConfigError):
            find_checkpoints(run_name, path, (), tmp_path)
    with pytest.raises(CheckpointError, match="sub-09"):
        find_checkpoints(None, folder, ("sub-09",))


@pytest.fixture
def phantom_decoder(phantom_home, tmp_path):
    from pipeline.data import load

    clips = load("phantom-tiny", "sub-01", "train", phantom_home)
    sizes = Sizes(n_voxels={"sub-01": len(clips.voxel_ids)}, n_tokens=7, d_text=12, latent=(4, 8, 8))
    model = SemVideo.build(CONFIGS["semvideo-tiny"], sizes)
    facts = {"simulated": True, "seed": 0, "training": {"dataset": "phantom-tiny"}}
    where = tmp_path / "decoders" / "sub-01"
    save_checkpoint(where, model, {"sub-01": clips.voxel_ids}, clips.space, **facts)
    return where.parent


def test_command_writes_everything(phantom_decoder, phantom_home, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--checkpoint", phantom_decoder, "--out", out, "--home", phantom_home, "--modules", "motion,mad"]
    with pytest.raises(SystemExit) as end:
        run(app, ["importance", *map(str, words), "--n-null", "9", "--formats", "png", "--json"])
    assert end.value.code == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    files = {path.name for path in out.iterdir()}
    names = {
        "importance.png",
        "importance.dscalar.nii",
        "rois.csv",
        "compare.csv",
        "importance.json",
        *export.GIFTI.values(),
    }
    assert files == names
    facts = json.loads((out / "importance.json").read_text())
    assert facts["simulated"] and facts["modules"] == ["motion", "mad"] and len(facts["checkpoint_sha256"]) == 64
    assert told["subjects"]["sub-01"]["statistic"] == "pattern"
    rows = list(csv.DictReader((out / "rois.csv").open(encoding="utf-8")))
    assert {"region", "low", "high", "p_corrected"} <= rows[0].keys()


def test_truth_table_has_a_row_per_module_and_statistic(phantom_decoder, phantom_home):
    rows = truth.truth_table(phantom_home, phantom_decoder, statistics=("pattern", "weight"), dataset="phantom-tiny")
    pairs = [(row.module, row.statistic) for row in rows]
    assert pairs == [(m, s) for m in ("anchor", "motion", "holi") for s in ("pattern", "weight")]
    assert all(row.low <= row.auc <= row.high for row in rows)
    assert truth.as_text(rows).count("\n") == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--statistic", "saliency"], "saliency"),
        (["--modules", "face"], "face"),
        (["--parcellation", "aal"], "aal"),
        (["--limits", "0.8,0.1"], "--limits"),
        (["--correction", "sidak"], "sidak"),
        (["--correction", "holm", "--n-null", "9"], "holm needs"),
        (["--subject", "sub-99"], "sub-99"),
    ],
)
def test_a_user_s_mistake_is_one_sentence(words, told, phantom_decoder, phantom_home, tmp_path, capsys):
    place = ["--checkpoint", str(phantom_decoder), "--out", str(tmp_path / "out"), "--home", str(phantom_home)]
    with pytest.raises(SystemExit) as end:
        run(app, ["importance", *place, *words])
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1 and told in error
    assert not (tmp_path / "out").exists()
