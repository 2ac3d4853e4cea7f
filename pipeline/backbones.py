"""The frozen models a reconstruction stands on, by hub id or local folder, loaded when first used.

The phantom's world and the paper's use the same classes and the same calls; a profile only says where each part lies.
Nothing is downloaded unless ``NEUROVIS_DOWNLOAD=1`` is set: a part that is neither in a folder nor in the local cache
raises :class:`~pipeline.errors.WeightsError`.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import ConfigError, WeightsError
from pipeline.paths import PHANTOM_ASSETS

if TYPE_CHECKING:
    import torch

# The folders of a world on disk.
PARTS = ("vae", "text_encoder", "tokenizer", "unet", "motion_adapter", "controlnet", "scheduler", "animator")
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
# The libraries patch torch while they load a model, so two threads must not load at once.
_LOADING = threading.Lock()


class Source(BaseModel):
    """Where one part lies.

    Parameters
    ----------
    repo : str
        Hub id, or a local folder.
    subfolder : str, optional
    revision : str, optional
        Branch, tag or commit of a hub id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str
    subfolder: str | None = None
    revision: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of ``from_pretrained``."""
        chosen = {"subfolder": self.subfolder, "revision": self.revision}
        return {k: v for k, v in chosen.items() if v} | {"local_files_only": not _may_download()}


class Backbones(BaseModel):
    """Every part of a profile and the few sizes that follow from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    vae: Source = Field(description="Autoencoder with Stable Diffusion's latent contract.")
    text_encoder: Source = Field(description="CLIP text tower; its last hidden state is the text space Z.")
    tokenizer: Source
    unet: Source = Field(description="Text-to-image UNet; also the spatial part of the video model.")
    motion_adapter: Source = Field(description="AnimateDiff motion modules.")
    controlnet: Source = Field(description="SparseCtrl RGB.")
    scheduler: Source = Field(description="DDIM schedule of the text-to-image model.")
    animator: Source | None = Field(None, description="Sets the anchor frame in motion; not in the paper.")
    video_beta_schedule: str | None = Field(
        None, description="Noise schedule of the video model where it differs; AnimateDiff uses 'linear'."
    )
    size: int = Field(description="Side of the rendered frames, pixels.")
    n_frames: int = Field(16, description="Frames of a rendered clip (NeuroClips, AnimateDiff: 16 at 8 fps).")
    simulated: bool = False


def _paper() -> Backbones:
    return Backbones(
        name="paper",
        vae=Source(repo=SD15, subfolder="vae"),
        text_encoder=Source(repo=SD15, subfolder="text_encoder"),
        tokenizer=Source(repo=SD15, subfolder="tokenizer"),
        unet=Source(repo=SD15, subfolder="unet"),
        motion_adapter=Source(repo="guoyww/animatediff-motion-adapter-v1-5-3"),
        controlnet=Source(repo="guoyww/animatediff-sparsectrl-rgb"),
        scheduler=Source(repo=SD15, subfolder="scheduler"),
        video_beta_schedule="linear",
        size=256,
    )


def local(folder: Path, name: str = "phantom", size: int = 64, n_frames: int = 6, simulated: bool = True) -> Backbones:
    """Return the profile of a folder that holds each part in a folder of its own name.

    The phantom's renderer makes the six frames that the decoders use, which suits a machine without a GPU.
    """
    sources = {part: Source(repo=str(folder / part)) for part in PARTS}
    return Backbones(name=name, size=size, n_frames=n_frames, simulated=simulated, **sources)


def profile(name: str = "phantom") -> Backbones:
    """Return a profile by name.

    Raises
    ------
    ConfigError
        For a name other than ``phantom`` and ``paper``.
    """
    known = {"phantom": lambda: local(PHANTOM_ASSETS), "paper": _paper}
    if name not in known:
        raise ConfigError(f"profile must be one of {sorted(known)}, got {name!r}")
    return known[name]()


def _may_download() -> bool:
    return os.environ.get("NEUROVIS_DOWNLOAD") == "1"


