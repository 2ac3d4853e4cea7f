"""Explore beside other runs and Ablate over the whole set, driven as a user would."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.browser
STAGE = ".nv-explore .nv-deck canvas"
# What a saved plot of the shuffle test must say: of one clip, and of all.
SAID = (
    ("end-point error (px)", "end-point error, pixels", "Clip: test1_0002.", "6 frames, from the kept pictures"),
    (
        "true order (%)",
        "than the true one, %",
        "Dashed line: the same over mispaired clips (chance)",
        "Clips: 14.",
        "scored before compression",
    ),
)


def shown(page, selector: str = STAGE) -> list[str]:
    return page.eval_on_selector_all(selector, "all => all.map(c => c.dataset.shown)")


def test_another_run_stands_beside_in_step_and_in_the_link(served, visit):
    page = visit(f"{served}/?run=aa-phantom&clip=test1_0003")
    page.get_by_label("Compare with a run").select_option("bb-phantom")
    page.wait_for_function("document.querySelectorAll('.nv-explore .nv-deck canvas').length === 5")
    page.wait_for_function("document.querySelector('[data-role=beside] canvas').dataset.shown === 'test1_0003'")
    page.wait_for_function("document.querySelector('[data-role=beside] .nv-cover').hidden")
    assert "beside=bb-phantom" in page.url
    page.wait_for_timeout(700)
    truth, *_, reconstruction, beside = page.eval_on_selector_all(STAGE, "all => all.map(c => c.dataset.frame)")
    assert truth == reconstruction == beside
    page.locator(".nv-explore .nv-exports a[data-kind=png]").dispatch_event("click")
    link = page.locator(".nv-explore .nv-exports a[data-kind=png]").get_attribute("href")
    assert "column=reconstruction%3Afull%3Abb-phantom" in link
    page.get_by_role("button", name="Take SemVideo, sub-02 away").click()
    assert page.locator(STAGE).count() == 4
    assert "beside" not in page.url


def test_a_clip_that_the_other_run_lacks_is_said(served, visit):
    page = visit(f"{served}/?run=aa-phantom&clip=test1_0001&beside=bb-phantom")
    page.get_by_text("SemVideo, sub-02 has no reconstruction of this clip.").wait_for()


def test_a_link_holds_the_frame_and_opens_on_it(served, visit):
    page = visit(f"{served}/?run=aa-phantom&clip=test1_0003&frame=5")
    page.wait_for_function("document.querySelector('.nv-explore .nv-deck canvas').dataset.frame === '4'")
    page.locator(".nv-heading h2").first.click()
    page.keyboard.press(".")
    page.wait_for_function("new URLSearchParams(location.search).get('frame') === '6'")
    page.keyboard.press(" ")
    page.wait_for_function("!new URLSearchParams(location.search).has('frame')")


def test_all_clips_can_be_sorted_by_any_score_both_ways(served, visit):
    page = visit(f"{served}/?run=aa-phantom&pick=all")
    page.get_by_label("Sort by score").select_option("epe")
    read = "all => all.map(u => Number(u.textContent))"
    rising = page.eval_on_selector_all(".nv-row u", read)
    assert rising == sorted(rising)
    assert (
        page.locator(".nv-told").inner_text()
        == "14 of 14 · lowest End-point error (px) first · figures: End-point error (px), before compression"
    )
    assert page.get_by_role("img", name="End-point error (px) ").count() == len(rising), "each figure has its name"
    page.locator(".nv-explore .nv-scores .nv-origin", has_text="scored before compression").wait_for()
    page.get_by_role("button", name="Lowest first; turn round").click()
    falling = page.eval_on_selector_all(".nv-row u", read)
    assert falling == sorted(falling, reverse=True)
    assert "order=down" in page.url
    assert "score=epe" in page.url


def test_the_pattern_is_saved_large_and_named_as_simulated(served, visit, tmp_path):
    from PIL import Image

    page = visit(f"{served}/?run=aa-phantom")
    page.wait_for_selector(".nv-brain[data-clip]")
    width = page.eval_on_selector(".nv-brain", "node => node.width")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the fMRI pattern as PNG").click()
    assert download.value.suggested_filename.endswith("_fmri_simulated.png")
    download.value.save_as(tmp_path / "pattern.png")
    with Image.open(tmp_path / "pattern.png") as picture:
        assert picture.width >= 2 * width


def test_the_shuffle_test_is_drawn_for_the_clip_and_the_combination(served, visit, tmp_path):
    page = visit(f"{served}/?run=aa-phantom&tab=ablate&clip=test1_0002", ready=".nv-compare canvas[data-shown]")
    page.locator(".nv-orders").scroll_into_view_if_needed()
    page.wait_for_selector(".nv-orders[data-shown='test1_0002/full'] .nv-ordersplot")
    assert page.locator(".nv-ordersplot circle").count() == 100
    page.locator("[data-part=holi][role=switch]").click()
    page.locator(".nv-orders").scroll_into_view_if_needed()
    page.wait_for_selector(".nv-orders[data-shown='test1_0002/holi'] .nv-ordersplot")
    assert page.locator(".nv-ordersplot line.true").count() == 2
    assert page.locator(".nv-ordersplot circle").count() == 200
    assert "Against another clip's truth: " in page.locator(".nv-orders .nv-note").inner_text()
    # Every bar has its own reference, mispaired clips, and none stands at one half by decree.
    bars = page.locator(".nv-shuffles svg[aria-label^='Shuffle test']")
    assert bars.locator("line.chance").count() == bars.locator("rect.bar").count() > 1
    assert "mispaired clips 21 %" in bars.get_attribute("aria-label")
    assert "no evidence by itself" in page.locator(".nv-shuffles").inner_text()
    for number, wanted in enumerate(SAID):
        with page.expect_download() as download:
            page.locator(".nv-shuffles").get_by_role("button", name="Save the plot as SVG").nth(number).click()
        download.value.save_as(tmp_path / "plot.svg")
        root = ElementTree.parse(tmp_path / "plot.svg").getroot()
        told = " ".join("".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text"))
        for words in (*wanted, "(aa-phantom).", "Convention: corrected;", "Rows: model.", "Simulated data."):
            assert words in told


def test_the_most_changed_clips_of_each_part_can_be_opened(served, visit):
    page = visit(f"{served}/?run=aa-phantom&tab=ablate", ready=".nv-compare canvas[data-shown]")
    assert page.locator(".nv-end").count() == 4
    for place in (".nv-tablebox", ".nv-endbar"):
        assert page.locator(f"{place} .nv-origin").inner_text() == "Scored before compression."
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the table as CSV").click()
    head, *rows = download.value.path().read_text().splitlines()
    assert {"ssim", "epe (px)", "epe change (px)", "epe n"} <= set(head.split(","))
    assert all(row.endswith("as the run came,before compression") for row in rows)
    page.locator(".nv-endbar select").select_option("epe")
    changes = page.eval_on_selector_all(
        ".nv-end[data-part=anchor] b[data-change=bad]", "all => all.map(b => Number(b.textContent))"
    )
    assert changes == sorted(changes, reverse=True)
    first = page.locator(".nv-end[data-part=anchor] button").first
    clip = first.get_attribute("data-clip")
    first.click()
    page.wait_for_function(
        "w => document.querySelector('.nv-compare canvas').dataset.shown === w", arg=f"{clip}/anchor"
    )
    assert f"clip={clip}" in page.url
    assert "without=anchor" in page.url


def test_the_whole_set_is_rendered_and_scored_and_a_reload_finds_the_job(served, visit):
    address = f"{served}/?run=yy-live&tab=ablate&without=anchor%2Bholi"
    page = visit(address, ready=".nv-compare canvas[data-shown]")
    page.get_by_role("button", name="All twelve combinations: render and score 24 clips").click()
    page.wait_for_selector(".nv-job progress")
    page.reload()
    page.wait_for_selector(".nv-job progress")
    page.get_by_role("button", name="Stop after this clip").click()
    page.get_by_text("that were finished are kept").wait_for()
    page.get_by_role("button", name="Without C_anchor, C_holi: render and score").click()
    page.wait_for_selector(".nv-tablebox [data-variant='anchor+holi']")
    row = page.locator(".nv-tablebox [data-variant='anchor+holi']").inner_text()
    assert "scored here" in row
    assert "…" in row, "an interval stands under each mean"
    assert page.get_by_role("button", name="Without C_anchor, C_holi: render and score").count() == 0


def test_a_combination_is_rendered_through_a_reload_and_scored_and_a_wrong_seed_is_refused(served_phantom, visit):
    from pipeline.runs import Run
    from tests.conftest import ROOT

    run = Run.open(ROOT / "assets" / "phantom" / "runs" / "phantom-sub-01")
    clip = run.manifest.clip_ids[3]
    address = f"{served_phantom}/?run={run.manifest.name}&tab=ablate&clip={clip}&without=anchor%2Bholi&seed=7"
    other = visit(address, ready=".nv-compare canvas[data-shown]")
    page = visit(address, ready=".nv-compare canvas[data-shown]")
    box = page.get_by_label("Seed", exact=True)
    for wrong in ("1e30", "-5", "3.7", "1000000", ""):
        box.fill(wrong)
        box.press("Enter")
        page.get_by_text(f"A seed is a whole number from 0 to 999999, not “{wrong}”; 7 stays.").wait_for()
        assert (box.input_value(), "seed=7" in page.url) == ("7", True)
    page.get_by_text(f"{clip}, without C_anchor, C_holi · seed 7: not scored yet.").wait_for()
    page.get_by_role("button", name="Render this combination").click()
    page.get_by_role("button", name="Stop rendering").wait_for()
    page.reload()
    there = "(id) => window.neurovis?.state.run?.byId.get(id).variants.includes('anchor+holi@7')"
    page.wait_for_function(there, arg=clip)
    page.get_by_text("at hand, so switching is instant").wait_for()
    # A page that was open all the while learns of it when it is asked for the picture again.
    for _ in range(2):
        other.locator("[data-part=holi][role=switch]").click()
    other.wait_for_function(there, arg=clip)
    page.get_by_role("button", name="Score this clip").click()
    page.get_by_text("Both scored from the kept pictures (lossy).").wait_for()
    page.wait_for_selector(".nv-orders .nv-ordersplot")
    error = page.locator(".nv-delta", has_text="end-point error (px)").locator("b").first.inner_text().split(" → ")[1]
    assert f"true order {float(error):.2f}" in page.locator(".nv-ordersplot").inner_html(), "as the shuffle test has it"
