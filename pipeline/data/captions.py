"""Captions that come with the data: one JSON line per clip, a list per split, or a mapping of trial types."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.clipset import CAPTION_LEVELS
from pipeline.data.bids import read_json, read_text
from pipeline.errors import DataError


@dataclass(frozen=True)
class TrialCaptions:
    """Captions of each trial type: ``texts[trial_type][level]``."""

    path: Path
    texts: dict[str, dict[str, str]]

    def of(self, trial_types: list[str]) -> dict[str, list[str]]:
        """Captions of clips of these trial types, by level."""
        missing = sorted(set(trial_types) - set(self.texts))
        if missing:
            raise DataError(f"{self.path}: expected captions for every trial_type, got none for {', '.join(missing)}")
        levels = [level for level in CAPTION_LEVELS if all(level in self.texts[t] for t in set(trial_types))]
        return {level: [self.texts[t][level] for t in trial_types] for level in levels}


def read_trial_captions(path: Path) -> TrialCaptions:
    """Read a mapping trial_type -> {basic, anchor, motion, holi} from JSON or YAML.

    The mapping may lie under a key ``trial_type`` beside notes of the author's.
    """
    value: Any
    if path.suffix.lower() in (".yaml", ".yml"):
        import yaml

        try:
            value = yaml.safe_load(read_text(path))
        except (yaml.YAMLError, RecursionError) as error:
            raise DataError(f"{path}: is not YAML ({' '.join(str(error).split())[:120]})") from error
    else:
        value = read_json(path)
    if isinstance(value, dict) and isinstance(value.get("trial_type"), dict):
        value = value["trial_type"]
    if not isinstance(value, dict) or not value:
        raise DataError(
            f"{path}: expected a mapping trial_type -> {{anchor, motion, holi}}, got {type(value).__name__}"
        )
    texts: dict[str, dict[str, str]] = {}
    for name, levels in value.items():
        texts[str(name)] = _levels(levels, f"{path}: {name}")
    return TrialCaptions(path, texts)


def read_clip_captions(path: Path) -> dict[str, dict[str, str]]:
    """Read ``captions.jsonl``: clip id -> {level: text}; one JSON object with ``clip_id`` a line."""
    found: dict[str, dict[str, str]] = {}
    for number, record in read_jsonl(path):
        clip_id = record.get("clip_id")
        if not isinstance(clip_id, str) or clip_id in found:
            raise DataError(f"{path}: line {number}: expected a clip_id of its own, got {clip_id!r}")
        levels = {k: v for k, v in record.items() if k in CAPTION_LEVELS}
        found[clip_id] = _levels(levels, f"{path}: line {number}")
    return found


def captions_of_clips(path: Path, clip_ids: list[str]) -> dict[str, list[str]]:
    """Read ``captions.jsonl`` for these clips: level -> a text a clip; the levels that every clip has.

    Raises
    ------
    DataError
        A damaged file, or a clip without a line.
    """
    found = read_clip_captions(path)
    missing = [c for c in clip_ids if c not in found]
    if missing:
        raise DataError(f"{path}: expected a line per clip, {len(missing)} are missing, such as {missing[0]}")
    levels = [level for level in CAPTION_LEVELS if all(level in found[c] for c in clip_ids)]
    return {level: [found[c][level] for c in clip_ids] for level in levels}


def read_jsonl(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Read a file of one JSON object a line, with line numbers."""
    records = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{path}: line {number} is not JSON ({error}); was the file cut off?") from error
        if not isinstance(value, dict):
            raise DataError(f"{path}: line {number}: expected an object, got {type(value).__name__}")
        records.append((number, value))
    return records


def read_split_captions(path: Path) -> dict[str, list[str]]:
    """Read ``{"train": [...], "test": [...]}``: one caption a clip, in clip order, as published for CC2017."""
    value = read_json(path)
    if not isinstance(value, dict) or not all(isinstance(value.get(k), list) for k in ("train", "test")):
        raise DataError(f'{path}: expected {{"train": [...], "test": [...]}}, got {type(value).__name__}')
    return {k: [str(text) for text in value[k]] for k in ("train", "test")}


def read_captions_by_name(path: Path) -> dict[str, dict[str, str]]:
    """Read captions of clips known by name: name -> {level: text}.

    Takes ``captions.jsonl`` (:func:`read_clip_captions`); one JSON object of name -> text or name -> {level: text};
    or CC2017's published lists, whose test clips are named by their number from 0.
    """
    if path.suffix.lower() == ".jsonl":
        return read_clip_captions(path)
    value = read_json(path)
    if isinstance(value, dict) and isinstance(value.get("test"), list):
        return {str(i): {"basic": text} for i, text in enumerate(read_split_captions(path)["test"])}
    if not isinstance(value, dict) or not value:
        raise DataError(f"{path}: expected a mapping of clip names to captions, got {type(value).__name__}")
    return {str(k): _levels({"basic": v} if isinstance(v, str) else v, f"{path}: {k}") for k, v in value.items()}


def _levels(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not value or not set(value) <= set(CAPTION_LEVELS):
        got = sorted(map(str, value)) if isinstance(value, dict) else type(value).__name__
        raise DataError(f"{where}: expected captions named {', '.join(CAPTION_LEVELS)}, got {got}")
    wrong = [k for k, v in value.items() if not isinstance(v, str) or not v.strip()]
    if wrong:
        raise DataError(f"{where}: the caption {wrong[0]} must be a text, got {value[wrong[0]]!r}")
    return {k: value[k] for k in CAPTION_LEVELS if k in value}
