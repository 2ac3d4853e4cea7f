"""A world of the real classes at the smallest sizes, with random weights, saved to a folder and loaded from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pipeline.backbones import Backbones, local
from pipeline.render.animator import Animator
from training.world.diffusion import noise_schedule
from training.world.video import build_controlnet

SIZE, N_FRAMES, D_TEXT, N_TOKENS = 32, 8, 24, 11


def save_tiny_paper(folder: Path) -> None:
    """Write tiny models of the paper's classes into ``folder``, laid out as the public weights are."""
    from diffusers import AutoencoderKL, MotionAdapter, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(1)
    AutoencoderKL(
        block_out_channels=(4,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, norm_num_groups=2, latent_channels=4,
    ).save_pretrained(folder / "vae")  # fmt: skip
    tokenizer = _tokenizer(77)
    tokenizer.save_pretrained(folder / "tokenizer")
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=D_TEXT, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=77, eos_token_id=tokenizer.eos_token_id,
        )
    ).save_pretrained(folder / "text_encoder")  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=32, block_out_channels=(4, 8), layers_per_block=1, cross_attention_dim=D_TEXT,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2, norm_num_groups=2,
    )  # fmt: skip
    # Half precision, under the hub's name for it, as one part of a downloaded folder may be.
    unet.half().save_pretrained(folder / "unet", variant="fp16")
    MotionAdapter(
        block_out_channels=(4, 8), motion_layers_per_block=1, use_motion_mid_block=False, motion_num_attention_heads=2,
        motion_norm_num_groups=2, motion_max_seq_length=32,
    ).save_pretrained(folder / "motion_adapter")  # fmt: skip
    net = build_controlnet(unet.float(), 32, heads=2)
    for block in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding):
        torch.nn.init.normal_(block.weight, std=0.5)
    net.save_pretrained(folder / "controlnet")
    # Stable Diffusion 1.5 comes with this schedule's config; DDIM reads it.
    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    ).save_pretrained(folder / "scheduler")  # fmt: skip


def _tokenizer(length: int) -> Any:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer().train_new_from_iterator(["a cat moves to the left", "a dog rises up"] * 3, 120)
    tokenizer.model_max_length = length
    return tokenizer


def save_tiny_world(folder: Path) -> Backbones:
    """Write every part of a world into ``folder`` and return its profile."""
    from diffusers import AutoencoderTiny, MotionAdapter, UNet2DConditionModel, UNetMotionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(0, 0, 0, 1),
        num_decoder_blocks=(1, 0, 0, 0),
        scaling_factor=1.3,
    ).save_pretrained(folder / "vae")
    tokenizer = _tokenizer(N_TOKENS)
    tokenizer.save_pretrained(folder / "tokenizer")
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=D_TEXT, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=N_TOKENS, eos_token_id=tokenizer.eos_token_id,
        )
    ).save_pretrained(folder / "text_encoder")  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=SIZE // 8, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=D_TEXT,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
        attention_head_dim=2, norm_num_groups=4,
    )  # fmt: skip
    unet.save_pretrained(folder / "unet")
    adapter = MotionAdapter(
        block_out_channels=(8, 16), motion_layers_per_block=1, motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=2, motion_norm_num_groups=4, motion_max_seq_length=N_FRAMES,
    )  # fmt: skip
    UNetMotionModel.from_unet2d(unet, adapter).save_motion_modules(folder / "motion_adapter")
    net = build_controlnet(unet, N_FRAMES)
    for block in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding):
        torch.nn.init.normal_(block.weight, std=0.5)  # a fresh control net is silent: let it speak
    net.save_pretrained(folder / "controlnet")
    animator = Animator(
        (4, SIZE // 8, SIZE // 8),
        n_frames=5,
        n_tokens=N_TOKENS,
        d_text=D_TEXT,
        rank=6,
        channels=8,
        n_blocks=1,
        groups=2,
    )
    animator.fit_text(torch.randn(20, N_TOKENS, D_TEXT))
    torch.nn.init.normal_(animator.blocks[0].last.weight)  # so is a fresh animator's text
    animator.save_pretrained(folder / "animator")
    noise_schedule().save_pretrained(folder / "scheduler")
    return local(folder, name="tiny", size=SIZE).model_copy(update={"n_frames": N_FRAMES})
