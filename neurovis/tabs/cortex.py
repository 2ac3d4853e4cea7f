"""Cortex: which voxels and areas each part of the decoder draws on, on the flat cortex or slice by slice."""

from __future__ import annotations

from typing import Any

from neurovis.cortex import Cortex
from neurovis.library import Library
from neurovis.renders import Renders
from neurovis.tabs.view import mount
from pipeline.errors import NeuroVisError

KEY, TITLE = "cortex", "Cortex"


def build(library: Library, renders: Renders) -> None:
    """Put the view into the tab, with the calls that start, watch and stop the computation of maps."""
    cortex = Cortex(library, renders)

    def compute(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return cortex.start(str(request["run"]), str(request["subject"]), str(request["statistic"]))
        except (NeuroVisError, KeyError) as error:
            return {"state": "failed", "message": str(error)}

    def progress(key: str) -> dict[str, Any]:
        return renders.status(str(key))

    def stop(key: str) -> dict[str, Any]:
        renders.stop(str(key))
        return renders.status(str(key))

    mount(KEY, "The cortex appears here.", [compute, progress, stop])
