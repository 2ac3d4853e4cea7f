"""Stage ``animator``: learn to set a frame in motion, from films of the phantom's world and their motion captions.

A plain regression: where a thing stands and where it goes settle the clip but for what the motion uncovers. It sees no
brain. A decoded Z(C_motion) is a true one that regression has shrunk and that noise has been added to, so the training
text is blurred by random amounts along the captions' principal directions, and now and then it is the empty prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.backbones import World, encode_frames, encode_text, local
from training.world.data import world_clips
from training.world.diffusion import DROP_TEXT, save_half, uniform_index
from training.world.fit import FitOptions, fit
from training.world.video import N_FRAMES, decoded_frames

CHANNELS, BLOCKS, RANK = 80, 8, 64
LATENT_NOISE, TEXT_NOISE = 0.2, 1.6


@dataclass(frozen=True)
class Films:
    """Latents (n_clips, 6, c, h, w) and motion text of films: distinct wordings' Z and which of them each clip has."""

    latents: torch.Tensor
    wordings: torch.Tensor
    wording: torch.Tensor
    empty: torch.Tensor


def films(world: World, n_clips: int, seeds: tuple[int, ...]) -> Films:
    """Render films of training triples and encode the frames that the decoders use, film by film."""
    parts, captions = [], []
    for seed in seeds:
        clips = world_clips(n_clips, seed)
        frames = clips.frames[:, decoded_frames(clips.frames.shape[1])]
        flat = encode_frames(world, frames.reshape(-1, *frames.shape[2:]))
        parts.append(torch.from_numpy(flat.reshape(n_clips, N_FRAMES, *flat.shape[1:])))
        captions += [c["motion"] for c in clips.captions]
    words, place = np.unique(captions, return_inverse=True)
    wordings = torch.from_numpy(encode_text(world, words.tolist()))
    return Films(torch.cat(parts), wordings, torch.from_numpy(place), torch.from_numpy(encode_text(world, [""])))


def build_animator(world: World, channels: int = CHANNELS, n_blocks: int = BLOCKS, rank: int = RANK) -> Any:
    """Build the animator with random weights."""
    from pipeline.render.animator import Animator

    sizes = {"latent": world.latent_shape, "n_tokens": world.n_tokens, "d_text": world.d_text}
    return Animator(**sizes, n_frames=N_FRAMES, channels=channels, n_blocks=n_blocks, rank=rank)


def train_animator(
    folder: Path, work: Path, steps: int, n_clips: int, seeds: tuple[int, ...], batch: int = 64
) -> dict[str, float]:
    """Train the animator; write ``folder/animator``; return seconds and the error that is left.

    ``change_left``: mean squared error over held-out clips of the last film, true text, relative to a still clip's.
    """
    torch.manual_seed(6)
    world = World(local(folder))
    data = films(world, n_clips, seeds)
    held = max(1, n_clips // 20)
    model = build_animator(world)
    model.fit_text(data.wordings)
    codes, empty = model.coordinates(data.wordings), model.coordinates(data.empty)

    def loss(step: int) -> dict[str, torch.Tensor]:
        index = uniform_index(len(data.latents) - held, batch)
        clean = data.latents[index]
        anchor = clean[:, 0] + LATENT_NOISE * torch.rand(batch, 1, 1, 1) * torch.randn_like(clean[:, 0])
        return {"squared": (model(anchor, blurred(codes[data.wording[index]], empty)) - clean).square().mean()}

    seconds = fit("animator", model, loss, FitOptions(steps=steps, lr=1.5e-3, ema=0.99), work, seed=66)
    with torch.no_grad():
        clean = data.latents[-held:]
        error = (model(clean[:, 0], codes[data.wording[-held:]]) - clean).square().mean()
        still = (clean[:, :1] - clean).square().mean()
    save_half(model, folder / "animator")
    return {"seconds": seconds, "change_left": round(float(error / still), 4)}


def blurred(codes: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """Return text codes (n, rank) of unit length with noise of random strength, some of them the empty prompt."""
    codes = torch.nn.functional.normalize(codes, dim=1)
    strength = TEXT_NOISE * torch.rand(len(codes), 1)
    noisy = codes + strength * torch.randn_like(codes) / codes.shape[1] ** 0.5
    dropped = torch.rand(len(codes)) < DROP_TEXT
    return torch.where(dropped[:, None], empty, noisy)
