"""Read NIfTI and CIFTI files that may be damaged or hostile.

Today's readers trust the header: a patched dimension asks for terabytes, a two-megabyte gzip unpacks to two
gigabytes, a truncated file fails deep inside a later step. Here the header's product is checked before anything is
allocated, the stream is unpacked under a limit, and every failure becomes one sentence that names the file.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, ResourceError
from pipeline.grayordinates import N_MESH, cortex_rows

MAX_IMAGE_BYTES = 8 * 2**30
# The worst that an honest recording compresses is about 4:1, a mask about 500:1 (but a mask is small).
MAX_RATIO = 200
RATIO_FREE_BYTES = 64 * 2**20
MAX_EXTENSION_BYTES = 64 * 2**20
SLACK_BYTES = 2**20

LEFT, RIGHT = "CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"


@dataclass(frozen=True)
class Volume:
    """A NIfTI volume: ``data`` (n_x, n_y, n_z[, n_volumes]) float32, ``affine`` (4, 4) mm, ``tr`` s or None."""

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    tr: float | None


@dataclass(frozen=True)
class Grayordinates:
    """The cortex of a CIFTI series: ``data`` (n_volumes, n_vertices) float32, ``voxel_ids`` rows of the 59,412."""

    data: NDArray[np.float32]
    voxel_ids: NDArray[np.int64]
    tr: float


@dataclass(frozen=True)
class ImageHeader:
    """What the first bytes of a NIfTI file promise."""

    shape: tuple[int, ...]
    n_bytes: int
    offset: int
    gzipped: bool


def read_header(path: Path) -> ImageHeader:
    """Read and check the header of ``path`` without reading, or believing, anything behind it.

    Raises
    ------
    DataError
        Missing, empty, truncated or not NIfTI; impossible dimensions; more bytes than any recording has.
    """
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    if not path.is_file():
        raise DataError(f"{path}: expected a NIfTI or CIFTI file, got {'a folder' if path.is_dir() else 'nothing'}")
    gzipped, raw = _first_bytes(path)
    size = _header_size(raw)
    if not size or len(raw) < size:
        raise DataError(
            f"{path}: expected a NIfTI header, got {len(raw)} bytes of something else; fetch the file again"
        )
    try:
        header = (Nifti1Header if size == 348 else Nifti2Header)(raw[:size], check=False)
        dim = [int(n) for n in header["dim"]]
        item = header.get_data_dtype().itemsize
        offset = int(float(header["vox_offset"])) if np.isfinite(header["vox_offset"]) else -1
    except Exception as error:  # nibabel raises half a dozen types on a damaged header
        raise DataError(f"{path}: the header cannot be read ({_reason(error)}); fetch the file again") from error
    n_dim, sizes = dim[0], dim[1 : 1 + max(0, min(dim[0], 7))]
    if not 1 <= n_dim <= 7 or any(n < 1 for n in sizes) or offset < 0 or item == 0:
        raise DataError(f"{path}: expected 1 to 7 positive dimensions, got dim = {dim}; the header is damaged")
    n_bytes = math.prod(sizes) * item
    if n_bytes > MAX_IMAGE_BYTES:
        raise DataError(
            f"{path}: the header claims {sizes} values ({n_bytes / 1e9:.3g} GB), expected at most "
            f"{MAX_IMAGE_BYTES / 1e9:.1f} GB; the header is damaged, or split the run"
        )
    return ImageHeader(tuple(sizes), n_bytes, offset, gzipped)


def read_volume(path: Path) -> Volume:
    """Read a 3-D or 4-D NIfTI volume, whole, as float32.

    Raises
    ------
    DataError
        When the file is damaged, truncated, a CIFTI file, or has an affine that is not finite.
    """
    import nibabel

    image = _load(path)
    if isinstance(image, nibabel.Cifti2Image):
        raise DataError(f"{path}: expected a volume, got a CIFTI file; its name should end in .dtseries.nii")
    if len(image.shape) not in (3, 4):
        raise DataError(f"{path}: expected 3 or 4 dimensions, got shape {image.shape}")
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise DataError(f"{path}: expected a finite, invertible affine, got {affine[:3].tolist()}; repair the header")
    zooms = image.header.get_zooms()
    tr = _seconds(float(zooms[3]), image.header) if len(image.shape) == 4 else None
    return Volume(_values(image, path), affine, tr)


def read_cifti(path: Path) -> Grayordinates:
    """Read the cortical grayordinates of a dense CIFTI series in the fs_LR 32k space.

    Subcortical rows are left out. Vertices are translated to rows of the 59,412 cortical grayordinates (left
    hemisphere first), so that a file that holds only some of them still says which.

    Raises
    ------
    DataError
        A plain NIfTI under a CIFTI name, broken or hostile XML, another mesh, missing cortex, repeated vertices.
    """
    import nibabel

    image = _load(path)
    if not isinstance(image, nibabel.Cifti2Image):
        raise DataError(
            f"{path}: expected a CIFTI dense series, got a plain NIfTI image of shape {image.shape}; "
            "the file was renamed, fetch the .dtseries.nii itself"
        )
    try:
        axes = [image.header.get_axis(k) for k in range(image.ndim)]
    except Exception as error:
        raise DataError(f"{path}: the CIFTI axes cannot be read ({_reason(error)}); fetch the file again") from error
    if len(axes) != 2 or not isinstance(axes[0], nibabel.cifti2.SeriesAxis | nibabel.cifti2.ScalarAxis):
        raise DataError(f"{path}: expected (series, grayordinates), got {[type(a).__name__ for a in axes]}")
    if not isinstance(axes[1], nibabel.cifti2.BrainModelAxis):
        raise DataError(f"{path}: expected brain models on the second axis, got {type(axes[1]).__name__}")
    if image.shape != (len(axes[0]), len(axes[1])):
        raise DataError(f"{path}: the XML describes {(len(axes[0]), len(axes[1]))} values, the data is {image.shape}")
    columns, ids = _cortex(axes[1], path)
    values = _values(image, path)
    data = values if len(columns) == values.shape[1] else values[:, columns]
    step = float(axes[0].step) if isinstance(axes[0], nibabel.cifti2.SeriesAxis) else math.nan
    unit = getattr(axes[0], "unit", "SECOND")
    return Grayordinates(np.ascontiguousarray(data), ids, step if unit == "SECOND" else math.nan)


def _cortex(axis: Any, path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns of a brain model axis that lie on the cortex, and their rows among the 59,412."""
    tables = dict(zip((LEFT, RIGHT), cortex_rows(), strict=True))
    columns, ids = [], []
    for name, where, model in axis.iter_structures():
        if name not in tables:
            continue
        n_mesh = axis.nvertices.get(name)
        if n_mesh != N_MESH:
            raise DataError(f"{path}: expected the fs_LR 32k mesh ({N_MESH} vertices), got {n_mesh} for {name}")
        vertices = np.asarray(model.vertex)
        if vertices.size and (vertices.min() < 0 or vertices.max() >= N_MESH):
            raise DataError(f"{path}: expected vertices 0..{N_MESH - 1}, got up to {vertices.max()} for {name}")
        rows = tables[name][vertices]
        if (rows < 0).any():
            raise DataError(f"{path}: {(rows < 0).sum()} vertices of {name} lie on the medial wall; use fs_LR 32k data")
        columns.append(np.arange(len(axis))[where])
        ids.append(rows)
    if not ids or not sum(map(len, ids)):
        raise DataError(f"{path}: expected brain models of the cortex, got {sorted(set(axis.name.tolist()))[:4]}")
    all_ids = np.concatenate(ids)
    if len(np.unique(all_ids)) != len(all_ids):
        raise DataError(f"{path}: the same vertex is listed twice; the brain models are damaged")
    return np.concatenate(columns), all_ids


