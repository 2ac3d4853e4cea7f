"""Imported data on disk: plain arrays in safetensors, everything else in JSON.

    datasets/<name>/dataset.json               the card: what it is, where it came from, how it was imported
    datasets/<name>/sub-01/subject.json        voxels, splits, notes
    datasets/<name>/sub-01/<part>.safetensors  fmri (n_clips, n_repeats, n_voxels), present
    datasets/<name>/sub-01/<part>.json         clip ids, groups, captions, labels, where the stimulus is
    datasets/<name>/sub-01/quality.safetensors every voxel that was looked at, and what was found

A part is ``train`` (validation runs included; ``splits`` in subject.json tells them apart) or ``test``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clipset import ClipSet, VoxelSpace
from pipeline.errors import ConfigError, DataError
from pipeline.paths import atomic_file, check_space, write_json

FORMAT = 1
SPLITS = ("train", "val", "test", "all")


@dataclass
class StimulusTable:
    """Where each clip is on film: ``files``, and per clip which of them, from which second, for how many seconds."""

    files: list[Path]
    file: list[int]
    start: list[float]
    seconds: float


@dataclass
class Part:
    """The clips of one part of a subject's recording; arrays as in :class:`~pipeline.clipset.ClipSet`."""

    clip_ids: list[str]
    groups: list[str]
    fmri: NDArray[np.float32]
    present: NDArray[np.bool_]
    captions: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, list[Any]] = field(default_factory=dict)
    stimulus: StimulusTable | None = None


@dataclass
class SubjectData:
    """Everything a reader found out about one subject.

    Parameters
    ----------
    subject : str
    voxel_ids : (n_voxels,) int64
        The selected voxels, in the order of ``fmri``.
    space : VoxelSpace
    tr : float
        Seconds.
    parts : mapping of ``train`` / ``test`` to Part
    splits : mapping of ``train`` / ``val`` / ``test`` to run names
    quality : mapping of name to (n_all_voxels,) array
        ``voxel_ids``, ``selected`` and any of ``bad``, ``tsnr``, ``reliability``, ``statistic``, ``p``,
        ``test_reliability``, ``noise_ceiling``.
    selection : dict
        How the voxels were chosen.
    digests : mapping of run to a hash of its raw values
        Tells copied runs and copied subjects.
    notes : list of str
        What a user should know: skipped runs, masked voxels.
    """

    subject: str
    voxel_ids: NDArray[np.int64]
    space: VoxelSpace
    tr: float
    parts: dict[str, Part]
    splits: dict[str, list[str]]
    quality: dict[str, NDArray[np.generic]]
    selection: dict[str, Any]
    digests: dict[str, str]
    notes: list[str]
    simulated: bool = False


