"""The frozen models a reconstruction stands on, loaded when first used.

The phantom's world and the paper's use the same classes and the same calls; a profile
(:mod:`pipeline.profiles`) only says where each part lies, a preset (:mod:`pipeline.memory`) how it is held.
Nothing is downloaded unless ``NEUROVIS_DOWNLOAD=1`` is set: a part that is neither in a folder nor in the local cache
raises :class:`~pipeline.errors.WeightsError`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import WeightsError
from pipeline.memory import CPU, Preset
from pipeline.profiles import PARTS, Backbones, Source, local, profile

if TYPE_CHECKING:
    import torch

__all__ = [
    "PARTS", "Backbones", "Source", "World", "count_truncated", "decode_latents", "encode_frames", "encode_text",
    "latents_of", "local", "profile",
]  # fmt: skip
# The libraries patch torch while they load a model, so two threads must not load at once.
_LOADING = threading.Lock()
# Models of one step of the rendering; with offloading only one group is on the card, the autoencoder always.
_GROUPS = (("text_encoder",), ("unet",), ("controlnet", "motion_unet", "animator"))


@dataclass
class World:
    """The loaded parts of a profile; each is loaded on first use and kept in evaluation mode.

    Parameters
    ----------
    backbones : Backbones
    device : str
        Where the models run.
    preset : Preset
        How they are held there, see :mod:`pipeline.memory`.
    """

    backbones: Backbones
    device: str = "cpu"
    preset: Preset = CPU
    _away: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights and of what runs through them."""
        import torch

        kind: torch.dtype = getattr(torch, self.preset.dtype)
        return kind

    def use(self, part: str) -> None:
        """Bring the models of the step that ``part`` belongs to onto the device, where others are kept off it."""
        if not self.preset.offload:
            return
        group = next(names for names in _GROUPS if part in names)
        for name, model in self._away.items():
            model.to(self.device if name in group else "cpu")

    def _placed(self, part: str, model: Any) -> Any:
        model.requires_grad_(False).eval()
        if self.preset.offload and any(part in names for names in _GROUPS):
            self._away[part] = model.to("cpu", self.dtype)
            return model
        return model.to(self.device, self.dtype)

    def _load(self, part: str, loader: Any) -> Any:
        from pipeline.weights import variant_of

        source: Source = getattr(self.backbones, part)
        try:
            with _LOADING:
                model = loader.from_pretrained(source.repo, **source.arguments(), **variant_of(part, source))
        except Exception as error:  # every library has its own type for "not there" and for "damaged"
            raise WeightsError(
                f"{self.backbones.name}: the {part} could not be loaded from {source.told()} ({type(error).__name__}: "
                f"{str(error).splitlines()[0][:160] if str(error) else 'no details'}); "
                f"{_way_out(self.backbones.name, source)}"
            ) from error
        # An adapter is only read from: it is copied into the motion UNet.
        return self._placed(part, model) if hasattr(model, "requires_grad_") and part != "motion_adapter" else model

    @cached_property
    def vae(self) -> Any:
        """Autoencoder: ``AutoencoderKL`` or ``AutoencoderTiny``, as its config says."""
        from diffusers import AutoModel

        model = self._load("vae", AutoModel)
        # AutoencoderTiny's tiles come out in full precision (diffusers 0.42), and it needs little memory without.
        if self.preset.tiling and type(model).__name__ == "AutoencoderKL":
            model.enable_tiling()
        return model

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
        model = self._placed("motion_unet", UNetMotionModel.from_unet2d(self.unet, adapter))
        if not self.preset.offload:
            _share(self.unet, model)
        return model

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
            return DDIMScheduler.from_config(scheduler.config, **changes)
        # Clipping is for pixels: Stable Diffusion's own config, made for another schedule, may leave it unsaid.
        return DDIMScheduler.from_config(scheduler.config, clip_sample=False)

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
        """Channels, height and width of a rendered frame's latent."""
        return self._latent(self.backbones.size)

    @property
    def mad_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the latents that MAD decodes."""
        return self._latent(self.backbones.mad_size)

    def _latent(self, size: int) -> tuple[int, int, int]:
        side = size // 2 ** (len(self.vae.config.block_out_channels) - 1)
        return int(self.vae.config.latent_channels), side, side


def _way_out(name: str, source: Source) -> str:
    """Say what to do about a part that cannot be loaded."""
    if name == "phantom":
        return "restore assets/phantom, or run python -m training phantom"
    if source.local:
        return "put the weights in that folder"
    return f"run python -m pipeline weights --profile {name}, or set NEUROVIS_DOWNLOAD=1 to fetch a hub id"


def _share(unet: Any, motion_unet: Any) -> None:
    """Let the motion UNet's spatial layers be the image UNet's own, in place of the copy that diffusers makes."""
    import torch

    own = dict(unet.named_parameters())
    for name, parameter in motion_unet.named_parameters():
        twin = own.get(name)
        if twin is not None and twin.shape == parameter.shape and torch.equal(twin, parameter):
            parameter.data = twin.data


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

    encoder = world.text_encoder
    world.use("text_encoder")
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
            output = encoder(input_ids=tokens.input_ids.to(world.device))
            rows.append((output.pooler_output if pooled else output.last_hidden_state).cpu())
    return np.asarray(torch.cat(rows).float().numpy(), dtype=np.float32)


def count_truncated(world: World, texts: list[str]) -> int:
    """Count the captions that are longer than the text encoder reads."""
    return sum(len(ids) > world.n_tokens for ids in world.tokenizer(texts, truncation=False).input_ids)


def encode_frames(world: World, frames: NDArray[np.uint8], batch: int | None = None) -> NDArray[np.float32]:
    """Encode frames into scaled latents.

    Parameters
    ----------
    world : World
    frames : (n, height, width, 3) uint8, RGB
    batch : int, optional
        Frames at a time; by default what the memory preset allows.

    Returns
    -------
    (n, 4, height / f, width / f) float32
        Multiplied by the autoencoder's scaling factor, so that their variance is near one.
    """
    import torch

    rows = []
    batch = batch or world.preset.frames_at(max(frames.shape[1:3]), 64)
    for start in range(0, len(frames), batch):
        pixels = torch.from_numpy(frames[start : start + batch]).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        with torch.inference_mode():
            rows.append(latents_of(world.vae, pixels.to(world.device, world.dtype)).float().cpu())
    return np.asarray(torch.cat(rows).float().numpy(), dtype=np.float32)


def latents_of(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Encode pixels in -1..1, without sampling, into scaled latents."""
    encoded = vae.encode(pixels)
    latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
    scaled: torch.Tensor = latents * vae.config.scaling_factor
    return scaled


def decode_latents(
    world: World, latents: NDArray[np.float32] | torch.Tensor, batch: int | None = None
) -> NDArray[np.uint8]:
    """Decode scaled latents (n, 4, h, w), wherever they lie, into frames (n, height, width, 3) uint8, RGB."""
    import torch

    if isinstance(latents, np.ndarray):
        latents = torch.from_numpy(np.ascontiguousarray(latents, np.float32))
    rows = []
    batch = batch or world.preset.frames_at(world.backbones.size, 32)
    for start in range(0, len(latents), batch):
        part = latents[start : start + batch].to(world.device, world.dtype)
        with torch.inference_mode():
            pixels = world.vae.decode(part / world.vae.config.scaling_factor).sample.float().clamp(-1, 1)
            # Rounded where they were made: a quarter of the bytes cross to the host, and no core computes on them.
            rows.append(((pixels + 1) * 127.5).round().to(torch.uint8).cpu())
    # Colours stay apart in memory, as what reads the frames again computes on them.
    return np.asarray(torch.cat(rows).permute(0, 2, 3, 1).numpy())
