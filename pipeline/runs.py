"""The run folder: what one method made of one subject's recording, on disk.

::

    RUN/manifest.json            what was run, on what, with which seed, and the summary scores
    RUN/clips.jsonl              one line per clip: captions, nearest decoded captions, labels, scores
    RUN/clips.*.jsonl            the lines so far, one table for each process that writes, until the run is finished
    RUN/cues.safetensors         the decoded cues, rows in the manifest's order of clips (optional)
    RUN/patterns.safetensors     ``voxel_ids`` and ``values`` (n_clips, n_voxels), the clips' fMRI (optional)
    RUN/clips/CLIP/VARIANT/STREAM/000.png ...  and STREAM.mp4     layout "lossless"
    RUN/clips/CLIP/VARIANT/STREAM.webp                            layout "compact", frames stacked downwards

A *variant* names the parts that were switched off (``"full"``, ``"anchor"``, ``"anchor+holi"``, with another seed
``"anchor@7"``). A stream is stored once, under the fewest removed parts that it depends on: the motion frames of
``"anchor+holi"`` are those of ``"full"``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError
from pipeline.frames import read_strip, write_stream
from pipeline.manifest import (
    FULL,
    PARTS,
    ClipRecord,
    Nearest,
    RunManifest,
    Score,
    Space,
    StreamFacts,
    add_record,
    is_variant,
    parse_variant,
    read_manifest,
    read_records,
    variant_name,
)
from pipeline.paths import PHANTOM_ASSETS, atomic_file, atomic_folder, write_json

__all__ = [
    "FULL", "PARTS", "ClipRecord", "Nearest", "Run", "RunInfo", "RunManifest", "RunWriter", "Score", "Space",
    "StreamFacts", "discover", "parse_variant", "read_manifest", "variant_name",
]  # fmt: skip
Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class RunInfo:
    """A run that was found, for lists. ``error`` says why it cannot be opened."""

    name: str
    path: Path
    shipped: bool
    manifest: RunManifest | None = None
    error: str | None = None


class Run:
    """One run folder, read lazily.

    Parameters
    ----------
    path : Path
    manifest : RunManifest
    extra : Path, optional
        A second folder of the same layout for what was rendered later (the run itself is never changed).
    """

    def __init__(self, path: Path, manifest: RunManifest, extra: Path | None = None) -> None:
        self.path, self.manifest, self.extra = path, manifest, extra

    @classmethod
    def open(cls, path: str | Path, extra: Path | None = None) -> Run:
        """Open the run at ``path``; DataError says what is missing or damaged."""
        return cls(Path(path), read_manifest(Path(path)), extra)

    def __repr__(self) -> str:
        m = self.manifest
        return f"Run({m.name}, {m.dataset} {m.subject}, n_clips={len(m.clip_ids)}, variants={len(m.variants)})"

    @cached_property
    def clips(self) -> dict[str, ClipRecord]:
        """Clip id -> record, in the manifest's order."""
        path = self.path / "clips.jsonl"
        found = {record.clip_id: record for record in read_records(path)}
        missing = [c for c in self.manifest.clip_ids if c not in found]
        if missing:
            raise DataError(
                f"{path}: expected a line for each of {len(self.manifest.clip_ids)} clips, got none for {missing[0]}"
                f" and {len(missing) - 1} more; run the reconstruction again, finished clips are kept"
            )
        return {c: found[c] for c in self.manifest.clip_ids}

    def stored_variant(self, stream: str, variant: str) -> str:
        """Return the variant under which ``stream`` of ``variant`` is stored."""
        parts, seed = parse_variant(variant)
        keep = set(self.manifest.depends.get(stream, PARTS))
        return variant_name(parts & keep, seed if keep else None)

    def stream_path(self, clip_id: str, stream: str, variant: str = FULL) -> Path | None:
        """Return the frames' folder (lossless) or strip (compact), or None where there is none."""
        self._check(clip_id, stream)
        stored = self.stored_variant(stream, variant)
        for base in (self.path, self.extra):
            if base is not None:
                folder = base / "clips" / clip_id / stored
                for candidate in (folder / f"{stream}.webp", folder / stream):
                    if candidate.exists():
                        return candidate
        return None

    def has(self, clip_id: str, stream: str, variant: str = FULL) -> bool:
        """Tell whether the frames are on disk."""
        return self.stream_path(clip_id, stream, variant) is not None

    def frames(self, clip_id: str, stream: str, variant: str = FULL) -> Frames:
        """Return (n_frames, height, width, 3) RGB in 0..255; DataError where the stream is absent or damaged."""
        path = self.stream_path(clip_id, stream, variant)
        if path is None:
            raise DataError(
                f"{self.manifest.name}: {stream} of {clip_id} was not rendered as {variant!r}; "
                f"rendered are {', '.join(self.variants(clip_id)) or 'none'}"
            )
        facts = self.clips[clip_id].streams.get(stream)
        return read_strip(path, facts.size if facts else self.manifest.size)

    def seconds(self, clip_id: str, stream: str) -> float:
        """Return how long a stream of a clip lasts."""
        facts = self.clips[clip_id].streams.get(stream)
        return facts.seconds if facts else self.manifest.duration

    def shown_at(self, clip_id: str, stream: str, n_frames: int, times: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Return which of a stream's ``n_frames`` is on the screen at ``times`` (n_times,) s; the last one stays."""
        facts = self.clips[clip_id].streams.get(stream)
        # A hair of slack: an instant that is a frame's start must not fall before it by rounding.
        if facts and facts.starts:
            return np.maximum(np.searchsorted(np.asarray(facts.starts), times + 1e-6, side="right") - 1, 0)
        index = np.floor(times / self.seconds(clip_id, stream) * n_frames + 1e-6).astype(np.int64)
        return np.clip(index, 0, n_frames - 1)

    def variants(self, clip_id: str) -> list[str]:
        """List the variants whose reconstruction of ``clip_id`` is on disk, ``full`` first."""
        self._check(clip_id, "reconstruction")
        found: set[str] = set()
        for base in (self.path, self.extra):
            folder = base / "clips" / clip_id if base else None
            if folder and folder.is_dir():
                found |= {p.name for p in folder.iterdir() if is_variant(p.name)}
        found = {v for v in found if self.has(clip_id, "reconstruction", v)}
        return sorted(found, key=lambda v: (v != FULL, len(parse_variant(v)[0]), v))

    def cues(self, *names: str) -> dict[str, NDArray[np.float16]]:
        """Load decoded cues, rows as ``manifest.clip_ids``; all of them when no name is given."""
        if self.manifest.cues is None:
            raise DataError(f"{self.manifest.name}: the run holds no decoded cues; decode it again with cues kept")
        found = _load_tensors(self.path / self.manifest.cues, names)
        for name, value in found.items():
            if len(value) != len(self.manifest.clip_ids):
                raise DataError(
                    f"{self.path}: cue {name} must have {len(self.manifest.clip_ids)} rows, got {len(value)}"
                )
        return found

    @cached_property
    def patterns(self) -> tuple[NDArray[np.int64], NDArray[np.float16]] | None:
        """Voxel ids (n_voxels,) and fMRI (n_clips, n_voxels), z-scored, mean over repeats; None where absent."""
        path = self.path / "patterns.safetensors"
        if not path.exists():
            return None
        found = _load_tensors(path, ("voxel_ids", "values"))
        ids, values = found["voxel_ids"].astype(np.int64), found["values"]
        if values.shape != (len(self.manifest.clip_ids), len(ids)):
            expected = (len(self.manifest.clip_ids), len(ids))
            raise DataError(f"{path}: values must be (n_clips, n_voxels) = {expected}, got {values.shape}")
        return ids, values

    def store(self, clip_id: str, variant: str, streams: Mapping[str, Frames]) -> None:
        """Keep what was rendered later, in ``extra`` (or in the run itself where there is no ``extra``).

        The layout is the run's own, so that scores of old and new pictures compare like with like.
        """
        compact = self.manifest.layout == "compact"
        for stream, frames in streams.items():
            if not self.has(clip_id, stream, variant):
                folder = (self.extra or self.path) / "clips" / clip_id / self.stored_variant(stream, variant)
                write_stream(folder, stream, frames, self.manifest.duration, compact=compact)

    def _check(self, clip_id: str, stream: str) -> None:
        if clip_id not in self.manifest.clip_ids:
            raise ConfigError(
                f"{self.manifest.name}: clip {clip_id!r} is not one of its {len(self.manifest.clip_ids)} clips"
            )
        if stream not in self.manifest.streams:
            raise ConfigError(f"{self.manifest.name}: streams are {', '.join(self.manifest.streams)}, got {stream!r}")


class RunWriter:
    """Write a run clip by clip; a stopped run goes on where it was.

    Each clip's folder appears whole, then its line in the table of this process; ``clips.jsonl``, in the manifest's
    order, and ``manifest.json`` come last, with :meth:`finish`. Threads may add clips at the same time.

    Parameters
    ----------
    path : path
    manifest : RunManifest
    share : str, optional
        Name of this process among several that write the same run: its lines go to ``clips.<share>.jsonl`` (alone, to
        ``clips.part.jsonl``), so that no two processes write one file, and :meth:`finish` joins them.
    """

    def __init__(self, path: str | Path, manifest: RunManifest, share: str | None = None) -> None:
        self.path, self.manifest = Path(path), manifest
        self._table = self.path / f"clips.{share or 'part'}.jsonl"
        self._records: dict[str, ClipRecord] = {}
        self._one_at_a_time = threading.Lock()
        self._read_tables()

    def _read_tables(self) -> None:
        """Take in what other processes wrote; the joined table last, since it is written before theirs go."""
        wanted = set(self.manifest.clip_ids)
        for table in [*sorted(self.path.glob("clips.*.jsonl")), self.path / "clips.jsonl"]:
            found = {r.clip_id: r for r in read_records(table, repair=True) if r.clip_id in wanted}
            self._records = found | self._records

    @property
    def done(self) -> set[str]:
        """Clips that need not be rendered again."""
        return {c for c in self._records if (self.path / "clips" / c).is_dir()}

    def missing(self) -> list[str]:
        """Return the clips that no process has finished yet."""
        self._read_tables()
        done = self.done
        return [c for c in self.manifest.clip_ids if c not in done]

    def add_clip(self, record: ClipRecord, frames: Mapping[str, Mapping[str, Frames]]) -> None:
        """Write one clip: ``frames`` is variant -> stream -> (n_frames, height, width, 3) uint8 RGB."""
        if record.clip_id not in self.manifest.clip_ids:
            raise ConfigError(f"{self.manifest.name}: clip {record.clip_id!r} is not in the manifest's clip_ids")
        run = Run(self.path, self.manifest)
        written: set[tuple[str, str]] = set()
        with atomic_folder(self.path / "clips" / record.clip_id) as folder:
            for variant, streams in frames.items():
                for stream, value in streams.items():
                    facts = record.streams.get(stream)
                    self._check_frames(record.clip_id, stream, value, facts)
                    seconds = facts.seconds if facts else self.manifest.duration
                    place = (run.stored_variant(stream, variant), stream)
                    if place not in written:
                        written.add(place)
                        compact = self.manifest.layout == "compact"
                        write_stream(folder / place[0], stream, value, seconds, compact=compact)
        with self._one_at_a_time:
            add_record(self._table, record)
            self._records[record.clip_id] = record

    def set_scores(self, variant: str, name: str, values: Mapping[str, float | None]) -> None:
        """Add a per-clip score (clip id -> value) to clips that are already written."""
        for clip_id, value in values.items():
            record = self._records[clip_id]
            scores = {**record.scores, variant: {**record.scores.get(variant, {}), name: value}}
            self._records[clip_id] = record.model_copy(update={"scores": scores})

    def set_cues(self, cues: Mapping[str, NDArray[np.generic]], write: bool = True) -> None:
        """Write ``cues.safetensors`` in fp16, rows in the manifest's order of clips; or only say that it is there."""
        if write:
            self._save("cues.safetensors", {k: v.astype(np.float16) for k, v in cues.items()})
        self.manifest = self.manifest.model_copy(update={"cues": "cues.safetensors"})

    def set_patterns(
        self, voxel_ids: NDArray[np.int64], values: NDArray[np.floating[Any]], space: Space, write: bool = True
    ) -> None:
        """Write the clips' fMRI (n_clips, n_voxels), and where its voxels lie; or only say that it is there."""
        arrays: dict[str, NDArray[Any]] = {"voxel_ids": voxel_ids.astype(np.int64), "values": values.astype(np.float16)}
        if values.shape != (len(self.manifest.clip_ids), len(voxel_ids)):
            raise DataError(f"patterns must be (n_clips, n_voxels={len(voxel_ids)}), got {values.shape}")
        if write:
            self._save("patterns.safetensors", arrays)
        self.manifest = self.manifest.model_copy(update={"space": space})

    def finish(self, scores: Mapping[str, Mapping[str, Score]] | None = None) -> Run:
        """Write the table and the manifest; DataError when a clip is still missing."""
        missing = self.missing()
        if missing:
            raise DataError(f"{self.path}: {len(missing)} clips are not rendered yet, the first is {missing[0]}")
        with atomic_file(self.path / "clips.jsonl") as temporary:
            lines = (self._records[c].model_dump_json() for c in self.manifest.clip_ids)
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        update: dict[str, Any] = {} if scores is None else {"scores": {v: dict(s) for v, s in scores.items()}}
        first = Run(self.path, self.manifest)
        update["variants"] = tuple(first.variants(self.manifest.clip_ids[0])) if self.manifest.clip_ids else (FULL,)
        self.manifest = self.manifest.model_copy(update=update)
        write_json(self.path / "manifest.json", self.manifest.model_dump(mode="json"))
        for table in self.path.glob("clips.*.jsonl"):
            table.unlink(missing_ok=True)
        return Run.open(self.path)

    def _check_frames(self, clip_id: str, stream: str, value: Frames, facts: StreamFacts | None) -> None:
        n = self.manifest.n_frames.get(stream, value.shape[0])
        expected = (facts.n, *facts.size, 3) if facts else (n, *self.manifest.size, 3)
        if value.shape != expected or value.dtype != np.uint8:
            raise DataError(f"{clip_id}: {stream} must be uint8 {expected}, got {value.dtype} {value.shape}")

    def _save(self, name: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        from safetensors.numpy import save_file

        with atomic_file(self.path / name) as temporary:
            save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, temporary)


def discover(home: Path, shipped: Path = PHANTOM_ASSETS / "runs") -> list[RunInfo]:
    """List the shipped runs and those of ``home/runs``; a damaged one is listed with its error."""
    found: list[RunInfo] = []
    for folder, is_shipped in ((shipped, True), (home / "runs", False)):
        # A hidden folder is one that is still being written.
        for file in sorted(folder.glob("[!.]*/manifest.json")) if folder.is_dir() else ():
            try:
                manifest = read_manifest(file.parent)
                found.append(RunInfo(manifest.name, file.parent, is_shipped, manifest))
            except DataError as error:
                found.append(RunInfo(file.parent.name, file.parent, is_shipped, error=str(error)))
    return found


def _load_tensors(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Load tensors by name (all when none is named) from a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            known = list(file.keys())
            wanted = list(names) or known
            unknown = [n for n in wanted if n not in known]
            if unknown:
                raise DataError(f"{path}: expected {', '.join(unknown)}, got {', '.join(known)}; write the run again")
            return {name: file.get_tensor(name) for name in wanted}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: the file is damaged or cut short ({error}); write the run again") from error
