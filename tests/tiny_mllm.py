"""Video-text models of the real classes at the smallest sizes, with random weights, saved to a folder.

A random model says nothing of sense, but it says it in words: the tokenizer knows whole words only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

_WORDS = """
    a cat dog bird boat walks runs turns slowly left right up down on the grass sand sea near house red small large
    camera pans holds still bright dark closer away man woman child waves light street tree cloud and then while
"""
WORDS = _WORDS.split()
SPECIAL = ("<unk>", "<pad>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")
QWEN_PADS = ("<|image_pad|>", "<|video_pad|>")
LLAVA_PADS = ("<image>", "<video>")
TURN = (
    "{% for m in messages %}<|im_start|>{% for c in m['content'] %}{% if c['type'] == 'video' %}VIDEO"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>{% endfor %}<|im_start|>"
)


def save_tiny_qwen(folder: Path, seed: int = 0) -> Path:
    """Write a tiny Qwen2.5-VL with its processor."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = _tokenizer(QWEN_PADS)
    ids = dict(zip((*SPECIAL, *QWEN_PADS), tokenizer.convert_tokens_to_ids([*SPECIAL, *QWEN_PADS]), strict=True))
    text = _text_config(len(tokenizer), tokenizer) | {
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
    }
    vision = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 16,
        "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 56,
        "fullatt_block_indexes": [0],
    }  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    size = {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=size),
        tokenizer,
        Qwen2VLVideoProcessor(size=size),
        chat_template=TURN.replace("VIDEO", "<|vision_start|><|video_pad|><|vision_end|>"),
    )
    return _save(folder, Qwen2_5_VLForConditionalGeneration, config, processor, seed)


def save_tiny_llava(folder: Path, seed: int = 0) -> Path:
    """Write a tiny LLaVA-OneVision with its processor."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    tokenizer = _tokenizer(LLAVA_PADS)
    image, video = tokenizer.convert_tokens_to_ids(list(LLAVA_PADS))
    size = {"height": 28, "width": 28}
    config = LlavaOnevisionConfig(
        text_config=_text_config(len(tokenizer), tokenizer) | {"model_type": "qwen2"},
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "vision_use_head": False,
        },
        image_token_index=image, video_token_index=video, image_token_id=image, video_token_id=video,
        image_grid_pinpoints=[[28, 28]], vision_feature_select_strategy="full",
    )  # fmt: skip
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[28, 28]]),
        tokenizer,
        LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=TURN.replace("VIDEO", "<video>"),
    )
    return _save(folder, LlavaOnevisionForConditionalGeneration, config, processor, seed)


def save_tiny_video_llama(folder: Path, seed: int = 6) -> Path:
    """Write a tiny VideoLLaMA3 with its processor; some other seeds say one word whatever is shown."""
    from transformers import (
        VideoLlama3Config,
        VideoLlama3ForConditionalGeneration,
        VideoLlama3ImageProcessor,
        VideoLlama3Processor,
        VideoLlama3VideoProcessor,
    )

    tokenizer = _tokenizer(QWEN_PADS)
    image, video = tokenizer.convert_tokens_to_ids(list(QWEN_PADS))
    config = VideoLlama3Config(
        text_config=_text_config(len(tokenizer), tokenizer) | {"model_type": "qwen2"},
        vision_config={
            "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
            "patch_size": 14,
        },
        image_token_id=image, video_token_id=video,
    )  # fmt: skip
    size = {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    processor = VideoLlama3Processor(
        VideoLlama3ImageProcessor(size=size),
        tokenizer,
        VideoLlama3VideoProcessor(size=size),
        chat_template=TURN.replace("VIDEO", "<|video_pad|>"),
    )
    return _save(folder, VideoLlama3ForConditionalGeneration, config, processor, seed)


def _tokenizer(pads: tuple[str, ...]) -> Any:
    """Tokenize by words; every word of ``WORDS`` has an id, any other is unknown."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *pads, *WORDS))}
    base = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    base.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=base, unk_token="<unk>", pad_token="<pad>", eos_token="<|im_end|>",
        additional_special_tokens=[*SPECIAL[2:], *pads],
    )  # fmt: skip


def _text_config(n_words: int, tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": n_words, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 512, "head_dim": 8,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None,
    }  # fmt: skip


def _save(folder: Path, kind: Any, config: Any, processor: Any, seed: int) -> Path:
    torch.manual_seed(seed)
    model = kind(config)
    with torch.no_grad():  # the usual small start would give every prompt the same answer
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
