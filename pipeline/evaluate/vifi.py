"""ViFi-CLIP, the judge of the VIFI score: a CLIP image tower fine-tuned on video, read from its released checkpoint.

The release is a training checkpoint (``.pth``): a dict whose ``model`` holds the weights of ``ViFiCLIP``, names after
``module.``, beside an optimiser and a configuration. Only tensors and plain containers are read of it. The image tower
is OpenAI's CLIP by name and shape, so that open_clip's class takes it, strictly; frames are embedded one by one and a
clip is the mean of its frames (Rasheed et al. 2023, section 3).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CheckpointError, WeightsError
from pipeline.evaluate.seer import Frames, Identity, Seer, checksum, short_reason

if TYPE_CHECKING:
    import torch

TOWER = "image_encoder."
OTHER = ("text_encoder.", "prompt_learner.", "logit_scale")  # of the training, not of the judge
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of its own test pipeline
HEAD = 64  # width of an attention head in every CLIP


def load_vifi(path: Path) -> Seer:
    """Load ViFi-CLIP from its released ``.pth``, or from the same names in a safetensors file.

    Raises
    ------
    WeightsError
        There is no such file.
    CheckpointError
        It cannot be read as tensors, or its image tower is not exactly a CLIP's.
    """
    import torch
    from open_clip.transformer import QuickGELU, VisionTransformer
    from torchvision.transforms import v2

    if not path.is_file():
        raise WeightsError(f"vifi:{path}: expected ViFi-CLIP's checkpoint, got no file; download it and name its path")
    weights = _tower(path, _read(path))
    sizes = _sizes(path, weights)
    model = VisionTransformer(**sizes, mlp_ratio=4.0, act_layer=partial(QuickGELU)).eval()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path.name}: its image tower is not a CLIP's ({short_reason(error)})") from error
    side = sizes["image_size"]
    prepare = v2.Compose([
        v2.Resize(int(256 / 224 * side), antialias=True), v2.CenterCrop(side), v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ])  # fmt: skip

    def look(frames: Frames) -> NDArray[np.float32]:
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
            return np.asarray(model(prepare(batch)).float().numpy())

    how = f"shorter side to {int(256 / 224 * side)}, centre crop of {side}, ImageNet's mean and std"
    versions = {package: version(package) for package in ("torch", "open_clip_torch")}
    architecture = f"ViT, patch {sizes['patch_size']}, width {sizes['width']}, {sizes['layers']} layers"
    identity = Identity(path.name, None, checksum(path), f"ViFi-CLIP image tower: {architecture}", how, versions)
    return Seer("ViFi-CLIP", "features", (), look, identity, "vifi")


def _read(path: Path) -> Mapping[str, Any]:
    """Return the checkpoint's tensors; its configuration, a ``yacs`` node, is read as a plain dict."""
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with torch.serialization.safe_globals([(OrderedDict, "yacs.config.CfgNode")]):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile, damaged or foreign file; each library raises its own
        raise CheckpointError(
            f"{path.name}: expected a checkpoint of tensors, got what only a full unpickling could read, or a damaged "
            f"file ({short_reason(error)}); download it again, or save its weights as safetensors"
        ) from error
    found = found.get("model", found) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def _tower(path: Path, found: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the image tower's weights by their names in CLIP, in float32."""
    plain = {str(name).removeprefix("module."): value for name, value in found.items()}
    strange = [name for name in plain if not name.startswith((TOWER, *OTHER))]
    tower = {name.removeprefix(TOWER): value for name, value in plain.items() if name.startswith(TOWER)}
    if strange or not tower:
        got = f"such as {strange[0]}" if strange else "none"
        raise CheckpointError(
            f"{path.name}: expected ViFi-CLIP's weights ({TOWER}... and {', '.join(OTHER)}), got {got}; "
            "name the released checkpoint"
        )
    return {name: value.float() for name, value in tower.items()}


def _sizes(path: Path, tower: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Read the tower's sizes from the shapes of its weights."""
    try:
        width, _, patch, _ = tower["conv1.weight"].shape
        grid = round((len(tower["positional_embedding"]) - 1) ** 0.5)
        out = tower["proj"].shape[1]
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(f"{path.name}: its image tower is not a CLIP's ({short_reason(error)})") from error
    blocks = {m[1] for name in tower if (m := re.match(r"transformer\.resblocks\.(\d+)\.", name))}
    return {
        "image_size": grid * patch, "patch_size": patch, "width": width, "layers": len(blocks),
        "heads": max(1, width // HEAD), "output_dim": out,
    }  # fmt: skip
