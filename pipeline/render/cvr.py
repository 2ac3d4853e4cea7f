"""The conditional video render (SemVideo, section 3.2): decoded cues in, video out.

1. motion latents -> autoencoder -> six blurry frames (224 x 224 in the paper, brought to the rendered size and encoded
   again: what denoising starts from);
2. first blurry frame + Z(C_anchor) -> image-to-image -> anchor frame;
3. blurry frames as the start of the denoising, Z(C_holi) as the text, the anchor frame through SparseCtrl at frame 0
   -> AnimateDiff -> the video. The text that SparseCtrl itself reads is Z(C_holi), or in the phantom's world
   Z(C_motion), which names the direction in few words (``control_prompt``). In the phantom's world step 3 starts from
   the anchor frame, set in motion by Z(C_motion) (``start``, :mod:`pipeline.render.animator`).

Steps 1 and 2 are diffusers' own pipelines. Step 3 is a loop over diffusers' own models, since the stock pipeline takes
neither a batch of clips nor a start in mid-schedule; a test holds both against each other where they can agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones import World, decode_latents, encode_frames, encode_text, latents_of
from pipeline.errors import ConfigError, DataError
from pipeline.render.config import CONFIGS, CVRConfig
from pipeline.render.steps import Progress, Ticker, generator, spread, steps_from

if TYPE_CHECKING:
    import torch

__all__ = ["CONFIGS", "CVR", "PARTS", "CVRConfig", "Rendered"]
Frames = NDArray[np.uint8]
PARTS = frozenset({"anchor", "motion", "holi", "mad"})


@dataclass(frozen=True)
class Rendered:
    """Every intermediate of some clips, uint8 RGB.

    Parameters
    ----------
    motion : (n, n_decoded_frames, size, size, 3) or None
        The blurry frames; None without MAD.
    anchor : (n, 1, size, size, 3)
    reconstruction : (n, n_frames, size, size, 3)
    """

    motion: Frames | None
    anchor: Frames
    reconstruction: Frames

    def streams(self, index: int) -> dict[str, Frames]:
        """Return one clip's streams by name."""
        named = {"motion": self.motion, "anchor": self.anchor, "reconstruction": self.reconstruction}
        return {name: frames[index] for name, frames in named.items() if frames is not None}


