"""Frames on disk and in films: PNG folders, WebP strips, H.264, GIF."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.paths import atomic_file, atomic_folder

Frames = NDArray[np.uint8]
_MAX_PIXELS = 64 * 1024 * 1024


def write_stream(folder: Path, stream: str, frames: Frames, duration: float, *, compact: bool) -> None:
    """Write ``frames`` (n_frames, height, width, 3) as lossless PNGs and an MP4, or as one compact WebP strip.

    The strip, ``STREAM.webp``, is for looking at: its frames lie below one another and are lossy. ``duration`` is
    in seconds. One frame alone gets no MP4.
    """
    frames = np.ascontiguousarray(frames)  # rendered ones may lie colour by colour
    if compact:
        from PIL import Image

        with atomic_file(folder / f"{stream}.webp") as path:
            strip = frames.reshape(-1, *frames.shape[2:])
            Image.fromarray(strip).save(path, "WEBP", quality=86, method=6)
        return
    with atomic_folder(folder / stream) as target:
        for index, frame in enumerate(frames):
            (target / f"{index:03d}.png").write_bytes(_png(frame))
    if len(frames) > 1:
        write_mp4(folder / f"{stream}.mp4", frames, len(frames) / duration)


def _png(frame: Frames) -> bytes:
    """Encode one frame without loss.

    Run lengths after the Paeth filter take a tenth of the time of Pillow's own PNGs and about their size
    (benchmarks/writing.json), and other threads go on meanwhile.
    """
    import cv2

    how = (
        (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH),
    )
    done, data = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [value for pair in how for value in pair])
    if not done:
        raise RuntimeError(f"OpenCV refused a frame of {frame.shape} {frame.dtype}")
    return data.tobytes()


def read_strip(path: Path, size: tuple[int, int]) -> Frames:
    """Read a WebP strip or a folder of PNGs as (n_frames, height, width, 3) RGB; ``size`` is (height, width)."""
    from PIL import Image, UnidentifiedImageError

    height, width = size
    files = sorted(path.glob("*.png")) if path.is_dir() else [path]
    parts = []
    for file in files:
        try:
            with Image.open(file) as image:
                wide, high = image.size
                if wide != width or high % height or wide * high > _MAX_PIXELS:
                    raise DataError(f"{file}: frames must be {height} x {width} pixels, got a {high} x {wide} image")
                parts.append(np.asarray(image.convert("RGB")).reshape(-1, height, width, 3))
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(f"{file}: the picture is damaged or cut short; render the clip again") from error
    if not parts:
        raise DataError(f"{path}: expected frames as PNG, got none; render the clip again")
    return np.concatenate(parts)


def write_mp4(path: Path, frames: Frames, fps: float, *, scale: int = 1) -> None:
    """Write ``frames`` (n_frames, height, width, 3) as H.264 in yuv420p, enlarged ``scale`` times by repetition.

    Odd edges lose their last row or column, as the pixel format demands. The file is for looking at; it is the same on
    every machine, whatever the number of its processors.
    """
    import av

    shown = frames.repeat(scale, 1).repeat(scale, 2) if scale > 1 else frames
    height, width = shown.shape[1] // 2 * 2, shown.shape[2] // 2 * 2
    with atomic_file(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # As near to the frames as "medium", in less time (benchmarks/writing.json). Macroblock trees would save a third
        # of the bytes, but read memory that nobody wrote where frames are small: no two files would be alike.
        stream.options = {"crf": "16", "preset": "veryfast", "mbtree": "0"}
        stream.thread_count = 1  # what x264 writes depends on it
        for frame in shown[:, :height, :width]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def write_gif(path: Path, frames: Frames, fps: float, *, scale: int = 1) -> None:
    """Write ``frames`` as an endless GIF, enlarged ``scale`` times by repetition."""
    from PIL import Image

    shown = frames.repeat(scale, 1).repeat(scale, 2) if scale > 1 else frames
    first, *rest = [Image.fromarray(frame) for frame in shown]
    with atomic_file(path) as temporary:
        first.save(temporary, "GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
