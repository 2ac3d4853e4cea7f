"""A folder of short clips (GIFs, films, or folders of pictures), and the instant of every frame.

Published reconstructions come in all of these forms, named by clip. Names are matched as people count: ``0022.gif`` is
clip ``22``, and ``clip_9`` comes before ``clip_10``.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.video import index_film, read_film, read_image
from pipeline.errors import DataError

PICTURES = (".png", ".jpg", ".jpeg")
FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
MIN_SIDE = 16  # pixels; a metric's window is 11 wide
MAX_CLIP_BYTES = 256 * 2**20  # as RGB; 2 s of 24 frames a second at 1280 x 720 are 133 MB
UNTOLD_DELAY = 100  # ms, what browsers take where a GIF tells no delay for a frame
EVEN = 0.1  # frames; starts that stray less than this from an even pace are even

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class ClipFile:
    """One clip on disk, measured but not decoded.

    Parameters
    ----------
    path : Path
        A GIF, a film, or a folder of pictures.
    starts : (n_frames,) float64
        When each frame appears, seconds, the first at 0.
    seconds : float
        From the first frame's start to the last one's end.
    size : (height, width) in pixels
    n_bytes : int
        On disk.
    sha256 : str
        Of the file; of a folder, over the names and contents of its pictures in order.
    """

    path: Path
    starts: NDArray[np.float64]
    seconds: float
    size: tuple[int, int]
    n_bytes: int
    sha256: str

    @property
    def n(self) -> int:
        """Number of frames."""
        return len(self.starts)

    @property
    def fps(self) -> float:
        """Mean frames per second."""
        return self.n / self.seconds

    @property
    def even(self) -> bool:
        """Tell whether the frames follow one another at one pace."""
        pace = np.arange(self.n) * self.seconds / self.n
        return bool(np.all(np.abs(self.starts - pace) <= EVEN * self.seconds / self.n))


def clip_key(name: str) -> str:
    """Return what a clip's name is matched by: leading zeros of its numbers do not count."""
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", name)


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names as people count: ``clip_9`` before ``clip_10``."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]


def find_clips(folder: Path) -> dict[str, Path]:
    """List the clips of a folder: key (:func:`clip_key`) -> file or folder of pictures, in natural order.

    Raises
    ------
    DataError
        The folder is missing, holds no clip, or two clips of one name.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of clips, got {'a file' if folder.exists() else 'nothing'}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda p: natural(p.name)):
        if path.name.startswith(".") or not (_pictures(path) if path.is_dir() else _is_clip(path)):
            continue
        key = clip_key(clip_stem(path))
        if key in found:
            raise DataError(
                f"{folder}: expected one clip of each name, got {found[key].name} and {path.name}; move one away"
            )
        found[key] = path
    if not found:
        raise DataError(f"{folder}: expected a GIF, a film (MP4) or a folder of PNG or JPG frames per clip, got none")
    return found


def clip_stem(path: Path) -> str:
    """Return a clip's name: the file's without its suffix, or the folder's."""
    return path.name if path.is_dir() else path.stem


def measure(path: Path, fps: float | None = None) -> ClipFile:
    """Read length, rate and size of a clip, and its checksum; frames are not kept.

    Parameters
    ----------
    path : Path
    fps : float, optional
        Frames per second, for a folder of pictures, or instead of what the file tells.

    Raises
    ------
    DataError
        Damaged, too small or too large, or without a frame rate.
    """
    reader = _folder if path.is_dir() else _gif if path.suffix.lower() == ".gif" else _film
    starts, seconds, size = reader(path, fps)
    if min(size) < MIN_SIDE:
        raise DataError(
            f"{path}: frames of at least {MIN_SIDE} x {MIN_SIDE} pixels are needed, got {size[1]} x {size[0]}"
        )
    if fps is not None:
        starts, seconds = np.arange(len(starts)) / fps, len(starts) / fps
    if not seconds > 0:
        raise DataError(f"{path}: the file tells no frame rate; give it with --fps-truth or --fps-recon")
    return ClipFile(path, starts, float(seconds), size, *_checksum(path))


