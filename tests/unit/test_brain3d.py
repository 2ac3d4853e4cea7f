"""The 3-D view and pycortex's figure: the subject, the viewer's files, their route, and that three engines agree."""

import json
import os
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest

from neurovis import brain3d, brain3d_routes, brain3d_subject
from neurovis.flatmap import NO_VERTEX
from neurovis.importance_figure import COLOURS, LIMITS, draw, flat_map
from neurovis.mapnames import SIDES
from neurovis.outlines import region_polygons, rings
from neurovis.routes import _sentence
from neurovis.security import FRAMED, Guard
from pipeline.clipset import VoxelSpace
from pipeline.errors import ConfigError, DataError, NeuroVisError
from pipeline.grayordinates import N_CORTEX, N_LEFT, N_MESH, area_names, cortex_rows
from pipeline.importance.maps import ImportanceMap

SURFACE = VoxelSpace("fs_LR_32k")
# A level of an 8-bit colour: pycortex keeps colours as bytes, the other two as floats.
TOLERANCE = 1.01 / 255


def area_map(module, seed, every=1):
    """A map that is constant within each area, on every n-th grayordinate."""
    ids = np.arange(0, N_CORTEX, every, dtype=np.int64)
    names, codes = np.unique(area_names()[ids], return_inverse=True)
    values = np.random.default_rng(seed).random(len(names)).astype(np.float32)[codes]
    return ImportanceMap("sub-07", module, "pattern", values, ids, SURFACE, 0.71, simulated=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def maps():
    return {"anchor": area_map("anchor", 1), "mad": area_map("mad", 2, every=3)}


@pytest.fixture(scope="module")
def made(maps, cache):
    return brain3d.viewer(maps, cache / "viewers" / "one", cache)


def test_outlines_share_their_border_and_cover_the_mesh():
    y, x = np.mgrid[:4, :6]
    points = np.column_stack([x.ravel(), y.ravel()]).astype(float)
    corner = (y[:-1, :-1] * 6 + x[:-1, :-1]).ravel()
    faces = np.concatenate([corner + np.array([[0], [1], [7]]), corner + np.array([[0], [7], [6]])], 1).T
    labels = np.where(points[:, 0] < 2, 4, 9)
    found = region_polygons(points, faces, labels)
    assert found[4].area == pytest.approx(1.5 * 3) and found[9].area == pytest.approx(3.5 * 3)
    assert found[4].intersection(found[9]).length == pytest.approx(found[4].boundary.intersection(found[9]).length)
    folded = np.concatenate([faces, faces[:1, ::-1]])
    assert region_polygons(points, folded, labels)[4].area == pytest.approx(4.5)
    parts = rings(found, smallest=5)
    assert list(parts) == [9] and np.ptp(parts[9][0], axis=0) == pytest.approx(
        [5 - 4 / 3, 3]
    )  # through the faces' centres


def test_values_land_on_their_vertex_and_nowhere_else():
    last = N_CORTEX - 1
    spread = brain3d_subject.on_mesh(np.array([5, 7, 9], np.float32), np.array([0, N_LEFT, last]))
    left, right = cortex_rows()
    assert spread.shape == (2 * N_MESH,) and np.isfinite(spread).sum() == 3
    assert spread[np.flatnonzero(left == 0)[0]] == 5
    assert spread[N_MESH + np.flatnonzero(right == N_LEFT)[0]] == 7
    assert spread[N_MESH + np.flatnonzero(right == last)[0]] == 9


def test_no_face_of_the_subject_spans_a_cut(made, cache):
    folder = cache / brain3d_subject.STORE / brain3d_subject.SUBJECT / "surfaces"
    for side, sign in (("lh", -1), ("rh", 1)):
        flat, inflated = np.load(folder / f"flat_{side}.npz"), np.load(folder / f"inflated_{side}.npz")
        used = np.unique(flat["polys"])
        assert (sign * flat["pts"][used, 0]).min() == pytest.approx(brain3d_subject.GAP / 2, abs=1e-3)
        assert not brain3d_subject.cut_faces(inflated["polys"], flat["polys"]).any()
        kept = inflated["polys"][np.isin(inflated["polys"], used).all(1)]
        edges = np.linalg.norm(flat["pts"][kept] - flat["pts"][np.roll(kept, 1, 1)], axis=2)
        assert edges.max() < 14  # mm; a web would be tens long


def test_the_viewer_is_whole_and_says_what_it_shows(made):
    page = (made / "index.html").read_text(encoding="utf-8")
    assert "SIMULATED DATA" in page and "HCP S1200" in page and "neurovis-bar" in page
    assert "Leap.loop" not in page
    assert sorted(path.suffix for path in made.iterdir()) == ["", ".ctm", ".html", ".json", ".svg"]
    data = [np.load(path) for path in (made / "data").iterdir()]
    assert sorted(int(np.isfinite(values).sum()) for values in data) == [-(-N_CORTEX // 3), N_CORTEX]
    svg = next(made.glob("*.svg")).read_text(encoding="utf-8")
    assert svg.count(">V1</text>") == 2 and "data-ptidx" in svg


def test_a_viewer_that_fails_leaves_nothing(maps, cache, monkeypatch):
    def broken(out, *args, **kwargs):
        open(os.path.join(out, "half.html"), "w").close()
        raise OSError("no")

    with brain3d_subject.pycortex(cache) as cortex:
        monkeypatch.setattr(cortex.webgl, "make_static", broken)
    with pytest.raises(OSError, match="no"):
        brain3d.viewer(maps, cache / "broken" / "two", cache)
    assert not list((cache / "broken").iterdir())


def test_the_key_follows_what_would_be_shown(maps):
    other = {"anchor": maps["anchor"], "mad": area_map("mad", 3, every=3)}
    keys = {brain3d.viewer_key(maps), brain3d.viewer_key(other), brain3d.viewer_key(maps, (0.1, 0.9))}
    assert len(keys) == 3 and brain3d.viewer_key(dict(maps)) in keys


def test_three_engines_give_a_vertex_the_same_colour(cache):
    import nibabel
    from nilearn import plotting

    found, limits = area_map("anchor", 4), LIMITS
    values = brain3d_subject.on_mesh(found.scaled, found.voxel_ids)[:N_MESH]
    surface = nibabel.load(brain3d_subject._data() / "S1200.L.inflated_MSMAll.32k_fs_LR.surf.gii")
    points, faces = (array.data for array in surface.darrays[:2])
    # nilearn colours faces: those are compared whose corners have one value, at the first corner of each.
    figure = plotting.plot_surf(
        [points, faces], np.nan_to_num(values), cmap=COLOURS, vmin=limits[0], vmax=limits[1], colorbar=False
    )
    (mesh,) = figure.axes[0].collections
    nilearns = np.asarray(mesh._facecolor3d)[:, :3]

    vertex = flat_map()[0]
    (panel,) = (image for image in draw({"anchor": found}, limits).axes[0].images[:1])
    painted = np.asarray(panel.get_array())
    inside = vertex < N_LEFT
    ours = np.full((N_MESH, 3), np.nan)
    ours[np.flatnonzero(cortex_rows()[0] >= 0)[vertex[inside]]] = painted[inside][:, :3]
    assert (vertex[inside] != NO_VERTEX).all()

    with brain3d_subject.pycortex(cache) as cortex:
        full = brain3d_subject.on_mesh(found.scaled, found.voxel_ids)
        view = cortex.Vertex(full, brain3d_subject.SUBJECT, cmap=COLOURS, vmin=limits[0], vmax=limits[1])
        pycortexs = view.raw.vertices[0, :N_MESH, :3] / 255

    corners = values[faces]
    plain = np.isfinite(corners).all(1) & (corners == corners[:, :1]).all(1) & np.isfinite(ours[faces[:, 0]]).all(1)
    at = faces[plain][:, 0]
    assert len(np.unique(at)) > 5000 and len(np.unique(values[at])) > 100
    assert np.abs(ours[at] - nilearns[plain]).max() <= TOLERANCE
    assert np.abs(ours[at] - pycortexs[at]).max() <= TOLERANCE


def test_pycortex_draws_the_figure_with_our_outlines(maps, cache):
    figure = brain3d.quickflat_figure(maps, cache)
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 2 and "simulated" in figure._suptitle.get_text()
    (borders,) = panels[0].collections
    names = [text.get_text() for text in panels[0].texts]
    assert len(borders.get_segments()) >= 360 and names.count("V1") == 2
    assert [name for name in names if name in SIDES] == list(SIDES)
    around = {text: text.get_window_extent() for text in panels[0].texts}
    assert not [(a, b) for a, b in combinations(around, 2) if around[a].overlaps(around[b])]
    left, right = panels[0].get_xlim()
    assert all(left <= ring[:, 0].min() and ring[:, 0].max() <= right for ring in borders.get_segments())


def test_the_user_s_own_configuration_of_pycortex_is_left_alone(tmp_path):
    script = (
        "import sys; from pathlib import Path; from neurovis.brain3d_subject import pycortex\n"
        "with pycortex(Path(sys.argv[1])) as cortex: print(cortex.options.usercfg, file=sys.stderr)\n"
    )
    mine = {"HOME": str(tmp_path / "user"), "XDG_CONFIG_HOME": str(tmp_path / "user" / "config")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "cache")],
        env={**os.environ, **mine}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == ""
    assert done.stderr.strip().startswith(str(tmp_path / "cache" / "config"))
    assert not [path for path in (tmp_path / "user").rglob("*") if "pycortex" in path.name]


def test_wrong_maps_are_refused_in_one_sentence(maps, tmp_path):
    with pytest.raises(DataError, match="at least one map"):
        brain3d.viewer({}, tmp_path / "x", tmp_path)
    with pytest.raises(ConfigError, match="must rise"):
        brain3d.viewer(maps, tmp_path / "x", tmp_path, (0.7, 0.2))
    volume = ImportanceMap("sub-07", "mad", "weight", np.ones(4), np.arange(4), VoxelSpace("volume", (2, 2, 1)), 0.5)
    with pytest.raises(DataError, match="got voxels of kind 'volume'"):
        brain3d.viewer({"mad": volume}, tmp_path / "x", tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_colour_map_is_refused(maps, cache):
    with pytest.raises(ConfigError, match="'nosuch' is not one of pycortex's"):
        brain3d.viewer(maps, cache / "viewers" / "never", cache, colours="nosuch")
    assert not (cache / "viewers" / "never").exists()


@pytest.fixture(scope="module")
def client(maps, cache):
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    app, asked = FastAPI(), []

    def maps_of(name, subject, statistic):
        if name != "run-a":
            raise DataError(f"{name}: no such run; name another")
        asked.append((name, subject, statistic))
        return maps

    app.add_exception_handler(NeuroVisError, _sentence)
    app.include_router(brain3d_routes.brain3d_router(maps_of, cache / "served"), prefix="/neurovis")
    app.add_middleware(Guard)
    (cache / "served").mkdir()
    (cache / "served" / brain3d_subject.STORE).symlink_to(cache / brain3d_subject.STORE)
    with TestClient(app, base_url="http://127.0.0.1:7860") as found:
        found.asked = asked
        yield found


def test_the_route_makes_a_viewer_once_and_serves_its_files(made, client, cache):
    facts = client.get("/neurovis/brain3d/run-a/sub-07/weight").json()
    assert client.asked == [("run-a", "sub-07", "weight")] and facts["simulated"] and facts["url"].startswith(FRAMED)
    stamp = [path.stat().st_mtime_ns for path in (cache / "served" / "viewers").iterdir()]
    assert client.get("/neurovis/brain3d/run-a/sub-07/weight").json()["url"] == facts["url"]
    assert stamp == [path.stat().st_mtime_ns for path in (cache / "served" / "viewers").iterdir()]
    page = client.get(facts["url"])
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    svg = next((cache / "served" / "viewers").rglob("*.svg")).name
    served = client.get(facts["url"].replace("index.html", svg))
    assert served.status_code == 200 and served.headers["content-type"] == "image/svg+xml"
    description = client.get(facts["url"].replace("index.html", svg.replace(".svg", ".json")))
    assert json.loads(description.content)["names"] == list(brain3d.TYPES)


def test_the_viewer_is_sandboxed_and_the_rest_of_the_app_is_not_framed(made, client):
    url = client.get("/neurovis/brain3d/run-a/sub-07/weight")
    assert url.headers["x-frame-options"] == "DENY" and "access-control-allow-origin" not in url.headers
    headers = client.get(url.json()["url"]).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "sandbox allow-scripts allow-downloads" in policy
    assert "allow-same-origin" not in policy and "unsafe-eval" not in policy and "http" not in policy
    assert headers["access-control-allow-origin"] == "null" and headers["x-frame-options"] == "SAMEORIGIN"


@pytest.mark.parametrize("path", ["../../config/pycortex/options.cfg", "..%2F..%2Fconfig%2Fx.json", "nothing.json", ""])
def test_nothing_but_a_viewer_s_files_is_served(made, client, path):
    url = client.get("/neurovis/brain3d/run-a/sub-07/weight").json()["url"]
    assert client.get(url.replace("index.html", path)).status_code in (404, 405)
    assert client.get(f"{FRAMED}../index.html").status_code == 404


def test_old_viewers_are_forgotten(tmp_path):
    for age, name in enumerate(("new", "old", "older")):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    brain3d_routes._forget(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
