"""Stages ``motion`` and ``control``: AnimateDiff's motion modules, then a SparseCtrl net, on the frozen image model.

As in AnimateDiff the spatial layers stay as the text-to-image stage left them. Motion modules that meet the text only
through those frozen layers learn left from right late; the control net has text layers of its own. So these read
C_motion, and the control stage goes on training the motion modules beside it, with and without the anchor frame.

Both learn the frames that the decoders use, 6 in 2 s: what MAD decodes is what the renderer starts from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pipeline.backbones import World, local
from training.world.diffusion import Cached, noise_loss, noise_schedule, save_half, uniform_index
from training.world.fit import FitOptions, fit

HEADS, N_FRAMES = 4, 6


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


def build_controlnet(unet: Any, n_frames: int, heads: int = HEADS) -> Any:
    """Build a sparse control net shaped like the UNet's encoder and start it from the encoder's weights."""
    from diffusers.models import SparseControlNetModel

    config = unet.config
    net = SparseControlNetModel(
        block_out_channels=config.block_out_channels,
        down_block_types=tuple(name.replace("Block2D", "BlockMotion") for name in config.down_block_types),
        layers_per_block=config.layers_per_block,
        cross_attention_dim=config.cross_attention_dim,
        num_attention_heads=config.attention_head_dim,
        norm_num_groups=config.norm_num_groups,
        motion_num_attention_heads=heads,
        motion_max_seq_length=n_frames,
        use_simplified_condition_embedding=True,
    )
    source, target = unet.state_dict(), net.state_dict()
    shared = {k: v for k, v in source.items() if k in target and target[k].shape == v.shape}
    net.load_state_dict({**target, **shared})
    return net


def _batch(cached: Cached, schedule: Any, batch: int) -> tuple[torch.Tensor, ...]:
    """Draw clips: (clean, noise, noisy as (b, 4, f, h, w), times, Z(C_holi) and Z(C_motion) for every frame)."""
    index = uniform_index(len(cached.latents), batch)
    clean = cached.latents[index][:, decoded_frames(cached.latents.shape[1])].transpose(1, 2)
    noise = torch.randn_like(clean)
    times = torch.randint(schedule.config.num_train_timesteps, (batch,))
    noisy = schedule.add_noise(clean, noise, times)
    holi, motion = (cached.condition(index, k).repeat_interleave(clean.shape[2], dim=0) for k in ("holi", "motion"))
    return clean, noise, noisy, times, holi, motion


def decoded_frames(n_frames: int) -> list[int]:
    """Return which of a clip's frames the decoders use."""
    return [k * n_frames // N_FRAMES for k in range(N_FRAMES)]


def train_motion(cached: Cached, work: Path, folder: Path, steps: int, batch: int = 16) -> float:
    """Train the motion modules; write ``folder/motion_adapter``; return seconds."""
    torch.manual_seed(4)
    model = build_motion_unet(World(local(folder)).unet, N_FRAMES)
    schedule = noise_schedule()

    def loss(step: int) -> dict[str, torch.Tensor]:
        _, noise, noisy, times, holi, _ = _batch(cached, schedule, batch)
        predicted = model(noisy, times, encoder_hidden_states=holi).sample
        return {"noise": noise_loss(predicted, noise, times, schedule)}

    seconds = fit("motion", model, loss, FitOptions(steps=steps, lr=1e-3, ema=0.99), work, seed=44)
    model.half().save_motion_modules(folder / "motion_adapter")
    return seconds


class _Video(torch.nn.Module):
    """The motion UNet with the control net at its side."""

    def __init__(self, unet: Any, control: Any) -> None:
        super().__init__()
        self.unet, self.control = unet, control

    def forward(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        holi: torch.Tensor,
        motion: torch.Tensor,
        first: torch.Tensor,
        given: torch.Tensor,
    ) -> torch.Tensor:
        """Predict the noise; ``first`` (b, 4, h, w) is the anchor frame, ``given`` (b,) says where there is one."""
        share = given[:, None, None, None]
        condition, mask = torch.zeros_like(noisy), torch.zeros_like(noisy[:, :1])
        condition[:, :, 0], mask[:, :, 0] = first * share, share.expand(-1, 1, *first.shape[-2:])
        down, mid = self.control(
            noisy, times, encoder_hidden_states=motion, controlnet_cond=condition, conditioning_mask=mask,
            return_dict=False,
        )  # fmt: skip
        predicted: torch.Tensor = self.unet(
            noisy, times, encoder_hidden_states=holi,
            down_block_additional_residuals=down, mid_block_additional_residual=mid,
        ).sample  # fmt: skip
        return predicted


def train_control(cached: Cached, work: Path, folder: Path, steps: int, batch: int = 16) -> float:
    """Train the control net, and the motion modules further; write ``controlnet`` and ``motion_adapter``."""
    from diffusers import MotionAdapter

    torch.manual_seed(5)
    unet = World(local(folder)).unet
    model = build_motion_unet(unet, N_FRAMES)
    model.load_motion_modules(MotionAdapter.from_pretrained(folder / "motion_adapter"))
    both = _Video(model.float(), build_controlnet(unet, N_FRAMES))
    schedule = noise_schedule()

    def loss(step: int) -> dict[str, torch.Tensor]:
        clean, noise, noisy, times, holi, motion = _batch(cached, schedule, batch)
        given = (torch.rand(batch) > 0.1).float()
        predicted = both(noisy, times, holi, motion, clean[:, :, 0], given)
        return {"noise": noise_loss(predicted, noise, times, schedule)}

    seconds = fit("control", both, loss, FitOptions(steps=steps, lr=1e-3, ema=0.995), work, seed=55)
    save_half(both.control, folder / "controlnet")
    both.unet.half().save_motion_modules(folder / "motion_adapter")
    return seconds
