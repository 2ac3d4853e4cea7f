"""Where the two videos of a clip come from: a run folder, or two folders paired by name.

A source holds paths and facts only, so that it can be handed to other processes; frames are read clip by clip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.data.clipfiles import measure, read_frames
from pipeline.errors import DataError
from pipeline.peers import pair_clips
from pipeline.runs import FULL, Run

Frames = NDArray[np.uint8]
Captions = Mapping[str, Mapping[str, str]]  # clip -> level -> text
Texts = dict[str, tuple[str, str]]  # level -> decoded caption, true caption
LABEL_KEYS: tuple[str, ...] = ("object", "motion")


@dataclass(frozen=True)
class Shown:
    """A video with the instants of its frames: frames (n, height, width, 3), starts (n,) s."""

    frames: Frames
    starts: NDArray[np.float64]
    seconds: float

    @property
    def n(self) -> int:
        """Number of frames."""
        return len(self.frames)


class Source(Protocol):
    """Clips to be scored."""

    @property
    def facts(self) -> dict[str, Any]:
        """Name, method, data set and subject, and a checksum of what is read, for results."""

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """The clips, in order."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the scores should know, a sentence each."""

    def truth(self, index: int) -> Shown:
        """Read what was on the screen."""

    def made(self, index: int, variant: str) -> Shown:
        """Read the reconstruction."""

    def labels(self, index: int) -> dict[str, str]:
        """Return what is known of the clip: ``object``, ``motion``, ``captions``."""

    def texts(self, index: int) -> Texts:
        """Return the clip's captions where both are known."""


@dataclass(frozen=True)
class RunSource:
    """A run folder."""

    path: Path

    @cached_property
    def run(self) -> Run:
        """The run, opened on first use."""
        run = Run.open(self.path)
        if "truth" not in run.manifest.streams:
            raise DataError(f"{run.manifest.name}: expected a run that holds the true clips, got none; use --truth")
        return run

    @property
    def facts(self) -> dict[str, Any]:
        """Name, method, data set and subject, and a checksum of the run's files of facts."""
        m = self.run.manifest
        digest = hashlib.sha256()
        for name in ("manifest.json", "clips.jsonl"):
            digest.update((self.path / name).read_bytes())
        values = {"run": m.name, "method": m.method, "dataset": m.dataset, "subject": m.subject}
        return {**values, "simulated": m.simulated, "sha256": digest.hexdigest()}

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """The manifest's clips."""
        return self.run.manifest.clip_ids

    @property
    def notes(self) -> tuple[str, ...]:
        """The run's own notes, and whether its frames are lossy."""
        lossy = ("The run's frames are lossy WebP strips, not the arrays that were rendered.",)
        return (*self.run.manifest.notes, *(lossy if self.run.manifest.layout == "compact" else ()))

    def truth(self, index: int) -> Shown:
        """Read the stream ``truth``."""
        return self._stream(index, "truth", FULL)

    def made(self, index: int, variant: str) -> Shown:
        """Read the stream ``reconstruction`` of a variant."""
        return self._stream(index, "reconstruction", variant)

    def labels(self, index: int) -> dict[str, str]:
        """Return the labels of the clip and its captions as one text."""
        record = self.run.clips[self.clip_ids[index]]
        known: dict[str, str] = {key: str(record.labels[key]) for key in LABEL_KEYS if key in record.labels}
        return {**known, "captions": " ".join(record.captions.values())}

    def texts(self, index: int) -> Texts:
        """Return, of each level, the known caption nearest to what was decoded, and the true one."""
        record = self.run.clips[self.clip_ids[index]]
        return {
            level: (near[0].text, record.captions[level])
            for level, near in record.nearest.items()
            if near and level in record.captions
        }

    def _stream(self, index: int, stream: str, variant: str) -> Shown:
        clip_id = self.clip_ids[index]
        frames = self.run.frames(clip_id, stream, variant)
        seconds, facts = self.run.seconds(clip_id, stream), self.run.clips[clip_id].streams.get(stream)
        even = np.arange(len(frames)) * seconds / len(frames)
        return Shown(frames, np.asarray(facts.starts) if facts and facts.starts else even, seconds)


@dataclass(frozen=True)
class FolderSource:
    """Two folders of clips, paired by name; ``fps_*`` take the place of what the files tell.

    ``captions`` are the truth's, ``decoded`` those of the reconstructions, each by clip and level.
    """

    truth_folder: Path
    recon_folder: Path
    name: str | None = None
    fps_truth: float | None = None
    fps_recon: float | None = None
    captions: Captions = field(default_factory=dict)
    decoded: Captions = field(default_factory=dict)

    @cached_property
    def _paired(self) -> tuple[list[tuple[str, Path, Path]], list[str]]:
        return pair_clips(self.truth_folder, self.recon_folder)

    @property
    def facts(self) -> dict[str, Any]:
        """Names of the folders, and a checksum over the files' names and sizes."""
        digest = hashlib.sha256()
        for _, *paths in self._paired[0]:
            for path in paths:
                stat = path.stat()
                digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        name = self.name or self.recon_folder.resolve().name
        facts = {"run": name, "method": name, "dataset": self.truth_folder.resolve().name, "subject": "not stated"}
        return {**facts, "simulated": False, "sha256": digest.hexdigest()}

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """The clips that both folders hold."""
        return tuple(clip_id for clip_id, _, _ in self._paired[0])

    @property
    def notes(self) -> tuple[str, ...]:
        """Which clips have no partner."""
        return tuple(self._paired[1])

    def truth(self, index: int) -> Shown:
        """Read the true clip."""
        return _read(self._paired[0][index][1], self.fps_truth)

    def made(self, index: int, variant: str) -> Shown:
        """Read the reconstructed clip; there is one variant, ``full``."""
        if variant != FULL:
            raise DataError(f"a pair of folders holds one variant, full, got {variant}; name a run instead")
        return _read(self._paired[0][index][2], self.fps_recon)

    def labels(self, index: int) -> dict[str, str]:
        """Return the caption that was given for the clip."""
        return {"captions": " ".join(self.captions.get(self.clip_ids[index], {}).values())}

    def texts(self, index: int) -> Texts:
        """Return the two captions of the clip by level, where both files have it."""
        clip_id = self.clip_ids[index]
        true, made = self.captions.get(clip_id, {}), self.decoded.get(clip_id, {})
        return {level: (made[level], true[level]) for level in made if level in true}


def _read(path: Path, fps: float | None) -> Shown:
    clip = measure(path, fps)
    return Shown(read_frames(clip), clip.starts, clip.seconds)
