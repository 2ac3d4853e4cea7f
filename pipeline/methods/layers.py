"""Building blocks of the decoders.

Shapes: B samples, V voxels of a subject, H hidden units, n frames, c channels, h x w places, T tokens, D text size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import DataError


class SubjectMapper(nn.Module):
    """Map each subject's voxels to one space: a linear layer per subject, then the others are shared.

    Parameters
    ----------
    n_inputs : mapping of subject to int
        Voxels times volumes of each subject.
    n_outputs : int
    voxel_dropout : float
        Share of inputs set to zero in training.
    voxel_noise : float
        Standard deviation of the noise added in training, in the units of the (z-scored) input.
    """

    def __init__(self, n_inputs: dict[str, int], n_outputs: int, voxel_dropout: float, voxel_noise: float) -> None:
        super().__init__()
        self.voxel_noise = voxel_noise
        self.dropout = nn.Dropout(voxel_dropout)
        self.linear = nn.ModuleDict({subject: nn.Linear(n, n_outputs) for subject, n in n_inputs.items()})

    def forward(self, fmri: dict[str, Tensor]) -> Tensor:
        """Map {subject: (B_s, n_inputs_s)} to (B, n_outputs), subjects in the order of ``fmri``."""
        parts = []
        for subject, x in fmri.items():
            if subject not in self.linear:
                known = ", ".join(self.linear)
                raise DataError(f"{subject}: this decoder knows the subjects {known}; train it on {subject}")
            n_inputs = int(self.linear[subject].in_features)
            if x.shape[1] != n_inputs:
                raise DataError(f"{subject}: the decoder reads {n_inputs} inputs a clip, got {x.shape[1]}; use its own")
            if self.training and self.voxel_noise:
                x = x + self.voxel_noise * torch.randn_like(x)
            parts.append(self.linear[subject](self.dropout(x)))
        return torch.cat(parts)


class Standardiser(nn.Module):
    """Remember the mean (per entry) and the scale (one number) of the training targets.

    With ``enabled=False`` it is the identity, so that losses see raw targets.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...], enabled: bool) -> None:
        super().__init__()
        self.enabled = enabled
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit(self, targets: Tensor) -> None:
        """Set the constants from (n, *shape) training targets."""
        if self.enabled:
            mean = targets.mean(0)
            self.mean.copy_(mean)
            self.scale.copy_((targets - mean).pow(2).mean().sqrt().clamp_min(1e-6))

    def encode(self, x: Tensor) -> Tensor:
        """Raw to standardised."""
        return (x - self.mean) / self.scale

    def decode(self, x: Tensor) -> Tensor:
        """Standardised to raw."""
        return x * self.scale + self.mean


