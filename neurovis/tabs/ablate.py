"""Ablate: switch parts off and see, beside the full model and the truth, what each contributed."""

from __future__ import annotations

from typing import Any

from neurovis.library import Library
from neurovis.renders import Renders
from neurovis.tabs.view import mount
from pipeline.errors import NeuroVisError

KEY, TITLE = "ablate", "Ablate"


def build(library: Library, renders: Renders) -> None:
    """Put the view into the tab, with the calls that start, watch and stop a rendering."""

    def render(request: dict[str, Any]) -> dict[str, Any]:
        try:
            without = [str(part) for part in request.get("without", [])]
            key = renders.start(str(request["run"]), str(request["clip"]), without, request.get("seed"))
        except (NeuroVisError, KeyError, ValueError) as error:
            return {"state": "failed", "message": str(error)}
        return {"key": key, **renders.status(key)}

    def render_set(request: dict[str, Any]) -> dict[str, Any]:
        try:
            variants, clip = [str(variant) for variant in request["variants"]], request.get("clip")
            key = renders.start_set(str(request["run"]), variants, None if clip is None else str(clip))
        except (NeuroVisError, KeyError, ValueError) as error:
            return {"state": "failed", "message": str(error)}
        return {"key": key, **renders.status(key)}

    def progress(key: str) -> dict[str, Any]:
        return renders.status(str(key))

    def stop(key: str) -> dict[str, Any]:
        renders.stop(str(key))
        return renders.status(str(key))

    mount(KEY, "The switches appear here.", [render, render_set, progress, stop])
