"""Importance maps as files: CIFTI-2 for Workbench, GIFTI for nilearn, NIfTI for volumes, CSV, JSON."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ConfigError, DataError
from pipeline.grayordinates import N_CORTEX, N_LEFT, N_MESH, mesh_vertices
from pipeline.importance.about import ABOUT
from pipeline.importance.inference import ALPHA, RegionRow, compare
from pipeline.importance.maps import ImportanceMap, Settings, likeness_table
from pipeline.importance.study import Array
from pipeline.paths import atomic_file, write_json

DSCALAR, NIFTI = "importance.dscalar.nii", "importance.nii.gz"
GIFTI = {"left": "importance.L.func.gii", "right": "importance.R.func.gii"}


def on_cortex(found: ImportanceMap) -> Array:
    """Return the scaled map on all cortical grayordinates, NaN where the decoder reads nothing: (59412,) float32."""
    full = np.full(N_CORTEX, np.nan, np.float32)
    full[found.voxel_ids] = found.scaled
    return full


def write_dscalar(maps: Mapping[str, ImportanceMap], path: Path) -> Path:
    """Write fs_LR maps as CIFTI-2 dense scalars: a row a module, the 59,412 cortical grayordinates, NaN outside.

    Parameters
    ----------
    maps : mapping of module to ImportanceMap
        On fs_LR 32k.
    path : Path
        Ends in ``.dscalar.nii``.

    Raises
    ------
    ConfigError
        When the file's name says another type.
    """
    import nibabel
    from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ScalarAxis

    if not path.name.endswith(".dscalar.nii"):
        raise ConfigError(f"{path}: a CIFTI file of scalars must be called *.dscalar.nii")
    vertices = mesh_vertices()
    brain = BrainModelAxis.from_surface(vertices[:N_LEFT], N_MESH, "CIFTI_STRUCTURE_CORTEX_LEFT")
    brain += BrainModelAxis.from_surface(vertices[N_LEFT:], N_MESH, "CIFTI_STRUCTURE_CORTEX_RIGHT")
    data = np.stack([on_cortex(found) for found in maps.values()])
    titles = [f"{found.module} {found.statistic}{' (simulated)' * found.simulated}" for found in maps.values()]
    image = Cifti2Image(data, header=(ScalarAxis(titles), brain))
    image.update_headers()
    image.nifti_header.set_intent("NIFTI_INTENT_CONNECTIVITY_DENSE_SCALARS")
    with atomic_file(path) as temporary:
        nibabel.save(image, temporary)
    return path


def write_gifti(maps: Mapping[str, ImportanceMap], out: Path) -> list[Path]:
    """Write fs_LR maps as a GIFTI a hemisphere, an array a module over its 32,492 vertices, NaN outside.

    nilearn's own loaders read GIFTI and no CIFTI: ``nilearn.surface.load_surf_data`` opens these as they are.
    """
    import nibabel
    from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

    vertices = mesh_vertices()
    full = {found.module: on_cortex(found) for found in maps.values()}
    paths = []
    for side, rows in (("left", slice(0, N_LEFT)), ("right", slice(N_LEFT, N_CORTEX))):
        image = GiftiImage(meta=GiftiMetaData({"AnatomicalStructurePrimary": f"Cortex{side.capitalize()}"}))
        for module, found in maps.items():
            values = np.full(N_MESH, np.nan, np.float32)
            values[vertices[rows]] = full[module][rows]
            title = f"{module} {found.statistic}{' (simulated)' * found.simulated}"
            kind = {"intent": "NIFTI_INTENT_NONE", "datatype": "NIFTI_TYPE_FLOAT32"}
            image.add_gifti_data_array(GiftiDataArray(values, meta=GiftiMetaData({"Name": title}), **kind))
        paths.append(out / GIFTI[side])
        with atomic_file(paths[-1]) as temporary:
            nibabel.save(image, temporary)
    return paths


def write_nifti(maps: Mapping[str, ImportanceMap], path: Path) -> Path:
    """Write volume maps as a NIfTI image on the grid of the recording, one volume a module, NaN outside.

    Raises
    ------
    DataError
        When the grid or its affine is not known.
    """
    import nibabel

    first = next(iter(maps.values()))
    if first.space.kind != "volume" or first.space.shape is None or first.space.affine is None:
        raise DataError(f"{first.subject}: a NIfTI map needs the grid of a volume; import the data set from its images")
    shape = first.space.shape
    data = np.full((int(np.prod(shape)), len(maps)), np.nan, np.float32)
    for column, found in enumerate(maps.values()):
        data[found.voxel_ids, column] = found.scaled
    image = nibabel.Nifti1Image(data.reshape(*shape, len(maps)), np.array(first.space.affine))
    image.header["descrip"] = f"importance {first.statistic}{' simulated' * first.simulated}".encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write rows of the same keys as CSV, atomically."""
    with atomic_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return path


