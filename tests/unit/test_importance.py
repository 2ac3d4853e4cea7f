"""Importance: statistics against cases worked out by hand, their uncertainty, the files, and the command."""

import csv
import json
from dataclasses import replace

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
from pipeline.importance import export, inference, truth
from pipeline.importance.maps import ImportanceMap, Settings, find_checkpoints, importance_maps
from pipeline.importance.permutation import _derangement, clip_scores, permutation
from pipeline.importance.statistics import STATISTICS, loadings, own_sources, pattern, pattern_alone, scaled
from pipeline.importance.study import Study, regions_of, study_of
from pipeline.methods.semvideo import CONFIGS, SemVideo, Sizes

N_CLIPS, N_VOXELS = 601, 5


def study(volumes, layers, n_runs=3):
    runs = np.array([f"run-{i * n_runs // len(volumes)}" for i in range(len(volumes))])
    weights = {name: np.asarray(w, np.float32).reshape(len(w), 1, -1) for name, w in layers.items()}
    return Study("sub-07", weights, np.asarray(volumes, np.float32)[:, None], runs)


@pytest.fixture
def suppressed(rng):
    """Voxel 0 holds signal + noise, voxel 1 the noise alone: the best decoder reads x0 - x1. The rest is idle."""
    signal, noise = rng.standard_normal((2, N_CLIPS))
    idle = rng.standard_normal((N_CLIPS, N_VOXELS - 2))
    x = np.column_stack([signal + noise, noise, idle])
    return study(x, {"anchor": [[1, -1, 0, 0, 0]]})


def test_weights_mistake_a_suppressor_for_signal_and_the_pattern_does_not(suppressed):
    weight = STATISTICS["weight"].function(suppressed, "anchor")
    found = pattern(suppressed, "anchor")
    assert weight[0] == weight[1] == 1
    assert found[0] == pytest.approx(1 / np.sqrt(2), abs=0.05)  # corr(signal + noise, signal)
    assert found[1] < 0.1


def test_pattern_is_haufe_s_formula(rng):
    x = rng.standard_normal((N_CLIPS, N_VOXELS)) @ rng.standard_normal((N_VOXELS, N_VOXELS))
    w = rng.standard_normal((3, N_VOXELS))
    x -= x.mean(0)
    covariance = x.T @ x / N_CLIPS
    pattern_of = covariance @ w.T @ np.linalg.inv(w @ covariance @ w.T)  # eq. 6
    # Sources in units of their standard deviations, as the weights' scale is arbitrary.
    wanted = np.abs(pattern_of * np.sqrt(np.diag(w @ covariance @ w.T))).mean(1) / x.std(0)
    joint = STATISTICS["pattern_joint"].function(study(x, {"holi": w}), "holi")
    np.testing.assert_allclose(joint, wanted, rtol=1e-4)


def test_one_output_has_one_pattern_whatever_its_scale(suppressed):
    louder = replace(suppressed, layers={"anchor": -7 * suppressed.layers["anchor"]})
    for name in ("pattern", "pattern_alone", "pattern_joint"):
        np.testing.assert_allclose(
            STATISTICS[name].function(louder, "anchor"), STATISTICS[name].function(suppressed, "anchor"), rtol=1e-4
        )


def test_pattern_leaves_out_what_the_counterpart_sees_too(rng):
    shared, own = rng.standard_normal((2, N_CLIPS))
    x = np.column_stack([shared, own, rng.standard_normal(N_CLIPS)])
    case = study(x, {"anchor": [[1, 1, 0]], "motion": [[1, 0, 0]]})
    plain, found = pattern_alone(case, "anchor"), pattern(case, "anchor")
    assert plain[0] == pytest.approx(0.7, abs=0.06) and found[0] < 0.08
    assert found[1] > 0.95
    np.testing.assert_allclose(pattern(case, "anchor", given=()), plain)


def test_signed_weights_cancel():
    case = study(np.eye(4, 3), {"anchor": [[2, 1, 0], [-2, 1, 0]]}, n_runs=2)
    np.testing.assert_allclose(STATISTICS["weight"].function(case, "anchor"), [2, 1, 0])
    np.testing.assert_allclose(STATISTICS["weight_signed"].function(case, "anchor"), [0, 1, 0])


def test_voxels_of_two_volumes_are_averaged(rng):
    volumes = rng.standard_normal((N_CLIPS, 2, 3)).astype(np.float32)
    weights = np.zeros((1, 2, 3), np.float32)
    weights[0, 1, 2] = 1
    case = Study("sub-07", {"anchor": weights}, volumes, np.full(N_CLIPS, "run"))
    np.testing.assert_allclose(pattern(case, "anchor"), [0, 0, 0.5], atol=0.06)


def test_blocks_do_not_change_the_loadings(suppressed, monkeypatch):
    sources = own_sources(suppressed, "anchor")
    whole = loadings(suppressed, sources)
    monkeypatch.setattr("pipeline.importance.statistics.VOXEL_BLOCK", 2)
    np.testing.assert_allclose(loadings(suppressed, sources), whole, rtol=1e-5)


def test_scaling_spans_zero_to_one():
    np.testing.assert_allclose(scaled(np.array([3, 5, 4], np.float32)), [0, 1, 0.5])
    np.testing.assert_allclose(scaled(np.full(3, 2, np.float32)), 0)


