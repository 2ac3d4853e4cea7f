"""How fast clips of the paper's size are written, one after another as before, and while the next ones render.

    python benchmarks/writing.py [--clips 24] [--out benchmarks/writing.json]

No model runs: a stand-in for the card sleeps for each batch and hands out frames that were made before. The frames
are synthetic: smooth fields of colour that move, with a little grain; recorded films differ in size. The truth is read
from a film of 1024 x 1024 pixels at 30 frames a second, as CC2017's are. "Before" is what the project did until
this benchmark was written: Pillow's PNGs, x264's preset medium with a thread for each core, one clip after another,
and the whole table written again for every clip. Both ways are timed in the same run: the ratios are worth more than
the seconds, which depend on the machine and on what else it does.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SIZE, N_FRAMES, N_DECODED, FILM_SIZE, FILM_FPS, FILM_CLIPS = 256, 16, 6, 1024, 30, 2
BATCH, SECONDS = 4, (0.0, 0.4)  # clips at a time; seconds that a clip takes to render
N_RECORDS = 1200
STREAMS = ("truth", "motion", "anchor", "reconstruction")


def moving(seed: int, n: int, size: int = SIZE, grain: float = 1.5) -> np.ndarray:
    """Draw a field of colour behind a disc that moves: (n, size, size, 3)."""
    import cv2

    rng = np.random.default_rng(seed)

    def colours(*scales: tuple[int, float]) -> np.ndarray:
        parts = (rng.normal(0, a, (k, k, 3)).astype(np.float32) for k, a in scales)
        return sum(cv2.resize(part, (2 * size, 2 * size), interpolation=cv2.INTER_CUBIC) for part in parts)

    back, front = colours((3, 60), (8, 35), (24, 18), (80, 8)), colours((3, 50), (12, 40), (60, 10))
    rows, columns = np.mgrid[:size, :size]
    frames = np.empty((n, size, size, 3), np.uint8)
    for t in range(n):
        at = round(t / n * size / 4)
        inside = np.clip((size / 4 - np.hypot(rows - size / 2, columns - size / 3 - at)) / 6, 0, 1)[..., None]
        seen = back[at // 3 : at // 3 + size, at : at + size] * (1 - inside) + front[:size, :size] * inside
        frames[t] = np.clip(128 + seen + rng.standard_normal(seen.shape, np.float32) * grain, 0, 255)
    return frames


def write_before(folder: Path, stream: str, frames: np.ndarray, duration: float, *, compact: bool) -> None:
    """Write one stream as :func:`pipeline.frames.write_stream` did before."""
    import av
    from PIL import Image

    from pipeline.paths import atomic_file, atomic_folder

    with atomic_folder(folder / stream) as target:
        for index, frame in enumerate(frames):
            Image.fromarray(frame).save(target / f"{index:03d}.png")
    if len(frames) == 1:
        return
    with atomic_file(folder / f"{stream}.mp4") as temporary, av.open(str(temporary), "w", format="mp4") as container:
        out = container.add_stream("libx264", rate=Fraction(len(frames) / duration).limit_denominator(1000))
        out.width, out.height, out.pix_fmt, out.options = SIZE, SIZE, "yuv420p", {"crf": "16", "preset": "medium"}
        for frame in frames:
            container.mux(out.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(out.encode())


@dataclass
class Card:
    """A stand-in for the renderer: it sleeps, and hands out frames that were made before."""

    made: dict[str, np.ndarray]
    seconds: float
    world: Any = field(default_factory=lambda: SimpleNamespace(backbones=SimpleNamespace(size=SIZE, n_frames=N_FRAMES)))

    def render(self, cues: Any, clip_ids: list[str], without: Any, seed: int, tell: Any, should_stop: Any) -> Any:
        """Take the time of a batch."""
        from pipeline.render.cvr import Rendered

        time.sleep(self.seconds * len(clip_ids))
        return Rendered(*(np.stack([self.made[name]] * len(clip_ids)) for name in STREAMS[1:]))


def clipset(n: int, film: Path) -> Any:
    """Return ``n`` clips of a film, with cues that nobody reads."""
    from pipeline.clipset import ClipSet, VoxelSpace
    from pipeline.data.video import VideoStimulus

    starts = 2.0 * (np.arange(n) % FILM_CLIPS)
    return ClipSet(
        fmri=np.zeros((n, 1, 1), np.float32), voxel_ids=np.arange(1), space=VoxelSpace("unknown"),
        clip_ids=np.array([f"test1_{i:04d}" for i in range(n)]), groups=np.array(["test1"] * n), subject="sub-01",
        tr=2.0, present=np.ones((n, 1), bool), stimulus=VideoStimulus([film], np.zeros(n, np.int64), starts, 2.0),
        cues={"holi": np.zeros((n, 1))}, simulated=True,
    )  # fmt: skip


def writer_at(folder: Path, ids: list[str]) -> Any:
    """Return a writer of a run of the paper's size."""
    from pipeline.runs import RunManifest, RunWriter

    n_frames = dict(zip(STREAMS, (N_FRAMES, N_DECODED, 1, N_FRAMES), strict=True))
    manifest = RunManifest(
        name="run", title="run", method="semvideo", dataset="none", subject="sub-01", simulated=True, seed=0,
        clip_ids=tuple(ids), size=(SIZE, SIZE), n_frames=n_frames,
    )  # fmt: skip
    return RunWriter(folder, manifest)


def overlapped(folder: Path, clips: Any, card: Card) -> None:
    """Render and write as ``reconstruct`` does."""
    from pipeline.reconstruct import _render
    from pipeline.renderers import Rendering

    class StandIn(Rendering):
        def load(self) -> Any:
            return card.world, card

    writer = writer_at(folder, list(clips.clip_ids))
    _render(clips, list(range(len(clips))), {}, writer, StandIn(batch=BATCH), frozenset(), 0, None)
    writer.finish()


