"""The address and the browser's history: Back and Forward lead through what was seen, and a broken link is told of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
NOTICE = "[data-notice=link] [role=status]"
SEEN = """() => [neurovis.state.run?.name, neurovis.state.tab, neurovis.state.clip,
    document.querySelector('#nv-tabs [role=tab][aria-selected=true]')?.id.split('-')[2],
    document.querySelector('#nv-run input')?.value.split(' ').at(-1)]"""


def wait_seen(page, run: str, tab: str, clip: str | None = None) -> None:
    """Wait until state, address, tab row and sidebar all say so, and nothing changes it a moment later."""
    said = {"run": run, "tab": tab, "clip": clip}
    agree = """(want) => { const [run, tab, clip, shown] = (%s)(), query = new URLSearchParams(location.search);
        return run === want.run && tab === want.tab && shown === want.tab && query.get('run') === want.run
            && (query.get('tab') ?? 'explore') === want.tab
            && (!want.clip || (clip === want.clip && query.get('clip') === clip)); }"""
    page.wait_for_function(agree % SEEN, arg=said)
    page.wait_for_timeout(350)
    assert page.evaluate(f"(want) => ({agree % SEEN})(want)", said), page.evaluate(SEEN)


def entries(page) -> int:
    return page.evaluate("history.length")


def boxes(page) -> list[str]:
    return [page.locator(f"#nv-{name} input").input_value() for name in ("dataset", "subject", "run")]


def choose(page, box: str, option: str) -> None:
    page.locator(f"#nv-{box} input").click()
    page.get_by_role("option", name=option).click()


def test_back_and_forward_lead_through_tabs_and_runs(served, visit):
    page = visit(f"{served}/?run=aa-phantom&clip=test1_0004")
    first, sidebar = entries(page), boxes(page)
    page.get_by_role("tab", name="Ablate").click()
    wait_seen(page, "aa-phantom", "ablate")
    page.locator("[data-part=holi][role=switch]").click()  # a switch is written into the entry that there is
    page.wait_for_function("location.search.includes('without=holi')")
    choose(page, "subject", "sub-02")
    wait_seen(page, "bb-phantom", "ablate", "test1_0004")
    other = boxes(page)
    page.get_by_role("tab", name="Captions").click()
    wait_seen(page, "bb-phantom", "captions")
    assert entries(page) == first + 3
    page.go_back()
    wait_seen(page, "bb-phantom", "ablate")
    page.go_back()
    wait_seen(page, "aa-phantom", "ablate", "test1_0004")
    page.wait_for_function("b => document.querySelector('#nv-subject input').value === b", arg=sidebar[1])
    assert boxes(page) == sidebar
    assert page.locator("[data-part=holi][role=switch]").get_attribute("aria-checked") == "false"
    page.go_back()
    wait_seen(page, "aa-phantom", "explore", "test1_0004")
    assert "without" not in page.url
    page.go_forward()
    page.go_forward()
    wait_seen(page, "bb-phantom", "ablate", "test1_0004")
    page.wait_for_function("b => document.querySelector('#nv-subject input').value === b", arg=other[1])
    assert entries(page) == first + 3  # going to and fro makes none
    page.reload()
    page.wait_for_selector(".nv-compare canvas[data-shown]")
    wait_seen(page, "bb-phantom", "ablate", "test1_0004")
    page.go_back()
    wait_seen(page, "aa-phantom", "ablate")
    page.evaluate("history.go(-1); setTimeout(() => history.go(2), 20)")  # faster than a run is read
    wait_seen(page, "bb-phantom", "ablate")
    assert entries(page) == first + 3


def test_an_entry_that_was_left_before_it_was_shown_stays_what_it_was(served, visit):
    page = visit(f"{served}/?run=aa-phantom&clip=test1_0004")
    page.evaluate("neurovis.open('bb-phantom')")
    wait_seen(page, "bb-phantom", "explore")
    page.get_by_role("tab", name="Ablate").click()
    wait_seen(page, "bb-phantom", "ablate")
    held, answer = [], "**/neurovis/runs/aa-phantom"
    page.route(answer, lambda route: held.append(route))
    page.evaluate("history.go(-2)")
    page.wait_for_selector("#nv-tab-explore-button[aria-selected=true]")
    page.wait_for_timeout(400)
    assert "run=aa-phantom" in page.url  # although the other run is still on the page
    page.evaluate("history.go(2)")
    wait_seen(page, "bb-phantom", "ablate")
    for route in held:
        route.continue_()
    page.unroute(answer)
    page.wait_for_timeout(400)
    wait_seen(page, "bb-phantom", "ablate")  # an answer that comes late changes nothing
    page.evaluate("history.go(-2)")
    wait_seen(page, "aa-phantom", "explore", "test1_0004")


def test_a_clip_is_an_entry_and_a_walk_through_clips_is_one(served, visit):
    page = visit(f"{served}/?run=aa-phantom&clip=test1_0004&pick=all")
    first = entries(page)
    page.wait_for_timeout(1100)  # a clip that was only passed is no entry
    page.locator(".nv-row[data-clip=test1_0002]").click()
    wait_seen(page, "aa-phantom", "explore", "test1_0002")
    # These two follow at once, however slow the machine is.
    page.evaluate("['6', '3'].forEach(n => document.querySelector(`.nv-row[data-clip=test1_000${n}]`).click())")
    page.wait_for_timeout(1100)
    page.locator(".nv-heading h2").first.click()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    wait_seen(page, "aa-phantom", "explore", "test1_0008")
    assert entries(page) == first + 2
    page.keyboard.press(" ")
    page.wait_for_function("location.search.includes('frame=')")
    page.locator(".nv-filters input").fill("a b+c")
    page.wait_for_function("location.search.includes('q=')")
    assert entries(page) == first + 2
    assert page.evaluate("new URLSearchParams(location.search).get('q')") == "a b+c"
    page.go_back()
    wait_seen(page, "aa-phantom", "explore", "test1_0003")
    assert "frame=" not in page.url and page.locator(".nv-filters input").input_value() == ""
    page.wait_for_function("document.querySelector('.nv-explore .nv-deck canvas').dataset.shown === 'test1_0003'")
    page.go_back()
    wait_seen(page, "aa-phantom", "explore", "test1_0004")
    page.go_forward()
    page.go_forward()
    wait_seen(page, "aa-phantom", "explore", "test1_0008")
    assert "frame=" in page.url and page.locator(".nv-filters input").input_value() == "a b+c"


def test_views_of_other_tabs_come_back_as_they_were_left(served, visit):
    """On a phone, where some tabs are in Gradio's menu."""
    page = visit(f"{served}/?run=bb-phantom&tab=evaluate&runs=bb-phantom&judges=none", 390, 844, ready=".nv-evallist")
    first = entries(page)
    page.get_by_label("Five controls").check()
    page.wait_for_function("location.search.includes('controls=1')")
    page.get_by_role("tab", name="Explore").click()
    wait_seen(page, "bb-phantom", "explore")
    page.evaluate("neurovis.open('aa-phantom')")
    wait_seen(page, "aa-phantom", "explore")
    assert entries(page) == first + 2
    page.go_back()
    page.go_back()
    wait_seen(page, "bb-phantom", "evaluate")
    page.wait_for_selector("[data-run=bb-phantom] input:checked")
    assert page.get_by_label("Five controls").is_checked()
    assert "runs=bb-phantom" in page.url and "aa-phantom" not in page.url
    page.go_forward()
    wait_seen(page, "bb-phantom", "explore")