def voxel_rows(maps: Mapping[str, ImportanceMap]) -> list[dict[str, Any]]:
    """Return a row per voxel of a volume: its place on the grid and the scaled map of each module."""
    first = next(iter(maps.values()))
    places = np.stack(np.unravel_index(first.voxel_ids, first.space.shape or (N_CORTEX,)), 1)
    columns = {module: found.scaled for module, found in maps.items()}
    return [
        {
            "voxel_id": int(voxel),
            **dict(zip("ijk", place.tolist(), strict=False)),
            **{m: float(c[n]) for m, c in columns.items()},
        }
        for n, (voxel, place) in enumerate(zip(first.voxel_ids, places, strict=True))
    ]


def write_files(maps: Mapping[str, ImportanceMap], out: Path) -> list[Path]:
    """Write maps and tables that suit the space: CIFTI, GIFTI and ``rois.csv``, or NIfTI and ``voxels.csv``."""
    first = next(iter(maps.values()))
    out.mkdir(parents=True, exist_ok=True)
    if first.space.kind == "volume":
        return [write_nifti(maps, out / NIFTI), write_csv(voxel_rows(maps), out / "voxels.csv")]
    rows = [row.to_dict() for found in maps.values() for row in found.table]
    return [write_dscalar(maps, out / DSCALAR), *write_gifti(maps, out), write_csv(rows, out / "rois.csv")]


def write_comparison(tables: Mapping[str, Sequence[RegionRow]], path: Path) -> Path:
    """Write region means of modules or subjects side by side, as CSV."""
    return write_csv(compare(tables), path)


def describe(
    maps: Mapping[str, ImportanceMap], settings: Settings, checkpoint: Path, dataset: str, n_clips: Mapping[str, int]
) -> dict[str, Any]:
    """Return what was computed from what, as plain values for ``importance.json``.

    Parameters
    ----------
    maps : mapping of module to ImportanceMap
    settings : Settings
    checkpoint : Path
        Its weights are named by their SHA-256.
    dataset : str
    n_clips : mapping of split to int
    """
    first = next(iter(maps.values()))
    weights = checkpoint / "model.safetensors"
    facts = {
        module: {
            "split_half": None if np.isnan(found.reliability) else found.reliability,
            "lowest": float(found.values.min()),
            "highest": float(found.values.max()),
            "n_shifts": found.n_shifts,
            "voxels_above_null": found.above_null,
            "regions_significant": sum(row.p_corrected < ALPHA for row in found.table),
            "top_regions": [row.region for row in found.table[:5]],
        }
        for module, found in maps.items()
    }
    return {
        **asdict(settings),
        "modules": list(maps),
        "subject": first.subject,
        "dataset": dataset,
        "simulated": first.simulated,
        "space": first.space.kind,
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None,
        "n_voxels": len(first.voxel_ids),
        "n_clips": dict(n_clips),
        "scaling": "each map is scaled to [0, 1] by its least and largest voxel",
        "test": ABOUT[first.statistic].test,
        "interval": ABOUT[first.statistic].interval,
        "note": first.note,
        "maps": facts,
        "likeness": {pair: None if np.isnan(value) else value for pair, value in likeness_table(maps).items()},
        "versions": {name: version(name) for name in ("numpy", "scipy", "scikit-learn", "nibabel", "torch")},
        "surfaces": "HCP S1200 group average and MMP 1.0 (Glasser et al. 2016)" if first.table else None,
    }


def write_description(description: Mapping[str, Any], path: Path) -> Path:
    """Write :func:`describe`'s facts as JSON."""
    write_json(path, dict(description))
    return path