def in_turn(folder: Path, clips: Any, card: Card) -> None:
    """Render and write one after another, with the encoders of before."""
    from pipeline import runs
    from pipeline.reconstruct import fit_frames, record

    now, runs.write_stream = runs.write_stream, write_before
    try:
        writer, ids = writer_at(folder, list(clips.clip_ids)), list(clips.clip_ids)
        for start in range(0, len(ids), BATCH):
            made = card.render({}, ids[start : start + BATCH], frozenset(), 0, None, None)
            for place in range(len(ids[start : start + BATCH])):
                truth = fit_frames(clips.stimulus.frames(start + place, N_FRAMES), SIZE)
                writer.add_clip(record(clips, start + place, {}), {"full": made.streams(place) | {"truth": truth}})
        writer.finish()
    finally:
        runs.write_stream = now


def timed(run: Callable[..., object], *given: Any) -> tuple[float, float]:
    """Return the seconds of a call: on the wall, and of this process's cores."""
    wall, cores = time.perf_counter(), time.process_time()
    run(*given)
    return time.perf_counter() - wall, time.process_time() - cores


def whole_runs(n: int, made: dict[str, np.ndarray], film: Path) -> dict[str, Any]:
    """Time runs of ``n`` clips with each speed of the card, both ways."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        timed(overlapped, Path(folder) / "warm", clipset(2, film), Card(made, 0.0))
        for seconds in SECONDS:
            row = {"rendering_s_per_clip": seconds}
            for name, way in (("before", in_turn), ("now", overlapped)):
                out = Path(folder) / f"{name}-{seconds}"
                wall, cores = timed(way, out, clipset(n, film), Card(made, seconds))
                row |= {f"{name}_s_per_clip": round(wall / n, 3), f"{name}_core_s_per_clip": round(cores / n, 3)}
            row["times_faster"] = round(row["before_s_per_clip"] / row["now_s_per_clip"], 2)
            found[f"card_{seconds:g}_s"] = row
        for name in ("before", "now"):
            files = list((Path(folder) / f"{name}-{SECONDS[0]}" / "clips").rglob("*.*"))
            sizes = {s: sum(p.stat().st_size for p in files if p.suffix == s) / n / 1e3 for s in (".png", ".mp4")}
            found[f"{name}_kb_per_clip"] = {suffix[1:]: round(size, 1) for suffix, size in sizes.items()}
    return found


def streams(made: dict[str, np.ndarray], repeats: int = 5) -> dict[str, Any]:
    """Time the writing of one stream of 16 frames, and say how near the film comes to its frames."""
    from pipeline.data.video import read_film
    from pipeline.frames import write_stream

    found: dict[str, Any] = {}
    frames = made["reconstruction"]
    for name, way in (("before", write_before), ("now", write_stream)):
        with tempfile.TemporaryDirectory() as folder:
            times = [
                timed(lambda way=way: way(Path(folder), "one", frames, 2.0, compact=False)) for _ in range(repeats)
            ]
            error = np.mean((read_film(Path(folder) / "one.mp4").astype(float) - frames) ** 2)
        found[f"{name}_s"] = round(min(wall for wall, _ in times), 3)
        found[f"{name}_film_psnr_db"] = round(10 * np.log10(255**2 / error), 2)
    return found | {"times_faster": round(found["before_s"] / found["now_s"], 2)}


def table(n: int) -> dict[str, Any]:
    """Time the table of ``n`` clips: written again for every clip, or a line each; and the look for missing clips."""
    from pipeline.manifest import ClipRecord, add_record
    from pipeline.paths import atomic_file

    words = dict.fromkeys(("anchor", "holi"), "a small red bird flies to the left over a green field " * 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = [f"test1_{i:04d}" for i in range(n)]
        records = {i: ClipRecord(clip_id=i, captions=words) for i in ids}
        writer = writer_at(folder, ids)

        def again() -> None:
            for count in range(1, n + 1):
                with atomic_file(folder / "before.txt") as temporary:
                    lines = (records[i].model_dump_json() for i in ids[:count])
                    temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

        def by_line() -> None:
            for i in ids:
                add_record(folder / "clips.part.jsonl", records[i])

        before, _ = timed(again)
        now, _ = timed(by_line)
        for i in ids:
            (folder / "clips" / i).mkdir(parents=True)
        finish, _ = timed(writer.finish)
        look, _ = timed(lambda: [i for i in ids if i not in writer.done])
    facts = {"clips": n, "before_s": before, "now_s": now, "before_missing_s": look, "now_finish_s": finish}
    return {key: round(value, 3) for key, value in facts.items()}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "writing.json")
    options = parser.parse_args()
    from pipeline.background import MOST_THREADS, _processors
    from pipeline.frames import write_mp4

    made = {"motion": moving(1, N_DECODED), "anchor": moving(2, 1), "reconstruction": moving(3, N_FRAMES)}
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        write_mp4(film, np.tile(moving(4, 2 * FILM_FPS, FILM_SIZE, 0.5), (FILM_CLIPS, 1, 1, 1)), FILM_FPS)
        found: dict[str, Any] = {
            "film_mbit_per_s": round(film.stat().st_size * 8e-6 / (2 * FILM_CLIPS), 1),
            "runs": whole_runs(options.clips, made, film),
            "stream_of_16": streams(made),
            "table": table(N_RECORDS),
        }
    found |= {
        "clips": options.clips, "batch": BATCH, "frames": "synthetic: smooth moving fields with grain",
        "threads": min(MOST_THREADS, _processors()), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
        "cpu": platform.processor() or platform.machine(), "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
