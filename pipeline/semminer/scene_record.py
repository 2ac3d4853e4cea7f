"""The phantom's captions by the same contract: worded from the scene records beside its films."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.captions import read_jsonl
from pipeline.errors import ConfigError, DataError
from pipeline.phantom.captions import captions
from pipeline.phantom.scenes import Scene
from pipeline.semminer.contract import CaptionLine, Failure, ShownClip

NAME = "phantom"
PROMPTS = "scene record"


class SceneCaptioner:
    """Words every clip from its scene record, ``scenes.jsonl`` in the film's folder; no model is asked.

    Raises
    ------
    ConfigError
        From :meth:`caption`: the data set has no scene records, so it is not a phantom.
    DataError
        A record is missing or damaged.
    """

    def __init__(self) -> None:
        self._records: dict[Path, dict[str, dict[str, Any]]] = {}

    def identity(self) -> dict[str, Any]:
        """Return the name; the words follow from the records alone."""
        return {"backend": "phantom", "model": NAME, "prompts": PROMPTS}

    def caption(self, clips: Sequence[ShownClip]) -> Iterator[CaptionLine | Failure]:
        """Yield a line for each clip, in order."""
        for clip in clips:
            texts: dict[str, Any] = {**captions(self._scene(clip))}
            yield CaptionLine(clip_id=clip.clip_id, **texts, model=NAME, prompts=PROMPTS)

    def _scene(self, clip: ShownClip) -> Scene:
        path = clip.file.parent / "scenes.jsonl"
        if path not in self._records:
            if not path.is_file():
                raise ConfigError(
                    f"--model {NAME}: needs the scene records of a phantom, {clip.clip_id} has none; give a video-text "
                    "model for a recorded data set"
                )
            self._records[path] = {str(record.get("clip_id")): record for _, record in read_jsonl(path)}
        record = self._records[path].get(clip.clip_id)
        try:
            return Scene(**{k: v for k, v in (record or {}).items() if k != "clip_id"})
        except TypeError as error:
            raise DataError(f"{path}: expected a scene record of {clip.clip_id}, got {record}; make it anew") from error
