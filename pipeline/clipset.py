"""The one container that flows from the recording to the reconstruction.

A :class:`ClipSet` holds what one subject saw and what was measured, clip by clip. Every stage takes one and returns
a copy with one more slot filled: a reader fills ``fmri``, the caption step ``captions``, a decoder ``cues``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError

CAPTION_LEVELS = ("basic", "anchor", "motion", "holi")


class Stimulus(Protocol):
    """What was on the screen, read only when asked for (a film is larger than memory)."""

    @property
    def fps(self) -> float:
        """Frames a second of the film itself."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        ...

    def frames(self, index: int, n_frames: int | None = None) -> NDArray[np.uint8]:
        """Return clip ``index`` as (n_frames, height, width, 3) RGB in 0..255, evenly spaced in time.

        With ``n_frames=None`` every frame of the clip at the film's own rate.
        """
        ...


@dataclass(frozen=True)
class VoxelSpace:
    """Where the voxels (volume) or vertices (surface) of a data set lie.

    Parameters
    ----------
    kind : {"fs_LR_32k", "volume", "unknown"}
        ``fs_LR_32k``: voxel ids are rows of the 59,412 cortical grayordinates, left then right hemisphere.
        ``volume``: voxel ids are flat C-order indices into ``shape``. ``unknown``: no position is known.
    shape : tuple of int, optional
        Grid of a volume (n_x, n_y, n_z).
    affine : tuple of tuple of float, optional
        4 x 4 voxel-to-world matrix of a volume, mm.
    """

    kind: Literal["fs_LR_32k", "volume", "unknown"]
    shape: tuple[int, ...] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True)
class ClipSet:
    """What one subject saw and what was measured, clip by clip.

    Parameters
    ----------
    subject : str
        Such as ``"sub-01"``.
    fmri : (n_clips, n_repeats, n_voxels) float32
        z-scored per run; the average over repeats is the caller's choice. Absent repeats are NaN-free zeros and
        marked in ``present``.
    voxel_ids : (n_voxels,) int64
        Unique ids in ``space``.
    space : VoxelSpace
    clip_ids : (n_clips,) str
        Unique, such as ``"seg1_0007"``.
    groups : (n_clips,) str
        The run a clip belongs to; a hold-out takes whole groups.
    tr : float
        Repetition time, seconds.
    present : (n_clips, n_repeats) bool
        Which repeats were recorded and are good.
    stimulus : Stimulus or None
    captions : mapping of level to (n_clips,) str
        Any of ``basic``, ``anchor``, ``motion``, ``holi``.
    labels : mapping of name to (n_clips,) array
        Other facts per clip, such as ``trial_type``, ``object``, ``cut``, ``block``.
    cues : mapping of name to (n_clips, ...) array
        What a decoder made of ``fmri``.
    simulated : bool
        True for a phantom; shown wherever the data is shown.

    Raises
    ------
    DataError
        When an array does not share the first axis, or an id is repeated, or a value is not finite.
    """

    subject: str
    fmri: NDArray[np.float32]
    voxel_ids: NDArray[np.int64]
    space: VoxelSpace
    clip_ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    tr: float
    present: NDArray[np.bool_]
    stimulus: Stimulus | None = None
    captions: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    labels: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    cues: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    simulated: bool = False

    def __post_init__(self) -> None:
        n_clips = len(self.clip_ids)
        n_voxels = len(self.voxel_ids)
        if self.fmri.ndim != 3 or self.fmri.shape[0] != n_clips or self.fmri.shape[2] != n_voxels:
            raise DataError(
                f"{self.subject}: fmri must be (n_clips={n_clips}, n_repeats, n_voxels={n_voxels}), "
                f"got {self.fmri.shape}; check that the clips and the voxel selection come from the same recording"
            )
        if self.present.shape != self.fmri.shape[:2]:
            raise DataError(f"{self.subject}: present must be {self.fmri.shape[:2]}, got {self.present.shape}")
        if len(np.unique(self.clip_ids)) != n_clips:
            raise DataError(f"{self.subject}: clip ids must be unique, got {n_clips} with repeats")
        if len(np.unique(self.voxel_ids)) != n_voxels:
            raise DataError(f"{self.subject}: voxel ids must be unique, got {n_voxels} with repeats")
        named = {"groups": self.groups, **_prefixed("captions", self.captions)}
        named |= _prefixed("labels", self.labels) | _prefixed("cues", self.cues)
        for name, array in named.items():
            if len(array) != n_clips:
                raise DataError(f"{self.subject}: {name} must have n_clips={n_clips} rows, got {len(array)}")
        unknown = set(self.captions) - set(CAPTION_LEVELS)
        if unknown:
            raise DataError(f"{self.subject}: caption levels are {CAPTION_LEVELS}, got {sorted(unknown)}")
        if not np.isfinite(self.fmri).all():
            bad = int((~np.isfinite(self.fmri)).any(axis=(0, 1)).sum())
            raise DataError(f"{self.subject}: fmri must be finite, got {bad} voxels with NaN or Inf; mask them first")

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __repr__(self) -> str:
        n_clips, n_repeats, n_voxels = self.fmri.shape
        slots = [f"captions={sorted(self.captions)}", f"cues={sorted(self.cues)}"]
        return (
            f"ClipSet({self.subject}, n_clips={n_clips}, n_repeats={n_repeats}, n_voxels={n_voxels}, "
            f"tr={self.tr} s, space={self.space.kind}, {', '.join(slots)}, simulated={self.simulated})"
        )

    def mean_fmri(self) -> NDArray[np.float32]:
        """Average the recorded repeats of each clip: (n_clips, n_voxels)."""
        weight = self.present.astype(np.float32)
        total = np.einsum("cr,crv->cv", weight, self.fmri)
        return np.asarray(total / np.maximum(weight.sum(1), 1)[:, None], dtype=np.float32)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> ClipSet:
        """Return the clips at ``index`` (integers or a mask), every slot cut alike."""
        rows = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        cut: dict[str, Any] = {name: getattr(self, name)[rows] for name in ("fmri", "clip_ids", "groups", "present")}
        for name in ("captions", "labels", "cues"):
            cut[name] = {key: value[rows] for key, value in getattr(self, name).items()}
        cut["stimulus"] = None if self.stimulus is None else _StimulusView(self.stimulus, rows)
        return replace(self, **cut)

    def with_cues(self, **cues: NDArray[np.generic]) -> ClipSet:
        """Return a copy with these decoded cues added."""
        return replace(self, cues={**self.cues, **cues})

    def without_stimulus(self) -> ClipSet:
        """Return a copy that knows nothing of what was shown, as a decoder at test time must see it."""
        return replace(self, stimulus=None, captions={}, labels={})


@dataclass(frozen=True)
class _StimulusView:
    """Some clips of another stimulus."""

    base: Stimulus
    index: NDArray[np.int64]

    @property
    def fps(self) -> float:
        return self.base.fps

    @property
    def size(self) -> tuple[int, int]:
        return self.base.size

    def frames(self, index: int, n_frames: int | None = None) -> NDArray[np.uint8]:
        return self.base.frames(int(self.index[index]), n_frames)


def _prefixed(name: str, mapping: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    return {f"{name}[{key!r}]": value for key, value in mapping.items()}