def test_halves_of_a_stable_map_agree(suppressed):
    assert inference.split_half(suppressed, "anchor", "pattern") > 0.95
    assert np.isnan(inference.split_half(suppressed, "anchor", "weight"))  # one output has no halves
    one_run = replace(suppressed, groups=np.full(N_CLIPS, "run"))
    assert np.isnan(inference.split_half(one_run, "anchor", "pattern"))


def test_null_of_the_pattern_has_no_signal_and_weights_have_none(suppressed):
    null = inference.null_maps(suppressed, "anchor", "pattern", n_null=13)
    assert null.shape == (13, N_VOXELS) and null.max() < 0.2
    assert inference.null_maps(suppressed, "anchor", "weight", n_null=13) is None


def test_regions_have_intervals_and_corrected_p(suppressed):
    null = inference.null_maps(suppressed, "anchor", "pattern", n_null=99)
    regions = np.array(["A", "B", "C", "C", ""])
    rows = inference.region_table(pattern(suppressed, "anchor"), regions, null, ("sub-07", "anchor", "pattern"), 200)
    assert [row.region for row in rows][0] == "A" and {row.region for row in rows} == {"A", "B", "C"}
    assert all(row.low <= row.mean <= row.high and row.p <= row.p_corrected for row in rows)
    by_name = {row.region: row for row in rows}
    assert by_name["A"].p == 0.01 and by_name["C"].p_corrected > 0.05


def test_corrections_are_those_of_the_textbook():
    p = np.array([0.01, 0.04, 0.03])
    np.testing.assert_allclose(inference.adjust(p, "holm"), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(inference.adjust(p, "benjamini-hochberg"), [0.03, 0.04, 0.04])
    with pytest.raises(ConfigError, match="sidak"):
        inference.adjust(p, "sidak")


def test_weights_test_regions_by_shuffled_labels(rng):
    values = np.r_[rng.random(40) + 2, rng.random(300)].astype(np.float32)
    regions = np.array(["high"] * 40 + ["low"] * 300)
    rows = inference.region_table(values, regions, None, ("s", "m", "weight"), 150)
    assert rows[0].region == "high" and rows[0].p == pytest.approx(1 / 151) and rows[1].p == 1


def test_tables_stand_side_by_side():
    row = inference.RegionRow("s", "m", "pattern", "V1", 3, 0.5, 0.4, 0.6, 0.1, 0.2, 0.01, 0.02)
    both = inference.compare({"one": [row], "two": [replace(row, region="MT", mean=0.9), replace(row, mean=0.2)]})
    assert both == [{"region": "MT", "one": None, "two": 0.9}, {"region": "V1", "one": 0.5, "two": 0.2}]


def test_auc_is_one_for_the_truth_and_its_interval_is_over_regions():
    planted = np.array([True] * 6 + [False] * 5)
    regions = np.array(list("aabbccddeef"))[: len(planted)]
    assert truth.auc_with_interval(planted.astype(np.float32), planted, regions, 20) == (1, 1, 1)
    values = np.array([3, 3, 3, 3, 0, 0, 1, 1, 1, 1, 1], np.float32)
    auc, low, high = truth.auc_with_interval(values, planted, regions, 200)
    assert auc == pytest.approx(4 / 6) and low < auc < high
    with pytest.raises(DataError, match="planted"):
        truth.auc_with_interval(values, np.ones(11, bool), regions)


class Linear:
    """A decoder whose anchor text is the first voxels."""

    STAGES = ("anchor",)

    def decode(self, clipset, stages):
        assert clipset.captions == {} and clipset.stimulus is None
        return clipset.with_cues(anchor=clipset.mean_fmri()[:, :4])


def test_permutation_finds_the_region_that_matters():
    clips = decoder_samples.clipset()
    regions = np.array(["used"] * 4 + ["idle"] * 20 + [""] * 7)
    targets = {"anchor": clips.mean_fmri()[:, :4]}
    rows = permutation(Linear(), clips, targets, regions, n_shuffles=2, n_bootstrap=200)["anchor"][0]
    assert [row.region for row in rows] == ["used", "idle"]
    assert rows[0].low > 0.3 and rows[0].p_corrected < 0.02
    assert rows[1].mean == 0 and rows[1].p == 1


def test_halves_of_the_clips_agree_on_the_regions():
    clips = decoder_samples.clipset()
    regions = np.array(["much"] * 3 + ["little"] * 1 + ["idle"] * 27)
    targets = {"anchor": clips.mean_fmri()[:, :4]}
    _, half = permutation(Linear(), clips, targets, regions, n_shuffles=2, n_bootstrap=9)["anchor"]
    assert half > 0.9


def test_a_shuffled_region_keeps_no_clip_in_its_place(rng):
    for n in (2, 3, 17):
        order = _derangement(rng, n)
        assert sorted(order) == list(range(n)) and not (order == np.arange(n)).any()


def test_score_of_a_clip_is_the_centred_cosine():
    target = np.array([[1.0, 0], [-1, 0], [0, 2], [0, -2]])
    np.testing.assert_allclose(clip_scores(target * 3, target), 1)
    np.testing.assert_allclose(clip_scores(-target, target), -1)


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
    assert found.values.shape == (31,) and found.null_high.shape == (31,) and found.table and found.simulated
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
