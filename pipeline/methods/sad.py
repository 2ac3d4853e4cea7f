"""SemVideo's semantic alignment decoder (SAD): voxels to the text embedding of one level of caption.

Source: papers/semvideo, section 3.2, eq. 4-7; C.1. mapper (one per subject) -> LayerNorm -> MLP -> refiner.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.methods import losses
from pipeline.methods.base import Batch, Sizes, Strict
from pipeline.methods.drawing import normal, sent
from pipeline.methods.layers import Refiner, Standardiser, SubjectMapper, mlp


class SADConfig(Strict):
    """A semantic alignment decoder; the defaults are the published sizes."""

    hidden: int = Field(4096, gt=0, description="Width of the shared space behind each subject's mapper (C.1.1).")
    mlp_hidden: tuple[int, ...] = Field((4096, 4096, 4096), description="MLP layers before the last (C.1.1).")
    activation: Literal["gelu", "identity"] = Field("gelu", description="GELU (C.1.1); identity makes the MLP linear.")
    norm: bool = Field(True, description="LayerNorm after the mapper ('normalized fMRI representation', 3.2).")
    dropout: float = Field(0.15, ge=0, lt=1, description="Dropout in the MLP and refiner; not in the paper.")
    voxel_dropout: float = Field(0.0, ge=0, lt=1, description="Share of voxels hidden in training; not in the paper.")
    voxel_noise: float = Field(0.0, ge=0, description="Noise added to z-scored voxels in training; not in the paper.")
    linear_path: bool = Field(
        False, description="MLP as a residual, one linear layer to Z behind it; not in the paper."
    )
    refiner_layers: int = Field(4, ge=0, description="Refiner transformer layers (C.1.1); 0 leaves the refiner out.")
    refiner_heads: int = Field(8, gt=0, description="Attention heads of the refiner (C.1.1).")
    refiner_head_size: int = Field(64, gt=0, description="Size of a refiner head (C.1.1).")
    causal: bool = Field(False, description="Paper: 'causal transformer'; a token need not wait for others, so off.")
    refine_timesteps: int = Field(100, gt=1, description="Noise levels T; not given in the paper.")
    refine_condition_dropout: float = Field(0.2, ge=0, lt=1, description="Share of samples without the MLP's guess.")
    refine_steps: int = Field(20, ge=0, description="DDIM steps at inference; 0 uses the MLP's guess as it is.")
    refine_temperature: float = Field(1.0, ge=0, description="Scale of the starting noise; 0 starts at the mean.")
    lambda_mse: float = Field(1.0, ge=0, description="Weight of eq. 4, against the true Z (eq. 4 is ambiguous).")
    lambda_softclip: float = Field(0.1, ge=0, description="Weight of SoftCLIP: 0.1 (section 4); C.1 says 0.5.")
    lambda_refine: float = Field(0.5, ge=0, description="Weight of eq. 6: 0.5 (section 4); C.1: lambda_prior 0.1.")
    temperature: tuple[float, float] = Field((0.004, 0.0075), description="SoftCLIP tau, first to last step.")
    mixco_alpha: float = Field(0.15, gt=0, description="Beta(alpha, alpha) of MixCo (eq. 14).")
    mixco_share: float = Field(1 / 3, ge=0, le=1, description="First share of training, where MixCo replaces SoftCLIP.")
    standardise: bool = Field(True, description="Losses on Z less its training mean, in units of its spread.")


class SAD(nn.Module):
    """Semantic alignment decoder of one level: voxels to (n_tokens, d_text).

    The first token is the same for every caption: ``start`` keeps it, the network predicts the others.
    """

    start: Tensor

    def __init__(self, config: SADConfig, sizes: Sizes, n_volumes: int) -> None:
        super().__init__()
        self.config = config
        shape = (sizes.n_tokens - 1, sizes.d_text)
        n_inputs = {subject: n_volumes * n for subject, n in sizes.n_voxels.items()}
        self.mapper = SubjectMapper(n_inputs, config.hidden, config.voxel_dropout, config.voxel_noise)
        self.norm = nn.LayerNorm(config.hidden) if config.norm else nn.Identity()
        n_outputs = shape[0] * shape[1]
        widths = [config.hidden, *config.mlp_hidden, config.hidden if config.linear_path else n_outputs]
        self.mlp = mlp(widths, config.activation, config.dropout, config.norm)
        self.path: nn.Linear | None = None
        if config.linear_path:
            self.path = nn.Linear(config.hidden, n_outputs, bias=False)
            nn.init.zeros_(self.mlp[-1].weight)
            nn.init.zeros_(self.mlp[-1].bias)
        self.refiner: Refiner | None = None
        if config.refiner_layers:
            heads = (config.refiner_layers, config.refiner_heads, config.refiner_head_size)
            self.refiner = Refiner(*shape, *heads, causal=config.causal, dropout=config.dropout)
        self._signal: Tensor | None = None
        self.space = Standardiser(shape, config.standardise)
        self.register_buffer("start", torch.zeros(sizes.d_text))

    def prepare(self, text: Tensor) -> None:
        """Learn the start token and the scale of Z from training targets (n, n_tokens, d_text)."""
        self.start.copy_(text[:, 0].mean(0))
        self.space.fit(text[:, 1:])

    def guess(self, shared: Tensor) -> Tensor:
        """Map what the mapper made (B, hidden) to a standardised embedding (B, n_tokens - 1, d_text)."""
        inner = self.mlp(self.norm(shared))
        flat = inner if self.path is None else self.path(shared + inner)
        return flat.unflatten(1, tuple(self.space.mean.shape))

    def training_step(self, batch: Batch, progress: float, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Return eq. 7's terms and their weighted sum ``loss``."""
        config = self.config
        assert batch.text is not None
        target = self.space.encode(batch.text[:, 1:])
        shared = self.mapper(batch.fmri)
        temperature = losses.anneal(*config.temperature, progress)
        wanted = target
        if progress < config.mixco_share:
            partner, share = losses.mixco_draw(len(shared), config.mixco_alpha, generator)
            predicted = self.guess(losses.mix(shared, partner, share))
            wanted = losses.mix(target, partner, share)
            contrast = losses.mixco_loss(predicted, target, partner, share, temperature)
        else:
            predicted = self.guess(shared)
            contrast = losses.soft_clip_loss(predicted, target, temperature)
        terms = {"mse": F.mse_loss(predicted, wanted), "contrast": contrast}
        total = config.lambda_mse * terms["mse"] + config.lambda_softclip * contrast
        if self.refiner is not None:
            terms["refine"] = self._refine_loss(predicted, wanted, generator)
            total = total + config.lambda_refine * terms["refine"]
        return {"loss": total, **terms}

    def _refine_loss(self, guess: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        assert self.refiner is not None
        n, device = len(target), target.device
        t = sent(torch.randint(self.config.refine_timesteps, (n,), generator=generator), device)
        noise = normal(tuple(target.shape), device, generator).to(target.dtype)
        drop = sent(torch.rand(n, generator=generator) < self.config.refine_condition_dropout, device)
        # What the scheduler's own add_noise computes, which copies its table to the card at every call.
        if self._signal is None or self._signal.device != device:
            self._signal = sent(self._scheduler().alphas_cumprod, device)
        signal = self._signal[t].to(target.dtype)[:, None, None]
        noisy = signal.sqrt() * target + (1 - signal).sqrt() * noise
        return F.mse_loss(self.refiner(noisy, t, guess, drop), target)

    def _scheduler(self) -> Any:
        from diffusers import DDIMScheduler

        return DDIMScheduler(
            self.config.refine_timesteps,
            beta_schedule="squaredcos_cap_v2",
            clip_sample=False,
            prediction_type="sample",
        )

    @torch.no_grad()
    def decode(self, fmri: dict[str, Tensor], noise: Tensor | None) -> Tensor:
        """Decode voxels to Z (B, n_tokens, d_text); ``noise`` (B, n_tokens - 1, d_text) starts the refiner."""
        z = self.guess(self.mapper(fmri))
        if self.refiner is not None and noise is not None and self.config.refine_steps:
            guess, z = z, noise
            scheduler = self._scheduler()
            scheduler.set_timesteps(self.config.refine_steps)
            # The scheduler reads its tables on the processor by plain numbers; the refiner wants them on the device.
            for t, number in zip(sent(scheduler.timesteps, z.device), scheduler.timesteps.tolist(), strict=True):
                clean = self.refiner(z, t.expand(len(z)), guess)
                z = scheduler.step(clean, number, z).prev_sample
        z = self.space.decode(z)
        return torch.cat([self.start.expand(len(z), 1, -1), z], 1)
