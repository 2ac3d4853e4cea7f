"""A rendering of a few clips in the tiny world, whole or cut short, in this process or in one that is to be killed."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backbones import World, local
from pipeline.clipset import ClipSet, VoxelSpace
from pipeline.reconstruct import _render, new_manifest
from pipeline.render.cvr import CVR, CVRConfig
from pipeline.renderers import Rendering
from pipeline.runs import RunWriter
from tests.tiny_world import D_TEXT, N_FRAMES, N_TOKENS, SIZE

N_CLIPS, BATCH = 7, 2
CONFIG = CVRConfig(num_inference_steps=3, theta=0.7, guidance_scale=2.0)


@dataclass(frozen=True)
class Film:
    """Noise, wider than high; some clips take long to read."""

    seconds: dict[int, float] = field(default_factory=dict)
    fps: float = 8.0
    size: tuple[int, int] = (40, 52)

    def frames(self, index: int, n_frames: int | None = None) -> np.ndarray:
        time.sleep(self.seconds.get(index, 0.0))
        return np.random.default_rng(index).integers(0, 256, (n_frames or 9, *self.size, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Tiny(Rendering):
    """The tiny world in place of a profile's."""

    made: tuple[World, CVR] | None = None

    def load(self) -> tuple[World, CVR]:
        assert self.made is not None
        return self.made


def clipset(film: Film) -> ClipSet:
    rng = np.random.default_rng(1)
    text, latents = (N_CLIPS, N_TOKENS, D_TEXT), (N_CLIPS, 5, 4, SIZE // 8, SIZE // 8)
    shapes = {"anchor": text, "motion": text, "holi": text, "motion_latents": latents}
    return ClipSet(
        fmri=np.zeros((N_CLIPS, 3, 11), np.float32),
        voxel_ids=np.arange(11),
        space=VoxelSpace("unknown"),
        clip_ids=np.array([f"test1_{i:04d}" for i in range(N_CLIPS)]),
        groups=np.array(["test1"] * N_CLIPS),
        present=np.ones((N_CLIPS, 3), bool),
        subject="sub-01",
        tr=2.0,
        stimulus=film,
        cues={name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()},
        simulated=True,
    )


def tiny(folder: Path, kind: type[CVR] = CVR) -> Tiny:
    """Return the renderer whose models lie in ``folder``."""
    backbones = local(folder, name="tiny", size=SIZE).model_copy(update={"n_frames": N_FRAMES})
    world = World(backbones)
    return Tiny(batch=BATCH, made=(world, kind(world, CONFIG)))


def writer_of(out: Path, rendering: Tiny) -> RunWriter:
    world, cvr = rendering.load()
    manifest = new_manifest(clipset(Film()), "phantom", "run", 0, world, cvr, created="2026-01-01T00:00:00+00:00")
    return RunWriter(out, manifest)


def render(out: Path, rendering: Tiny, film: Film | None = None, progress: Any = None) -> RunWriter:
    """Render what is not there yet, as ``reconstruct`` does; the caller finishes the run."""
    writer, clips = writer_of(out, rendering), clipset(film or Film())
    done = writer.done
    todo = [i for i, clip_id in enumerate(clips.clip_ids) if str(clip_id) not in done]
    _render(clips, todo, {}, writer, rendering, frozenset(), 0, progress)
    return writer


if __name__ == "__main__":  # in a process of its own: OUT WORLD
    render(Path(sys.argv[1]), tiny(Path(sys.argv[2])), Film(dict.fromkeys(range(N_CLIPS), 0.15)))
