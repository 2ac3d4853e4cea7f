"""The page: the sidebar and one tab per view. Each tab is a module; this is where they are put together."""

from __future__ import annotations

import json

import gradio as gr

from neurovis.library import Library
from neurovis.renders import Renders
from neurovis.tabs import ablate, captions, cortex, data, evaluate, explore, sidebar, train
from neurovis.tabs.view import mount

TABS = (explore, ablate, cortex, captions, evaluate, train, data)
# Open the tab that the address named; the browser does it alone.
_CHOSEN_TAB = f"""() => {{
    const wanted = new URLSearchParams(window.neurovisAddress).get('tab');
    const known = {json.dumps([tab.KEY for tab in TABS])}.includes(wanted);
    return known ? {{ __type__: 'update', selected: wanted }} : {{ __type__: 'update' }};
}}"""


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
        mount("notice", "")
        with gr.Tabs(elem_id="nv-tabs") as tabs:
            for tab in TABS:
                with gr.Tab(tab.TITLE, id=tab.KEY, elem_id=f"nv-tab-{tab.KEY}") as item:
                    tab.build(library, renders)
                item.select(None, js=f"() => window.neurovis?.tab({tab.KEY!r})", api_visibility="private")
        page.load(None, outputs=tabs, js=_CHOSEN_TAB, api_visibility="private")
        restore(page)
    return page
