"""The prompt templates: text files with the slots ``{basic}``, ``{max_words}`` and ``{n_frames}``."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.paths import ASSETS

FOLDER = ASSETS / "prompts"
NAMES = ("basic", "shorter", "anchor", "motion", "holi")
SLOTS = {"basic", "max_words", "n_frames"}
# Every stage-two prompt is conditioned on C_basic (section 3.1).
NEEDS_BASIC = ("shorter", "anchor", "motion", "holi")


@dataclass(frozen=True)
class Prompts:
    """The templates by name: ``basic``, ``shorter`` (the second try of an over-long C_basic), and the three levels."""

    templates: dict[str, str]

    @property
    def digest(self) -> str:
        """Short hash of all templates."""
        text = "\0".join(f"{name}\0{self.templates[name]}" for name in NAMES)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def fill(self, name: str, n_frames: int, max_words: int, basic: str = "") -> str:
        """Return a template with its slots filled; words in ``basic`` that look like a slot stay as they are."""
        values = {"basic": basic, "max_words": str(max_words), "n_frames": str(n_frames)}
        return re.sub(r"\{(\w+)\}", lambda slot: values[slot[1]], self.templates[name])


def read_prompts(folder: Path = FOLDER) -> Prompts:
    """Read the templates of a folder, ``basic.txt`` and so on.

    Raises
    ------
    ConfigError
        A file is missing, or its slots are not those that can be filled.
    """
    templates = {}
    for name in NAMES:
        path = folder / f"{name}.txt"
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: expected a prompt template, got {type(error).__name__}; restore it") from error
        slots = set(re.findall(r"\{(\w+)\}", text))
        if not text or not slots <= SLOTS or (name in NEEDS_BASIC and "basic" not in slots):
            needed = "with {basic} and " if name in NEEDS_BASIC else ""
            raise ConfigError(
                f"{path}: expected a prompt {needed}with no slots but {{basic}}, {{max_words}} and {{n_frames}}, "
                f"got {sorted(slots)}; mend the template"
            )
        templates[name] = text
    return Prompts(templates)
