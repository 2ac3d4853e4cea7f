"""A hurried or hostile reader: choices made while an answer is under way, links of nonsense, HTML in names."""

from __future__ import annotations

import json
import socket
from urllib.parse import quote, urlsplit

import pytest

pytestmark = pytest.mark.browser
LINK = "/?run=sample&tab=cortex&statistic=weight"
READY = '.nv-cortexview[data-shown$="ready"]'
BUSY = ".nv-cxstage[aria-busy]"
NONSENSE = (
    "layer=constructor&module=toString&statistic=valueOf&brain=..&minus=module:constructor&limits=9,1&colours=x",
    "layer=minus&statistic=weight&threshold=Infinity&slice=x&labels=%3Cb%3E",
)


def held(page, pattern: str) -> list:
    """Hold the answers to ``pattern`` back until they are let go."""
    routes: list = []
    page.route(pattern, lambda route: routes.append(route))
    return routes


def let_go(page, pattern: str, routes: list) -> None:
    for route in routes:
        route.continue_()
    page.unroute(pattern)


def test_a_map_of_the_choice_before_never_passes_for_the_new_one(served_cortex, visit):
    page = visit(f"{served_cortex}{LINK}", ready=READY)
    pattern = "**/cortex/sample/sub-02/weight*"
    routes = held(page, pattern)
    page.locator("#nv-cx-subject").select_option("sub-02")
    page.wait_for_selector(BUSY)
    assert page.locator(".nv-cxmain h2").inner_text() == "C_anchor, sub-02"
    assert page.get_by_role("button", name="Save exactly this map as PNG").is_disabled()
    assert page.locator(".nv-files a").count() == 0
    page.wait_for_function(f"getComputedStyle(document.querySelector('{BUSY}')).opacity < 0.5")
    let_go(page, pattern, routes)
    page.wait_for_selector('.nv-cortexview[data-shown^="C_anchor, sub-02"][data-shown$="ready"]')
    assert page.locator(BUSY).count() == 0
    routes = held(page, "**/cortex/silent")
    page.evaluate("window.neurovis.open('silent')")
    page.wait_for_selector(".nv-cortexview:has-text('Asking what can be shown')")
    assert page.locator(".nv-cxstage *").count() == 0
    let_go(page, "**/cortex/silent", routes)
    page.get_by_text("does not say which decoder made it").wait_for()


def test_links_that_mean_nothing_open_what_there_is(served_cortex, visit):
    for words in NONSENSE:
        page = visit(f"{served_cortex}/?run=sample&tab=cortex&{words}", ready=".nv-cortexview[data-shown]")
        assert page.locator(".nv-cxmain h2").inner_text() == "C_anchor, sub-01"
    assert float(page.locator("#nv-cx-threshold").input_value()) == 1
    page = visit(f"{served_cortex}/?run=sample&beside=nobody,silent")
    page.wait_for_function("location.search.includes('beside=silent')")
    page = visit(
        f"{served_cortex}/?run=sample&tab=evaluate&judges=constructor&runs=sample,nobody", ready=".nv-evallist"
    )
    page.get_by_role("button", name="Score", exact=True).wait_for()
    assert "nobody" not in page.url
    assert page.locator(".nv-evaluate .nv-broken").count() == page.locator(".nv-evallist .nv-broken").count()


def test_a_stop_button_stays_the_same_while_its_job_goes_on(served_cortex, visit):
    """One that is made anew with every answer loses the focus, and a click between two answers."""
    for link, name in (
        ("tab=cortex&statistic=permutation", "Stop computing"),
        ("tab=evaluate&judges=none", "Stop; finished clips are kept"),
    ):
        page = visit(f"{served_cortex}/?run=sample&{link}", ready=".nv-primary")
        page.evaluate("""() => {
            window.stops = new Set();
            const note = () => document.querySelectorAll('button[title^="Stop"]').forEach((one) => {
                if (!stops.size) one.focus();  // at once: the job may be short
                stops.add(one);
            });
            new MutationObserver(note).observe(document.body, { childList: true, subtree: true });
        }""")
        page.locator(".nv-primary:visible").first.click()
        page.wait_for_function("stops.size > 0")
        page.wait_for_timeout(1300)
        assert page.evaluate("stops.size") == 1
        if page.get_by_role("button", name=name).count():
            assert page.evaluate("document.activeElement.title") == name
            page.get_by_role("button", name=name).click()


def test_a_tick_keeps_the_keyboard_where_it_is(served_cortex, visit):
    page = visit(f"{served_cortex}/?run=sample&tab=evaluate&judges=none", ready=".nv-evallist")
    box = page.get_by_label("Five controls")
    box.focus()
    page.keyboard.press("Space")
    page.wait_for_function("location.search.includes('controls=1')")
    page.get_by_text("Nothing is scored yet").wait_for()
    assert page.evaluate("document.activeElement.closest('label').innerText").startswith("Five controls")


def test_another_run_shows_its_own_subject(served_cortex, visit):
    """``other`` was decoded from the second subject, whose decoder is known to the first one's run too."""
    page = visit(f"{served_cortex}{LINK}", ready=READY)
    page.evaluate("window.neurovis.open('other')")
    page.wait_for_selector('.nv-cortexview[data-shown^="C_anchor, sub-02"][data-shown$="ready"]')
    page.locator("#nv-cx-subject").select_option("mean")
    page.evaluate("window.neurovis.open('sample')")
    page.wait_for_selector('.nv-cortexview[data-shown^="C_anchor, mean of 2 subjects"][data-shown$="ready"]')


def test_names_and_captions_are_text_wherever_they_are_shown(served_cortex, visit):
    """The run ``hostile`` holds HTML in every field that is free text."""
    for tab in ("explore", "ablate", "cortex", "captions", "evaluate"):
        page = visit(f"{served_cortex}/?run=hostile&tab={tab}", ready=".nv-root")
        page.wait_for_function("document.querySelector('.tabitem:not([style*=none])')?.innerText.includes('<img')")
        assert page.evaluate("[window.struck, document.querySelectorAll('img[src=x]').length]") == [None, 0]
    answer = page.request.get(f"{served_cortex}/neurovis/evaluations?run=hostile&run={quote('<b>')}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert json.loads(answer.text())["runs"][1]["state"] == "impossible"


def test_a_huge_header_is_cut_off_and_the_server_goes_on(served_cortex):
    from urllib.request import urlopen

    place = urlsplit(served_cortex)
    with socket.create_connection((place.hostname, place.port), 30) as line:
        line.settimeout(30)
        try:
            line.sendall(f"GET /neurovis/health HTTP/1.1\r\nHost: {place.netloc}\r\nX: {'a' * 300_000}\r\n".encode())
            answer = line.recv(64)
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
    assert b" 200 " not in answer
    assert urlopen(f"{served_cortex}/neurovis/health", timeout=30).status == 200
