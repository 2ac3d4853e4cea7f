"""The sidebar: data set, subject, method and run, and badges that say what is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from neurovis.library import Library
from neurovis.renders import Renders
from neurovis.tabs.view import mount
from pipeline.runs import RunInfo

LEVELS = ("dataset", "subject", "method")
# The run that the address named when the page was opened; views write into the address before Gradio reads it.
_ASKED = "() => new URLSearchParams(window.neurovisAddress).get('run') || ''"
# The run that is open: Back and Forward open runs without the boxes, which are then told.
_OPEN = "() => window.neurovis?.state.run?.name || ''"
_CHOSEN = "(name) => { window.neurovis?.open(name); }"
METHOD_TITLES = {"semvideo": "SemVideo"}


def build(library: Library, renders: Renders) -> Callable[[gr.Blocks], None]:
    """Lay out the sidebar; returns what wires it to the page."""
    first = _choices(library, None)
    with gr.Sidebar(open=True, width=264, elem_id="nv-sidebar"):
        head = mount("sidebar", "NeuroVis")
        with gr.Column(elem_id="nv-pickers"):
            boxes = [
                gr.Dropdown(label=label, filterable=False, elem_id=f"nv-{key}", container=True, **first[key])
                for key, label in (
                    ("dataset", "Data set"),
                    ("subject", "Subject"),
                    ("method", "Method"),
                    ("run", "Run"),
                )
            ]
        mount("badges", "")
        asked = gr.Textbox(visible=False)

    def narrow(*values: str) -> list[Any]:
        """Keep what was chosen as far as a run exists for it; the boxes below the one that was changed are not read."""
        found = _choices(library, dict(zip(LEVELS[: len(values)], values, strict=True)))
        return [gr.Dropdown(**found[key]) for key in (*LEVELS, "run")]

    def restore(wanted: str) -> list[Any]:
        found = _choices(library, {"run": wanted} if wanted else None)
        return [gr.Dropdown(**found[key]) for key in (*LEVELS, "run")]

    def wire(page: gr.Blocks) -> None:
        quiet = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
        run = boxes[-1]
        # Only what a reader chose opens a run; a box that was told of one does not.
        for level, box in enumerate(boxes[:-1]):
            # Lower boxes are not read: what they hold may be no choice of theirs any more, which Gradio refuses.
            chosen = box.input(narrow, boxes[: level + 1], boxes, **quiet)
            chosen.success(None, run, js=_CHOSEN, api_visibility="private")
        run.input(None, run, js=_CHOSEN, api_visibility="private")
        page.load(restore, asked, boxes, js=_ASKED, **quiet)
        head.apply(restore, asked, boxes, js=_OPEN, trigger_mode="always_last", **quiet)

    return wire


def _choices(library: Library, wanted: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return choices and value of each box, narrowed from data set to run; ``wanted`` is kept where it exists."""
    runs = [info for info in library.infos() if info.manifest is not None]
    wanted = dict(wanted or {})
    named = next((info for info in runs if info.name == wanted.get("run")), None)
    if named is not None:
        wanted = {key: getattr(named.manifest, key) for key in LEVELS} | {"run": named.name}
    boxes: dict[str, dict[str, Any]] = {}
    for key in LEVELS:
        values = list(dict.fromkeys(str(getattr(info.manifest, key)) for info in runs))
        value = wanted.get(key) if wanted.get(key) in values else (values[0] if values else None)
        boxes[key] = {"choices": [(_title(key, v), v) for v in values], "value": value}
        runs = [info for info in runs if getattr(info.manifest, key) == value]
    names = [(_run_title(info), info.name) for info in runs]
    value = wanted.get("run") if wanted.get("run") in [n for _, n in names] else (names[0][1] if names else None)
    boxes["run"] = {"choices": names, "value": value}
    return boxes


def _title(key: str, value: str) -> str:
    return METHOD_TITLES.get(value, value) if key == "method" else value


def _run_title(info: RunInfo) -> str:
    title = info.manifest.title if info.manifest else info.name
    return title if info.shipped else f"{title} (yours)"
