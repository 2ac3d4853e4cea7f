"""The Captions tab as a user meets it: four texts, the tables, a rendering from edited words."""

from __future__ import annotations

import csv
import json

import pytest

pytestmark = pytest.mark.browser
LINK = "/?run=phantom-sub-01&tab=captions"
READY = ".nv-film canvas[data-shown]"
WORDS = "the subject rotates in place like a wheel quickly and the camera holds still"


@pytest.fixture(scope="module")
def first_clip(served_phantom) -> str:
    import urllib.request

    run = json.load(urllib.request.urlopen(f"{served_phantom}/neurovis/runs/phantom-sub-01"))
    return run["clips"][3]["id"]


def test_texts_are_counted_what_was_decoded_is_ranked_and_the_arrows_change_the_clip(served_phantom, first_clip, visit):
    page = visit(f"{served_phantom}{LINK}&clip={first_clip}", ready=READY)
    assert page.locator(READY).get_attribute("data-shown") == first_clip
    titles = page.locator(".nv-text h3").all_inner_texts()
    assert [title.split()[0] for title in titles] == ["C_basic", "C_anchor", "C_motion", "C_holi"]
    page.wait_for_function("document.querySelector('.nv-tokens').textContent.endsWith('of 42 tokens')")
    assert page.locator(".nv-decoded .nv-near").count() == 9
    page.wait_for_function("document.querySelectorAll('.nv-rank b').length === 3")
    assert page.locator(".nv-prompts details").count() == 5
    page.locator(".nv-prompts summary").nth(2).click()
    assert page.get_by_text("Describe only what changes").is_visible()
    before = page.locator(".nv-text p").first.inner_text()
    page.locator(".nv-captionview h2").first.click()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("b => document.querySelector('.nv-film canvas').dataset.shown !== b", arg=first_clip)
    assert page.locator(".nv-text p").first.inner_text() != before
    assert first_clip not in page.url


def test_the_tables_are_computed_when_asked_for_fit_a_phone_and_are_saved(served_phantom, visit):
    page = visit(f"{served_phantom}{LINK}", 390, 844, True, ready=READY)
    page.get_by_role("button", name="Compute the tables").click()
    page.wait_for_selector(".nv-settables table")
    cell = page.locator(".nv-settables tr", has_text="C_anchor – C_motion").locator("td").first
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert "n = 42 clips" in cell.get_attribute("title")
    assert "sacrebleu" in cell.get_attribute("title")
    assert cell.locator(".nv-published").inner_text() == "0.171"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save both tables as CSV").click()
    assert download.value.suggested_filename == "phantom-sub-01_captions_simulated.csv"
    with open(download.value.path(), newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 + 18
    assert {row["n"] for row in rows} == {"42"}
    assert json.loads(rows[-1]["settings"])


def test_edited_words_are_rendered_beside_what_was_decoded_kept_and_can_be_stopped(served_phantom, first_clip, visit):
    page = visit(f"{served_phantom}{LINK}&clip={first_clip}", ready=READY)
    area = page.get_by_label("C_motion, the words")
    button = page.get_by_role("button", name="Render these words")
    page.wait_for_function("document.querySelector('.nv-field textarea').value")
    assert button.is_disabled()
    area.fill("")
    assert page.get_by_text("C_motion is empty.").is_visible()
    area.fill(" ".join(["left"] * 60))
    page.wait_for_selector(".nv-field .nv-warn")
    area.fill(WORDS)
    button.click()
    page.wait_for_selector(".nv-used b")
    assert "C_motion from the words; C_anchor and C_holi as decoded" in page.locator(".nv-used").inner_text()
    page.wait_for_function(
        "[...document.querySelectorAll('.nv-wordsdeck canvas')].every(c => /words-/.test(c.dataset.shown))"
    )
    frames = page.eval_on_selector_all(".nv-wordsdeck canvas", "all => all.map(c => c.dataset.frame)")
    assert len(set(frames)) == 1
    assert page.locator(".nv-wordsdeck figure").nth(2).locator(".nv-cover").is_hidden()
    assert page.locator(".nv-gains .nv-delta").count() == 2
    record = page.request.get(f"{served_phantom}{page.locator('.nv-gains a').last.get_attribute('href')}").json()
    assert record["words"] == {"motion": WORDS}
    page.reload()
    page.locator(".nv-tried button").first.click()
    assert area.input_value() == WORDS
    page.get_by_role("switch", name="Words alone").click()
    page.get_by_role("switch", name="MAD's latents").click()
    assert area.is_disabled()
    button.click()
    page.get_by_role("button", name="Stop rendering").click()
    page.wait_for_selector(".nv-whatif [role=alert]")
    assert page.locator(".nv-whatif [role=alert]").inner_text().startswith("Stopped")
    assert page.locator(".nv-tried button").count() == 1
