"""Where a run's voxels lie, by what was recorded of them, and volumes in MNI space sampled at the cortex."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.flatmap import surface_folder
from pipeline.clipset import VoxelSpace
from pipeline.errors import DataError, NeuroVisError
from pipeline.grayordinates import N_CORTEX, N_LEFT, mesh_vertices
from pipeline.manifest import Space

Array = NDArray[np.float32]


def describe_space(space: Space | VoxelSpace | None, dataset: str, home: Path) -> dict[str, Any]:
    """Say how voxels can be drawn.

    A volume is taken for MNI only where the import was told so (``--bids-space MNI...``): an affine alone does not
    tell one brain's own space from the template's.

    Returns
    -------
    dict
        ``kind``; ``shape`` and ``affine`` of a volume; ``mni`` (the template's name or None); ``told``, a sentence.
    """
    if space is None or space.kind == "unknown":
        told = (
            "The position of these voxels is not known, so they cannot be drawn. The Data tab finds it again from the "
            "raw files (python -m pipeline recover-index), or import those."
        )
        return {"kind": "unknown", "mni": None, "told": told}
    if space.kind == "fs_LR_32k":
        return {"kind": space.kind, "mni": None, "told": "Cortical vertices of the HCP's fs_LR 32k mesh."}
    named = _recorded(dataset, home)
    if named:
        told = (
            f"Voxels of a volume in {named}, as its import was told: slices, and the same values sampled by nilearn at "
            "the HCP's group-average cortex, whose coordinates are MNI's. A single brain's folds differ from it."
        )
    else:
        told = (
            "Voxels of a volume. Its import does not say that the space is MNI, so the values are drawn slice by slice "
            "and not put on a cortex; import it again with --bids-space MNI... where the images are in that space."
        )
    return {"kind": "volume", "shape": space.shape, "affine": space.affine, "mni": named, "told": told}


def _recorded(dataset: str, home: Path) -> str | None:
    """Return the MNI template that the data set's import was told of, or None."""
    from pipeline.data import describe

    try:
        named = describe(dataset, home).options.get("bids_space")
    except NeuroVisError:
        return None
    return str(named) if named and str(named).upper().startswith("MNI") else None


def to_cortex(values: Array, voxel_ids: NDArray[np.int64], space: VoxelSpace) -> Array:
    """Sample a volume in MNI space between the HCP's white and pial surfaces, around the midthickness.

    Parameters
    ----------
    values : (n_voxels,) float32
    voxel_ids : (n_voxels,) int64
        Flat C-order indices into the grid.
    space : VoxelSpace
        Of kind ``volume``, with shape and affine.

    Returns
    -------
    (59412,) float32
        NaN where no voxel lies.

    Raises
    ------
    DataError
        When the grid or its affine is not known.
    """
    import nibabel
    from nilearn.surface import vol_to_surf

    if space.shape is None or space.affine is None:
        raise DataError("a volume's grid and affine must be known to put it on a cortex; import it from its images")
    grid = np.zeros((2, int(np.prod(space.shape))), np.float32)
    grid[0, voxel_ids], grid[1, voxel_ids] = values, 1
    affine = np.array(space.affine, np.float64)
    images = [nibabel.Nifti1Image(one.reshape(space.shape), affine) for one in grid]
    where = nibabel.Nifti1Image(grid[1].reshape(space.shape).astype(np.int8), affine)
    vertices = mesh_vertices()
    found = np.full(N_CORTEX, np.nan, np.float32)
    for side, rows in (("L", slice(0, N_LEFT)), ("R", slice(N_LEFT, N_CORTEX))):
        # Linear interpolation mixes in the zeros outside of what was measured; the share of what was takes them out.
        with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)  # a vertex without any sample is meant to be NaN
            total, share = (vol_to_surf(image, list(surface(side)), mask_img=where) for image in images)
            found[rows] = np.where(share > 0, total / share, np.nan)[vertices[rows]]
    return found


@lru_cache(maxsize=2)
def surface(side: str) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return vertices (32492, 3), mm, and faces (n_faces, 3) of the midthickness surface of ``"L"`` or ``"R"``."""
    import nibabel

    path = surface_folder() / f"S1200.{side}.midthickness_MSMAll.32k_fs_LR.surf.gii"
    points, faces = (array.data for array in nibabel.load(path).darrays[:2])
    return points, faces
