"""The Cortex tab's server side: which decoder made a run, maps computed once, layers, borders, files."""

from __future__ import annotations

import io
import json
import shutil
import time
import zipfile
from pathlib import Path

import cortex_sample
import nibabel
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from neurovis import cortex as module
from neurovis.cortex import Cortex
from neurovis.cortexspace import describe_space, surface, to_cortex
from neurovis.library import Library
from neurovis.renders import Renders
from pipeline.checkpoints import load_checkpoint
from pipeline.clipset import VoxelSpace
from pipeline.data import load, quality
from pipeline.errors import CheckpointError, ConfigError, DataError
from pipeline.grayordinates import N_LEFT, mesh_vertices
from pipeline.importance.about import ABOUT
from pipeline.importance.maps import Settings, find_checkpoints, importance_maps
from pipeline.importance.statistics import NAMES
from pipeline.manifest import read_manifest
from pipeline.provenance import decoder_source, find_decoder

ROOT = Path(__file__).resolve().parents[2]
NAME, SUBJECT = cortex_sample.NAME, cortex_sample.SUBJECTS[0]
MODULES = ["anchor", "motion", "holi", "mad"]


@pytest.fixture(scope="module")
def cortex_home(tmp_path_factory, phantom_home):
    """Return a working folder whose maps are computed by whoever asks first."""
    return cortex_sample.make_home(tmp_path_factory.mktemp("cortex-home"), phantom_home)


@pytest.fixture
def own_home(cortex_home, tmp_path):
    """Copy it, to be spoilt."""
    home = tmp_path / "own"
    shutil.copytree(cortex_home, home, symlinks=True, ignore=shutil.ignore_patterns("cortex"))
    cortex_sample.name_decoder(home)
    return home


def service(home: Path) -> Cortex:
    library = Library(home, home / "none")
    return Cortex(library, Renders(library))


def wait(cortex: Cortex, key: str) -> dict:
    deadline = time.monotonic() + 60
    while cortex.renders.status(key)["state"] in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(0.02)
    return cortex.renders.status(key)


def compute(cortex: Cortex, statistic: str = "weight") -> dict:
    told = cortex.start(NAME, SUBJECT, statistic)
    return told if told["state"] == "done" else wait(cortex, told["key"])


@pytest.fixture(scope="module")
def client(cortex_home, tmp_path_factory):
    from starlette.testclient import TestClient

    from neurovis.server import create_app

    assert compute(service(cortex_home))["state"] == "done"
    scratch = tmp_path_factory.mktemp("scratch")
    with TestClient(create_app(cortex_home, scratch, shipped=cortex_home / "none"), base_url="http://127.0.0.1") as c:
        c.scratch = scratch
        yield c


def test_a_run_says_what_can_be_shown_and_every_statistic_is_explained(cortex_home):
    found = service(cortex_home).describe(NAME)
    assert found["modules"] == MODULES and found["subjects"] == [SUBJECT, "sub-02"] and found["recorded"]
    assert set(found["layers"]) >= {"selected", "reliability", "noise_ceiling", "planted"}
    assert set(found["statistics"]) == set(NAMES) == set(ABOUT)
    assert all(about.equation and about.assumes and about.trust and about.source for about in ABOUT.values())
    assert all(about.test.startswith("p: ") and "95 %" in about.interval for about in ABOUT.values())


def test_maps_are_the_engine_s_and_are_computed_once(cortex_home, phantom_home, monkeypatch):
    cortex = service(cortex_home)
    assert compute(cortex)["state"] == "done"
    decoder = load_checkpoint(cortex_home / "decoders" / SUBJECT)
    train = load("phantom-tiny", SUBJECT, "train", phantom_home)
    wanted = importance_maps(decoder, train, Settings(statistic="weight", modules=tuple(MODULES)))
    monkeypatch.setattr(module.Cortex, "_compute", None)  # from here on nothing may be computed
    again = service(cortex_home)
    read = np.frombuffer(again.values(NAME, SUBJECT, "weight"), "<f4").reshape(5, -1)
    np.testing.assert_array_equal(read[0].view("<i4"), train.voxel_ids)
    for row, name in zip(read[1:], MODULES, strict=True):
        np.testing.assert_array_equal(row, wanted[name].scaled)
    facts = again.facts(NAME, SUBJECT, "weight")
    assert facts["state"] == "ready" and facts["modules"]["mad"]["table"][0]["region"]
    assert set(facts["likeness"]) == {f"{a} ~ {b}" for i, a in enumerate(MODULES) for b in MODULES[i + 1 :]}
    assert again.start(NAME, SUBJECT, "weight")["state"] == "done" and not again.renders.jobs