@dataclass
class World:
    """The loaded parts of a profile; each is loaded on first use and kept in evaluation mode."""

    backbones: Backbones
    device: str = "cpu"

    def _load(self, part: str, loader: Any) -> Any:
        source: Source = getattr(self.backbones, part)
        try:
            with _LOADING:
                model = loader.from_pretrained(source.repo, **source.arguments())
        except Exception as error:  # every library has its own type for "not there" and for "damaged"
            where = source.repo + (f"/{source.subfolder}" if source.subfolder else "")
            raise WeightsError(
                f"{self.backbones.name}: the {part} could not be loaded from {where} ({type(error).__name__}: "
                f"{str(error).splitlines()[0][:160] if str(error) else 'no details'}); put the weights in that folder"
                ", or set NEUROVIS_DOWNLOAD=1 to fetch a hub id"
            ) from error
        if hasattr(model, "requires_grad_"):
            model.requires_grad_(False).eval().to(self.device)
        return model

    @cached_property
    def vae(self) -> Any:
        """Autoencoder: ``AutoencoderKL`` or ``AutoencoderTiny``, as its config says."""
        from diffusers import AutoModel

        return self._load("vae", AutoModel)

    @cached_property
    def text_encoder(self) -> Any:
        """Transformers ``CLIPTextModel``."""
        from transformers import CLIPTextModel

        return self._load("text_encoder", CLIPTextModel)

    @cached_property
    def tokenizer(self) -> Any:
        """Transformers ``CLIPTokenizer``."""
        from transformers import CLIPTokenizer

        return self._load("tokenizer", CLIPTokenizer)

    @cached_property
    def unet(self) -> Any:
        """Diffusers ``UNet2DConditionModel``."""
        from diffusers import UNet2DConditionModel

        return self._load("unet", UNet2DConditionModel)

    @cached_property
    def motion_unet(self) -> Any:
        """Diffusers ``UNetMotionModel``: the text-to-image UNet with the motion modules."""
        from diffusers import MotionAdapter, UNetMotionModel

        adapter = self._load("motion_adapter", MotionAdapter)
        model = UNetMotionModel.from_unet2d(self.unet, adapter)
        return model.requires_grad_(False).eval().to(self.device)

    @cached_property
    def controlnet(self) -> Any:
        """Diffusers ``SparseControlNetModel``."""
        from diffusers.models import SparseControlNetModel

        return self._load("controlnet", SparseControlNetModel)

    @cached_property
    def animator(self) -> Any:
        """:class:`~pipeline.render.animator.Animator`; a profile without one starts videos from MAD's frames."""
        from pipeline.render.animator import Animator

        if self.backbones.animator is None:
            raise WeightsError(f"{self.backbones.name}: this profile has no animator; set start to 'mad'")
        return self._load("animator", Animator)

    def scheduler(self, video: bool = False) -> Any:
        """Return a fresh DDIM schedule (a schedule keeps state, so it is not shared)."""
        from diffusers import DDIMScheduler

        scheduler = self._load("scheduler", DDIMScheduler)
        if video and self.backbones.video_beta_schedule:
            changes = {"beta_schedule": self.backbones.video_beta_schedule, "clip_sample": False}
            scheduler = DDIMScheduler.from_config(scheduler.config, **changes)
        return scheduler

    @property
    def n_tokens(self) -> int:
        """Rows of Z."""
        return int(self.text_encoder.config.max_position_embeddings)

    @property
    def d_text(self) -> int:
        """Columns of Z."""
        return int(self.text_encoder.config.hidden_size)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a frame's latent."""
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        side = self.backbones.size // factor
        return int(self.vae.config.latent_channels), side, side


def encode_text(world: World, texts: list[str], batch: int = 64, pooled: bool = False) -> NDArray[np.float32]:
    """Encode captions into Z, or into one vector each.

    Parameters
    ----------
    world : World
    texts : list of str, n long
    batch : int
    pooled : bool
        Take the pooled output (n, d_text), before any projection, in place of Z.

    Returns
    -------
    (n, n_tokens, d_text) float32
        The last hidden state, padded or truncated to ``n_tokens``.
    """
    import torch

    rows = []
    for start in range(0, len(texts), batch):
        tokens = world.tokenizer(
            texts[start : start + batch],
            padding="max_length",
            truncation=True,
            max_length=world.n_tokens,
            return_tensors="pt",
        )
        with torch.inference_mode():
            output = world.text_encoder(input_ids=tokens.input_ids.to(world.device))
            rows.append((output.pooler_output if pooled else output.last_hidden_state).cpu())
    return np.asarray(torch.cat(rows).float().numpy(), dtype=np.float32)


def count_truncated(world: World, texts: list[str]) -> int:
    """Count the captions that are longer than the text encoder reads."""
    return sum(len(ids) > world.n_tokens for ids in world.tokenizer(texts, truncation=False).input_ids)


def encode_frames(world: World, frames: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float32]:
    """Encode frames into scaled latents.

    Parameters
    ----------
    world : World
    frames : (n, height, width, 3) uint8, RGB

    Returns
    -------
    (n, 4, height / f, width / f) float32
        Multiplied by the autoencoder's scaling factor, so that their variance is near one.
    """
    import torch

    rows = []
    for start in range(0, len(frames), batch):
        pixels = torch.from_numpy(frames[start : start + batch]).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        with torch.inference_mode():
            rows.append(latents_of(world.vae, pixels.to(world.device)).cpu())
    return np.asarray(torch.cat(rows).float().numpy(), dtype=np.float32)


def latents_of(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Encode pixels in -1..1, without sampling, into scaled latents."""
    encoded = vae.encode(pixels)
    latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
    scaled: torch.Tensor = latents * vae.config.scaling_factor
    return scaled


def decode_latents(world: World, latents: NDArray[np.float32], batch: int = 32) -> NDArray[np.uint8]:
    """Decode scaled latents (n, 4, h, w) into frames (n, height, width, 3) uint8, RGB."""
    import torch

    rows = []
    for start in range(0, len(latents), batch):
        part = torch.from_numpy(np.ascontiguousarray(latents[start : start + batch], np.float32)).to(world.device)
        with torch.inference_mode():
            rows.append(world.vae.decode(part / world.vae.config.scaling_factor).sample.float().cpu())
    pixels = torch.cat(rows).clamp(-1, 1).permute(0, 2, 3, 1)
    return np.asarray(((pixels + 1) * 127.5).round().to(torch.uint8).numpy())
