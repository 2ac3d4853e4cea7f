"""Stages ``vae`` and ``vae_decoder``: an autoencoder with Stable Diffusion's contract (4 channels, a scaling factor).

diffusers' ``AutoencoderTiny``, factor 8; wide at low resolution and thin at 64 x 64, where a CPU spends its time. The
loss counts the object's circle four times, since a background is easy and an object is what a judge looks for. Noise on
the latents keeps them smooth, so that a diffusion model that is a little off still decodes to something near.
The second stage trains the decoder alone: frames get sharper, and latents that were made before stay valid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from training.world.data import WorldClips
from training.world.fit import FitOptions, fit

CHANNELS = 64


def build_vae() -> Any:
    """Build the autoencoder with random weights."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        encoder_block_out_channels=(CHANNELS,) * 4,
        decoder_block_out_channels=(CHANNELS,) * 4,
        num_encoder_blocks=(0, 0, 1, 3),
        num_decoder_blocks=(4, 2, 1, 0),
        latent_channels=4,
    )


def train_vae(clips: WorldClips, work: Path, steps: int = 3000, batch: int = 16) -> tuple[Any, float]:
    """Train the autoencoder and set its scaling factor so that scaled latents have unit variance."""
    torch.manual_seed(1)
    vae = build_vae()

    def loss(step: int) -> dict[str, torch.Tensor]:
        target, weight = _frames(clips, batch)
        latents = vae.encode(target).latents
        return {**_errors(vae, latents, target, weight), "size": 1e-3 * latents.square().mean()}

    seconds = fit("vae", vae, loss, FitOptions(steps=steps, lr=2e-3, weight_decay=0.0), work, seed=11)
    with torch.no_grad():
        probe = torch.arange(min(len(clips), 256))
        latents = vae.encode(clips.tensor(probe, probe % clips.frames.shape[1])).latents
    vae.register_to_config(scaling_factor=round(float(1 / latents.std()), 4))
    return vae, seconds


def train_vae_decoder(vae: Any, clips: WorldClips, work: Path, steps: int, batch: int = 16) -> float:
    """Train the decoder further with the encoder as it is; return seconds."""
    vae.requires_grad_(False)
    vae.decoder.requires_grad_(True)

    def loss(step: int) -> dict[str, torch.Tensor]:
        target, weight = _frames(clips, batch)
        with torch.no_grad():
            latents = vae.encode(target).latents
        return _errors(vae, latents, target, weight)

    return fit("vae_decoder", vae, loss, FitOptions(steps=steps, lr=2e-3, weight_decay=0.0), work, seed=12)


def _frames(clips: WorldClips, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw single frames and the weight of their pixels."""
    index = torch.randint(len(clips), (batch,))
    frame = torch.randint(clips.frames.shape[1], (batch,))
    return clips.tensor(index, frame), clips.object_weight(index, frame, 4.0)


def _errors(vae: Any, latents: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Decode noisy latents and compare with the frames."""
    error = vae.decode(latents + 0.08 * torch.randn_like(latents)).sample - target
    edges = (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()) * 0.5
    return {
        "absolute": (weight * error.abs()).mean(),
        "squared": 2.0 * (weight * error.square()).mean(),
        "edges": edges,
    }
