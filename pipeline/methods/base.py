"""What every method file shares: strict configs, the sizes that only the data knows, a training batch."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from torch import Tensor


class Strict(BaseModel):
    """Frozen, and refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Sizes(Strict):
    """What only the data knows: voxels by subject, text tokens x width, latent channels x height x width."""

    n_voxels: dict[str, int]
    n_tokens: int
    d_text: int
    latent: tuple[int, int, int]


@dataclass
class Batch:
    """Some training samples, those of one subject after those of another, in the order of ``fmri``.

    ``fmri``: {subject: (B_s, n_volumes * n_voxels)}; ``text``: (B, n_tokens, d_text), the target of a SAD or the
    condition of MAD (None: trained without); ``latents``: (B, n_frames, c, h, w), MAD's target.
    """

    fmri: dict[str, Tensor]
    text: Tensor | None
    latents: Tensor | None = None
