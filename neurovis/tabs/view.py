"""A view drawn by a module of ``neurovis/static`` inside Gradio's page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

_START = """
import('/neurovis/static/{key}.js')
    .then((module) => {{
        const calls = typeof server === 'undefined' ? null : server;
        return module.mount(element.querySelector('.nv-root'), calls, trigger);
    }})
    .catch((error) => {{ element.textContent = 'This view could not be loaded: ' + error.message; }});
"""


def mount(key: str, waiting: str, calls: Sequence[Callable[..., Any]] = ()) -> gr.HTML:
    """Place the view ``key``; ``calls`` become its asynchronous functions on the server."""
    return gr.HTML(
        value="",
        html_template=f'<div class="nv-root nv-{key}"><p class="nv-waiting">{waiting}</p></div>',
        js_on_load=_START.format(key=key),
        apply_default_css=False,
        server_functions=list(calls) or None,
        elem_id=f"nv-view-{key}",
        elem_classes="nv-view",
    )
