"""The paper's renderer at its exact shapes, with random weights or none: what the benchmarks stand on"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.backbones import World
from pipeline.memory import Preset
from pipeline.profiles import Backbones, profile


def full_models(device: str = "meta", dtype: str = "float32") -> dict[str, Any]:
    """Build the published shapes, on ``meta`` without memory: part -> model.

    Sources: the configurations that diffusers' classes have as defaults, which are Stable Diffusion 1.5's, AnimateDiff
    v3's (no motion module in the middle) and SparseCtrl RGB's (a latent condition).
    """
    import torch
    from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel
    from diffusers.models import SparseControlNetModel
    from transformers import CLIPTextConfig, CLIPTextModel

    four = 4
    text = CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=77, hidden_act="quick_gelu", projection_dim=768,
    )  # fmt: skip
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            return {
                "vae": AutoencoderKL(
                    block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * four,
                    up_block_types=("UpDecoderBlock2D",) * four, layers_per_block=2, latent_channels=4,
                    sample_size=512,
                ),
                "text_encoder": CLIPTextModel(text),
                "unet": UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
                "motion_adapter": MotionAdapter(motion_max_seq_length=32, use_motion_mid_block=False),
                "controlnet": SparseControlNetModel(cross_attention_dim=768),
            }  # fmt: skip
    finally:
        torch.set_default_dtype(before)


class RandomWorld(World):
    """A world of given models in place of files; its tokenizer is never asked."""

    def __init__(self, models: dict[str, Any], backbones: Backbones, device: str, preset: Preset) -> None:
        super().__init__(backbones, device, preset)
        self._models = models

    def _load(self, part: str, loader: Any) -> Any:
        from diffusers import DDIMScheduler

        if part == "scheduler":
            return DDIMScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                set_alpha_to_one=False, steps_offset=1,
            )  # fmt: skip
        model = self._models[part]
        return model if part == "motion_adapter" else self._placed(part, model)


def random_world(device: str, preset: Preset, seed: int = 0) -> RandomWorld:
    """Return the paper's renderer with random weights of the exact shapes on a device."""
    import torch

    torch.manual_seed(seed)
    nowhere = Path(__file__).parent  # no part lies here, and none is loaded
    return RandomWorld(full_models(device, preset.dtype), profile("paper", nowhere), device, preset)