def test_a_link_to_what_is_not_there_says_so_and_what_is_shown(served, visit):
    page = visit(f"{served}/?run=%3Cb%3Enobody&clip=nothing&tab=nosuch", 390, 844, dark=True)
    page.wait_for_function(f"document.querySelector('{NOTICE}')?.innerText")
    clip = page.evaluate("neurovis.state.clip")
    assert page.locator(NOTICE).inner_text() == (
        "This link asks for the run “<b>nobody”, the clip “nothing” and the tab “nosuch”, which are not here; "
        f"the run “aa-phantom”, the clip “{clip}” and the Explore tab are shown instead."
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("[data-notice=link] button").click()
    assert page.locator(NOTICE).inner_text() == ""
    assert page.evaluate("document.activeElement.getAttribute('role')") == "tab"
    assert page.locator("[data-notice=link]").bounding_box()["height"] <= 1


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("run=nobody&tab=ablate", "the run “nobody”, which is not here; the run “aa-phantom” is shown instead."),
        ("run=bb-phantom&clip=test9_0001", "the clip “test9_0001”, which is not here; the clip “test1_000"),
        ("run=bb-phantom&tab=nosuch", "the tab “nosuch”, which is not here; the Explore tab is shown instead."),
        ("run=bb-phantom&clip=test1_0003&tab=data", None),
        ("", None),
    ],
)
def test_the_message_names_only_what_is_lost_and_goes_with_the_next_choice(served, visit, link, told):
    page = visit(f"{served}/?{link}", ready=NOTICE)
    page.wait_for_function("window.neurovis?.state.loaded && neurovis.state.run")
    if told is None:
        page.wait_for_timeout(500)
        assert page.locator(NOTICE).inner_text() == ""
        return
    page.wait_for_function(f"document.querySelector('{NOTICE}').innerText")
    assert told in page.locator(NOTICE).inner_text()
    page.evaluate("neurovis.open('zz-haxby')")
    page.get_by_role("tab", name="Captions").click()
    page.wait_for_function(f"!document.querySelector('{NOTICE}').innerText")


def test_without_any_run_the_message_promises_none(served_empty, visit):
    page = visit(f"{served_empty}/?run=nobody", ready=".nv-empty")
    page.wait_for_function(f"document.querySelector('{NOTICE}')?.innerText")
    assert page.locator(NOTICE).inner_text() == "This link asks for the run “nobody”, which is not here."


def test_the_page_and_its_address_know_the_same_tabs():
    from neurovis.page import TABS

    listed = re.search(r"TABS = \[(.*?)\]", (ROOT / "neurovis" / "static" / "state.js").read_text(encoding="utf-8"))
    assert re.findall(r'"(\w+)"', listed[1]) == [tab.KEY for tab in TABS]
    assert [tab.TITLE for tab in TABS] == [tab.KEY.capitalize() for tab in TABS]
