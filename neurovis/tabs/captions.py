"""Captions: a clip's texts, what was decoded of them, their statistics, and renderings from edited words."""

from __future__ import annotations

from typing import Any

from neurovis.library import Library
from neurovis.renders import Renders
from neurovis.tabs.view import mount
from neurovis.wordings import Wordings
from pipeline.errors import NeuroVisError

KEY, TITLE = "captions", "Captions"


def build(library: Library, renders: Renders) -> None:
    """Put the view into the tab, with the calls that count words and start, watch and stop a rendering."""
    wordings = Wordings(library, renders)

    def render(request: dict[str, Any]) -> dict[str, Any]:
        try:
            words = {str(level): str(text) for level, text in dict(request.get("words") or {}).items()}
            seed, mad = request.get("seed"), bool(request.get("mad", True))
            number = None if seed is None else int(seed)
            return wordings.start(str(request["run"]), str(request["clip"]), words, mad, number)
        except (NeuroVisError, KeyError, TypeError, ValueError) as error:
            return {"state": "failed", "message": str(error)}

    def progress(key: str) -> dict[str, Any]:
        return renders.status(str(key))

    def stop(key: str) -> dict[str, Any]:
        renders.stop(str(key))
        return renders.status(str(key))

    def count(texts: dict[str, str]) -> dict[str, Any]:
        try:
            return wordings.count({str(level): str(text) for level, text in dict(texts or {}).items()})
        except NeuroVisError as error:
            return {"tokens": {}, "room": None, "message": str(error)}

    mount(KEY, "The captions appear here.", [render, progress, stop, count])
