"""Stage ``clip``: an ``open_clip`` model of the phantom's frames and captions, and its text tower for diffusers.

The image tower sees 64 x 64 pixels: a single frame for C_anchor, and a contact sheet of four frames (2 x 2) for the
captions that speak of motion, since one frame cannot tell left from right. The trained model is written as an
``open_clip`` folder; the same text tower is written once more as transformers' ``CLIPTextModel``, which is what a
diffusion pipeline loads, and the two are compared before they are kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import WeightsError
from pipeline.phantom.captions import captions
from pipeline.phantom.scenes import film
from training.world.data import WorldClips
from training.world.fit import FitOptions, fit

N_TOKENS, WIDTH, LAYERS, HEADS, VOCABULARY = 44, 96, 4, 4, 640
SHEET_FRAMES = (0, 5, 10, 15)
LEVELS = ("basic", "anchor", "motion", "holi")


def train_tokenizer(folder: Path) -> Any:
    """Learn a byte-pair vocabulary from captions, in CLIP's own tokenizer class."""
    from transformers import CLIPTokenizer

    texts = [text for scene in film(4000, 5, "train") for text in captions(scene).values()]
    alphabet = [" ".join("abcdefghijklmnopqrstuvwxyz0123456789.,'-!?")] * 4
    trained = CLIPTokenizer().train_new_from_iterator([*texts, *alphabet], VOCABULARY)
    trained.model_max_length = N_TOKENS
    trained.save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def model_config(tokenizer: Any) -> dict[str, Any]:
    """Return open_clip's configuration of the small model."""
    return {
        "embed_dim": WIDTH,
        "vision_cfg": {"image_size": 64, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
        "text_cfg": {
            "context_length": N_TOKENS,
            "vocab_size": len(tokenizer),
            "hf_tokenizer_name": "phantom",
            "width": WIDTH,
            "heads": HEADS,
            "layers": LAYERS,
            "pool_type": "eos",
            "eos_id": tokenizer.eos_token_id,
        },
    }


def tokenize(tokenizer: Any, texts: list[str]) -> torch.Tensor:
    """Return token ids, padded or truncated: (n, n_tokens) int64."""
    encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=N_TOKENS, return_tensors="pt")
    return torch.as_tensor(encoded.input_ids)


def contact_sheet(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tile four frames of each clip 2 x 2 at half size: (n, n_frames, s, s, 3) to (n, s, s, 3)."""
    n, n_frames, side = frames.shape[:3]
    index = np.rint(np.linspace(0, n_frames - 1, 4)).astype(int)
    small = frames[:, index].reshape(n, 4, side // 2, 2, side // 2, 2, 3).mean(axis=(3, 5))
    rows = [np.concatenate([small[:, 2 * r], small[:, 2 * r + 1]], axis=2) for r in range(2)]
    return np.concatenate(rows, axis=1).round().astype(np.uint8)


def train_clip(clips: WorldClips, work: Path, folder: Path, steps: int = 1500, batch: int = 64) -> dict[str, Any]:
    """Train the model; write ``folder/clip`` (open_clip), ``folder/text_encoder`` and ``folder/tokenizer``.

    Returns
    -------
    dict
        ``seconds``, and ``retrieval``: share of clips whose own holistic caption is nearest among 64 (chance 1/64).
    """
    import open_clip
    from open_clip.loss import ClipLoss

    tokenizer = train_tokenizer(folder / "tokenizer")
    config = model_config(tokenizer)
    torch.manual_seed(2)
    model = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
    sheets = torch.from_numpy(contact_sheet(clips.frames)).permute(0, 3, 1, 2)
    first = torch.from_numpy(clips.frames[:, 0]).permute(0, 3, 1, 2)
    tokens = {level: tokenize(tokenizer, [c[level] for c in clips.captions]) for level in LEVELS}
    contrast = ClipLoss()
    held_out = 64

    def views(index: torch.Tensor, level: str) -> torch.Tensor:
        pixels = (first if level == "anchor" else sheets)[index]
        return pixels.float() / 127.5 - 1.0

    def loss(step: int) -> dict[str, torch.Tensor]:
        level = ("holi", "anchor", "motion", "basic")[step % 4]
        index = held_out + torch.randint(len(clips) - held_out, (batch,))
        image, text, scale = model(views(index, level), tokens[level][index])
        return {level: contrast(image, text, scale)}

    seconds = fit("clip", model, loss, FitOptions(steps=steps, lr=1e-3, weight_decay=0.05), work, seed=22)
    with torch.no_grad():
        probe = torch.arange(held_out)
        image, text, _ = model(views(probe, "holi"), tokens["holi"][probe])
        retrieval = (image @ text.T).argmax(1).eq(probe).float().mean().item()
    _save_open_clip(model, config, tokenizer, folder / "clip")
    _save_text_encoder(model, config, tokenizer, folder / "text_encoder", tokens["holi"][:8])
    return {"seconds": seconds, "retrieval": retrieval}


def _save_open_clip(model: torch.nn.Module, config: dict[str, Any], tokenizer: Any, folder: Path) -> None:
    """Write the folder that ``open_clip.create_model_and_transforms("local-dir:FOLDER")`` loads."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "squash"}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}, indent=2)
    (folder / "open_clip_config.json").write_text(text + "\n")
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "open_clip_model.safetensors")
    tokenizer.save_pretrained(folder)


