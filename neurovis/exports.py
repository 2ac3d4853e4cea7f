"""What a reader takes away of a clip: a labelled grid as MP4 or GIF, a strip as PNG, the facts as JSON."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.library import STREAM_TITLES
from pipeline.errors import ConfigError
from pipeline.frames import write_gif, write_mp4
from pipeline.runs import FULL, Run, parse_variant

MOMENTS = 6  # instants in a strip, at most
SIDE, BAND, GAP = 256, 40, 8  # pixels: small frames are enlarged to about SIDE, large ones stay as they are
PART_TITLES = {"anchor": "C_anchor", "motion": "C_motion", "holi": "C_holi", "mad": "MAD"}
MEDIA = {"mp4": "video/mp4", "gif": "image/gif", "png": "image/png", "json": "application/json"}
_DARK, _INK, _FAINT = (16, 20, 26), (236, 240, 245), (150, 160, 174)
Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Column:
    """One stream of one clip of one run, as it stands in an exported picture."""

    run: Run
    clip_id: str
    stream: str
    variant: str = FULL

    def frames(self) -> Frames:
        """Return (n_frames, height, width, 3)."""
        return self.run.frames(self.clip_id, self.stream, self.variant)

    @property
    def seconds(self) -> float:
        """How long the stream lasts."""
        return self.run.seconds(self.clip_id, self.stream)

    def shown_at(self, n_frames: int, times: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Return which frame is on the screen at ``times``, s."""
        return self.run.shown_at(self.clip_id, self.stream, n_frames, times)


def variant_title(variant: str) -> str:
    """Say a variant in words: "without C_anchor, MAD; seed 7"."""
    parts, seed = parse_variant(variant)
    words = "full model" if not parts else "without " + ", ".join(t for p, t in PART_TITLES.items() if p in parts)
    return words if seed is None else f"{words}; seed {seed}"


def export(run: Run, clip_id: str, kind: str, columns: list[Column], scratch: Path) -> bytes:
    """Make one file of a clip.

    Parameters
    ----------
    run : Run
    clip_id : str
    kind : {"mp4", "gif", "png", "json"}
    columns : list of Column
        What stands side by side, of this run or of others; what is not rendered is left out.
    scratch : Path
        Folder for the encoder's temporary file.
    """
    if kind not in MEDIA:
        raise ConfigError(f"exports are {', '.join(MEDIA)}, got {kind!r}")
    if kind == "json":
        return _facts(run, clip_id)
    shown = [c for c in columns if c.run.has(c.clip_id, c.stream, c.variant)]
    if not shown:
        raise ConfigError(f"{run.manifest.name}: none of the streams asked for is rendered for {clip_id}")
    if kind == "png":
        return _png(_strip(run, clip_id, shown))
    frames = _grid(run, clip_id, shown)
    fps = len(frames) / max(column.seconds for column in shown)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / f"clip.{kind}"
        (write_mp4 if kind == "mp4" else write_gif)(path, frames, fps)
        return path.read_bytes()


def _titles(run: Run, columns: list[Column]) -> list[str]:
    """Name the columns; a variant is said where it differs from the full model, a run where it is another."""
    titles = []
    for column in columns:
        title = STREAM_TITLES.get(column.stream, (column.stream, ""))[0]
        if column.variant != FULL and column.stream != "truth":
            title += f", {variant_title(column.variant)}"
        titles.append(title if column.run.manifest.name == run.manifest.name else column.run.manifest.name)
    return titles


def _caption(run: Run, clip_id: str, columns: list[Column]) -> str:
    """Say what the picture shows; simulated data is named as such in every export."""
    m = run.manifest
    seed = [] if m.seed is None else [f"seed {m.seed}"]
    shown = [m, *(c.run.manifest for c in columns)]
    marks = dict.fromkeys(mark for one in shown for mark in (["simulated data"] if one.simulated else []))
    marks |= dict.fromkeys(label for one in shown for label in one.labels)
    return "  ·  ".join([f"{m.dataset} {m.subject} {clip_id}", m.method, *seed, *marks])


