"""Render the phantom's films and write them down: pixels, captions, records and features.

stimuli/
    seg1.mp4, test1.mp4         the films, lossless RGB, 8 frames a second
    captions.jsonl              a line per clip: clip_id, basic, anchor, motion, holi, source
    scenes.jsonl                a line per clip: clip_id and the scene record
    features.safetensors        what the simulated neurons responded to, (n_clips, n_features) a film
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from pipeline.paths import atomic_folder
from pipeline.phantom.features import clip_features
from pipeline.phantom.sizes import PhantomSize

FPS = 8
CAPTION_SOURCE = "phantom scene record"


def write_films(folder: Path, size: PhantomSize, tick: Callable[[str], None]) -> dict[str, NDArray[np.float32]]:
    """Write all films where they are not there yet.

    Parameters
    ----------
    folder : Path
        The data set's ``stimuli``; appears whole or not at all.
    size : PhantomSize
    tick : callable
        Called with the file's name after each film.

    Returns
    -------
    dict
        Film -> features of its clips, (n_clips, n_features) float32.
    """
    from safetensors.numpy import load_file, save_file

    table = folder / "features.safetensors"
    names = [film for film, _ in size.films]
    if table.is_file() and all((folder / f"{film}.mp4").is_file() for film in names):
        for film in names:
            tick(f"{film}.mp4")
        return {film: features.astype(np.float32) for film, features in load_file(table).items()}
    found: dict[str, NDArray[np.float32]] = {}
    with atomic_folder(folder) as temporary:
        with (
            open(temporary / "captions.jsonl", "w", encoding="utf-8") as captions,
            open(temporary / "scenes.jsonl", "w", encoding="utf-8") as scenes,
        ):
            for i, film in enumerate(names):
                found[film] = _write_film(temporary / f"{film}.mp4", film, i, size, captions, scenes)
                tick(f"{film}.mp4")
        save_file(found, temporary / table.name)
    return found


def _write_film(
    path: Path, film: str, number: int, size: PhantomSize, captions_file: TextIO, scenes_file: TextIO
) -> NDArray[np.float32]:
    """Render one film, write it and a line per clip into both tables, and return its features."""
    from pipeline.phantom.captions import captions
    from pipeline.phantom.render import render_clip
    from pipeline.phantom.scenes import film as draw_film

    split = "train" if film.startswith("seg") else "test"
    scenes = draw_film(size.clips_per_segment, size.seed * 100 + number, split)
    clips = [render_clip(scene) for scene in scenes]
    write_film(path, clips)
    for j, scene in enumerate(scenes):
        clip_id = f"{film}_{j:04d}"
        line = {"clip_id": clip_id, **captions(scene), "source": CAPTION_SOURCE}
        captions_file.write(json.dumps(line, ensure_ascii=False) + "\n")
        scenes_file.write(json.dumps({"clip_id": clip_id, **scene.to_dict()}) + "\n")
    return np.stack([clip_features(clip, scene) for clip, scene in zip(clips, scenes, strict=True)])


def write_film(path: Path, clips: Sequence[NDArray[np.uint8]]) -> None:
    """Write clips one after another as a lossless H.264 film in RGB.

    Parameters
    ----------
    path : Path
        The mp4 file.
    clips : sequence of (n_frames, height, width, 3) uint8
        The first frame of each clip becomes a key frame, so that a reader can start there.
    """
    import av

    n_frames, height, width, _ = clips[0].shape
    options = {"qp": "0", "preset": "ultrafast", "bf": "0", "sc_threshold": "0", "keyint_min": str(n_frames)}
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264rgb", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        stream.codec_context.gop_size = n_frames
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        for clip in clips:
            for pixels in clip:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
