"""Evaluate: runs beside metrics with chance and intervals, the error budget, clips one by one, and paired tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neurovis.budgets import Budgets
from neurovis.evaluations import Choice, Evaluations
from neurovis.library import Library
from neurovis.renders import Renders
from neurovis.scoring import Scoring
from neurovis.tabs.view import mount
from pipeline.errors import NeuroVisError

KEY, TITLE = "evaluate", "Evaluate"


def build(library: Library, renders: Renders) -> None:
    """Put the view into the tab, with the calls that estimate, start, watch and stop scoring and error budgets."""
    scoring, budgets = Scoring(Evaluations(library)), Budgets(library)

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

    def measure_budget(request: dict[str, Any]) -> dict[str, Any]:
        try:
            n_clips = request.get("clips")
            return budgets.start(str(request["run"]), None if n_clips is None else int(n_clips))
        except (NeuroVisError, KeyError, TypeError, ValueError) as error:
            return {"state": "failed", "message": str(error)}

    def budget_progress(_: Any = None) -> dict[str, Any]:
        return budgets.status()

    def stop_budget(_: Any = None) -> dict[str, Any]:
        budgets.stop()
        return budgets.status()

    calls: list[Callable[..., Any]] = [score, estimate, progress, stop, measure_budget, budget_progress, stop_budget]
    mount(KEY, "The runs and their scores appear here.", calls)
