"""Training targets on disk: encoded once, kept as safetensors in half precision, and read through a memory map."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clipset import ClipSet
from pipeline.errors import DataError
from pipeline.paths import atomic_file, check_space
from training.samples import LEVELS, Targets, make_targets

if TYPE_CHECKING:
    from pipeline.backbones import World

LARGEST = 65_504.0  # in half precision


def stored_targets(world: World, clipset: ClipSet, folder: Path, n_frames: int = 6) -> Targets:
    """Return a clip set's targets, from ``folder`` where they were encoded before.

    Parameters
    ----------
    world : World
        Its sources, revisions and sizes are part of the file's name, as are clips, captions and films.
    clipset : ClipSet
    folder : Path
        Such as ``HOME/cache/targets``; files may be deleted at any time.
    n_frames : int

    Returns
    -------
    Targets
        Arrays are half-precision views of the file: a training step reads the rows it needs.

    Raises
    ------
    DataError
        When a target does not fit into half precision.
    ResourceError
        When the disk is full.
    """
    from filelock import FileLock

    path = folder / f"{key_of(world, clipset, n_frames)}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # The processes of one training, and trainings side by side: one encodes, the others wait for its file.
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                save(make_targets(world, clipset, n_frames), path)
    return load(path, clipset.clip_ids)


def key_of(world: World, clipset: ClipSet, n_frames: int) -> str:
    """Return a name that changes with whatever decides the targets."""
    sources = {
        part: [s.told(), s.revision, _stamp(Path(s.told())) if s.local else None]
        for part, s in world.backbones.sources().items()
        if part in ("vae", "text_encoder", "tokenizer")
    }
    stimulus: Any = clipset.stimulus
    films = [[str(f), _stamp(Path(f))] for f in getattr(stimulus, "files", ())]
    shown = (
        None
        if stimulus is None
        else [films, *(np.asarray(getattr(stimulus, k, 0)).tolist() for k in ("file", "start"))]
    )
    captions = {level: clipset.captions[level].tolist() for level in LEVELS if level in clipset.captions}
    facts = [sources, world.backbones.mad_size, n_frames, clipset.clip_ids.tolist(), captions, shown]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:24]


def save(targets: Targets, path: Path) -> None:
    """Write targets in half precision, whole or not at all."""
    from safetensors.numpy import save_file

    arrays = {f"text.{level}": values for level, values in targets.text.items()}
    arrays |= {} if targets.latents is None else {"latents": targets.latents}
    for name, values in arrays.items():
        if not np.isfinite(values).all() or np.abs(values).max(initial=0) > LARGEST:
            raise DataError(f"targets: {name} holds values that half precision cannot; check captions and frames")
    check_space(path.parent, sum(2 * values.size for values in arrays.values()))
    with atomic_file(path) as temporary:
        save_file({name: np.ascontiguousarray(values, np.float16) for name, values in arrays.items()}, temporary)


def load(path: Path, clip_ids: NDArray[np.str_]) -> Targets:
    """Open stored targets without reading them.

    Raises
    ------
    DataError
        When the file is damaged or has other clips.
    """
    try:
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(path.stat().st_size, 1_000_000):
                raise ValueError("header too long")
            header = json.loads(stream.read(length))
        arrays = {name: _view(path, 8 + length, entry) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: stored targets are damaged ({error}); delete the file, it is made again") from error
    text = {name.removeprefix("text."): values for name, values in arrays.items() if name.startswith("text.")}
    return Targets(clip_ids, text, arrays.get("latents"))


def _view(path: Path, start: int, entry: dict[str, Any]) -> NDArray[np.float16]:
    first, last = entry["data_offsets"]
    shape = tuple(int(n) for n in entry["shape"])
    if entry["dtype"] != "F16" or last - first != 2 * int(np.prod(shape)) or start + last > path.stat().st_size:
        raise ValueError("arrays do not fit the file")
    return np.memmap(path, np.float16, "r", start + first, shape)


def _stamp(path: Path) -> list[Any]:
    """Return sizes and times of a file, or of the files in a folder."""
    files = sorted(path.glob("*")) if path.is_dir() else [path]
    return [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files if f.is_file()]
