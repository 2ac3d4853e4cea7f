"""Clips for training the phantom's world, rendered once into memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.phantom.captions import captions
from pipeline.phantom.render import render_clip
from pipeline.phantom.scenes import FRAME_SIZE, N_FRAMES, Scene, film


@dataclass(frozen=True)
class WorldClips:
    """Scenes with their frames.

    Parameters
    ----------
    scenes : list of Scene, n_clips long
    frames : (n_clips, n_frames, size, size, 3) uint8
    captions : list of dict with ``basic``, ``anchor``, ``motion``, ``holi``
    """

    scenes: list[Scene]
    frames: NDArray[np.uint8]
    captions: list[dict[str, str]]

    def __len__(self) -> int:
        return len(self.scenes)

    def tensor(self, clips: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Return single frames as (n, 3, size, size) float in -1..1."""
        chosen = torch.from_numpy(self.frames[clips.numpy(), frames.numpy()])
        return chosen.permute(0, 3, 1, 2).float() / 127.5 - 1.0

    def object_weight(self, clips: torch.Tensor, frames: torch.Tensor, weight: float) -> torch.Tensor:
        """Return (n, 1, size, size): ``weight`` within the object's circle, 1 elsewhere."""
        rows, columns = torch.meshgrid(*[(torch.arange(FRAME_SIZE) + 0.5) / FRAME_SIZE] * 2, indexing="ij")
        maps = torch.ones(len(clips), 1, FRAME_SIZE, FRAME_SIZE)
        for i, (clip, frame) in enumerate(zip(clips.tolist(), frames.tolist(), strict=True)):
            x, y, size, _ = self.scenes[clip].path()[frame]
            maps[i, 0][torch.hypot(columns - x, rows - y) < 0.5 * size] = weight
        return maps


def world_clips(n_clips: int, seed: int, split: str = "train") -> WorldClips:
    """Draw a film and render it; the generators see training triples only, as the decoders do."""
    scenes = film(n_clips, seed, split)
    frames = np.empty((n_clips, N_FRAMES, FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
    with ThreadPoolExecutor(2) as pool:
        for i, clip in enumerate(pool.map(render_clip, scenes)):
            frames[i] = clip
    return WorldClips(scenes, frames, [captions(s) for s in scenes])
