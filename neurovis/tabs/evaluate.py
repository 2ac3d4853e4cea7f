"""Evaluate: runs beside metrics with chance and intervals, the error budget, clips one by one, and paired tests."""

from __future__ import annotations

from typing import Any

from neurovis.evaluations import Choice, Evaluations
from neurovis.library import Library
from neurovis.renders import Renders
from neurovis.scoring import Scoring
from neurovis.tabs.view import mount
from pipeline.errors import NeuroVisError

KEY, TITLE = "evaluate", "Evaluate"


def build(library: Library, renders: Renders) -> None:
    """Put the view into the tab, with the calls that estimate, start, watch and stop an evaluation."""
    scoring = Scoring(Evaluations(library))

    def score(request: dict[str, Any]) -> dict[str, Any]:
        try:
            again, trial = bool(request.get("again")), bool(request.get("trial"))
            return scoring.start(Choice.read(request), again=again, trial=trial)
        except (NeuroVisError, TypeError, AttributeError) as error:
            return {"state": "failed", "message": str(error)}

    def estimate(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return scoring.estimate(Choice.read(request))
        except (NeuroVisError, TypeError, AttributeError) as error:
            return {"seconds": None, "clips": 0, "told": str(error)}

    def progress(_: Any = None) -> dict[str, Any]:
        return scoring.status()

    def stop(_: Any = None) -> dict[str, Any]:
        scoring.stop()
        return scoring.status()

    mount(KEY, "The runs and their scores appear here.", [score, estimate, progress, stop])