def _save_text_encoder(
    model: torch.nn.Module, config: dict[str, Any], tokenizer: Any, folder: Path, probe: torch.Tensor
) -> None:
    """Write the text tower as transformers' ``CLIPTextModel`` and check that both say the same."""
    from transformers import CLIPTextConfig, CLIPTextModel

    text = config["text_cfg"]
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=text["vocab_size"],
            hidden_size=text["width"],
            intermediate_size=4 * text["width"],
            num_hidden_layers=text["layers"],
            num_attention_heads=text["heads"],
            max_position_embeddings=text["context_length"],
            hidden_act="gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    encoder.load_state_dict(_text_state(model.state_dict(), text["layers"], encoder.state_dict()))
    encoder.eval()
    with torch.no_grad():
        hidden = encoder(input_ids=probe).last_hidden_state
        eos = (probe == tokenizer.eos_token_id).int().argmax(1)
        pooled = hidden[torch.arange(len(probe)), eos] @ model.state_dict()["text_projection"]
        reference = model.encode_text(probe)
    if not torch.allclose(pooled, reference, atol=1e-4):
        raise WeightsError("text encoder: transformers' text tower differs from open_clip's; check the conversion")
    encoder.save_pretrained(folder)


def _text_state(
    source: dict[str, torch.Tensor], n_layers: int, target: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Rename open_clip's text tower to transformers' names."""
    prefix = "text_model." if any(k.startswith("text_model.") for k in target) else ""
    state = {
        f"{prefix}embeddings.token_embedding.weight": source["token_embedding.weight"],
        f"{prefix}embeddings.position_embedding.weight": source["positional_embedding"],
        f"{prefix}final_layer_norm.weight": source["ln_final.weight"],
        f"{prefix}final_layer_norm.bias": source["ln_final.bias"],
    }
    names = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    for i in range(n_layers):
        here, there = f"transformer.resblocks.{i}.", f"{prefix}encoder.layers.{i}."
        for kind in ("weight", "bias"):
            joint = source[f"{here}attn.in_proj_{kind}"].chunk(3)
            for name, part in zip(("q_proj", "k_proj", "v_proj"), joint, strict=True):
                state[f"{there}self_attn.{name}.{kind}"] = part.clone()
            state[f"{there}self_attn.out_proj.{kind}"] = source[f"{here}attn.out_proj.{kind}"]
            for old, new in names.items():
                state[f"{there}{new}.{kind}"] = source[f"{here}{old}.{kind}"]
    for key in target.keys() - state.keys():
        state[key] = target[key]
    return state
