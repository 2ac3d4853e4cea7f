"""Truth frames that come as one tensor (n_clips, n_frames, 3, height, width) in [0, 1], read clip by clip from disk.

The tensor plays the part of a film: clip j is its seconds [2 j, 2 j + 2), with 6 frames a clip at 3 frames a second.
CC2017's preprocessed training frames are 15.6 GB; they are mapped, never loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.picklefree import open_tensor
from pipeline.errors import DataError

CLIP_SECONDS = 2.0
SUFFIX = ".pt"
# Values are checked on this many clips spread over the tensor: to look at all would read 15.6 GB.
N_LOOKED_AT = 3


def tensor_shape(path: Path) -> tuple[int, ...]:
    """Check a tensor of frames; return its shape (n_clips, n_frames, 3, height, width).

    Raises
    ------
    DataError
        Not a tensor, of another shape or type, or with values outside [0, 1] in the clips that are looked at.
    """
    frames = open_tensor(path)
    shape = tuple(frames.shape)
    if len(shape) != 5 or shape[2] != 3 or not all(shape):
        raise DataError(f"{path}: expected frames (n_clips, n_frames, 3, height, width), got {shape}; fetch it again")
    if not frames.is_floating_point():
        raise DataError(f"{path}: expected frames as numbers in [0, 1], got {frames.dtype}; fetch the file again")
    for index in np.unique(np.linspace(0, shape[0] - 1, N_LOOKED_AT).astype(int)).tolist():
        clip = frames[index].float()
        low, high = float(clip.min()), float(clip.max())
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise DataError(
                f"{path}: expected frames in [0, 1], clip {index} has {low:.3g} to {high:.3g}; rescale them"
            )
    return shape


class TensorFilm:
    """A tensor of frames that is read like a film; see :class:`pipeline.data.video.VideoStimulus`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shape = tensor_shape(path)
        self.n_frames = shape[1]
        self.index = index_tensor(shape)
        self._frames: Any = None

    def read(self, wanted: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read the frames at these indices: (n, height, width, 3) RGB in 0..255."""
        if self._frames is None:
            self._frames = open_tensor(self.path)
        out = []
        for i in wanted.tolist():
            frame = self._frames[i // self.n_frames, i % self.n_frames].float().numpy()
            if not np.isfinite(frame).all():
                raise DataError(f"{self.path}: frame {i} holds NaN or infinite values; fetch the file again")
            out.append(np.rint(np.clip(frame, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))
        return np.stack(out)

    def close(self) -> None:
        """Let go of the mapped file; the next read maps it again."""
        self._frames = None


def index_tensor(shape: tuple[int, ...]) -> Any:
    """Times of all frames of a tensor (n_clips, n_frames, 3, height, width), as a film's."""
    from pipeline.data.video import FilmIndex

    fps = shape[1] / CLIP_SECONDS
    ticks = np.arange(shape[0] * shape[1], dtype=np.int64)
    return FilmIndex(ticks, ticks / fps, fps, (shape[3], shape[4]))
