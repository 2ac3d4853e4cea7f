"""Stages ``motion`` and ``control``: AnimateDiff's motion modules, then a SparseCtrl net, on the frozen image model.

As in AnimateDiff the spatial layers stay as the text-to-image stage left them. The motion modules meet the text only
through those frozen layers; the control net has text layers of its own, learns from clips, and carries both the
anchor frame and what the words say about direction.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pipeline.backbones import World, local
from training.world.diffusion import Cached, noise_loss, noise_schedule, save_half, uniform_index
from training.world.fit import FitOptions, fit

HEADS = 4


def build_motion_unet(unet: Any, n_frames: int) -> Any:
    """Add motion modules with random weights to an image UNet; only they are trainable."""
    from diffusers import MotionAdapter, UNetMotionModel

    adapter = MotionAdapter(
        block_out_channels=unet.config.block_out_channels,
        motion_layers_per_block=unet.config.layers_per_block,
        motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=HEADS,
        motion_norm_num_groups=unet.config.norm_num_groups,
        motion_max_seq_length=n_frames,
        use_motion_mid_block=True,
    )
    model = UNetMotionModel.from_unet2d(unet, adapter)
    model.freeze_unet2d_params()
    return model


def build_controlnet(unet: Any, n_frames: int) -> Any:
    """Build a sparse control net shaped like the UNet's encoder and start it from the encoder's weights."""
    from diffusers.models import SparseControlNetModel

    config = unet.config
    net = SparseControlNetModel(
        block_out_channels=config.block_out_channels,
        down_block_types=("CrossAttnDownBlockMotion",) * len(config.block_out_channels),
        layers_per_block=config.layers_per_block,
        cross_attention_dim=config.cross_attention_dim,
        num_attention_heads=config.attention_head_dim,
        norm_num_groups=config.norm_num_groups,
        motion_num_attention_heads=HEADS,
        motion_max_seq_length=n_frames,
        use_simplified_condition_embedding=True,
    )
    source, target = unet.state_dict(), net.state_dict()
    shared = {k: v for k, v in source.items() if k in target and target[k].shape == v.shape}
    net.load_state_dict({**target, **shared})
    return net


def _batch(cached: Cached, schedule: Any, batch: int, hardest: float) -> tuple[torch.Tensor, ...]:
    """Draw clips: (clean, noise, noisy as (b, 4, f, h, w), times, text repeated over frames)."""
    index = uniform_index(len(cached.latents), batch)
    clean = cached.latents[index].transpose(1, 2)
    noise = torch.randn_like(clean)
    times = (torch.rand(batch) * hardest * schedule.config.num_train_timesteps).long()
    noisy = schedule.add_noise(clean, noise, times)
    text = cached.condition(index, "holi").repeat_interleave(clean.shape[2], dim=0)
    return clean, noise, noisy, times, text


def train_motion(cached: Cached, work: Path, folder: Path, steps: int, batch: int = 6) -> float:
    """Train the motion modules; write ``folder/motion_adapter``; return seconds."""
    torch.manual_seed(4)
    model = build_motion_unet(World(local(folder)).unet, cached.latents.shape[1])
    schedule = noise_schedule()

    def loss(step: int) -> dict[str, torch.Tensor]:
        _, noise, noisy, times, text = _batch(cached, schedule, batch, 1.0)
        predicted = model(noisy, times, encoder_hidden_states=text).sample
        return {"noise": noise_loss(predicted, noise, times, schedule)}

    seconds = fit("motion", model, loss, FitOptions(steps=steps, lr=1e-3, ema=0.99), work, seed=44)
    model.half().save_motion_modules(folder / "motion_adapter")
    return seconds


def train_control(cached: Cached, work: Path, folder: Path, steps: int, batch: int = 6) -> float:
    """Train the control net with the first frame as its condition; write ``folder/controlnet``; return seconds."""
    torch.manual_seed(5)
    world = World(local(folder))
    model, net = world.motion_unet, build_controlnet(world.unet, cached.latents.shape[1])
    schedule = noise_schedule()

    def loss(step: int) -> dict[str, torch.Tensor]:
        clean, noise, noisy, times, text = _batch(cached, schedule, batch, 1.0)
        given = (torch.rand(batch) > 0.1).float()[:, None, None, None]
        condition, mask = torch.zeros_like(clean), torch.zeros_like(clean[:, :1])
        condition[:, :, 0], mask[:, :, 0] = clean[:, :, 0] * given, given.expand(-1, 1, *clean.shape[-2:])
        down, mid = net(
            noisy, times, encoder_hidden_states=text, controlnet_cond=condition, conditioning_mask=mask,
            return_dict=False,
        )  # fmt: skip
        predicted = model(
            noisy, times, encoder_hidden_states=text,
            down_block_additional_residuals=down, mid_block_additional_residual=mid,
        ).sample  # fmt: skip
        return {"noise": noise_loss(predicted, noise, times, schedule)}

    seconds = fit("control", net, loss, FitOptions(steps=steps, lr=1e-3, ema=0.99), work, seed=55)
    save_half(net, folder / "controlnet")
    return seconds
