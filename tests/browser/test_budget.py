"""The error budget in the Evaluate tab: asked for, watched, stopped, read and saved."""

from __future__ import annotations

import csv
import json

import pytest

from tests.browser import sample_run
from tests.unit.test_budget_tab import N_CLIPS, NAME, make_tiny

pytestmark = pytest.mark.browser
BAR, TABLE = ".nv-budgetbar", ".nv-budgettable"
STEPS = ["truth", "round_trip", "true_cues", "full"]
WITH = "tab=evaluate&judges=none&shuffle=0"


@pytest.fixture
def served_tiny(tmp_path, phantom_home, start_app):
    home = tmp_path / "own"
    make_tiny(home, phantom_home)
    sample_run.make_run(home / "runs", "brain", n_clips=3, combos=((),), dataset="haxby2001", simulated=False)
    with start_app(home) as address:
        yield address, home


def test_a_budget_is_measured_from_the_tab_found_again_and_explained(served_tiny, visit):
    address, home = served_tiny
    page = visit(f"{address}/?run={NAME}&{WITH}", 390, 844, True, ready=f"{BAR} button")
    assert "was not measured here yet" in page.locator(BAR).inner_text()
    page.get_by_role("button", name="Measure the error budget").click()
    page.wait_for_function(f"document.querySelector('{BAR} progress')")
    page.get_by_role("button", name="Stop; nothing half-measured is kept").click()
    page.locator(f"{BAR} [role=alert]").wait_for()
    assert "nothing of it was kept" in page.locator(f"{BAR} [role=alert]").inner_text()
    page.get_by_role("button", name="Measure the error budget").click()
    page.wait_for_function(f"document.querySelector('{BAR} progress')")
    page.reload()  # it goes on, and the page finds it again, or its result
    page.wait_for_selector(TABLE)
    assert page.eval_on_selector_all(f"{TABLE} tbody tr", "all => all.map(row => row.dataset.step)") == STEPS
    heads = page.locator(f"{TABLE} tbody th").all_inner_texts()
    assert all(len(text.splitlines()) == 2 and text.endswith(".") for text in heads)
    cells = page.locator(f"{TABLE} [data-step=true_cues] td").all_inner_texts()
    assert all("chance" in text and "…" in text for text in cells)
    ssim = page.locator(f"{TABLE} [data-step=round_trip] td", has_text="worse").first
    assert ssim.count()
    assert f"Simulated data. {NAME}, {N_CLIPS} clips" in page.locator(".nv-budget").inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the error budget as CSV").click()
    assert download.value.suggested_filename == f"{NAME}_budget_simulated.csv"
    with open(download.value.path(), newline="") as file:
        rows = list(csv.DictReader(file))
    kept = json.loads((home / "evaluations" / "budgets" / NAME / "budget.json").read_text())["rows"]
    assert [float(row["value"]) for row in rows] == [row["value"] for row in kept]
    assert all(row["low"] and row["simulated"] == "1" for row in rows)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("neurovis.open('brain')")
    page.wait_for_function(f"document.querySelector('{BAR}').innerText.includes('true cues are known')")
    assert page.get_by_role("button", name="Measure the error budget").is_disabled()
    assert page.locator(TABLE).count() == 0
