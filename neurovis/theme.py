"""The look of Gradio's own parts: the Soft theme, made as quiet as the page's own panels."""

from __future__ import annotations

from typing import Any

# Loaded with the page itself, so that the first picture does not wait for a chain of imports.
_MODULES = ("dom", "address", "state", "clock", "player", "browser", "charts", "brain", "explore", "sidebar", "notice")
_SHEETS = ("neurovis", "notice", "captions", "cortex", "brain3d", "evaluate", "train", "data")
HEAD = "\n".join(
    (
        # What the address said when the page was opened, before any view writes into it.
        "<script>window.neurovisAddress = location.search;</script>",
        '<link rel="icon" href="/neurovis/static/mark.svg" type="image/svg+xml">',
        *(f'<link rel="stylesheet" href="/neurovis/static/{name}.css">' for name in _SHEETS),
        *(f'<link rel="modulepreload" href="/neurovis/static/{name}.js">' for name in _MODULES),
    )
)


def theme() -> Any:
    """Return the theme; its fonts come with Gradio, so nothing is fetched."""
    import gradio as gr
    from gradio.themes.utils.fonts import LocalFont

    neutral = gr.themes.Color(
        c50="#f6f7f8", c100="#eceef1", c200="#dde1e6", c300="#c5ccd4", c400="#98a2ae", c500="#6b7684",
        c600="#4c5664", c700="#333c48", c800="#1d242d", c900="#131920", c950="#0c1116", name="graphite",
    )  # fmt: skip
    blue = gr.themes.Color(
        c50="#eef6fc", c100="#d8eaf7", c200="#b2d4ee", c300="#80b8e1", c400="#56b4e9", c500="#1b86c6",
        c600="#0072b2", c700="#005c91", c800="#064a73", c900="#0a3e5f", c950="#07283e", name="signal",
    )  # fmt: skip
    soft = gr.themes.Soft(
        primary_hue=blue,
        secondary_hue=blue,
        neutral_hue=neutral,
        spacing_size=gr.themes.sizes.spacing_sm,
        radius_size=gr.themes.sizes.radius_sm,
        text_size=gr.themes.sizes.text_md,
        font=(LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=(LocalFont("IBM Plex Mono", weights=(400, 600)), "ui-monospace", "Menlo", "monospace"),
    )
    return soft.set(
        body_background_fill="#f4f5f7",
        body_background_fill_dark="#0e1217",
        body_text_color="#12181f",
        body_text_color_dark="#e8ecf1",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#151a21",
        background_fill_secondary="#f4f5f7",
        background_fill_secondary_dark="#10151b",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_shadow="none",
        block_shadow_dark="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_text_color="#56616f",
        block_label_text_color_dark="#9aa5b3",
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_border_width="0px",
        block_title_border_width_dark="0px",
        block_title_padding="0px",
        block_title_radius="0px",
        block_title_text_weight="400",
        block_title_text_color="#56616f",
        block_title_text_color_dark="#9aa5b3",
        block_title_text_size="12px",
        block_padding="0px",
        input_background_fill="#ffffff",
        input_background_fill_dark="#1b222b",
        input_border_color="#d3d9e0",
        input_border_color_dark="#2f3945",
        input_shadow="none",
        input_shadow_dark="none",
        input_shadow_focus="0 0 0 2px #56b4e966",
        input_shadow_focus_dark="0 0 0 2px #56b4e966",
        panel_background_fill="#ffffff",
        panel_background_fill_dark="#151a21",
        border_color_primary="#dfe3e8",
        border_color_primary_dark="#28313c",
    )
