"""What the three diffusion stages share: schedule, loss, cached latents and text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pipeline.backbones import World, encode_frames, encode_text, local
from training.world.clip import LEVELS
from training.world.data import WorldClips

BLOCKS = (96, 160)
DROP_TEXT = 0.1


def noise_schedule() -> Any:
    """Return the DDIM schedule with Stable Diffusion's own betas."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


@dataclass(frozen=True)
class Cached:
    """Latents and text of the training clips.

    Parameters
    ----------
    latents : (n_clips, n_frames, 4, 8, 8) float32, scaled
    text : dict of level to (n_clips, n_tokens, d_text) float32
    empty : (n_tokens, d_text) float32
        Z of the empty prompt.
    """

    latents: torch.Tensor
    text: dict[str, torch.Tensor]
    empty: torch.Tensor

    @cached_property
    def mean(self) -> dict[str, torch.Tensor]:
        """Mean Z of each level: (n_tokens, d_text)."""
        return {level: z.mean(0) for level, z in self.text.items()}

    def condition(self, index: torch.Tensor, level: str) -> torch.Tensor:
        """Return Z of some clips, dropped to the empty prompt now and then, shrunk to the mean and with some noise.

        This stands for what a decoder of brains does to Z (regression shrinks, noise remains), so that the renderer
        does not break off the exact codes.
        """
        z, mean = self.text[level][index], self.mean[level]
        z = mean + (1 - 0.85 * torch.rand(len(index), 1, 1)) * (z - mean)
        strength = 0.5 * torch.rand(len(index), 1, 1) * (torch.rand(len(index), 1, 1) < 0.5)
        z = z + strength * torch.randn_like(z)
        dropped = torch.rand(len(index)) < DROP_TEXT
        return torch.where(dropped[:, None, None], self.empty, z)


def cache(clips: WorldClips, folder: Path) -> Cached:
    """Encode frames and captions with the trained autoencoder and text encoder in ``folder``."""
    world = World(local(folder))
    n, t = clips.frames.shape[:2]
    flat = encode_frames(world, clips.frames.reshape(n * t, *clips.frames.shape[2:]))
    text = {k: torch.from_numpy(encode_text(world, [c[k] for c in clips.captions])) for k in LEVELS}
    empty = torch.from_numpy(encode_text(world, [""])[0])
    return Cached(torch.from_numpy(flat.reshape(n, t, *flat.shape[1:])), text, empty)


def noise_loss(predicted: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, schedule: Any) -> torch.Tensor:
    """Weigh the error of the predicted noise by min(SNR, 5) / SNR (Hang et al. 2023), which trains faster."""
    alphas = schedule.alphas_cumprod[timesteps]
    snr = alphas / (1 - alphas)
    error = (predicted - noise).square().flatten(1).mean(1)
    return (error * torch.minimum(snr, torch.tensor(5.0)) / snr).mean()


def save_half(model: Any, folder: Path) -> None:
    """Write a model with half-precision weights, which is what ships."""
    import copy

    copy.deepcopy(model).half().save_pretrained(folder, safe_serialization=True)


def uniform_index(n: int, size: int) -> torch.Tensor:
    """Draw ``size`` clips of ``n``."""
    return torch.randint(n, (size,))
