"""What a run's ``manifest.json`` and ``clips.jsonl`` say, checked on reading, and the names of variants."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from pipeline.errors import ConfigError, DataError, ResourceError
from pipeline.paths import disk_is_full

PARTS = ("anchor", "motion", "holi", "mad")
FULL = "full"
FORMAT_VERSION = 1
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+@-]*$", max_length=120)]
_VARIANT = re.compile(r"^(?P<parts>full|[a-z+]+)(@(?P<seed>\d+))?$")


def variant_name(without: Iterable[str] = (), seed: int | None = None) -> str:
    """Name the combination with the parts ``without`` switched off, such as ``"anchor+holi"``.

    Without MAD there is nothing that C_motion could steer, so ``{"motion", "mad"}`` is ``"mad"``. A ``seed`` is
    appended (``"full@7"``) where it is not the run's own.
    """
    removed = set(without)
    unknown = removed - set(PARTS)
    if unknown:
        raise ConfigError(f"parts that can be switched off are {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    if "mad" in removed:
        removed.discard("motion")
    name = "+".join(part for part in PARTS if part in removed) or FULL
    return name if seed is None else f"{name}@{int(seed)}"


def parse_variant(variant: str) -> tuple[frozenset[str], int | None]:
    """Return the removed parts and the seed (None: the run's own) that a variant's name says."""
    match = _VARIANT.match(variant)
    if not match:
        raise ConfigError(f"variant must look like full, anchor+holi or full@7, got {variant!r}")
    parts = frozenset() if match["parts"] == FULL else frozenset(match["parts"].split("+"))
    variant_name(parts)
    return parts, None if match["seed"] is None else int(match["seed"])


def is_variant(name: str) -> bool:
    """Tell whether ``name`` can be a variant's."""
    return _VARIANT.match(name) is not None


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(_Model):
    """One summary figure with what is needed to judge it."""

    value: float
    chance: float | None = Field(None, description="the value of shuffled pairings, or of guessing")
    n: int = Field(description="number of clips behind the value")
    n_chance: int | None = Field(None, description="clips behind the chance, where it was measured and counted")
    judge: str | None = Field(None, description="model that scored, where one did")
    convention: str = "corrected"
    frames: str = Field("", description="frames that were scored, such as '16 at 8 fps, 64 x 64, lossless'")
    higher_is_better: bool | None = True
    label: str | None = Field(None, description="name to show; default: the score's key")
    interval: tuple[float, float] | None = Field(None, description="95 % bootstrap interval of the mean over clips")


class Nearest(_Model):
    """A known caption near a decoded embedding."""

    text: str
    similarity: float


class StreamFacts(_Model):
    """One stream of one clip, where it has a length, rate and size of its own: a clip that was imported."""

    n: int = Field(gt=0, description="frames")
    seconds: float = Field(gt=0, description="from the first frame's start to the last one's end")
    size: tuple[int, int] = Field(description="height, width of a frame, pixels")
    starts: tuple[float, ...] | None = Field(
        None, description="seconds at which each frame starts; None: evenly spaced"
    )
    scored: tuple[int, ...] = Field((), description="the frames that the scores compare, counted from 0")
    file: str = Field("", description="name of the file or folder that it was read from")
    sha256: str = ""

    @model_validator(mode="after")
    def _agree(self) -> StreamFacts:
        if self.starts is not None and len(self.starts) != self.n:
            raise ValueError("starts must have one entry per frame")
        return self


class ClipRecord(_Model):
    """One line of ``clips.jsonl``."""

    clip_id: Name
    captions: dict[str, str] = Field(default_factory=dict, description="basic, anchor, motion, holi as shown")
    nearest: dict[str, list[Nearest]] = Field(default_factory=dict, description="level -> captions near the decoded")
    labels: dict[str, str | bool | int | float] = Field(default_factory=dict)
    scores: dict[str, dict[str, float | None]] = Field(default_factory=dict, description="variant -> name -> value")
    streams: dict[Name, StreamFacts] = Field(
        default_factory=dict, description="stream -> what differs from the manifest; empty for a run made here"
    )


class Space(_Model):
    """Where the voxels of ``patterns.safetensors`` lie; see :class:`pipeline.clipset.VoxelSpace`."""

    kind: Literal["fs_LR_32k", "volume", "unknown"]
    shape: tuple[int, ...] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None


class DecoderSource(_Model):
    """The decoder that made a run; see :mod:`pipeline.provenance`."""

    folder: str = Field(description="checkpoint folder; told from the project's root where it lies in the project")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of its weights")


class RunManifest(_Model):
    """``manifest.json``: what was run, on what, and how well it did."""

    format_version: int = Field(FORMAT_VERSION, ge=1, le=FORMAT_VERSION)
    name: Name
    title: str
    method: str
    dataset: str
    subject: str
    simulated: bool
    labels: tuple[str, ...] = Field((), description="said wherever the run is shown: 'real brain, toy renderer'")
    source: Literal["recording", "videos"] = Field("recording", description="decoded here, or imported as videos")
    seed: int | None = Field(description="of the rendering; None where it is not known")
    notes: tuple[str, ...] = Field((), description="what a reader of the scores should know, a sentence each")
    config: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    clip_ids: tuple[Name, ...]
    streams: tuple[Name, ...] = ("truth", "motion", "anchor", "reconstruction")
    depends: dict[Name, tuple[str, ...]] = Field(
        {"truth": (), "motion": ("motion", "mad"), "anchor": ("anchor", "motion", "mad"), "reconstruction": PARTS},
        description="parts that a stream depends on; it is stored once for all combinations that agree in these",
    )
    variants: tuple[str, ...] = (FULL,)
    duration: float = Field(2.0, gt=0, description="seconds a clip lasts")
    fps: float = Field(8.0, gt=0, description="frames a second of the reconstruction")
    size: tuple[int, int] = Field((64, 64), description="height, width of a frame, pixels")
    n_frames: dict[Name, int] = Field(default_factory=dict, description="stream -> frames in a clip")
    layout: Literal["lossless", "compact"] = "lossless"
    cues: str | None = None
    space: Space | None = None
    scores: dict[str, dict[str, Score]] = Field(default_factory=dict, description="variant -> name -> score")
    created: str = ""
    decoder: DecoderSource | None = Field(None, description="what decoded the cues; None: not recorded, or no decoder")

    @model_validator(mode="after")
    def _agree(self) -> RunManifest:
        if len(set(self.clip_ids)) != len(self.clip_ids):
            raise ValueError("clip_ids must be unique")
        if self.cues not in (None, "cues.safetensors"):
            raise ValueError("cues must be cues.safetensors, the file beside the manifest")
        for variant in (*self.variants, *self.scores):
            parse_variant(variant)
        return self


def read_manifest(path: Path) -> RunManifest:
    """Read ``manifest.json`` of the run folder ``path``."""
    file = path / "manifest.json"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file}: expected a run's manifest, got none that can be read; finish the run first"
        ) from error
    try:
        return RunManifest.model_validate_json(text)
    except ConfigError as error:
        raise DataError(f"{file}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(p) for p in first["loc"]) or "the file"
        raise DataError(
            f"{file}: {where} is not as a run's manifest must be ({first['msg']}); write the run again"
        ) from error


def add_record(path: Path, record: ClipRecord) -> None:
    """Append a line to a table, whole or not at all; a line before it that a crash cut short stays apart.

    Raises
    ------
    ResourceError
        When the disk is full; the table is as before.
    """
    line = f"{record.model_dump_json()}\n".encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+", buffering=0) as table:
        size = table.seek(0, os.SEEK_END)
        table.seek(max(size - 1, 0))
        rest = line if table.read(1) in (b"\n", b"") else b"\n" + line
        try:
            while rest:  # a disk that fills up takes a part, and fails at the next call
                rest = rest[table.write(rest) :]
        except OSError as error:
            table.truncate(size)
            if disk_is_full(error):
                raise ResourceError(
                    f"{path}: the disk is full; nothing was changed, make room and run again"
                ) from error
            raise


def read_records(path: Path, repair: bool = False) -> list[ClipRecord]:
    """Read ``clips.jsonl``; with ``repair`` a line that a crash cut short is dropped, and no table has no lines."""
    try:
        # A cut may go through a letter. Only a newline ends a line: a caption may hold any other separator.
        lines = path.read_bytes().decode("utf-8", "replace" if repair else "strict").split("\n")
    except FileNotFoundError as error:
        if repair:
            return []
        raise DataError(f"{path}: expected the run's table of clips, got none; write the run again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected the run's table of clips, got none that can be read") from error
    records = []
    for number, line in enumerate(lines if lines[-1] else lines[:-1], 1):
        try:
            records.append(ClipRecord.model_validate_json(line))
        except ValidationError as error:
            if not repair:
                raise DataError(f"{path}: line {number} is not a clip's record; write the run again") from error
    return records
