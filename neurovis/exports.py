"""What a reader takes away of a clip: a labelled grid as MP4 or GIF, a strip as PNG, the facts as JSON."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.library import STREAM_TITLES
from pipeline.errors import ConfigError
from pipeline.frames import write_gif, write_mp4
from pipeline.runs import FULL, Run, parse_variant

SIDE, BAND, GAP = 256, 40, 8  # pixels: small frames are enlarged to about SIDE, large ones stay as they are
PART_TITLES = {"anchor": "C_anchor", "motion": "C_motion", "holi": "C_holi", "mad": "MAD"}
MEDIA = {"mp4": "video/mp4", "gif": "image/gif", "png": "image/png", "json": "application/json"}
_DARK, _INK, _FAINT = (16, 20, 26), (236, 240, 245), (150, 160, 174)
Frames = NDArray[np.uint8]


def variant_title(variant: str) -> str:
    """Say a variant in words: "without C_anchor, MAD; seed 7"."""
    parts, seed = parse_variant(variant)
    words = "full model" if not parts else "without " + ", ".join(t for p, t in PART_TITLES.items() if p in parts)
    return words if seed is None else f"{words}; seed {seed}"


def export(run: Run, clip_id: str, kind: str, columns: list[tuple[str, str]], scratch: Path) -> bytes:
    """Make one file of a clip.

    Parameters
    ----------
    run : Run
    clip_id : str
    kind : {"mp4", "gif", "png", "json"}
    columns : list of (stream, variant)
        What stands side by side; streams that do not exist for the clip are left out.
    scratch : Path
        Folder for the encoder's temporary file.
    """
    if kind not in MEDIA:
        raise ConfigError(f"exports are {', '.join(MEDIA)}, got {kind!r}")
    if kind == "json":
        return _facts(run, clip_id)
    shown = [(s, v) for s, v in columns if run.has(clip_id, s, v)]
    if not shown:
        raise ConfigError(f"{run.manifest.name}: none of the streams asked for is rendered for {clip_id}")
    if kind == "png":
        return _png(_strip(run, clip_id, shown))
    frames = _grid(run, clip_id, shown)
    fps = len(frames) / max(run.seconds(clip_id, stream) for stream, _ in shown)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / f"clip.{kind}"
        (write_mp4 if kind == "mp4" else write_gif)(path, frames, fps)
        return path.read_bytes()


def _titles(run: Run, columns: list[tuple[str, str]]) -> list[str]:
    """Name the columns; a variant is said only where it differs from the full model."""
    titles = []
    for stream, variant in columns:
        title = STREAM_TITLES.get(stream, (stream, ""))[0]
        titles.append(title if variant == FULL or stream == "truth" else f"{title}, {variant_title(variant)}")
    return titles


def _caption(run: Run, clip_id: str) -> str:
    """Say what the picture shows; simulated data is named as such in every export."""
    m = run.manifest
    seed = [] if m.seed is None else [f"seed {m.seed}"]
    marks = [*dict.fromkeys((["simulated data"] if m.simulated else []) + list(m.labels))]
    return "  ·  ".join([f"{m.dataset} {m.subject} {clip_id}", m.method, *seed, *marks])


def _grid(run: Run, clip_id: str, columns: list[tuple[str, str]]) -> Frames:
    """Put the streams side by side in time: (n_frames, height, width, 3)."""
    clips = _of_one_size([run.frames(clip_id, stream, variant) for stream, variant in columns])
    seconds = [run.seconds(clip_id, stream) for stream, _ in columns]
    n = max(round(max(seconds) * len(c) / s) for c, s in zip(clips, seconds, strict=True))
    times = (np.arange(n) + 0.5) * max(seconds) / n
    scale = max(1, SIDE // max(clips[0].shape[1:3]))
    height, width = (side * scale for side in clips[0].shape[1:3])
    page = _page(height, len(clips) * (width + GAP) - GAP, _caption(run, clip_id))
    _write(page, [(i * (width + GAP), 4, t) for i, t in enumerate(_titles(run, columns))])
    frames = np.repeat(np.asarray(page)[None], n, 0)
    for column, (clip, (stream, _)) in enumerate(zip(clips, columns, strict=True)):
        shown = clip[run.shown_at(clip_id, stream, len(clip), times)]
        large = shown.repeat(scale, 1).repeat(scale, 2)
        frames[:, BAND : BAND + height, column * (width + GAP) : column * (width + GAP) + width] = large
    return frames


def _strip(run: Run, clip_id: str, columns: list[tuple[str, str]]) -> Frames:
    """Lay the frames of each stream out in a row, six of the longer ones: (height, width, 3)."""
    clips = _of_one_size([run.frames(clip_id, stream, variant) for stream, variant in columns])
    scale = max(1, SIDE // 2 // max(clips[0].shape[1:3]))
    height, width = (side * scale for side in clips[0].shape[1:3])
    rows = []
    for clip in clips:
        keep = np.unique(np.linspace(0, len(clip) - 1, min(len(clip), 6)).round().astype(int))
        rows.append(np.concatenate(list(clip[keep].repeat(scale, 1).repeat(scale, 2)), axis=1))
    row_height = height + 24
    page = _page(len(rows) * row_height, 6 * width, _caption(run, clip_id))
    _write(page, [(0, BAND + i * row_height - 20, t) for i, t in enumerate(_titles(run, columns))])
    picture = np.array(page)
    for i, row in enumerate(rows):
        top = BAND + i * row_height
        picture[top : top + height, : row.shape[1]] = row
    return picture


def _of_one_size(clips: list[Frames]) -> list[Frames]:
    """Bring the streams to the size of the first, as the scores do."""
    from pipeline.data.video import resize_frames

    size = clips[0].shape[1:3]
    return [clip if clip.shape[1:3] == size else resize_frames(clip, size) for clip in clips]


def _page(height: int, width: int, caption: str) -> Any:
    """Return an empty dark page with the caption in its lower band."""
    from PIL import Image

    page = Image.new("RGB", (width, height + 2 * BAND), _DARK)
    _write(page, [(0, height + BAND + 8, caption)], _FAINT, 14)
    return page


def _write(page: Any, texts: list[tuple[int, int, str]], ink: tuple[int, int, int] = _INK, size: int = 16) -> None:
    from PIL import ImageDraw, ImageFont

    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size)
    for x, y, text in texts:
        draw.text((x + 8, y), text, fill=ink, font=font)


def _png(picture: Frames) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _facts(run: Run, clip_id: str) -> bytes:
    """Everything the run knows of the clip, with what made it."""
    import json

    m = run.manifest
    facts = run.clips[clip_id].model_dump()
    facts["run"] = m.model_dump(mode="json", exclude={"clip_ids", "scores"})
    return json.dumps(facts, indent=2, ensure_ascii=False).encode()