class CVR:
    """The renderer.

    Parameters
    ----------
    world : World
    config : CVRConfig
    """

    def __init__(self, world: World, config: CVRConfig) -> None:
        self.world, self.config = world, config
        self._empty: NDArray[np.float32] | None = None

    def render(
        self,
        cues: Mapping[str, NDArray[Any]],
        clip_ids: list[str],
        without: frozenset[str] = frozenset(),
        seed: int = 0,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Rendered:
        """Render some clips together.

        Parameters
        ----------
        cues : mapping
            ``anchor``, ``holi`` and, where the config reads it, ``motion`` (n, n_tokens, d_text);
            ``motion_latents`` and, to leave out C_motion, ``motion_latents_null`` (n, n_decoded_frames, 4, h, w),
            scaled, of frames of the side that MAD decodes.
        clip_ids : list of str, n long
            With the seed they fix each clip's noise, in any company.
        without : frozenset of {"anchor", "motion", "holi", "mad"}
            Cues to leave out. C_motion belongs to MAD: without MAD it says nothing either.
        seed : int
        progress : callable(done, total, message), optional
        should_stop : callable() -> bool, optional
            Asked before each step.

        Raises
        ------
        ConfigError
            For an unknown part in ``without``.
        DataError
            When a cue that is needed is absent or of another shape.
        Stopped
            When ``should_stop`` said so.
        """
        self.check(cues, len(clip_ids), without)
        tell = Ticker(self._n_steps(without), progress, should_stop)
        latents, motion = None, None
        if "mad" not in without:
            cue = cues["motion_latents_null" if "motion" in without else "motion_latents"]
            motion, latents = self._blurry(np.asarray(cue, np.float32))
        tell("anchor frame")
        anchor = self._anchor_frames(self._text(cues, "anchor", without), motion, clip_ids, seed, tell)
        texts = self._text(cues, "holi", without), self._text(cues, self.config.control_prompt, without)
        if latents is not None and self.config.start == "animated":
            latents = self._animate(anchor, self._text(cues, "motion", without))
        video = self._video(texts, latents, anchor, clip_ids, seed, tell)
        return Rendered(motion, anchor[:, None], video)

    def _blurry(self, latents: NDArray[np.float32]) -> tuple[Frames, NDArray[np.float32]]:
        """Step 1: the blurry frames (n, t, size, size, 3) and their latents at the rendered size."""
        world, (n, t) = self.world, latents.shape[:2]
        flat = decode_latents(world, latents.reshape(n * t, *latents.shape[2:]))
        size = world.backbones.size
        if flat.shape[1] != size:
            import cv2

            flat = np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_CUBIC) for frame in flat])
            latents = encode_frames(world, flat).reshape(n, t, *world.latent_shape)
        return flat.reshape(n, t, *flat.shape[1:]), latents

    def _n_steps(self, without: frozenset[str]) -> int:
        config = self.config
        share = 1.0 if "mad" in without else config.strength
        video = 1.0 if "mad" in without else config.theta
        return 1 + int(config.num_inference_steps * share) + steps_from(config.num_inference_steps, video)

    def check(self, cues: Mapping[str, NDArray[Any]], n: int, without: frozenset[str]) -> None:
        """Raise ConfigError for an unknown part, DataError for cues of ``n`` clips that do not fit this renderer."""
        if without - PARTS:
            raise ConfigError(f"parts that can be left out are {sorted(PARTS)}, got {sorted(without - PARTS)}")
        shape: tuple[int, ...] = (n, self.world.n_tokens, self.world.d_text)
        needed = {"anchor", "holi", self.config.control_prompt} | (
            {"motion"} if self.config.start == "animated" else set()
        )
        for level in sorted(needed - _silent(without)):
            if level not in cues or cues[level].shape != shape:
                got = cues[level].shape if level in cues else "none"
                raise DataError(
                    f"cue {level!r} must be (n_clips, n_tokens, d_text)={shape}, got {got}; "
                    f"use decoders trained for the profile {self.world.backbones.name}"
                )
        if "mad" not in without:
            name = "motion_latents_null" if "motion" in without else "motion_latents"
            shape = self.world.mad_shape
            if name not in cues or cues[name].shape[0] != n or cues[name].shape[2:] != shape:
                got = cues[name].shape if name in cues else "none"
                raise DataError(
                    f"cue {name!r} must be (n_clips={n}, n_frames, {shape}), got {got}; "
                    f"use decoders trained for the profile {self.world.backbones.name}"
                )

    def _text(self, cues: Mapping[str, NDArray[Any]], level: str, without: frozenset[str]) -> torch.Tensor:
        import torch

        if level in _silent(without):
            n = len(next(iter(cues.values())))
            return self._null().expand(n, -1, -1)
        return torch.from_numpy(np.asarray(cues[level], np.float32)).to(self.world.device, self.world.dtype)

    def _null(self) -> torch.Tensor:
        import torch

        if self._empty is None:
            self._empty = encode_text(self.world, [""])
        return torch.from_numpy(self._empty).to(self.world.device, self.world.dtype)

    def _anchor_frames(
        self, text: torch.Tensor, motion: Frames | None, clip_ids: list[str], seed: int, tell: Ticker
    ) -> Frames:
        """Step 2: (n, size, size, 3)."""
        import torch
        from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline

        from pipeline.render.schedule import CountedDDIM

        world, config = self.world, self.config
        kind = StableDiffusionPipeline if motion is None else StableDiffusionImg2ImgPipeline
        null, unet = self._null(), world.unet
        counted = CountedDDIM.from_config(world.scheduler().config)
        world.use("unet")
        # The texts come encoded, so the pipeline gets no text encoder, which may be off the device.
        pipe = kind(
            vae=world.vae, text_encoder=None, tokenizer=None, unet=unet,
            scheduler=counted, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
        pipe.set_progress_bar_config(disable=True)
        arguments: dict[str, Any] = {"height": world.backbones.size, "width": world.backbones.size}
        if motion is not None:
            first = torch.from_numpy(motion[:, 0]).permute(0, 3, 1, 2).float() / 255.0
            arguments = {"image": first.to(world.device, world.dtype), "strength": config.strength}

        def on_step(pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            tell("anchor frame")
            return values

        output = pipe(
            prompt_embeds=text,
            negative_prompt_embeds=null.expand(len(clip_ids), -1, -1),
            num_inference_steps=config.num_inference_steps,
            guidance_scale=config.guidance_scale,
            generator=[generator(seed, clip, "anchor") for clip in clip_ids],
            callback_on_step_end=on_step,
            output_type="pt",
            **arguments,
        )
        pixels = (output.images.float().clamp(0, 1) * 255).round().to(torch.uint8)
        return np.asarray(pixels.cpu().permute(0, 2, 3, 1).numpy())

    def _pixels(self, frames: Frames) -> torch.Tensor:
        """Return frames (n, size, size, 3) as (n, 3, size, size) in -1..1 on the device."""
        import torch

        return (torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1.0).to(
            self.world.device, self.world.dtype
        )

    def _animate(self, anchor: Frames, text: torch.Tensor) -> NDArray[np.float32]:
        """Set the anchor frames in motion: scaled latents (n, n_animator_frames, 4, h, w)."""
        import torch

        animator = self.world.animator
        self.world.use("animator")
        with torch.inference_mode():
            moving = animator(latents_of(self.world.vae, self._pixels(anchor)), animator.coordinates(text))
        return np.asarray(moving.float().cpu().numpy(), dtype=np.float32)

    def _video(
        self,
        texts: tuple[torch.Tensor, torch.Tensor],
        latents: NDArray[np.float32] | None,
        anchor: Frames,
        clip_ids: list[str],
        seed: int,
        tell: Ticker,
    ) -> Frames:
        """Step 3: (n, n_frames, size, size, 3)."""
        import torch

        world, config = self.world, self.config
        n, n_frames = len(clip_ids), world.backbones.n_frames
        shape = (world.latent_shape[0], n_frames, *world.latent_shape[1:])
        scheduler = world.scheduler(video=True)
        scheduler.set_timesteps(config.num_inference_steps)
        noise = torch.stack([torch.randn(shape, generator=generator(seed, c, "video")) for c in clip_ids])
        noise = noise.to(world.device)
        if latents is None:
            timesteps, sample = scheduler.timesteps, noise * scheduler.init_noise_sigma
        else:
            count = steps_from(config.num_inference_steps, config.theta)
            timesteps = scheduler.timesteps[-count:]
            start = torch.from_numpy(spread(latents, n_frames, config.interpolation)).to(world.device)
            sample = scheduler.add_noise(start.transpose(1, 2), noise, timesteps[:1])
        sample = self._denoise(sample, timesteps.tolist(), scheduler, texts, self._pixels(anchor), tell)
        frames = decode_latents(world, sample.transpose(1, 2).flatten(0, 1))
        return frames.reshape(n, n_frames, *frames.shape[1:])

    def _denoise(
        self,
        sample: torch.Tensor,
        timesteps: list[int],
        scheduler: Any,
        texts: tuple[torch.Tensor, torch.Tensor],
        anchor: torch.Tensor,
        tell: Ticker,
    ) -> torch.Tensor:
        """Run DDIM with guidance and the anchor frame as SparseCtrl's condition at frame 0: (n, 4, f, h, w).

        ``texts``: what the UNet reads and what SparseCtrl reads, each (n, n_tokens, d_text).
        """
        import torch

        world, config = self.world, self.config
        scale = config.video_guidance_scale or config.guidance_scale
        guided = scale > 1
        n, n_frames = sample.shape[0], sample.shape[2]
        null, controlnet, motion_unet = self._null(), world.controlnet, world.motion_unet
        world.use("motion_unet")
        with torch.inference_mode():
            condition = torch.zeros_like(sample, dtype=world.dtype)
            mask = torch.zeros_like(condition[:, :1])
            condition[:, :, 0], mask[:, :, 0] = latents_of(world.vae, anchor), 1.0
            if guided:
                texts = tuple(torch.cat([null.expand(n, -1, -1), text]) for text in texts)
                condition, mask = torch.cat([condition] * 2), torch.cat([mask] * 2)
            text, control_text = (text.repeat_interleave(n_frames, dim=0) for text in texts)
            # The networks read the timestep on the device, the schedule as a plain number: to look into its tables by
            # a tensor of the device would mean to wait for the device at every step.
            for number, timestep in zip(timesteps, torch.tensor(timesteps, device=sample.device), strict=True):
                tell("video")
                model_input = scheduler.scale_model_input(torch.cat([sample] * 2) if guided else sample, number)
                model_input = model_input.to(world.dtype)
                down, mid = controlnet(
                    model_input, timestep, encoder_hidden_states=control_text, controlnet_cond=condition,
                    conditioning_mask=mask, conditioning_scale=config.control_scale, return_dict=False,
                )  # fmt: skip
                predicted = motion_unet(
                    model_input, timestep, encoder_hidden_states=text,
                    down_block_additional_residuals=down, mid_block_additional_residual=mid,
                ).sample.float()  # fmt: skip
                if guided:
                    empty, worded = predicted.chunk(2)
                    predicted = empty + scale * (worded - empty)
                sample = scheduler.step(predicted, number, sample).prev_sample
        return sample


def _silent(without: frozenset[str]) -> frozenset[str]:
    """Return the levels of text that say nothing; C_motion goes with MAD."""
    return without | {"motion"} if "mad" in without else without
