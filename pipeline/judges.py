"""Judges: classifiers of frames or clips that say what is seen in a video, loaded from folders or hub ids.

A judge is a transformers ``AutoModelForImageClassification``. What it must be fed stands beside its weights in
``judge.json`` (:class:`JudgeFacts`); a folder or hub id without that file is read through its own image processor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import CheckpointError, DataError, WeightsError
from pipeline.metrics import sample_frames
from pipeline.nway import n_way_accuracy, n_way_accuracy_closed_form, n_way_chance
from pipeline.paths import write_json

if TYPE_CHECKING:
    import torch

__all__ = ["Judge", "JudgeFacts", "n_way_accuracy", "n_way_accuracy_closed_form", "n_way_chance"]

FACTS_FILE = "judge.json"
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class JudgeFacts(BaseModel):
    """What a judge must be fed.

    ``frames``: RGB frames one by one, the probabilities averaged over a clip's frames. ``grey_stack``: the clip's
    frames in grey as the channels of one image, so that the judge sees motion and no colour.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="what results are labelled with, such as 'phantom object judge'")
    kind: Literal["frames", "grey_stack"] = Field(description="frames one by one, or a clip's grey frames as channels")
    size: int = Field(ge=8, le=1024, description="side of the square the frames are brought to, pixels")
    n_frames: int = Field(6, ge=1, le=64, description="frames taken from a clip, evenly in time")
    mean: tuple[float, ...] = Field((0.5,), description="subtracted per channel, in 0..1; one value serves all")
    std: tuple[float, ...] = Field((0.5,), description="divided by per channel; one value serves all")

    @model_validator(mode="after")
    def _one_value_or_one_a_channel(self) -> JudgeFacts:
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in {1, self.n_channels}:
                raise ValueError(f"{name} must hold 1 or {self.n_channels} values, got {len(getattr(self, name))}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        return self

    @property
    def n_channels(self) -> int:
        """Channels of the model's input: 3, or one a frame."""
        return 3 if self.kind == "frames" else self.n_frames


@dataclass(frozen=True)
class Judge:
    """A classifier and what it must be fed.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        An image classifier; its ``config.id2label`` names the classes.
    facts : JudgeFacts
    """

    model: Any
    facts: JudgeFacts

    @classmethod
    def load(cls, source: str | Path, device: str = "cpu") -> Judge:
        """Load a judge from a folder, or from a hub id whose weights are at hand.

        Raises
        ------
        WeightsError
            When the weights are not there (nothing is downloaded unless the user allowed it).
        CheckpointError
            When the folder is damaged, or its weights are not those of its model.
        """
        from transformers import AutoModelForImageClassification

        source = Path(source) if Path(source).is_dir() else str(source)
        facts = _read_facts(source)
        try:
            model, info = AutoModelForImageClassification.from_pretrained(
                source, use_safetensors=_safetensors_only(source), output_loading_info=True
            )
        except OSError as error:
            raise WeightsError(_missing(source)) from error
        except Exception as error:  # safetensors, JSON and transformers each raise their own on a damaged file
            raise CheckpointError(f"{source}: the judge's files cannot be read ({_first_line(error)})") from error
        wrong = {key: sorted(map(str, info[key]))[:3] for key in _WRONG if info.get(key)}
        if wrong:
            raise CheckpointError(
                f"{source}: the weights must be exactly those of the model, got {wrong}; fetch it again"
            )
        n_channels = getattr(model.config, "num_channels", facts.n_channels)
        if n_channels != facts.n_channels:
            raise CheckpointError(
                f"{source}: {FACTS_FILE} speaks of {facts.n_channels} channels, the model reads {n_channels}"
            )
        return cls(model.to(device).eval(), facts)

    def save(self, folder: Path) -> None:
        """Write the weights and ``judge.json`` into ``folder``."""
        self.model.save_pretrained(folder)
        write_json(folder / FACTS_FILE, self.facts.model_dump(mode="json"))

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes' names, in the order of the scores."""
        names = self.model.config.id2label
        return tuple(str(names[i]) for i in range(len(names)))

    def inputs(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """Prepare clips as the model reads them; training uses the same call.

        Parameters
        ----------
        frames : (n_clips, n_frames, height, width, 3) uint8 RGB
            At least ``facts.n_frames`` frames.

        Returns
        -------
        torch.Tensor
            (n_clips * facts.n_frames, 3, size, size) for ``frames``, (n_clips, facts.n_frames, size, size) for
            ``grey_stack``.
        """
        import torch
        import torch.nn.functional as F

        if frames.ndim != 5 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise DataError(
                f"{self.facts.name}: frames must be (n_clips, n_frames, height, width, 3) uint8, "
                f"got {frames.shape} {frames.dtype}"
            )
        images = np.ascontiguousarray(sample_frames(frames, self.facts.n_frames))
        batch = torch.from_numpy(images).to(self.model.device).flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        size = (self.facts.size, self.facts.size)
        if batch.shape[-2:] != size:
            batch = F.interpolate(batch, size, mode="bilinear", antialias=True, align_corners=False)
        if self.facts.kind == "grey_stack":
            luma = torch.tensor(LUMA, device=batch.device).view(1, 3, 1, 1)
            batch = (batch * luma).sum(1).unflatten(0, (len(frames), self.facts.n_frames))
        mean, std = (torch.tensor(x, device=batch.device).view(1, -1, 1, 1) for x in (self.facts.mean, self.facts.std))
        return (batch - mean) / std

    def probabilities(self, frames: NDArray[np.uint8], batch_size: int = 32) -> NDArray[np.float32]:
        """Return what the judge sees in each clip: (n_clips, n_classes), rows that sum to 1.

        Parameters
        ----------
        frames : (n_clips, n_frames, height, width, 3) uint8 RGB
        batch_size : int
            Clips at a time.
        """
        return self.frame_probabilities(frames, batch_size).mean(axis=1)

    def frame_probabilities(self, frames: NDArray[np.uint8], batch_size: int = 32) -> NDArray[np.float32]:
        """Return what the judge sees in each image it is fed: (n_clips, n_images, n_classes).

        The images of a clip are its ``facts.n_frames`` frames, or the one stack that they make.
        """
        import torch

        n_images = self.facts.n_frames if self.facts.kind == "frames" else 1
        parts = [np.empty((0, n_images, len(self.labels)), dtype=np.float32)]
        with torch.inference_mode():
            for clips in _batches(frames, batch_size):
                chances = self.model(pixel_values=self.inputs(clips)).logits.float().softmax(-1)
                parts.append(chances.unflatten(0, (len(clips), -1)).cpu().numpy())
        return np.concatenate(parts)

    def top1_accuracy(self, frames: NDArray[np.uint8], labels: list[str]) -> NDArray[np.float64]:
        """Return, for each clip, 1 where the judge's first choice is its true label, else 0: (n_clips,).

        Raises
        ------
        DataError
            When a label is not among the judge's classes, or there is not one for each clip.
        """
        unknown = sorted(set(labels) - set(self.labels))
        if unknown or len(labels) != len(frames):
            problem = f"unknown labels {unknown[:3]}" if unknown else f"{len(labels)} labels"
            raise DataError(f"{self.facts.name}: {len(frames)} labels of its {len(self.labels)} classes, got {problem}")
        choice = self.probabilities(frames).argmax(axis=1)
        return np.array([self.labels[c] == label for c, label in zip(choice, labels, strict=True)], dtype=np.float64)


_WRONG = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")


def _read_facts(source: str | Path) -> JudgeFacts:
    """Read ``judge.json``, or make the facts from the model's own image processor."""
    if isinstance(source, Path) and (source / FACTS_FILE).is_file():
        try:
            return JudgeFacts.model_validate_json((source / FACTS_FILE).read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{source / FACTS_FILE}: not a judge's description ({_first_line(error)})") from error
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(source).to_dict()
    except OSError as error:
        raise WeightsError(_missing(source)) from error
    except (ValueError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{source}: neither {FACTS_FILE} nor an image processor can be read") from error
    name = str(getattr(source, "name", source))
    if "data_config" in processor:  # of a timm model
        data = processor["data_config"]
        return JudgeFacts(name=name, kind="frames", size=data["input_size"][-1], mean=data["mean"], std=data["std"])
    size = processor["size"]
    return JudgeFacts(
        name=name,
        kind="frames",
        size=int(size.get("height") or size["shortest_edge"]),
        mean=tuple(processor["image_mean"]),
        std=tuple(processor["image_std"]),
    )


def _safetensors_only(source: str | Path) -> bool | None:
    """Our own judges are safetensors; of others, old ones are pickles, which transformers reads as tensors only."""
    return True if isinstance(source, Path) and (source / FACTS_FILE).is_file() else None


def _missing(source: str | Path) -> str:
    return f"{source}: the judge's weights are not here; name a folder that holds them, or download the model first"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__


def _batches(frames: NDArray[np.uint8], batch_size: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(frames), batch_size):
        yield frames[start : start + batch_size]
