"""The runs that the page can show, opened once and described as plain values for the browser."""

from __future__ import annotations

import io
import shlex
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.ablate import ScoreBook, cannot_score, orders, partners
from pipeline.errors import ConfigError, DataError
from pipeline.paths import PHANTOM_ASSETS
from pipeline.runs import FULL, Run, RunInfo, discover

STREAM_TITLES = {
    "truth": ("Truth", "what was on the screen"),
    "motion": ("Motion frames", "decoded by MAD"),
    "anchor": ("Anchor frame", "first frame + C_anchor"),
    "reconstruction": ("Reconstruction", "anchor + motion + C_holi"),
}


IMPORTED = ("truth", "reconstruction")  # the streams of a run that was imported
_PRIVATE: Any = {"clip_id": True, "streams": {"__all__": {"file", "sha256"}}}  # what the page has no use for
STRIP_BYTES = 256 * 2**20  # of pictures kept for the next reader
KEPT_ORDERS = 2000  # shuffle tests kept, 100 numbers each
STRIP_HEIGHT = 16_384  # pixels; browsers draw no taller picture


class Library:
    """Find, open and describe runs.

    Parameters
    ----------
    home : Path
        The working folder; its ``runs/`` are listed after the shipped ones and win where a name is taken twice.
    shipped : Path
        Folder of the runs that come with the project.
    """

    def __init__(self, home: Path, shipped: Path = PHANTOM_ASSETS / "runs") -> None:
        self.home, self.shipped = home, shipped
        self.local = True  # whether only this machine can reach the server, see create_app
        self._open: dict[str, tuple[int, Run]] = {}
        self._strips: OrderedDict[tuple[str, ...], tuple[bytes, str]] = OrderedDict()
        self._orders: OrderedDict[tuple[str, ...], dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def infos(self) -> list[RunInfo]:
        """List the runs, each name once; damaged ones are kept, with their error."""
        found = {info.name: info for info in discover(self.home, self.shipped)}

        def rank(info: RunInfo) -> tuple[bool, bool, bool, str]:
            """Shipped before the user's own, the phantom before others, damaged runs last."""
            dataset = info.manifest.dataset if info.manifest else ""
            return info.manifest is None, not info.shipped, not dataset.startswith("phantom"), info.name

        return sorted(found.values(), key=rank)

    def run(self, name: str) -> Run:
        """Open the run ``name`` (kept open until its manifest changes)."""
        with self._lock:
            held = self._open.get(name)
            if held is not None and _stamp(held[1].path) == held[0]:
                return held[1]
        for info in self.infos():
            if info.name == name and info.error:
                raise DataError(info.error)
            if info.name == name:
                run = Run.open(info.path, extra=self.home / "renders" / name)
                with self._lock:
                    self._open[name] = (_stamp(info.path), run)
                return run
        raise ConfigError(f"run {name!r} is neither shipped nor in {self.home / 'runs'}; choose one from the list")

    def index(self, name: str) -> dict[str, Any]:
        """Describe a run for the browser: everything but the pictures."""
        run = self.run(name)
        m = run.manifest
        clips = [
            {**record.model_dump(exclude=_PRIVATE), "id": clip_id, "variants": run.variants(clip_id)}
            for clip_id, record in run.clips.items()
        ]
        first = m.clip_ids[0] if m.clip_ids else None
        variants = run.variants(first) if first else []
        base = FULL if FULL in variants or not variants else variants[0]
        streams = [s for s in m.streams if first and run.has(first, s, base)]
        scores = m.model_dump(mode="json", exclude={"clip_ids", "streams", "variants"})
        return {
            **scores,
            **_with_book(run, scores["scores"], clips),
            "cannot_score": cannot_score(run),
            "stamp": _stamp(run.path) // 1_000_000,
            "streams": [self._stream(run, first, s, base) for s in streams if first],
            "clips": clips,
            "base": base,
            "pattern": run.patterns is not None,
            "command": _command(run),
        }

    def orders(self, name: str, clip_id: str, variant: str) -> dict[str, Any]:
        """Return the shuffle test of one clip (:func:`pipeline.ablate.orders`), computed once."""
        run = self.run(name)
        refusal = cannot_score(run)
        if refusal:
            raise DataError(refusal)
        path = run.stream_path(clip_id, "reconstruction", variant)
        if path is None:
            raise DataError(f"{name}: the reconstruction of {clip_id} was not rendered as {variant!r}")
        key = (name, clip_id, variant, str(path.stat().st_mtime_ns))
        with self._lock:
            held = self._orders.get(key)
        found = held or orders(run, clip_id, variant, partners(run).get(clip_id))
        with self._lock:
            self._orders[key] = found
            while len(self._orders) > KEPT_ORDERS:
                self._orders.popitem(last=False)
        return found

    def strip(self, name: str, clip_id: str, stream: str, variant: str) -> tuple[bytes, str]:
        """Return one stream as a picture of frames stacked downwards, and its media type."""
        run = self.run(name)
        path = run.stream_path(clip_id, stream, variant)
        if path is None:
            raise DataError(f"{name}: {stream} of {clip_id} was not rendered as {variant!r}")
        if path.is_file():
            return path.read_bytes(), "image/webp"
        key = (name, clip_id, stream, run.stored_variant(stream, variant), str(path.stat().st_mtime_ns))
        with self._lock:
            if key in self._strips:
                self._strips.move_to_end(key)
                return self._strips[key]
        from PIL import Image

        frames = _fit_height(run.frames(clip_id, stream, variant))
        buffer = io.BytesIO()
        Image.fromarray(frames.reshape(-1, *frames.shape[2:])).save(buffer, "PNG", compress_level=1)
        with self._lock:
            self._strips[key] = (buffer.getvalue(), "image/png")
            while len(self._strips) > 1 and sum(len(body) for body, _ in self._strips.values()) > STRIP_BYTES:
                self._strips.popitem(last=False)
        return buffer.getvalue(), "image/png"

    def _stream(self, run: Run, clip_id: str, stream: str, variant: str) -> dict[str, Any]:
        """Describe one stream; the number of frames comes from the manifest, else from the first clip.

        A clip that was imported says its own, in its record's ``streams``.
        """
        n = run.manifest.n_frames.get(stream) or len(run.frames(clip_id, stream, variant))
        title, about = STREAM_TITLES.get(stream, (stream.replace("_", " ").capitalize(), ""))
        if run.manifest.source == "videos" and stream == "reconstruction":
            about = f"published by {run.manifest.method}, imported"
        return {"key": stream, "title": title, "about": about, "n": n}


def _with_book(run: Run, scores: dict[str, Any], clips: list[dict[str, Any]]) -> dict[str, Any]:
    """Add what was scored later; such figures come with the full model's, scored from the same pictures.

    Returns
    -------
    dict
        ``scores`` with the combinations added, ``kept`` (their names) and ``kept_full``, the full model's summary
        that they are changes from. A clip gets its values, and ``kept_full`` likewise.
    """
    book = ScoreBook(run)
    summary = {v: {k: s.model_dump(mode="json") for k, s in rows.items()} for v, rows in book.summary.items()}
    kept = {v for held in book.clips.values() for v in held} - set(scores)
    for clip in clips:
        held = {v: row["values"] for v, row in book.clips.get(clip["id"], {}).items()}
        clip["scores"] = {**clip["scores"], **{v: row for v, row in held.items() if v in kept}}
        clip["kept"] = sorted(kept & set(held))
        if FULL in held:
            clip["kept_full"] = held[FULL]
    added = {v: rows for v, rows in summary.items() if v in kept}
    return {"scores": {**scores, **added}, "kept": sorted(kept), "kept_full": summary.get(FULL)}


def _fit_height(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink frames whose strip would be taller than browsers draw; for looking at only."""
    n, height, width = frames.shape[:3]
    if n * height <= STRIP_HEIGHT:
        return frames
    from pipeline.data.video import resize_frames

    fitting = max(1, STRIP_HEIGHT // n)
    return resize_frames(frames, (fitting, max(1, round(width * fitting / height))))


def _stamp(path: Path) -> int:
    """Return when the run was last written, 0 where it is gone."""
    file = path / "manifest.json"
    return file.stat().st_mtime_ns if file.is_file() else 0


def _command(run: Run) -> str | None:
    """Return the command line that makes such a run, where the pipeline has one for it."""
    m = run.manifest
    if m.source == "videos":
        folders = [str(m.config.get("imported", {}).get(role, {}).get("folder", role)) for role in IMPORTED]
        words = ["--truth", folders[0], "--recon", folders[1], "--name", m.name]
        words += ["--method", m.method, "--dataset", m.dataset, "--subject", m.subject]
        return "python -m pipeline import-run " + shlex.join(words)
    positions = m.config.get("clips")
    if m.method != "semvideo" or not positions:
        return None
    clips = positions if isinstance(positions, str) else ",".join(str(p) for p in positions[:12])
    chosen = f"--dataset {m.dataset} --subject {m.subject} --clips {clips} --seed {m.seed}"
    return f"python -m pipeline reconstruct {chosen} --out {m.name}"
