"""What `full_size.py` measures of rendering: stated shapes, our renderer, and diffusers' pipelines clip by clip"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

SUBJECT = "sub-01"
SPREAD = 0.5  # standard deviation of the random latents


@dataclass(frozen=True)
class Shapes:
    """Sizes of one benchmark.

    Parameters
    ----------
    method : str
        Preset of the decoders.
    n_voxels, n_clips, n_tokens, d_text : int
        Each clip was seen twice.
    latent : (int, int, int)
        Of a decoded frame.
    sad_batch, mad_batch : int
    render_size, render_steps, clips : int
        Side of the rendered frames, DDIM steps, and clips that are rendered.
    """

    method: str
    n_voxels: int
    n_clips: int
    n_tokens: int
    d_text: int
    latent: tuple[int, int, int]
    sad_batch: int
    mad_batch: int
    render_size: int
    render_steps: int
    clips: int


SIZES = {
    # SemVideo, C.1; CC2017's first subject.
    "full": Shapes("semvideo", 13_447, 4_320, 77, 768, (4, 28, 28), 96, 20, 256, 25, 8),
    "small": Shapes("semvideo-phantom", 607, 480, 16, 64, (4, 8, 8), 96, 20, 64, 5, 3),
}


def _renderer(shapes: Shapes, device: str) -> tuple[Any, Any]:
    """Return (world, renderer): the paper's shapes with random weights, or the phantom's own where sizes are small."""
    from pipeline.render.cvr import CVR, CVRConfig

    config = CVRConfig(num_inference_steps=shapes.render_steps)
    if shapes.render_size < 256:
        from pipeline.backbones import World, profile

        world: Any = World(profile("phantom"))
    else:
        from benchmarks.full_models import random_world
        from pipeline.memory import place

        world = random_world(*place(device))
    cvr = CVR(world, config)
    draw = np.random.default_rng(0)
    cvr._empty = draw.standard_normal((1, world.n_tokens, world.d_text)).astype(np.float32)
    return world, cvr


def _cues(world: Any, n: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    found = {k: draw.standard_normal((n, world.n_tokens, world.d_text)) for k in ("anchor", "holi")}
    found["motion_latents"] = SPREAD * draw.standard_normal((n, 6, *world.mad_shape))
    return {name: value.astype(np.float32) for name, value in found.items()}


@contextmanager
def _timed(device: str) -> Iterator[list[float]]:
    seconds: list[float] = []
    started = time.perf_counter()
    yield seconds
    if device != "cpu":
        torch.cuda.synchronize()
    seconds.append(time.perf_counter() - started)


def render_fast(shapes: Shapes, device: str) -> dict[str, Any]:
    """Render all clips in batches, loaded and warmed up with one."""
    from pipeline.batches import render_batches

    world, cvr = _renderer(shapes, device)
    cues, ids = _cues(world, shapes.clips), [f"clip_{i}" for i in range(shapes.clips)]
    list(render_batches(cvr, cues, ids, [0]))
    with _timed(device) as seconds:
        list(render_batches(cvr, cues, ids, list(range(shapes.clips))))
    batch = world.preset.clips_at(world.backbones.size)
    return {"s_per_clip": seconds[0] / shapes.clips, "memory": world.preset.name, "batch": min(batch, shapes.clips)}


def render_stock(shapes: Shapes, device: str) -> dict[str, Any]:
    """Call diffusers' image-to-image and SparseCtrl pipelines clip by clip, at equal steps, guidance and precision.

    The stock video pipeline cannot start in mid-schedule: it is given the number of steps that our start leaves, so
    that both run the same number of network calls.
    """
    from diffusers import AnimateDiffSparseControlNetPipeline, StableDiffusionImg2ImgPipeline

    from pipeline.backbones import decode_latents
    from pipeline.render.steps import steps_from

    world, cvr = _renderer(shapes, device)
    config, cues = cvr.config, _cues(world, shapes.clips)
    image = StableDiffusionImg2ImgPipeline(
        world.vae, None, None, world.unet, world.scheduler(), None, None, requires_safety_checker=False
    )
    video = AnimateDiffSparseControlNetPipeline(
        world.vae, world.text_encoder, None, world.motion_unet, None, world.controlnet, world.scheduler(video=True)
    )
    for pipe in (image, video):
        pipe.set_progress_bar_config(disable=True)
    null = cvr._null()

    def one(i: int) -> None:
        shown = decode_latents(world, cues["motion_latents"][i])
        first = torch.from_numpy(shown[:1]).permute(0, 3, 1, 2).to(world.device, world.dtype) / 255
        first = nn.functional.interpolate(first, (world.backbones.size,) * 2)
        text = {k: torch.from_numpy(cues[k][i : i + 1]).to(world.device, world.dtype) for k in ("anchor", "holi")}
        common = {"negative_prompt_embeds": null, "guidance_scale": config.guidance_scale}
        anchor = image(
            image=first, prompt_embeds=text["anchor"], strength=config.strength, **common,
            num_inference_steps=config.num_inference_steps,
        ).images[0]  # fmt: skip
        video(
            prompt_embeds=text["holi"], conditioning_frames=[anchor], controlnet_frame_indices=[0], **common,
            num_frames=world.backbones.n_frames, height=world.backbones.size, width=world.backbones.size,
            num_inference_steps=steps_from(config.num_inference_steps, config.theta),
        )  # fmt: skip

    one(0)
    with _timed(device) as seconds:
        for i in range(shapes.clips):
            one(i)
    return {"s_per_clip": seconds[0] / shapes.clips}
