"""What the steps of a rendering share: progress and stop, each clip's own noise, and where denoising starts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Progress = Callable[[int, int, str], None]


class Stopped(Exception):
    """The caller asked to stop."""


class Ticker:
    """Count steps, tell the caller, and stop when asked."""

    def __init__(self, total: int, progress: Progress | None, should_stop: Callable[[], bool] | None) -> None:
        self.done, self.total, self.progress, self.should_stop = 0, total, progress, should_stop

    def __call__(self, message: str) -> None:
        """Count one step; raise ``Stopped`` where the caller wants no more."""
        if self.should_stop and self.should_stop():
            raise Stopped
        self.done = min(self.done + 1, self.total)
        if self.progress:
            self.progress(self.done, self.total, message)


def steps_from(steps: int, theta: float) -> int:
    """Return how many of ``steps`` remain when denoising starts at ``theta`` of the way to full noise."""
    return max(1, min(steps, round(theta * steps)))


def generator(seed: int, clip_id: str, purpose: str) -> torch.Generator:
    """Return the random generator of one clip and purpose: the same clip renders alike in any batch."""
    import torch

    digest = hashlib.sha256(f"{seed}/{clip_id}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def spread(latents: NDArray[np.float32], n_frames: int, how: str = "linear") -> NDArray[np.float32]:
    """Spread (n, t, c, h, w) over ``n_frames`` of the same clip: latent k belongs to frame floor(k * n_frames / t).

    Frames between two of these are blended (``linear``) or take the nearer one; those after the last one repeat it.
    """
    t = latents.shape[1]
    place = np.interp(np.arange(n_frames), np.arange(t) * n_frames // t, np.arange(t))
    if how == "nearest":
        return np.ascontiguousarray(latents[:, np.rint(place).astype(int)])
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, t - 1)
    share = (place - low)[:, None, None, None].astype(np.float32)
    return np.ascontiguousarray(latents[:, low] * (1 - share) + latents[:, high] * share)