def test_the_page_is_told_how_a_pattern_was_tested(own_home):
    cortex = service(own_home)
    assert compute(cortex, "pattern_alone")["state"] == "done"
    for made in (cortex, service(own_home)):  # from memory, and from the file
        found = made.facts(NAME, SUBJECT, "pattern_alone")["modules"]["motion"]
        table = found["table"]
        assert 0 < found["n_shifts"] < 20 * len(table) and f"{len(table)} cannot pass" in found["note"]  # a short film
        assert 0 <= found["above_null"] <= 1
        assert all(row["tested"] != row["mean"] and row["interval"] == "runs" for row in table)


def test_another_decoder_or_a_damaged_file_is_no_map(own_home):
    cortex = service(own_home)
    compute(cortex)
    file = next((own_home / "cortex").iterdir())
    file.write_bytes(file.read_bytes()[:300])
    assert service(own_home).maps(NAME, SUBJECT, "weight") is None and not file.exists()
    weights = own_home / "decoders" / SUBJECT / "model.safetensors"
    save_file({k: np.asarray(v + np.float16(0.1)) for k, v in load_file(weights).items()}, weights)
    cortex_sample.name_decoder(own_home)
    assert cortex.maps(NAME, SUBJECT, "weight") is None


def test_a_computation_can_be_stopped_and_keeps_nothing(own_home):
    cortex = service(own_home)
    key = cortex.start(NAME, SUBJECT, "pattern")["key"]
    assert cortex.facts(NAME, SUBJECT, "pattern")["job"]["key"] == key
    cortex.renders.stop(key)
    assert wait(cortex, key)["state"] == "stopped"
    assert cortex.facts(NAME, SUBJECT, "pattern") == {"state": "missing", "job": None}


def test_what_is_wrong_with_a_decoder_is_one_sentence(own_home):
    weights = own_home / "decoders" / SUBJECT / "model.safetensors"
    broken = {
        k: np.where(np.arange(v.size).reshape(v.shape) == 0, np.nan, v).astype(v.dtype)
        for k, v in load_file(weights).items()
    }
    save_file(broken, weights)
    told = service(own_home).describe(NAME)["reason"]
    assert "are not those that made it" in told and told.count(". ") == 0
    cortex_sample.name_decoder(own_home)
    job = compute(service(own_home))
    assert job["state"] == "failed" and "must be finite" in job["message"]
    weights.unlink()
    assert "its decoder is gone" in service(own_home).describe(NAME)["reason"]
    assert "does not say which decoder" in service(own_home).describe("silent")["reason"]


def test_the_decoder_of_a_run_is_found_by_what_it_recorded(own_home):
    folder = own_home / "decoders" / SUBJECT
    assert find_checkpoints(NAME, None, (), own_home) == {SUBJECT: folder}
    manifest = read_manifest(own_home / "runs" / NAME)
    assert find_decoder(manifest).recorded and len(manifest.decoder.sha256) == 64
    other = manifest.model_copy(update={"decoder": manifest.decoder.model_copy(update={"sha256": "0" * 64})})
    with pytest.raises(CheckpointError, match="SHA-256"):
        find_decoder(other)
    videos = manifest.model_copy(update={"source": "videos"})
    with pytest.raises(ConfigError, match="imported from videos"):
        find_decoder(videos)
    shipped = read_manifest(ROOT / "assets" / "phantom" / "runs" / "phantom-sub-02")
    assert decoder_source(find_decoder(shipped).folder).folder == "assets/phantom/decoders/sub-02"


