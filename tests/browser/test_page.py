"""The page as a user meets it, in headless Chromium."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser
STAGE = ".nv-explore .nv-deck canvas"


def shown(page, selector: str = STAGE) -> list[str]:
    return page.eval_on_selector_all(selector, "all => all.map(c => c.dataset.shown)")


def wait_shown(page, wanted: str, selector: str = STAGE) -> None:
    page.wait_for_function(
        "([s, w]) => ((all) => all.length && all.every(c => c.dataset.shown === w))([...document.querySelectorAll(s)])",
        arg=[selector, wanted],
    )


def test_the_first_view_shows_four_streams_and_says_that_they_are_simulated(served, visit):
    page = visit(served)
    assert page.locator(STAGE).count() == 4
    assert page.locator(".nv-heading .nv-badge", has_text="Simulated data").is_visible()
    assert page.locator(".nv-told").inner_text().startswith("12 of 14 · unpicked, seed 0")


def test_streams_of_different_length_stay_in_step(served, visit):
    page = visit(served)
    page.wait_for_timeout(1500)
    frames = page.eval_on_selector_all(STAGE, "all => all.map(c => Number(c.dataset.frame))")
    truth, motion, anchor, reconstruction = frames
    assert truth == reconstruction
    assert motion == truth * 6 // 16 or motion == ((truth + 1) * 6 - 1) // 16
    assert anchor == 0


def test_the_arrows_change_the_clip_and_the_address(served, visit):
    page = visit(served)
    before = shown(page)[0]
    page.locator(".nv-heading h2").first.click()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("b => document.querySelector('.nv-explore .nv-deck canvas').dataset.shown !== b", arg=before)
    after = shown(page)
    assert len(set(after)) == 1
    assert f"clip={after[0]}" in page.url


def test_space_stops_and_the_full_stop_goes_on_by_one_frame(served, visit):
    page = visit(served)
    page.locator(".nv-heading h2").first.click()
    page.keyboard.press(" ")
    slider = page.locator(".nv-scrub input").first
    frame = int(slider.input_value())
    page.keyboard.press(".")
    held = (frame + 1) % 16
    assert int(slider.input_value()) == held
    told = " ".join(page.locator(".nv-time").first.inner_text().split())
    assert told == f"frame {held + 1:02}/16 from {int(held / 8 * 100 + 0.5) / 100:.2f} s"


def test_a_link_reopens_the_same_view(served, visit):
    page = visit(
        f"{served}/?run=aa-phantom&clip=test1_0009&tab=ablate&without=anchor%2Bmad",
        ready=".nv-compare canvas[data-shown]",
    )
    wait_shown(page, "test1_0009/anchor+mad", ".nv-compare canvas")
    states = page.eval_on_selector_all(".nv-switches button", "all => all.map(b => b.getAttribute('aria-checked'))")
    assert states == ["false", "true", "true", "false"]


def test_search_and_order_choose_the_clips(served, visit):
    page = visit(served)
    page.locator("[data-mode=all]").click()
    assert "14 of 14" in page.locator(".nv-told").inner_text()
    word = page.locator(".nv-row b").first.inner_text().split()[1]
    page.locator(".nv-filters input").fill(word)
    assert all(word in text for text in page.locator(".nv-row b").all_inner_texts())
    page.locator(".nv-filters input").fill("nothing like this")
    assert "No clip fits" in page.locator(".nv-told").inner_text()
    page.locator(".nv-filters input").fill("")
    page.locator("[data-mode=worst]").click()
    page.locator(".nv-filters select:last-child").select_option("ssim")
    values = [float(v) for v in page.locator(".nv-row u").all_inner_texts()]
    assert values == sorted(values)


def test_a_switch_changes_the_picture_and_the_scores(served, visit):
    page = visit(f"{served}/?run=aa-phantom&clip=test1_0004&tab=ablate", ready=".nv-compare canvas[data-shown]")
    page.locator("[data-part=holi][role=switch]").click()
    wait_shown(page, "test1_0004/holi", ".nv-compare canvas")
    assert page.locator(".nv-delta").count() == 4
    assert "without=holi" in page.url


def test_a_combination_that_is_not_on_disk_says_why_it_cannot_be_rendered(served, visit):
    page = visit(f"{served}/?run=zz-haxby&tab=ablate&without=anchor%2Bholi", ready=".nv-compare canvas[data-shown]")
    assert page.get_by_role("button", name="Render this combination").is_visible()
    assert page.locator(".nv-live .nv-note").inner_text()


def test_cues_that_do_not_fit_the_renderer_are_told_of_where_words_are_edited(served, visit):
    page = visit(f"{served}/?run=zz-haxby&tab=captions", ready=".nv-film canvas[data-shown]")
    assert page.locator(".nv-film").get_by_text("The data set comes without its pictures.").is_visible()
    page.get_by_text("The true captions were not ranked").wait_for()
    page.get_by_label("C_holi, the words").fill("a dog rises up")
    page.get_by_role("button", name="Render these words").click()
    page.wait_for_selector(".nv-whatif [role=alert]")
    assert "use decoders trained for" in page.locator(".nv-whatif [role=alert]").inner_text()


def test_data_without_pictures_says_so(served, visit):
    page = visit(f"{served}/?run=zz-haxby")
    assert page.get_by_text("The data set comes without its pictures.").is_visible()
    assert page.locator(".nv-heading .nv-badge", has_text="real brain, toy renderer").is_visible()
    page.wait_for_selector(".nv-brain.nv-pixels[data-clip]")


def test_the_flat_cortex_is_drawn_and_names_its_areas(served, visit):
    page = visit(served)
    page.wait_for_selector(".nv-brain[data-clip]")
    box = page.locator(".nv-brain").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.42, box["y"] + box["height"] * 0.5)
    page.wait_for_function("document.querySelector('.nv-hover').textContent.startsWith('left')")
    assert page.get_by_text("Human Connectome Project").is_visible()


@pytest.mark.parametrize("tab", ["explore", "ablate", "captions"])
def test_nothing_is_wider_than_a_phone(served, visit, tab):
    page = visit(f"{served}/?run=aa-phantom&tab={tab}", 390, 844, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_choosing_another_data_set_opens_its_run(served, visit):
    page = visit(served)
    page.locator("#nv-dataset input").click()
    page.get_by_role("option", name="haxby2001").click()
    page.wait_for_function("new URLSearchParams(location.search).get('run') === 'zz-haxby'")


def test_a_clip_can_be_saved(served, visit):
    page = visit(served)
    with page.expect_download() as download:
        page.locator(".nv-explore .nv-exports a[data-kind=png]").click()
    assert download.value.suggested_filename.endswith("_simulated.png")


def test_without_any_run_the_page_says_what_to_do(served_empty, visit):
    page = visit(served_empty, ready=".nv-empty")
    assert "python -m pipeline reconstruct" in page.locator(".nv-empty").first.inner_text()


def test_a_link_opens_its_run_in_the_sidebar_too(served, visit):
    page = visit(f"{served}/?run=zz-haxby&tab=ablate&without=anchor", ready=".nv-compare canvas[data-shown]")
    page.wait_for_function("document.querySelector('#nv-dataset input').value === 'haxby2001'")
    query = page.evaluate("Object.fromEntries(new URLSearchParams(location.search))")
    assert query["run"] == "zz-haxby" and query["tab"] == "ablate" and query["without"] == "anchor"
    # Where there is no truth, the shuffle test says so and asks the server for nothing.
    page.wait_for_function("document.querySelector('.nv-orders').textContent.includes('no truth')")


def test_a_link_to_a_tab_that_is_none_opens_the_first(served, visit):
    page = visit(f"{served}/?tab=nothing")
    page.get_by_role("tab", name="Ablate").click()
    page.wait_for_function("new URLSearchParams(location.search).get('tab') === 'ablate'")
