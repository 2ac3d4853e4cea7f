"""Data: a card for every data set, import with the doctor's report first, and how good each subject's data is."""

from __future__ import annotations

from typing import Any

from neurovis.datajobs import DataJobs
from neurovis.datasets import Datasets
from neurovis.library import Library
from neurovis.renders import Renders
from neurovis.tabs.view import mount
from pipeline.errors import NeuroVisError

KEY, TITLE = "data", "Data"


def build(library: Library, renders: Renders) -> None:
    """Put the view into the tab, with the calls that plan, start, watch and stop work on data."""
    jobs = DataJobs(Datasets(library))

    def begin(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return jobs.start(str(request["kind"]), request)
        except (NeuroVisError, KeyError, TypeError, AttributeError) as error:
            return {"state": "refused", "message": str(error)}

    def plan(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return jobs.plan(request)
        except (TypeError, AttributeError) as error:
            return {"command": "", "fault": str(error)}

    def report(path: Any) -> dict[str, Any] | None:
        return jobs.report(path)

    def progress(_: Any = None) -> dict[str, Any]:
        return jobs.status()

    def stop(_: Any = None) -> dict[str, Any]:
        jobs.stop()
        return jobs.status()

    mount(KEY, "The data sets appear here.", [begin, plan, report, progress, stop])