def write_subject(data: SubjectData, folder: Path, dataset_folder: Path) -> dict[str, Any]:
    """Write one subject into ``folder``; return its record, also written as ``subject.json``.

    Files of the stimulus inside ``dataset_folder`` are recorded relative to it, so that the working folder may move.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    check_space(folder, sum(part.fmri.nbytes for part in data.parts.values()))
    for name, part in data.parts.items():
        with atomic_file(folder / f"{name}.safetensors") as temporary:
            save_file({"fmri": np.ascontiguousarray(part.fmri), "present": part.present.astype(np.uint8)}, temporary)
        write_json(folder / f"{name}.json", _part_record(part, dataset_folder))
    with atomic_file(folder / "quality.safetensors") as temporary:
        arrays = {k: v.astype(np.uint8) if v.dtype == bool else v for k, v in data.quality.items()}
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, temporary)
    with atomic_file(folder / "voxels.safetensors") as temporary:
        save_file({"voxel_ids": np.ascontiguousarray(data.voxel_ids)}, temporary)
    record = {
        "format": FORMAT,
        "subject": data.subject,
        "simulated": data.simulated,
        "tr": data.tr,
        "space": {"kind": data.space.kind, "shape": data.space.shape, "affine": data.space.affine},
        "n_voxels": len(data.voxel_ids),
        "n_voxels_seen": len(data.quality["voxel_ids"]),
        "selection": data.selection,
        "splits": data.splits,
        "n_clips": {s: sum(_in_split(p.groups, data.splits, s).sum() for p in data.parts.values()) for s in SPLITS},
        "n_repeats": {name: int(part.fmri.shape[1]) for name, part in data.parts.items()},
        "has_stimulus": all(part.stimulus is not None for part in data.parts.values()),
        "captions": sorted(set().union(*(part.captions for part in data.parts.values()))),
        "labels": sorted(set().union(*(part.labels for part in data.parts.values()))),
        "digests": data.digests,
        "notes": data.notes,
    }
    record["n_clips"] = {k: int(v) for k, v in record["n_clips"].items()}  # type: ignore[attr-defined]
    write_json(folder / "subject.json", record)
    return record


def read_split(dataset_folder: Path, subject: str, split: str) -> ClipSet:
    """Read one split of an imported subject as a ClipSet.

    Raises
    ------
    ConfigError
        Unknown split, or one that this data set does not have.
    DataError
        Damaged files.
    """
    folder = dataset_folder / subject
    if split not in SPLITS:
        raise ConfigError(f"{subject}: split must be one of {', '.join(SPLITS)}, got {split!r}")
    record = read_record(folder / "subject.json")
    names = {"train": ["train"], "val": ["train"], "test": ["test"]}.get(split, ["train", "test"])
    parts = [_read_part(folder, name, record["splits"], split) for name in names if name in record["n_repeats"]]
    if not parts or not sum(len(part.clip_ids) for part in parts):
        raise ConfigError(
            f"{subject}: the split {split!r} of {dataset_folder.name} holds no clips; "
            f"it has {', '.join(f'{k} {n}' for k, n in record['n_clips'].items() if n)}"
        )
    part = _join(parts)
    space = record["space"]
    affine = None if space["affine"] is None else tuple(tuple(row) for row in space["affine"])
    return ClipSet(
        subject=subject,
        fmri=part.fmri,
        voxel_ids=read_tensors(folder / "voxels.safetensors")["voxel_ids"],
        space=VoxelSpace(space["kind"], None if space["shape"] is None else tuple(space["shape"]), affine),
        clip_ids=np.array(part.clip_ids, dtype=np.str_),
        groups=np.array(part.groups, dtype=np.str_),
        tr=float(record["tr"]),
        present=part.present,
        stimulus=_stimulus(part, dataset_folder),
        captions={level: np.array(texts, dtype=np.str_) for level, texts in part.captions.items()},
        labels={name: np.array(values) for name, values in part.labels.items()},
        simulated=bool(record["simulated"]),
    )


def read_quality(dataset_folder: Path, subject: str) -> dict[str, NDArray[Any]]:
    """Read what was found out about every voxel that was looked at; see :class:`SubjectData`."""
    arrays = read_tensors(dataset_folder / subject / "quality.safetensors")
    return {k: v.astype(bool) if k in ("selected", "bad") else v for k, v in arrays.items()}


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read a safetensors file; damage becomes a sentence."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: the imported arrays are damaged ({error}); import the data set again") from error


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON object; damage becomes a sentence."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); import the data set again") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise DataError(f"{path}: expected a record of format {FORMAT}; import the data set again")
    return value


def _part_record(part: Part, dataset_folder: Path) -> dict[str, Any]:
    table = part.stimulus
    stimulus = None
    if table is not None:
        files = [_portable(path, dataset_folder) for path in table.files]
        stimulus = {"files": files, "file": table.file, "start": table.start, "seconds": table.seconds}
    return {
        "format": FORMAT,
        "clip_ids": part.clip_ids,
        "groups": part.groups,
        "captions": part.captions,
        "labels": part.labels,
        "stimulus": stimulus,
    }


def _read_part(folder: Path, name: str, splits: dict[str, list[str]], split: str) -> Part:
    record = read_record(folder / f"{name}.json")
    arrays = read_tensors(folder / f"{name}.safetensors")
    n_clips = len(record["clip_ids"])
    if not {"fmri", "present"} <= arrays.keys() or len(arrays["fmri"]) != n_clips:
        raise DataError(f"{folder / name}: expected {n_clips} clips of fmri; import the data set again")
    keep = _in_split(record["groups"], splits, split)
    rows = np.flatnonzero(keep)

    def cut(values: list[Any]) -> list[Any]:
        return [values[i] for i in rows]

    table = record["stimulus"]
    stimulus = table and StimulusTable(
        [Path(p) for p in table["files"]], cut(table["file"]), cut(table["start"]), float(table["seconds"])
    )
    whole = len(rows) == n_clips
    return Part(
        clip_ids=cut(record["clip_ids"]),
        groups=cut(record["groups"]),
        fmri=arrays["fmri"] if whole else arrays["fmri"][rows],
        present=arrays["present"][rows].astype(bool),
        captions={k: cut(v) for k, v in record["captions"].items()},
        labels={k: cut(v) for k, v in record["labels"].items()},
        stimulus=stimulus,
    )


def _in_split(groups: list[str], splits: dict[str, list[str]], split: str) -> NDArray[np.bool_]:
    wanted = set().union(*splits.values()) if split == "all" else set(splits.get(split, ()))
    return np.array([group in wanted for group in groups], dtype=bool)


def _join(parts: list[Part]) -> Part:
    """Put parts one after the other; the one with fewer repeats is filled with absent ones."""
    if len(parts) == 1:
        return parts[0]
    n_repeats = max(part.fmri.shape[1] for part in parts)

    def padded(array: NDArray[Any]) -> NDArray[Any]:
        missing = n_repeats - array.shape[1]
        return np.pad(array, [(0, 0), (0, missing), *[(0, 0)] * (array.ndim - 2)])

    stimulus = None
    if all(part.stimulus is not None for part in parts):
        tables = [part.stimulus for part in parts if part.stimulus is not None]
        offsets = np.cumsum([0, *(len(t.files) for t in tables[:-1])])
        stimulus = StimulusTable(
            [path for t in tables for path in t.files],
            [i + int(offset) for t, offset in zip(tables, offsets, strict=True) for i in t.file],
            [s for t in tables for s in t.start],
            tables[0].seconds,
        )
    captions = set.intersection(*(set(part.captions) for part in parts))
    labels = set.intersection(*(set(part.labels) for part in parts))
    return Part(
        [c for part in parts for c in part.clip_ids],
        [g for part in parts for g in part.groups],
        np.concatenate([padded(part.fmri) for part in parts]),
        np.concatenate([padded(part.present) for part in parts]),
        {k: [v for part in parts for v in part.captions[k]] for k in sorted(captions)},
        {k: [v for part in parts for v in part.labels[k]] for k in sorted(labels)},
        stimulus,
    )


def _stimulus(part: Part, dataset_folder: Path) -> Any:
    if part.stimulus is None:
        return None
    from pipeline.data.video import VideoStimulus

    table = part.stimulus
    files = [path if path.is_absolute() else dataset_folder / path for path in table.files]
    return VideoStimulus(files, np.array(table.file, np.int64), np.array(table.start, np.float64), table.seconds)


def _portable(path: Path, folder: Path) -> str:
    path, folder = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