def _load(path: Path) -> Any:
    """Open ``path`` with nibabel after checking header, extensions and length; errors become sentences."""
    import nibabel

    header = read_header(path)
    try:
        if header.gzipped:
            from nibabel.nifti1 import Nifti1Image
            from nibabel.nifti2 import Nifti2Image

            raw = _unpack(path, header)
            _refuse_entities(raw[348 : header.offset], path)
            kind = Nifti1Image if _header_size(raw) == 348 else Nifti2Image
            with _quiet():
                return _refuse_cifti(kind.from_bytes(raw), path)
        found, expected = path.stat().st_size, header.offset + header.n_bytes
        if found < expected:
            raise DataError(f"{path}: expected {expected} bytes, got {found}; the file is truncated, fetch it again")
        with open(path, "rb") as stream:
            _refuse_entities(stream.read(min(header.offset, MAX_EXTENSION_BYTES)), path)
        with _quiet():
            return nibabel.load(path)
    except DataError:
        raise
    except MemoryError as error:
        raise ResourceError(f"{path}: {header.n_bytes / 1e9:.1f} GB do not fit into memory") from error
    except Exception as error:  # expat, zlib, struct, index and header errors, each of its own family
        raise DataError(f"{path}: the file cannot be read ({_reason(error)}); fetch it again") from error