def read_frames(clip: ClipFile) -> Frames:
    """Read all frames of a clip as they are: (n_frames, height, width, 3) RGB in 0..255.

    Raises
    ------
    DataError
        Where a frame is damaged, or the clip is not what was measured.
    """
    if clip.path.is_dir():
        pictures = [read_image(path) for path in _pictures(clip.path)]
        odd = next((i for i, picture in enumerate(pictures) if picture.shape[:2] != clip.size), None)
        if odd is not None:
            height, width = pictures[odd].shape[:2]
            raise DataError(
                f"{_pictures(clip.path)[odd]}: expected {clip.size[1]} x {clip.size[0]} pixels like the first frame, "
                f"got {width} x {height}; bring the clip's frames to one size"
            )
        frames = np.stack(pictures)
    elif clip.path.suffix.lower() == ".gif":
        with _opened(clip.path) as image:
            frames = np.stack([_frame(image, index) for index in range(clip.n)])
    else:
        frames = read_film(clip.path)
    if frames.shape != (clip.n, *clip.size, 3):
        raise DataError(f"{clip.path}: expected {clip.n} frames of {clip.size}, got {frames.shape}; fetch it again")
    return frames


Measured = tuple[NDArray[np.float64], float, tuple[int, int]]


def _gif(path: Path, fps: float | None) -> Measured:
    """Measure a GIF by the delays that it tells for its frames."""
    with _opened(path) as image:
        size, n = (int(image.height), int(image.width)), int(image.n_frames)
        _check_bytes(path, n, size)
        delays = []
        for index in range(n):
            image.seek(index)
            delays.append(float(image.info.get("duration", 0)))
    told = np.array([delay or UNTOLD_DELAY for delay in delays] if any(delays) else delays) / 1000
    return np.cumsum(told) - told, float(told.sum()), size


def _film(path: Path, fps: float | None) -> Measured:
    """Measure a film by the presentation times of its frames."""
    index = index_film(path)
    _check_bytes(path, len(index.seconds), index.size)
    return index.seconds, float(index.seconds[-1] + 1 / index.fps), index.size


def _folder(path: Path, fps: float | None) -> Measured:
    """Measure a folder of pictures, which tells no rate."""
    pictures = _pictures(path)
    if fps is None:
        raise DataError(f"{path}: pictures tell no frame rate; give it with --fps-truth or --fps-recon")
    height, width = read_image(pictures[0]).shape[:2]
    _check_bytes(path, len(pictures), (height, width))
    return np.arange(len(pictures)) / fps, len(pictures) / fps, (height, width)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a GIF; whatever its decoder trips over becomes one sentence."""
    from PIL import Image

    trouble = (OSError, EOFError, ValueError, SyntaxError, IndexError, struct.error, Image.DecompressionBombError)
    try:
        with Image.open(path, formats=["GIF"]) as image:
            yield image
    except trouble as error:
        raise DataError(f"{path}: the GIF is damaged or cut short ({error}); fetch it again") from error


def _frame(image: Any, index: int) -> Frames:
    image.seek(index)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _check_bytes(path: Path, n: int, size: tuple[int, int]) -> None:
    n_bytes = n * size[0] * size[1] * 3
    if n_bytes > MAX_CLIP_BYTES:
        raise DataError(
            f"{path}: a clip may hold {MAX_CLIP_BYTES >> 20} MB of frames, got {n} of {size[1]} x {size[0]} pixels "
            f"({n_bytes >> 20} MB); cut or shrink it"
        )


def _is_clip(path: Path) -> bool:
    return path.suffix.lower() in (".gif", *FILMS)


def _pictures(folder: Path) -> list[Path]:
    """Return a folder's pictures in natural order."""
    found = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith(".")]
    return sorted(found, key=lambda p: natural(p.name))


def _checksum(path: Path) -> tuple[int, str]:
    """Return bytes on disk, and SHA-256."""
    if not path.is_dir():
        with open(path, "rb") as stream:
            return path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()
    digest, total = hashlib.sha256(), 0
    for picture in _pictures(path):
        body = picture.read_bytes()
        digest.update(f"{picture.name}\0{len(body)}\0".encode() + body)
        total += len(body)
    return total, digest.hexdigest()