def mlp(sizes: list[int], activation: str, dropout: float, norm: bool) -> nn.Sequential:
    """Return linear layers through ``sizes`` with the activation (and norm, dropout) between, none after the last."""
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        layers.append(nn.Linear(n_in, n_out))
        if i < len(sizes) - 2:
            layers += [nn.LayerNorm(n_out)] if norm else []
            layers += [nn.GELU() if activation == "gelu" else nn.Identity(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def timestep_embedding(t: Tensor, size: int) -> Tensor:
    """Return sines and cosines of the timesteps (B,): (B, size)."""
    half = (size + 1) // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angle = t[:, None].float() * rates
    return torch.cat([angle.sin(), angle.cos()], 1)[:, :size]


class Refiner(nn.Module):
    """Denoise a text embedding, given the MLP's guess of it and the noise level; predicts the clean embedding.

    Noisy tokens and guess are joined channel by channel, so token i of the guess speaks to token i of the embedding
    and the sequence stays T long. The last layer starts at zero and adds to the guess: an untrained refiner returns
    what it was given.

    Parameters
    ----------
    n_tokens, d_text : int
    n_layers, n_heads, head_size : int
        Transformer width is ``n_heads * head_size``.
    causal : bool
        Let token i see tokens <= i only.
    dropout : float
    """

    def __init__(
        self, n_tokens: int, d_text: int, n_layers: int, n_heads: int, head_size: int, causal: bool, dropout: float
    ) -> None:
        super().__init__()
        width = n_heads * head_size
        self.causal = causal
        self.null = nn.Parameter(torch.zeros(n_tokens, d_text))
        self.inputs = nn.Linear(2 * d_text, width)
        self.places = nn.Parameter(0.02 * torch.randn(n_tokens, width))
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        layer = nn.TransformerEncoderLayer(
            width, n_heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, n_layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.outputs = nn.Linear(width, d_text)
        nn.init.zeros_(self.outputs.weight)
        nn.init.zeros_(self.outputs.bias)

    def forward(self, noisy: Tensor, t: Tensor, guess: Tensor, drop: Tensor | None = None) -> Tensor:
        """Return the clean embedding (B, T, D) from the noisy one, timesteps (B,) and guess (B, T, D).

        ``drop`` (B,) bool replaces the guess by the learned null embedding.
        """
        if drop is not None:
            guess = torch.where(drop[:, None, None], self.null.to(guess), guess)
        x = self.inputs(torch.cat([noisy, guess], 2)) + self.places
        x = x + self.time(timestep_embedding(t, x.shape[2]).to(x))[:, None]
        n_tokens = x.shape[1]
        mask = None
        if self.causal:
            mask = torch.ones(n_tokens, n_tokens, dtype=torch.bool, device=x.device).triu(1)
        return guess + self.outputs(self.layers(x, mask=mask))


class Attention(nn.Module):
    """Multi-head scaled dot-product attention; keys and values may come from elsewhere."""

    def __init__(self, width: int, n_heads: int, context_width: int | None = None) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(context_width or width, width, bias=False)
        self.value = nn.Linear(context_width or width, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Attend from (B, L, width) to (B, M, context_width): (B, L, width)."""
        context = x if context is None else context
        parts = (self.query(x), self.key(context), self.value(context))
        q, k, v = (p.unflatten(2, (self.n_heads, -1)).transpose(1, 2) for p in parts)
        if q.shape[2] * k.shape[2] > 64**2 or x.is_cuda:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            # Fused kernels are several times slower than plain products on many tiny sequences, such as six frames.
            mixed = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).softmax(3) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class TripartiteAttention(nn.Module):
    r"""Join spatial, temporal and semantic attention (SemVideo, eq. 8-12).

    .. math:: e = \lambda_{spat} E_{spat}(S) + \lambda_{temp} E_{temp}(E_{spat}) + E_{cross}(E_{spat}, Z)

    Spatial attention sees one frame (h*w tokens), temporal attention one place (n tokens); the queries of the
    semantic part are the spatial output. The weights are learned from 1 and 0 and the semantic part's last layer
    starts at zero, so that training begins with plain frames. The spatial part keeps its input (a residual), which
    the equations leave open.
    """

    def __init__(self, channels: int, n_heads: int, d_text: int) -> None:
        super().__init__()
        self.norm_spatial = nn.LayerNorm(channels)
        self.norm_temporal = nn.LayerNorm(channels)
        self.norm_cross = nn.LayerNorm(channels)
        self.norm_text = nn.LayerNorm(d_text)
        self.spatial = Attention(channels, n_heads)
        self.temporal = Attention(channels, n_heads)
        self.cross = Attention(channels, n_heads, d_text)
        nn.init.zeros_(self.cross.out.weight)
        nn.init.zeros_(self.cross.out.bias)
        self.lambda_spatial = nn.Parameter(torch.ones(()))
        self.lambda_temporal = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, text: Tensor, n_frames: int) -> Tensor:
        """Return (B * n, c, h, w) from the same shape and text (B, T, D)."""
        _, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        spatial = tokens + self.spatial(self.norm_spatial(tokens))
        frames = spatial.unflatten(0, (-1, n_frames))
        series = self.norm_temporal(frames).transpose(1, 2).flatten(0, 1)
        temporal = self.temporal(series).unflatten(0, (-1, h * w)).transpose(1, 2)
        cross = self.cross(self.norm_cross(frames).flatten(1, 2), self.norm_text(text)).unflatten(1, (n_frames, h * w))
        joined = self.lambda_spatial * frames + self.lambda_temporal * temporal + cross
        return joined.flatten(0, 1).transpose(1, 2).reshape(-1, c, h, w)