def test_layers_are_those_of_the_recording(client, phantom_home):
    known = quality("phantom-tiny", SUBJECT, phantom_home)
    for layer in ("selected", "reliability", "noise_ceiling"):
        body = client.get(f"/neurovis/cortex/{NAME}/{SUBJECT}/layer/{layer}").content
        ids, values = np.frombuffer(body, "<f4").reshape(2, -1)
        np.testing.assert_array_equal(ids.view("<i4"), known["voxel_ids"])
        np.testing.assert_array_equal(values, known[layer].astype(np.float32))
    planted = client.get(f"/neurovis/cortex/{NAME}/{SUBJECT}/layer/planted?module=motion").content
    assert 0 < np.frombuffer(planted, "<f4").reshape(2, -1)[1].mean() < 1
    refused = client.get(f"/neurovis/cortex/{NAME}/{SUBJECT}/layer/planted?module=mad")
    assert refused.status_code == 404 and "nothing was planted for mad" in refused.json()["error"]
    for path in (f"{NAME}/{SUBJECT}/layer/depth", f"{NAME}/{SUBJECT}/loudness", f"{NAME}/sub-09/weight", "nobody"):
        answer = client.get(f"/neurovis/cortex/{path}")
        assert answer.status_code == 404 and answer.json()["error"]


@pytest.mark.parametrize(
    ("kind", "magic"),
    [
        ("png", b"\x89PNG"),
        ("pdf", b"%PDF"),
        ("svg", b"<?xml"),
        ("dscalar.nii", b"\x1c\x02\x00\x00n+2"),
        ("L.func.gii", b"<?xml"),
        ("csv", b"subject,module"),
    ],
)
def test_files_are_made_and_named_as_simulated(client, kind, magic):
    answer = client.get(f"/neurovis/cortex/{NAME}/{SUBJECT}/weight/importance.{kind}?module=mad&low=0.1&high=0.9")
    assert answer.status_code == 200 and answer.content.startswith(magic)
    assert f'"{NAME}_{SUBJECT}_weight_simulated_importance.{kind}"' in answer.headers["content-disposition"]
    assert not list(client.scratch.glob("tmp*"))


def test_the_zip_holds_everything_and_what_it_was_computed_from(client, cortex_home):
    answer = client.get(f"/neurovis/cortex/{NAME}/{SUBJECT}/weight/importance.zip?label=V1")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        names = {Path(name).name for name in packed.namelist()}
        facts = json.loads(packed.read(next(n for n in packed.namelist() if n.endswith(".json"))))
    assert names == {
        "importance.png", "importance.svg", "importance.pdf", "importance.dscalar.nii", "importance.L.func.gii",
        "importance.R.func.gii", "rois.csv", "importance.json",
    }  # fmt: skip
    assert facts["checkpoint_sha256"] == decoder_source(cortex_home / "decoders" / SUBJECT).sha256
    assert facts["simulated"] and facts["decoder_recorded_by_run"] and facts["n_clips"]["train"] > 0
    for query in ("low=1&high=0", "colours=jet2", "module=taste"):
        assert client.get(f"/neurovis/cortex/{NAME}/{SUBJECT}/weight/importance.png?{query}").status_code == 404
    missing = client.get(f"/neurovis/cortex/{NAME}/{SUBJECT}/pattern_joint/importance.png")
    assert "not computed yet" in missing.json()["error"]


def test_borders_run_where_the_picture_changes_its_area(client):
    from neurovis.importance_figure import flat_map

    pieces = np.frombuffer(client.get("/neurovis/cortex-borders").content, "<i2").reshape(-1, 6)
    vertex, region, _, names = flat_map()
    label = np.where(vertex == 65535, -1, region[np.minimum(vertex, len(region) - 1)].astype(int))
    assert len(np.unique(pieces[:, 4:])) == len(names) and (pieces[:, 4] != pieces[:, 5]).all()
    rng = np.random.default_rng(0)
    for x0, y0, x1, y1, one, other in pieces[rng.permutation(len(pieces))[:400]]:
        # The page divides by 16 as well (static/cortexflat.js).
        column, row = round((x0 + x1) / 2 / 16), round((y0 + y1) / 2 / 16)
        near = label[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4]
        assert {one, other} <= set(near.ravel().tolist())


