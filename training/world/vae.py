"""Stage ``vae``: an autoencoder with Stable Diffusion's latent contract (4 channels, a scaling factor), factor 8.

diffusers' ``AutoencoderTiny``; wide at low resolution and thin at 64 x 64, where a CPU spends its time. The loss
counts the object's circle four times, since a background is easy and an object is what a judge looks for. Noise on
the latents keeps them smooth, so that a diffusion model that is a little off still decodes to something near.
"""

from __future__ import annotations

from pathlib import Path

import torch

from training.world.data import WorldClips
from training.world.fit import FitOptions, fit

CHANNELS = 64


def build_vae() -> torch.nn.Module:
    """Build the autoencoder with random weights."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        encoder_block_out_channels=(CHANNELS,) * 4,
        decoder_block_out_channels=(CHANNELS,) * 4,
        num_encoder_blocks=(0, 0, 1, 3),
        num_decoder_blocks=(4, 2, 1, 0),
        latent_channels=4,
    )


def train_vae(clips: WorldClips, work: Path, steps: int = 3000, batch: int = 16) -> tuple[torch.nn.Module, float]:
    """Train the autoencoder and set its scaling factor so that scaled latents have unit variance."""
    torch.manual_seed(1)
    vae = build_vae()

    def loss(step: int) -> dict[str, torch.Tensor]:
        index = torch.randint(len(clips), (batch,))
        frame = torch.randint(clips.frames.shape[1], (batch,))
        target = clips.tensor(index, frame)
        weight = clips.object_weight(index, frame, 4.0)
        latents = vae.encode(target).latents
        noisy = latents + 0.08 * torch.randn_like(latents)
        output = vae.decode(noisy).sample
        error = output - target
        edges = (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()) * 0.5
        return {
            "absolute": (weight * error.abs()).mean(),
            "squared": 2.0 * (weight * error.square()).mean(),
            "edges": edges,
            "size": 1e-3 * latents.square().mean(),
        }

    seconds = fit("vae", vae, loss, FitOptions(steps=steps, lr=2e-3, weight_decay=0.0), work, seed=11)
    with torch.no_grad():
        probe = torch.arange(min(len(clips), 256))
        latents = vae.encode(clips.tensor(probe, probe % clips.frames.shape[1])).latents
    vae.register_to_config(scaling_factor=round(float(1 / latents.std()), 4))
    return vae, seconds
