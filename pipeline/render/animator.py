"""The animator: a still frame and the text of a motion in, the latents of the moving clip out, in one step.

Not in the paper, where MAD's blurry frames are the start of the video's denoising and carry the motion. In the
phantom's small world MAD's frames carry place and colour but hardly any motion (see LOG.md), and a text-to-video model
learns left from right only after more steps than a CPU has time for. So the phantom's renderer sets the anchor frame in
motion as C_motion says and starts from there (``CVRConfig.start="animated"``); the paper's profile starts from MAD's
frames.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F


class _Block(nn.Module):
    """Two convolutions around a residual; the text scales and shifts what lies between them."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm_in, self.norm_out = nn.GroupNorm(groups, channels), nn.GroupNorm(groups, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)
        self.text = nn.Linear(channels, 2 * channels)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        scale, shift = self.text(text)[:, :, None, None].chunk(2, 1)
        inner = self.norm_out(self.first(F.silu(self.norm_in(x)))) * (1 + scale) + shift
        result: Tensor = x + self.last(F.silu(inner))
        return result


class Animator(ModelMixin, ConfigMixin):
    """Convolutions on a frame's latents that a text code steers; all frames come out at once.

    The text is read as its coordinates along the principal directions of the training captions, brought half-way to
    equal spread (the verb lies along weaker directions than the wording) and to unit length, so that a decoded Z,
    which regression has shrunk, says the same as a true one.

    Parameters
    ----------
    latent : (int, int, int)
        Channels, height and width of a frame's latents.
    n_frames : int
    n_tokens, d_text : int
        Shape of Z.
    rank : int
        Principal directions that are read.
    channels, n_blocks, groups : int
        Size of the network; ``groups`` of its norms divides ``channels``.
    """

    @register_to_config
    def __init__(
        self,
        latent: tuple[int, int, int],
        n_frames: int,
        n_tokens: int,
        d_text: int,
        rank: int = 64,
        channels: int = 80,
        n_blocks: int = 8,
        groups: int = 16,
    ) -> None:
        super().__init__()
        self.latent, self.n_frames = tuple(latent), n_frames
        self.register_buffer("text_mean", torch.zeros(n_tokens * d_text))
        self.register_buffer("text_basis", torch.zeros(n_tokens * d_text, rank))
        grid = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in latent[1:]), indexing="ij")
        self.register_buffer("place", torch.stack(grid), persistent=False)
        self.read = nn.Sequential(nn.Linear(rank, channels), nn.SiLU(), nn.Linear(channels, channels))
        self.first = nn.Conv2d(latent[0] + 2, channels, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(channels, groups) for _ in range(n_blocks))
        self.last = nn.Conv2d(channels, n_frames * latent[0], 3, padding=1)

    @torch.no_grad()
    def fit_text(self, z: Tensor) -> None:
        """Learn the principal directions of the training captions' Z (n, n_tokens, d_text)."""
        flat = z.flatten(1).float()
        mean = flat.mean(0)
        _, values, directions = torch.linalg.svd(flat - mean, full_matrices=False)
        rank = min(self.text_basis.shape[1], len(values))
        directions = directions / (values / values[0]).clamp_min(1e-3).sqrt()[:, None]
        self.text_mean.copy_(mean)
        self.text_basis.zero_()
        self.text_basis[:, :rank] = directions[:rank].T

    def coordinates(self, z: Tensor) -> Tensor:
        """Return where Z (B, n_tokens, d_text) lies along the principal directions: (B, rank)."""
        return (z.flatten(1).to(self.text_mean) - self.text_mean) @ self.text_basis

    def forward(self, anchor: Tensor, code: Tensor) -> Tensor:
        """Set frames in motion.

        Parameters
        ----------
        anchor : (B, c, h, w)
            Scaled latents of the first frame.
        code : (B, rank)
            What :meth:`coordinates` returns; its length says nothing.

        Returns
        -------
        (B, n_frames, c, h, w)
        """
        steer = self.read(F.normalize(code, dim=1) * code.shape[1] ** 0.5)
        x = self.first(torch.cat([anchor, self.place.expand(len(anchor), -1, -1, -1)], 1))
        for block in self.blocks:
            x = block(x, steer)
        change: Any = self.last(F.silu(x))
        result: Tensor = anchor[:, None] + change.unflatten(1, (self.n_frames, self.latent[0]))
        return result
