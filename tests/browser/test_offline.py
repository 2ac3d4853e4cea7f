"""No card, no weights, no names: the page says what is missing, switches off what needs it, and looks nowhere else."""

from __future__ import annotations

import json

import pytest

from tests.browser import sample_run
from tests.unit.no_names import blocked

pytestmark = pytest.mark.browser
BANNER = "[data-notice=weights]"
WAITING = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "0", "GRADIO_ANALYTICS_ENABLED": "True"}


@pytest.fixture
def served_bare(tmp_path, start_app):
    """Start the app where no name is resolved, on a run of the paper's profile and one of the phantom's."""
    home = tmp_path / "bare"
    run = sample_run.make_renderable(home / "runs", "aa-paper")
    sample_run.make_renderable(home / "runs", "bb-phantom")
    about = json.loads((run.path / "manifest.json").read_text())
    about["config"]["backbones"] = {"name": "paper", "size": 64}
    about["scores"] = {}
    (run.path / "manifest.json").write_text(json.dumps(about))
    environment, log = blocked(tmp_path / "names")
    quiet = {"HF_HOME": str(tmp_path / "hub"), "CUDA_VISIBLE_DEVICES": ""}
    with start_app(home, **environment, **quiet, **WAITING) as address:
        yield address, log


def test_without_weights_a_banner_says_so_and_what_needs_them_is_off(served_bare, visit):
    address, log = served_bare
    page = visit(f"{address}/?run=aa-paper&tab=ablate&without=holi", ready=".nv-compare")
    page.wait_for_function(f"document.querySelector('{BANNER}')?.innerText.includes('vae')")
    told = page.locator(f"{BANNER} [role=status]").inner_text()
    assert told.startswith("The weights that this run was rendered with are not on this machine: ")
    assert "unet" in told and "python -m pipeline weights" in told
    assert page.locator(".nv-badges .nv-badge", has_text="phantom weights").is_visible()
    assert "not at hand" in page.locator(".nv-badges .nv-badge", has_text="phantom weights").get_attribute("title")
    render = page.get_by_role("button", name="Render this combination")
    render.wait_for()
    assert render.is_disabled()
    assert "weights are missing" in page.locator(".nv-live .nv-broken").inner_text()
    sets = page.get_by_role("button", name="render and score")
    assert sets.count() and all(one.is_disabled() for one in sets.all())
    page.get_by_role("tab", name="Captions").click()
    page.locator(".nv-panel", has_text="What if the words were others").get_by_text("weights are missing").wait_for()
    assert page.get_by_role("button", name="Render these words").count() == 0
    page.get_by_text("Tokens were not counted: the tokenizer of the profile paper is not on this machine").wait_for()
    assert page.locator(".nv-tokens").first.inner_text() == "– tokens"
    tables = page.get_by_role("button", name="Compute the tables")
    assert tables.is_disabled()
    assert "is not on this machine" in tables.locator("xpath=following-sibling::span").inner_text()
    page.get_by_role("tab", name="Evaluate").click()
    page.wait_for_selector(".nv-evaloptions .nv-tick")
    missing = page.locator(".nv-evaloptions .nv-tick", has_text="nothing is downloaded from here")
    assert missing.count()
    assert all(box.is_disabled() for box in missing.locator("input").all())
    for tab in ("Cortex", "Train", "Data"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(700)
    page.evaluate("neurovis.open('bb-phantom')")  # whose small models ship
    page.wait_for_function(f"!document.querySelector('{BANNER} [role=status]').innerText")
    page.get_by_role("tab", name="Ablate").click()
    page.wait_for_function("!document.querySelector('.nv-live .nv-primary')?.disabled")
    assert log.read_text() == ""