def _refuse_cifti(image: Any, path: Path) -> Any:
    """A gzipped CIFTI file would open as a plain image without its brain models."""
    if any(extension.get_code() == 32 for extension in image.header.extensions):
        raise DataError(f"{path}: a CIFTI file must not be gzipped; unpack it")
    return image


def _values(image: Any, path: Path) -> NDArray[np.float32]:
    """All values of an image as float32."""
    try:
        return np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"), dtype=np.float32)
    except MemoryError as error:
        raise ResourceError(f"{path}: {image.shape} values do not fit into memory") from error
    except Exception as error:
        raise DataError(f"{path}: the values cannot be read ({_reason(error)}); fetch the file again") from error


def _header_size(raw: bytes) -> int:
    """348 for NIfTI-1, 540 for NIfTI-2 of either byte order, 0 for anything else."""
    sizes = {int.from_bytes(raw[:4], "little"), int.from_bytes(raw[:4], "big")}
    return next((size for size in (348, 540) if size in sizes), 0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep nibabel from writing to stderr that a CIFTI file has no voxel size, which none has."""
    from nibabel.imageglobals import logger

    level = logger.level
    logger.setLevel("CRITICAL")
    try:
        yield
    finally:
        logger.setLevel(level)


def _first_bytes(path: Path) -> tuple[bool, bytes]:
    """Whether the file is gzipped, and its first 540 bytes unpacked."""
    with open(path, "rb") as stream:
        gzipped = stream.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if gzipped else open(path, "rb") as stream:
            return gzipped, stream.read(540)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the gzip stream is damaged ({_reason(error)}); fetch the file again") from error


def _unpack(path: Path, header: ImageHeader) -> bytes:
    """Unpack a gzipped image, never by more than its header promises."""
    expected = header.offset + header.n_bytes
    packed = max(os.stat(path).st_size, 1)
    if expected > RATIO_FREE_BYTES and expected > MAX_RATIO * packed:
        raise DataError(
            f"{path}: {packed / 1e6:.1f} MB claim to unpack to {expected / 1e6:.0f} MB, more than {MAX_RATIO}:1; "
            "no recording compresses so well, so it is refused; unpack it yourself if you trust it"
        )
    try:
        with gzip.open(path, "rb") as stream:
            raw = stream.read(expected + SLACK_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: the gzip stream is truncated or damaged ({_reason(error)}); fetch it again"
        ) from error
    if len(raw) < expected:
        raise DataError(f"{path}: expected {expected} bytes, got {len(raw)}; the file is truncated, fetch it again")
    if len(raw) > expected + SLACK_BYTES:
        raise DataError(f"{path}: unpacks to more than the {expected} bytes of its header, so it is refused")
    return raw


def _refuse_entities(extension: bytes, path: Path) -> None:
    """CIFTI's XML defines no entities: a document type can only be an attack."""
    for word in (b"<!DOCTYPE", b"<!ENTITY"):
        if word in extension:
            raise DataError(f"{path}: the CIFTI XML holds {word.decode()}, which no CIFTI file needs, so it is refused")


def _seconds(value: float, header: Any) -> float | None:
    """A time step in the header's unit as seconds, None where it makes no sense."""
    scale = {"msec": 1e-3, "usec": 1e-6}.get(header.get_xyzt_units()[1], 1.0)
    return value * scale if np.isfinite(value) and value > 0 else None


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."
