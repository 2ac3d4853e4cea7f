"""The film on the screen, read clip by clip with exact frame numbers.

Video players seek by time and land where they like. Here the presentation times of all frames are read first (without
decoding), so that clip j is exactly the frames of [start, start + seconds), whatever the key frames are.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.tensorfilm import SUFFIX, TensorFilm
from pipeline.errors import DataError

STILLS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
CACHE_BYTES = 64 * 2**20
# A frame that starts this much before a clip (in frames) still counts to it: times are rounded to the time base.
ROUNDING = 0.25


def frame_indices(n_available: int, n_frames: int) -> NDArray[np.int64]:
    """Return ``n_frames`` evenly spaced indices, the first frame included: ``floor(k * n_available / n_frames)``."""
    return (np.arange(n_frames) * n_available) // n_frames


@dataclass(frozen=True)
class FilmIndex:
    """When each frame of a film is shown.

    Parameters
    ----------
    pts : (n_frames,) int64
        Presentation times in the stream's own unit, increasing.
    seconds : (n_frames,) float64
        The same from the first frame on, in seconds.
    fps : float
    size : (height, width) in pixels
    """

    pts: NDArray[np.int64]
    seconds: NDArray[np.float64]
    fps: float
    size: tuple[int, int]

    def clip(self, start: float, duration: float) -> NDArray[np.int64]:
        """Indices of the frames shown in [start, start + duration) s."""
        slack = ROUNDING / self.fps
        return np.flatnonzero((self.seconds >= start - slack) & (self.seconds < start + duration - slack))


def index_film(path: Path) -> FilmIndex:
    """Read the frame times of a film without decoding it.

    Raises
    ------
    DataError
        Missing file, no video stream, no frame, damaged container.
    """
    import av

    if not path.is_file():
        raise DataError(f"{path}: expected a film, got nothing; copy the stimuli there")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path}: expected a video stream, got none; fetch the film again")
            stream = container.streams.video[0]
            pts = sorted(p.pts for p in container.demux(stream) if p.pts is not None)
            rate, base = stream.average_rate, stream.time_base
            size = (int(stream.height), int(stream.width))
    except av.FFmpegError as error:
        raise DataError(f"{path}: the film cannot be read ({error}); fetch it again") from error
    if not pts or not rate or not base or not all(size):
        raise DataError(f"{path}: expected frames with times, got {len(pts)} frames; fetch the film again")
    ticks = np.asarray(pts, dtype=np.int64)
    return FilmIndex(ticks, (ticks - ticks[0]) * float(base), float(rate), size)


class _Film:
    """One open film: decodes forward, seeks only when it must."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = index_film(path)
        self._container: Any = None
        self._frames: Any = None
        self._next = 0

    def read(self, wanted: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decode the frames at increasing indices: (n, height, width, 3) RGB."""
        import av

        out: dict[int, NDArray[np.uint8]] = {}
        needed = {int(i) for i in wanted}
        try:
            # Decoding some frames too many is cheaper than seeking back to a key frame.
            if self._container is None or not 0 <= min(needed) - self._next <= 48:
                self._seek(int(self.index.pts[min(needed)]))
            while needed - out.keys():
                frame = next(self._frames)
                if frame.pts is None:
                    continue
                position = int(np.searchsorted(self.index.pts, frame.pts))
                self._next = position + 1
                if position in needed:
                    out[position] = frame.to_ndarray(format="rgb24")
        except (av.FFmpegError, StopIteration) as error:
            self.close()
            missing = sorted(needed - out.keys())
            raise DataError(f"{self.path}: frame {missing[0]} cannot be decoded; fetch the film again") from error
        return np.stack([out[int(i)] for i in wanted])

    def _seek(self, pts: int) -> None:
        import av

        if self._container is None:
            self._container = av.open(str(self.path))
        stream = self._container.streams.video[0]
        self._container.seek(pts, stream=stream, backward=True, any_frame=False)
        self._frames = self._container.decode(stream)
        self._next = 0

    def close(self) -> None:
        """Close the film; the next read opens it again."""
        if self._container is not None:
            self._container.close()
        self._container = self._frames = None


@dataclass
class VideoStimulus:
    """What was on the screen, clip by clip; implements :class:`~pipeline.clipset.Stimulus`.

    Parameters
    ----------
    files : list of Path
        Films (anything FFmpeg reads), still images, or tensors of frames (.pt).
    file : (n_clips,) int
        Which of ``files`` each clip is from.
    start : (n_clips,) float
        Where in the film the clip starts, seconds.
    seconds : float
        Length of a clip.

    Notes
    -----
    Films are opened when first asked for, and recent clips are kept up to 64 MB. Safe to share between threads.
    """

    files: list[Path]
    file: NDArray[np.int64]
    start: NDArray[np.float64]
    seconds: float
    _films: dict[int, _Film | TensorFilm] = field(default_factory=dict, init=False, repr=False, compare=False)
    _cache: OrderedDict[tuple[int, int | None], NDArray[np.uint8]] = field(
        default_factory=OrderedDict, init=False, repr=False, compare=False
    )
    _lock: Any = field(default_factory=threading.RLock, init=False, repr=False, compare=False)

    @property
    def fps(self) -> float:
        """Frames per second of the first film; one frame a clip for still images."""
        first = int(self.file[0])
        return 1 / self.seconds if self._still(first) else self._film(first).index.fps

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first film; all clips are returned at this size."""
        first = int(self.file[0])
        return self._image(first).shape[:2] if self._still(first) else self._film(first).index.size

    def __len__(self) -> int:
        return len(self.file)

    def frames(self, index: int, n_frames: int | None = None) -> NDArray[np.uint8]:
        """Return clip ``index`` as (n_frames, height, width, 3) RGB in 0..255, evenly spaced, the first included.

        With ``n_frames=None`` every frame of the clip at the film's own rate.
        """
        if not -len(self.file) <= index < len(self.file):
            raise IndexError(f"clip {index} of {len(self.file)}")
        key = (int(index) % len(self.file), n_frames)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            frames = self._read(*key)
            frames.setflags(write=False)  # shared with the cache
            self._cache[key] = frames
            while len(self._cache) > 1 and sum(f.nbytes for f in self._cache.values()) > CACHE_BYTES:
                self._cache.popitem(last=False)
            return frames

    def _read(self, index: int, n_frames: int | None) -> NDArray[np.uint8]:
        which, start = int(self.file[index]), float(self.start[index])
        if self._still(which):
            frames = np.repeat(self._image(which)[None], n_frames or 1, axis=0)
        else:
            film = self._film(which)
            found = film.index.clip(start, self.seconds)
            if not len(found):
                raise DataError(f"{film.path}: expected frames at {start:g} s, the film ends before; fetch it again")
            if n_frames is None:
                frames = film.read(found)
            else:
                chosen, inverse = np.unique(found[frame_indices(len(found), n_frames)], return_inverse=True)
                frames = film.read(chosen)[inverse]
        return frames if frames.shape[1:3] == self.size else resize_frames(frames, self.size)

    def _still(self, which: int) -> bool:
        return self.files[which].suffix.lower() in STILLS

    def _film(self, which: int) -> _Film | TensorFilm:
        with self._lock:
            if which not in self._films:
                path = self.files[which]
                self._films[which] = TensorFilm(path) if path.suffix == SUFFIX else _Film(path)
            return self._films[which]

    def _image(self, which: int) -> NDArray[np.uint8]:
        return read_image(self.files[which])

    def __getstate__(self) -> dict[str, Any]:
        """Leave open films behind when a data loader's worker gets a copy."""
        return {name: getattr(self, name) for name in ("files", "file", "start", "seconds")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a still image as (height, width, 3) RGB."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: the image cannot be read ({error}); fetch it again") from error


def read_film(path: Path) -> NDArray[np.uint8]:
    """Read every frame of a film, at its own size: (n_frames, height, width, 3) RGB in 0..255.

    Raises
    ------
    DataError
        As :func:`index_film`, and where a frame cannot be decoded.
    """
    film = _Film(path)
    try:
        return film.read(np.arange(len(film.index.pts)))
    finally:
        film.close()


def resize_frames(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bring (n_frames, height, width, 3) to ``size``, (height, width) in pixels, by area resampling."""
    import cv2

    return np.stack([cv2.resize(f, size[::-1], interpolation=cv2.INTER_AREA) for f in frames])
