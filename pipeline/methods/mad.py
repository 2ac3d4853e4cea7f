"""SemVideo's motion adaptation decoder (MAD): voxels and decoded motion text to the VAE latents of a few frames.

Source: papers/semvideo, section 3.2, eq. 8-13; C.1. mapper (one per subject) -> frame vectors -> small frame maps ->
a decoder that joins spatial, temporal and semantic attention on its way up to the latents' size.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import ConfigError
from pipeline.methods import losses
from pipeline.methods.base import Batch, Sizes, Strict
from pipeline.methods.drawing import sent
from pipeline.methods.layers import Standardiser, SubjectMapper, TripartiteAttention


class MADConfig(Strict):
    """The motion adaptation decoder; the defaults are the published sizes."""

    hidden: int = Field(256, gt=0, description="Width behind each subject's mapper (C.1.1).")
    frame_hidden: int = Field(4096, gt=0, description="Width of each frame's vector (C.1.1).")
    projection: Literal["shared", "literal"] = Field(
        "shared", description="shared: per-frame layers with common weights; literal: C.1.1's list, 604 M weights."
    )
    base_channels: int = Field(64, gt=0, description="Channels of the first frame map, 64 x 7 x 7 (C.1.1).")
    block_channels: tuple[int, ...] = Field(
        (64, 64, 64), description="Channels of the blocks; the last keeps its size."
    )
    block_layers: int = Field(1, gt=0, description="Residual layers of a block; not given in the paper.")
    fusion_levels: int = Field(3, ge=0, description="Blocks that follow a tripartite attention, from the smallest.")
    heads: int = Field(8, gt=0, description="Attention heads of the fusion; not given in the paper.")
    norm_groups: int = Field(16, gt=0, description="Groups of the group norms; divides all channel counts.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout in projection and blocks; not in the paper.")
    voxel_dropout: float = Field(0.0, ge=0, lt=1, description="Share of voxels hidden in training; not in the paper.")
    voxel_noise: float = Field(0.0, ge=0, description="Noise added to z-scored voxels in training; not in the paper.")
    condition: Literal["predicted", "crossfit", "true"] = Field(
        "predicted",
        description="Text MAD trains on: SAD's prediction (3.2), its prediction of runs it never saw, or the truth.",
    )
    condition_dropout: float = Field(0.1, ge=0, lt=1, description="Share of samples that get the null embedding.")
    lambda_contrast: float = Field(1.0, ge=0, description="Weight of InfoNCE in eq. 13.")
    temperature: float = Field(0.1, gt=0, description="InfoNCE tau; not given in the paper.")
    standardise: bool = Field(True, description="Predict latents less their training mean, in units of their spread.")


class MAD(nn.Module):
    """Motion adaptation decoder: voxels and Z(C_motion) to the VAE latents of ``n_frames`` frames."""

    def __init__(self, config: MADConfig, sizes: Sizes, n_volumes: int, n_frames: int) -> None:
        super().__init__()
        from diffusers.models.unets.unet_2d_blocks import AttnUpDecoderBlock2D, UNetMidBlock2D

        self.config, self.n_frames = config, n_frames
        channels, height, width = sizes.latent
        shrink = 2 ** (len(config.block_channels) - 1)
        if height % shrink or width % shrink:
            raise ConfigError(
                f"MAD: latents of {height} x {width} cannot be reached by {len(config.block_channels) - 1} doublings; "
                "choose fewer block_channels"
            )
        base = (config.base_channels, height // shrink, width // shrink)
        n_inputs = {subject: n_volumes * n for subject, n in sizes.n_voxels.items()}
        self.mapper = SubjectMapper(n_inputs, config.hidden, config.voxel_dropout, config.voxel_noise)
        self.projection = _projection(config, n_frames, base)
        common: dict[str, Any] = {"resnet_groups": config.norm_groups, "dropout": config.dropout}
        head = config.base_channels // config.heads
        self.middle = UNetMidBlock2D(
            base[0], temb_channels=None, num_layers=config.block_layers, attention_head_dim=head, **common
        )
        self.fusions, self.blocks = nn.ModuleList(), nn.ModuleList()
        before = base[0]
        for i, after in enumerate(config.block_channels):
            if i < config.fusion_levels:
                self.fusions.append(TripartiteAttention(before, config.heads, sizes.d_text))
            last = i == len(config.block_channels) - 1
            block = AttnUpDecoderBlock2D(
                before,
                after,
                num_layers=config.block_layers,
                attention_head_dim=after // config.heads,
                add_upsample=not last,
                temb_channels=None,
                **common,
            )
            self.blocks.append(block)
            before = after
        self.out_norm = nn.GroupNorm(config.norm_groups, before)
        self.out = nn.Conv2d(before, channels, 3, padding=1)
        self.null = nn.Parameter(torch.zeros(sizes.n_tokens, sizes.d_text))
        self.text_space = Standardiser((sizes.n_tokens, sizes.d_text), True)
        self.space = Standardiser((channels, height, width), config.standardise)

    def prepare(self, text: Tensor, latents: Tensor) -> None:
        """Learn means and scales from training texts (n, T, D) and latents (n, n_frames, c, h, w)."""
        self.text_space.fit(text)
        self.space.fit(latents.flatten(0, 1))

    def forward(self, fmri: dict[str, Tensor], text: Tensor | None, drop: Tensor | None = None) -> Tensor:
        """Return standardised latents (B, n_frames, c, h, w); no ``text``, or ``drop`` (B,), means the null text."""
        x = self.projection(self.mapper(fmri)).flatten(0, 1)
        n = len(x) // self.n_frames
        condition = self.null.expand(n, -1, -1) if text is None else self.text_space.encode(text)
        if drop is not None:
            condition = torch.where(drop[:, None, None], self.null.to(condition), condition)
        x = self.middle(x)
        for i, block in enumerate(self.blocks):
            x = self.fusions[i](x, condition, self.n_frames) if i < len(self.fusions) else x
            x = block(x)
        return self.out(F.silu(self.out_norm(x))).unflatten(0, (n, self.n_frames))

    def training_step(self, batch: Batch, progress: float, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Return eq. 13's terms and their weighted sum ``loss``."""
        assert batch.latents is not None
        drop = torch.rand(len(batch.latents), generator=generator) < self.config.condition_dropout
        predicted = self(batch.fmri, batch.text, sent(drop, batch.latents.device)).flatten(0, 1)
        target = self.space.encode(batch.latents.flatten(0, 1))
        terms = {"mae": F.l1_loss(predicted, target), "contrast": predicted.new_zeros(())}
        if self.config.lambda_contrast:
            terms["contrast"] = losses.info_nce_loss(predicted, target, self.config.temperature)
        return {"loss": terms["mae"] + self.config.lambda_contrast * terms["contrast"], **terms}

    @torch.no_grad()
    def decode(self, fmri: dict[str, Tensor], text: Tensor | None) -> Tensor:
        """Decode voxels (and Z(C_motion), else the null text) to latents (B, n_frames, c, h, w)."""
        return self.space.decode(self(fmri, text))


def _projection(config: MADConfig, n_frames: int, base: tuple[int, int, int]) -> nn.Sequential:
    """Return (B, hidden) -> (B, n_frames, *base)."""
    wide, place = config.frame_hidden, base[0] * base[1] * base[2]

    def step(n_in: int, n_out: int) -> list[nn.Module]:
        return [nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.GELU(), nn.Dropout(config.dropout)]

    first: list[nn.Module] = [nn.LayerNorm(config.hidden), nn.GELU(), nn.Dropout(config.dropout)]
    if config.projection == "literal":
        inner = [*step(config.hidden, n_frames * wide), *step(n_frames * wide, n_frames * wide)]
        inner += [*step(n_frames * wide, wide), nn.Linear(wide, n_frames * place)]
        return nn.Sequential(*first, *inner, nn.Unflatten(1, (n_frames, *base)))
    inner = [nn.Linear(config.hidden, n_frames * wide), nn.Unflatten(1, (n_frames, wide))]
    inner += [nn.LayerNorm(wide), nn.GELU()]
    inner += [*step(wide, wide), *step(wide, wide), nn.Linear(wide, place)]
    return nn.Sequential(*first, *inner, nn.Unflatten(2, base))