def test_a_volume_is_put_on_the_cortex_only_where_its_import_says_mni(tmp_path):
    affine = ((4.0, 0.0, 0.0, -90.0), (0.0, 5.0, 0.0, -130.0), (0.0, 0.0, 6.0, -72.0), (0.0, 0.0, 0.0, 1.0))
    space = VoxelSpace("volume", (46, 43, 31), affine)
    card = {"format": 1, "layout": "bids", "simulated": False, "subjects": [], "options": {}}
    for named, kept in ((None, None), ("T1w", None), ("MNI152NLin2009cAsym", "MNI152NLin2009cAsym")):
        folder = tmp_path / "datasets" / "slices"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dataset.json").write_text(json.dumps(card | {"options": {"bids_space": named}}))
        assert describe_space(space, "slices", tmp_path)["mni"] == kept
    assert describe_space(None, "slices", tmp_path)["kind"] == "unknown"
    ids = np.arange(46 * 43 * 31)
    places = nibabel.affines.apply_affine(affine, np.stack(np.unravel_index(ids, space.shape), 1))
    values = (places @ [1.0, 0.5, -0.25]).astype(np.float32)  # mm along a direction that no axis shares
    found = to_cortex(values, ids, space)
    own = surface("R")[0][mesh_vertices()[N_LEFT:]] @ [1.0, 0.5, -0.25]
    assert np.isfinite(found).all() and np.abs(found[N_LEFT:] - own).max() < 2
    front = places[:, 1] > 0
    half = to_cortex(values[front], ids[front], space)
    inside = np.isfinite(half)
    assert 0.2 < inside.mean() < 0.8 and np.abs(half - found)[inside].max() < 5  # no zeros from outside are mixed in
    with pytest.raises(DataError, match="affine"):
        to_cortex(values, ids, VoxelSpace("volume", (46, 43, 31)))


def test_our_colours_are_nilearn_s(cortex_home):
    """Two engines, one map: our picture of vertices, and nilearn's faces on the flat surface."""
    from matplotlib import colormaps
    from nilearn.plotting import plot_surf

    from neurovis.flatmap import flat_sides
    from neurovis.importance_figure import LIMITS, add_panel, flat_map
    from pipeline.importance.maps import ImportanceMap

    vertex, region, _, _ = flat_map()
    left = np.arange(N_LEFT)
    level = (region[:N_LEFT] * 37 % 101 / 100).astype(np.float32)  # one value an area, so that whole faces share it
    found = ImportanceMap("sub-01", "anchor", "weight", level, left, VoxelSpace("fs_LR_32k"), 1.0)
    shown: list[np.ndarray] = []
    canvas = type(
        "Canvas", (), {"imshow": lambda _, picture, **k: shown.append(picture), "set_axis_off": lambda _: None}
    )()
    add_panel(canvas, found, LIMITS, "inferno")
    side = flat_sides()[0]
    on_mesh = np.full(len(side.x), np.nan, np.float32)
    on_mesh[side.gray >= 0] = level[side.gray[side.gray >= 0]]
    points = np.stack([side.x, -side.y, np.zeros_like(side.x)], 1)
    figure = plot_surf(
        [points, side.faces], on_mesh, cmap=colormaps["inferno"], vmin=LIMITS[0], vmax=LIMITS[1], engine="matplotlib",
        colorbar=False, bg_on_data=False, alpha=1,
    )  # fmt: skip
    faces = figure.axes[0].collections[0]._facecolor3d  # what get_facecolor returns is sorted by depth
    alike = np.flatnonzero(np.ptp(region[side.gray[side.faces]].astype(int), axis=1) == 0)
    checked = 0
    for face in np.random.default_rng(1).permutation(alike)[:300]:
        rows, columns = np.nonzero(vertex == side.gray[side.faces[face][0]])
        if len(rows):
            np.testing.assert_allclose(shown[0][rows[0], columns[0], :3], faces[face][:3], atol=1.5 / 255)
            checked += 1
    assert checked > 250
