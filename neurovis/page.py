"""The page: the sidebar and one tab per view. Each tab is a module; this is where they are put together."""

from __future__ import annotations

from typing import Any

import gradio as gr

from neurovis.library import Library
from neurovis.renders import Renders
from neurovis.tabs import ablate, captions, explore, sidebar

TABS = (explore, ablate, captions)


def build_page(library: Library, renders: Renders) -> gr.Blocks:
    """Lay out the page.

    Parameters
    ----------
    library : Library
    renders : Renders

    Returns
    -------
    gr.Blocks
        To be mounted; the theme comes with the mounting.
    """
    with gr.Blocks(title="NeuroVis", analytics_enabled=False, fill_width=True) as page:
        restore = sidebar.build(library, renders)
        with gr.Tabs(elem_id="nv-tabs") as tabs:
            for tab in TABS:
                with gr.Tab(tab.TITLE, id=tab.KEY, elem_id=f"nv-tab-{tab.KEY}") as item:
                    tab.build(library, renders)
                item.select(None, js=f"() => window.neurovis?.tab({tab.KEY!r})", api_visibility="private")
        page.load(_chosen_tab, outputs=tabs, api_visibility="private", show_progress="hidden", queue=False)
        restore(page)
    return page


def _chosen_tab(request: gr.Request) -> Any:
    """Open the tab that the address names."""
    wanted = request.query_params.get("tab") if request else None
    return gr.Tabs(selected=wanted) if wanted in {tab.KEY for tab in TABS} else gr.skip()
