"""Stage ``text_to_image``: diffusers' ``UNet2DConditionModel`` on the 8 x 8 latents of single frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from training.world.diffusion import BLOCKS, Cached, noise_loss, noise_schedule, save_half, uniform_index
from training.world.fit import FitOptions, fit


def build_unet(d_text: int) -> Any:
    """Build the UNet with random weights."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=BLOCKS,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=d_text,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def train_text_to_image(cached: Cached, work: Path, folder: Path, steps: int, batch: int = 64) -> float:
    """Train the UNet; write ``folder/unet`` and ``folder/scheduler``; return seconds.

    An anchor caption is paired with the first frame, which it describes; a holistic or basic one with any frame.
    """
    torch.manual_seed(3)
    unet = build_unet(cached.empty.shape[-1])
    schedule = noise_schedule()

    def loss(step: int) -> dict[str, torch.Tensor]:
        level = ("anchor", "holi", "anchor", "basic")[step % 4]
        index = uniform_index(len(cached.latents), batch)
        frame = torch.zeros_like(index) if level == "anchor" else uniform_index(cached.latents.shape[1], batch)
        clean = cached.latents[index, frame]
        noise = torch.randn_like(clean)
        times = torch.randint(schedule.config.num_train_timesteps, (batch,))
        noisy = schedule.add_noise(clean, noise, times)
        predicted = unet(noisy, times, encoder_hidden_states=cached.condition(index, level)).sample
        return {"noise": noise_loss(predicted, noise, times, schedule)}

    seconds = fit("text_to_image", unet, loss, FitOptions(steps=steps, lr=1e-3, ema=0.998), work, seed=33)
    save_half(unet, folder / "unet")
    schedule.save_pretrained(folder / "scheduler")
    return seconds
