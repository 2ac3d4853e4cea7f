"""A run imported from videos: streams of unlike rate in step by time, and sentences where there is nothing to show."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser
STAGE = ".nv-explore .nv-deck canvas"


def seek(page, frame: int) -> list[int]:
    """Move Explore's scrubber and return which frame each player shows."""
    slider = page.locator(".nv-explore .nv-scrub input")
    slider.evaluate("(node, at) => { node.value = at; node.dispatchEvent(new Event('input')); }", frame)
    return page.eval_on_selector_all(STAGE, "all => all.map(c => Number(c.dataset.frame))")


@pytest.mark.parametrize(
    ("clip", "moments"),
    [("1", {0: [0, 0], 2: [0, 2], 8: [3, 8], 15: [5, 15]}), ("2", {0: [0, 0], 5: [2, 5], 12: [4, 7], 15: [5, 7]})],
    ids=["of one length", "the last frame stays"],
)
def test_streams_of_unlike_rate_show_the_same_moment(served, visit, clip, moments):
    page = visit(f"{served}/?run=zz-peer&clip={clip}")
    assert page.locator(STAGE).count() == 2
    assert {at: seek(page, at) for at in moments} == moments


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_what_an_imported_run_lacks_is_said(served, visit, width, height):
    page = visit(f"{served}/?run=zz-peer", width, height)
    page.wait_for_selector("[data-empty='No fMRI pattern: this run was imported from videos.']")
    assert page.get_by_text("No caption: this run was imported from videos.").is_visible()
    assert page.get_by_text("How scores compare frames:").is_visible()
    assert page.locator(".nv-scored").inner_text().startswith("Scored: frames 1 2 3 4 5 6 of the truth")
    assert page.locator(".nv-heading .nv-badge", has_text="imported videos").is_visible()
    assert page.locator(".nv-explore .nv-score").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_an_imported_run_has_no_switches_to_turn(served, visit):
    page = visit(f"{served}/?run=zz-peer&tab=ablate", ready=".nv-compare canvas[data-shown]")
    assert page.get_by_text("there is no decoder here whose parts could be switched off").is_visible()
    assert page.locator(".nv-switches button:disabled").count() == 4


def test_an_imported_run_has_no_words_to_render(served, visit):
    page = visit(f"{served}/?run=zz-peer&tab=captions", ready=".nv-film canvas[data-shown]")
    assert page.get_by_text("This run was imported from videos without captions.").is_visible()
    page.wait_for_function("document.querySelector('.nv-closed').textContent.includes('no decoded cues')")
    assert page.locator(".nv-whatif").is_hidden()
    assert page.get_by_text("there is nothing to count or compare").is_visible()


def test_real_clips_are_watched_sorted_searched_and_saved(served_real, visit):
    page = visit(f"{served_real}/?pick=all")
    rows = page.locator(".nv-explore .nv-list [role=option]")
    assert rows.count() == 8
    before = page.locator(".nv-heading .nv-id").inner_text()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(old) => document.querySelector('.nv-heading .nv-id').textContent !== old", arg=before)
    assert [seek(page, at) for at in (0, 13)] == [[0, 0], [5, 13]]
    page.get_by_role("button", name="Worst 12").click()
    page.wait_for_function("document.querySelector('.nv-told').textContent.includes('worst')")
    words = page.locator(".nv-heading h2").inner_text().split()
    page.get_by_label("Search captions").fill(max(words, key=len))
    page.wait_for_function("document.querySelectorAll('.nv-explore .nv-list [role=option]').length < 8")
    with page.expect_download() as saved:
        page.locator(".nv-explore .nv-exports [data-kind=gif]").click()
    assert saved.value.suggested_filename.endswith(".gif")
    assert "simulated" not in saved.value.suggested_filename


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_real_captions_are_read_and_counted(served_real, visit, width, height):
    page = visit(f"{served_real}/?tab=captions", width, height, ready=".nv-film canvas[data-shown]")
    assert page.locator(".nv-heading:visible .nv-badge", has_text="Simulated data").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
