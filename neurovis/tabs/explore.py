"""Explore: clips, players in step, captions beside what was decoded, scores, the clip's fMRI pattern."""

from __future__ import annotations

from neurovis.library import Library
from neurovis.renders import Renders
from neurovis.tabs.view import mount

KEY, TITLE = "explore", "Explore"


def build(library: Library, renders: Renders) -> None:
    """Put the view into the tab; it reads runs by itself, through the page's routes."""
    mount(KEY, "The clips of the run appear here.")
