"""What SemMiner takes and gives: a clip that was shown, its settings, and one line of captions a clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from pipeline.clipset import CAPTION_LEVELS, Stimulus

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class MinerSettings(BaseModel):
    """What decides the words beside the model and the prompts; a change of any starts another file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    n_frames: int = Field(6, ge=1, le=64, description="Frames shown, evenly spaced; 6 of 2 s is the decoders' 3 fps.")
    max_basic_words: int = Field(20, ge=3, description="C_basic is retried once, then cut (section 3.1: 20).")
    max_level_words: int = Field(
        200, ge=10, description="Longer answers of the other levels are cut; not in the paper."
    )
    max_new_tokens: int = Field(160, ge=8, description="Room for an answer; the paper's longest level averages 53.")
    temperature: float = Field(0.0, ge=0.0, le=2.0, description="0 takes the likeliest word; the paper names none.")
    seed: int = Field(0, ge=0, description="Of the sampling, where temperature is above 0.")


class CaptionLine(BaseModel):
    """One line of a captions file: the four captions of a clip and where they come from.

    ``pipeline.data.captions.read_clip_captions`` reads such lines; so does ``import --captions``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    clip_id: Text
    basic: Text = Field(description="C_basic: the main event in at most 20 words.")
    anchor: Text = Field(description="C_anchor: the first frame.")
    motion: Text = Field(description="C_motion: what moves, and how.")
    holi: Text = Field(description="C_holi: both, as one story.")
    model: Text = Field(description="Hub id, folder name, a server's model, or 'phantom'.")
    prompts: Text = Field(description="Hash of the templates; 'scene record' where no model was asked.")
    notes: tuple[str, ...] = Field((), description="What was mended, such as a cut.")

    def texts(self) -> dict[str, str]:
        """Return the captions by level."""
        return {level: getattr(self, level) for level in CAPTION_LEVELS}


@dataclass(frozen=True)
class ShownClip:
    """One clip that subjects of a data set saw.

    Parameters
    ----------
    clip_id : str
    stimulus : Stimulus
    index : int
        Which clip of ``stimulus`` it is.
    file : Path
        The film or image it lies in.
    start, seconds : float
        Where in the film it begins, and how long it is.
    """

    clip_id: str
    stimulus: Stimulus
    index: int
    file: Path
    start: float
    seconds: float

    def frames(self, n_frames: int) -> NDArray[np.uint8]:
        """Return ``n_frames`` evenly spaced frames, the first included: (n_frames, height, width, 3) RGB."""
        return self.stimulus.frames(self.index, n_frames)


@dataclass(frozen=True)
class Failure:
    """A clip that no caption could be had for, and why."""

    clip_id: str
    reason: str


@dataclass(frozen=True)
class Question:
    """One prompt about one clip.

    Parameters
    ----------
    prompt : str
    frames : (n_frames, height, width, 3) uint8, RGB
    seconds : float
        Length of the clip.
    seed : int
        Of the sampling of this answer.
    """

    prompt: str
    frames: NDArray[np.uint8]
    seconds: float
    seed: int = 0


class Answerer(Protocol):
    """A multimodal language model: MLLM(P, V)."""

    @property
    def name(self) -> str:
        """What a line's ``model`` says."""
        ...

    @property
    def concurrent(self) -> bool:
        """Whether several threads may ask at a time, which is then how clips are batched."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what tells this model from another, without loading it."""
        ...

    def answer(self, questions: Sequence[Question]) -> list[str]:
        """Answer each question, in order, with the model's raw text."""
        ...


class Captioner(Protocol):
    """Whatever turns clips into lines."""

    def identity(self) -> dict[str, Any]:
        """Return everything that decides the words; a file holds the words of one identity."""
        ...

    def caption(self, clips: Sequence[ShownClip]) -> Iterator[CaptionLine | Failure]:
        """Yield a line or a failure for each clip, in order, as soon as it is there."""
        ...