def _grid(run: Run, clip_id: str, columns: list[Column]) -> Frames:
    """Put the streams side by side in time: (n_frames, height, width, 3)."""
    clips = _of_one_size([column.frames() for column in columns])
    n, longest = _clock(columns, [len(clip) for clip in clips])
    times = (np.arange(n) + 0.5) * longest / n
    scale = max(1, SIDE // max(clips[0].shape[1:3]))
    height, width = (side * scale for side in clips[0].shape[1:3])
    page = _page(height, len(clips) * (width + GAP) - GAP, _caption(run, clip_id, columns))
    _write(page, [(i * (width + GAP), 4, t) for i, t in enumerate(_titles(run, columns))])
    frames = np.repeat(np.asarray(page)[None], n, 0)
    for i, (clip, column) in enumerate(zip(clips, columns, strict=True)):
        shown = clip[column.shown_at(len(clip), times)]
        large = shown.repeat(scale, 1).repeat(scale, 2)
        frames[:, BAND : BAND + height, i * (width + GAP) : i * (width + GAP) + width] = large
    return frames


def _clock(columns: list[Column], counts: list[int]) -> tuple[int, float]:
    """Count the frames that the page's clock counts: those of the fastest stream over the longest one, s."""
    longest = max(column.seconds for column in columns)
    return max(1, *(round(longest * n / c.seconds) for n, c in zip(counts, columns, strict=True))), longest


def strip_moments(columns: list[Column], counts: list[int]) -> tuple[NDArray[np.int64], int, float]:
    """Choose the moments of a strip: six frames of the page's clock, evenly from the first, or all of fewer.

    A moment is named as the player names it: its frame, and the time at which that frame starts.

    Parameters
    ----------
    columns : list of Column
    counts : list of int
        Frames of each.

    Returns
    -------
    frames : ndarray of int, shape (at most 6,)
        Counted from 0.
    n_frames : int
        Of the clock; frame ``k`` starts at ``k * seconds / n_frames``.
    seconds : float
        Length of the longest stream.
    """
    n, longest = _clock(columns, counts)
    return np.unique(np.arange(MOMENTS) * n // MOMENTS), n, longest


def _strip(run: Run, clip_id: str, columns: list[Column]) -> Frames:
    """Lay each stream out in a row; a column of the picture is one instant: (height, width, 3)."""
    clips = _of_one_size([column.frames() for column in columns])
    moments, n, longest = strip_moments(columns, [len(clip) for clip in clips])
    times = (moments + 0.5) * longest / n  # in the middle of a frame, where the player shows it too
    scale = max(1, SIDE // 2 // max(clips[0].shape[1:3]))
    height, width = (side * scale for side in clips[0].shape[1:3])
    row_height = height + 24
    page = _page(len(clips) * row_height + 8, MOMENTS * width, _caption(run, clip_id, columns))
    _write(page, [(0, BAND + 8 + i * row_height - 20, t) for i, t in enumerate(_titles(run, columns))])
    # Halves are rounded up, as the player rounds them.
    starts = [int(k * longest / n * 100 + 0.5) / 100 for k in moments]
    told = [f"{k + 1}/{n} from {start:.2f} s" for k, start in zip(moments, starts, strict=True)]
    _write(page, [(i * width, 2, text) for i, text in enumerate(told)], _FAINT, 13)
    picture = np.array(page)
    for i, (clip, column) in enumerate(zip(clips, columns, strict=True)):
        # A still picture stands once; of a film that ends early the last frame stays, as on the page.
        chosen = np.zeros(1, np.int64) if len(clip) == 1 else column.shown_at(len(clip), times)
        top = BAND + 8 + i * row_height
        for k, frame in enumerate(clip[chosen].repeat(scale, 1).repeat(scale, 2)):
            picture[top : top + height, k * width : (k + 1) * width] = frame
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
