"""Train: a form of the config's own fields, the queue, live curves and logs, and the runs with what sets them apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neurovis.library import Library
from neurovis.renders import Renders
from neurovis.tabs.view import mount
from neurovis.training_service import TrainingService
from pipeline.errors import NeuroVisError

KEY, TITLE = "train", "Train"


def build(library: Library, renders: Renders) -> None:
    """Put the view into the tab, with the calls that estimate, start, stop, resume and render."""
    service = TrainingService(library.home)

    def start(values: dict[str, Any]) -> dict[str, Any]:
        return _told(lambda: service.start(dict(values)))

    def estimate(values: dict[str, Any]) -> dict[str, Any]:
        return _told(lambda: service.estimate(dict(values)))

    def cancel(number: int) -> dict[str, Any]:
        return _told(lambda: service.cancel(int(number)))

    def resume(number: int) -> dict[str, Any]:
        return _told(lambda: service.resume(int(number)))

    def render(request: dict[str, Any]) -> dict[str, Any]:
        return _told(lambda: service.render(int(request["id"]), str(request["subject"])))

    mount(KEY, "The form appears here.", [start, estimate, cancel, resume, render])


def _told(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``work`` gives, or why it could not, in one sentence."""
    try:
        return work()
    except (NeuroVisError, KeyError, TypeError, ValueError) as error:
        return {"error": str(error)}
