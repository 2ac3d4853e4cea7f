"""The judges of an evaluation under one roof: what each makes of a clip's frames, as rows of numbers.

``image`` judges give class probabilities frame by frame, ``video`` judges one row a clip, ``features`` judges an
embedding of every frame. Which one a folder holds is read from its ``config.json``; nothing is downloaded here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, NeuroVisError, WeightsError
from pipeline.judges import Judge
from pipeline.paths import PHANTOM_ASSETS

Kind = Literal["image", "video", "features"]
Frames = NDArray[np.uint8]
GROUPS: dict[str, tuple[str, ...]] = {
    "none": (),
    "phantom": (str(PHANTOM_ASSETS / "judge_object"), str(PHANTOM_ASSETS / "judge_motion")),
    "paper": (
        "google/vit-base-patch16-224",
        "MCG-NJU/videomae-base-finetuned-kinetics",
        "openai/clip-vit-base-patch32",
    ),
}
VIDEO_MODELS = ("videomae", "timesformer", "vivit")
FEATURE_MODELS = ("clip", "siglip", "dinov2")


@dataclass(frozen=True)
class Seer:
    """A judge that is ready: its name, what it gives, and its classes (none for ``features``)."""

    name: str
    kind: Kind
    classes: tuple[str, ...]
    model: Any
    processor: Any = None

    def see(self, frames: Frames) -> NDArray[np.float32]:
        """Return (n_images, n_classes) probabilities or (n_frames, d) embeddings of one clip (n, h, w, 3)."""
        if isinstance(self.model, Judge):
            judge: Judge = self.model
            if judge.facts.kind == "frames":
                judge = replace(judge, facts=judge.facts.model_copy(update={"n_frames": len(frames)}))
            return judge.frame_probabilities(frames[None])[0]
        import torch

        if self.kind == "video":
            n = self.model.config.num_frames
            frames = frames[np.arange(n) * len(frames) // n]
        inputs = self.processor(list(frames), return_tensors="pt")
        with torch.inference_mode():
            if self.kind == "video":
                return np.asarray(self.model(**inputs).logits.float().softmax(-1).numpy())
            found = self.model.get_image_features(**inputs) if self._projects else self.model(**inputs)
        rows = found if isinstance(found, torch.Tensor) else found.pooler_output
        return np.asarray(rows.float().numpy())

    @property
    def _projects(self) -> bool:
        return hasattr(self.model, "get_image_features")


def expand(names: Sequence[str]) -> tuple[str, ...]:
    """Replace the names of groups by their judges, each once."""
    return tuple(dict.fromkeys(one for name in names for one in GROUPS.get(name, (name,))))


def load_judges(names: Sequence[str]) -> tuple[list[Seer], list[str]]:
    """Load what is at hand; for each judge that is not, a sentence, so that the other metrics still come.

    Returns
    -------
    judges : list of Seer
    notes : list of str
    """
    judges, notes = [], []
    for name in expand(names):
        try:
            judges.append(load_judge(name))
        except NeuroVisError as error:
            notes.append(f"A judge was left out: {error}.")
    twice = {j.name for j in judges if [k.name for k in judges].count(j.name) > 1}
    judges = [replace(j, name=f"{j.name} ({i + 1})") if j.name in twice else j for i, j in enumerate(judges)]
    return judges, notes


def load_judge(source: str) -> Seer:
    """Load a judge from a folder, or from a hub id whose weights are already on this machine.

    Raises
    ------
    WeightsError, CheckpointError
    """
    kind = _kind(source)
    if kind == "image":
        judge = Judge.load(source)
        video = judge.facts.kind == "grey_stack"
        return Seer(judge.facts.name, "video" if video else "image", judge.labels, judge)
    from transformers import AutoImageProcessor, AutoModel, AutoModelForVideoClassification

    maker = AutoModelForVideoClassification if kind == "video" else AutoModel
    try:
        options = {"local_files_only": True}
        model = maker.from_pretrained(source, use_safetensors=True, **options).eval()
        processor = AutoImageProcessor.from_pretrained(source, **options)
    except Exception as error:  # safetensors, JSON and transformers each raise their own on a damaged file
        raise WeightsError(
            f"{_short(source)}: the judge's weights or its image processor are not here or damaged; name a folder"
        ) from error
    classes = tuple(str(model.config.id2label[i]) for i in range(model.config.num_labels)) if kind == "video" else ()
    return Seer(_short(source), kind, classes, model, processor)


def label_from(text: str, classes: Sequence[str]) -> str | None:
    """Return the one class that a caption names, None where it names none or several."""
    words = f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "
    named = [
        c for c in classes if any(f" {' '.join(re.findall(r'[a-z0-9]+', n.lower()))} " in words for n in _names(c))
    ]
    return named[0] if len(named) == 1 else None


def check_seen(seer: Seer, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Refuse what is not finite."""
    if not np.isfinite(rows).all():
        raise DataError(f"{seer.name}: expected finite scores, got NaN or Inf; check its weights")
    return rows


def _names(label: str) -> list[str]:
    """ImageNet's labels list synonyms: "tench, Tinca tinca"."""
    return [name for name in label.split(",") if name.strip()]


def _kind(source: str) -> Kind:
    folder = Path(source)
    if not folder.is_dir():
        return "video" if "videomae" in source.lower() else "features" if "clip" in source.lower() else "image"
    try:
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type", "")
    except (OSError, ValueError):
        return "image"  # whose loader says what is wrong
    return "video" if model_type in VIDEO_MODELS else "features" if model_type in FEATURE_MODELS else "image"


def _short(source: str) -> str:
    return Path(source).name if Path(source).is_dir() else source
