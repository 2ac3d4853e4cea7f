"""A training from the Train tab: it outlives the page and the app, is stopped, taken up again, and looked at."""

from __future__ import annotations

import shutil
import time

import pytest

from training.jobs.store import Store

pytestmark = pytest.mark.browser
FORM = ".nv-trainform"
EPOCHS = "#nv-train-plan-sad-pretrain-epochs"
NAME = "#nv-train-name"
RUN = "phantom-tiny-mine-1"  # as long as the names that the form suggests


def look_again(page) -> None:
    """Wait until the page has asked for the jobs twice more; what the first answer changes is drawn by then."""
    for _ in range(2):
        with page.expect_response("**/train/jobs"):
            pass


def in_sight(page, name: str) -> bool:
    """Tell whether a button lies within the table's box, scrolled as it is."""
    button = page.get_by_role("button", name=name).bounding_box()
    box = page.locator(".nv-jobs .nv-scroll").bounding_box()
    return box["x"] <= button["x"] and button["x"] + button["width"] <= box["x"] + box["width"]


def wait_state(page, number: int, state: str) -> None:
    page.wait_for_selector(f"[data-job='{number}'][data-state='{state}']", timeout=240_000)


def fill_form(page) -> None:
    page.select_option("#nv-train-dataset", "phantom-tiny")
    page.select_option("#nv-train-method", "semvideo-tiny")
    page.get_by_label("sub-02", exact=True).uncheck()
    page.get_by_text("How it is trained").click()
    page.get_by_text("on all subjects").first.click()


@pytest.fixture
def working(tmp_path, phantom_home):
    """Return a working folder with the tiny phantom; whatever still runs in it at the end is stopped."""
    folder = tmp_path / "working"
    shutil.copytree(phantom_home, folder)
    yield folder
    store = Store(folder)
    for job in store.active():
        for who in (store.supervisor(job.device), job.process):
            if who is not None:
                who.stop(2.0)


def test_a_training_outlives_page_and_app_is_stopped_resumed_rendered_and_opened(working, start_app, visit):
    with start_app(working) as address:
        page = visit(f"{address}/?tab=train", ready=FORM)
        fill_form(page)
        start = page.get_by_role("button", name="Start training")
        page.fill(EPOCHS, "0.5")
        assert page.get_by_text("epochs: must be a whole number").first.is_visible()
        assert start.is_disabled()
        page.fill(EPOCHS, "200")
        page.fill(NAME, RUN)
        assert page.locator("[data-changed]").count() == 1
        start.click()
        page.wait_for_function("name => document.querySelector('#nv-train-name').value === name", arg=f"{RUN[:-1]}2")
        page.fill(NAME, RUN)
        look_again(page)
        assert (page.input_value(NAME), start.is_disabled()) == (RUN, True)
        assert page.locator("#nv-train-name-wrong").inner_text() == f"name: {RUN} is taken; choose another"
        assert in_sight(page, "Cancel job 1")
        page.wait_for_selector(".nv-curve", timeout=120_000)
        assert page.locator(".nv-jobhead .nv-badge", has_text="Simulated data").is_visible()
        assert "job=1" in page.url
        page.close()
    found = Store(working).get(1).progress
    seen = 1000 * found.get("number", 1) + found.get("epoch", 0)
    with start_app(working) as address:
        page = visit(f"{address}/?tab=train&job=1", 390, 844, True, ready=FORM)
        page.wait_for_function(
            "n => { const text = document.querySelector('.nv-jobtold').textContent;"
            " const m = /stage (\\d+) of 4 · epoch (\\d+)/.exec(text); return m && 1000 * m[1] + Number(m[2]) > n; }",
            arg=seen,
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert in_sight(page, "Cancel job 1")
        asked = time.monotonic()
        page.get_by_role("button", name="Cancel job 1").click()
        wait_state(page, 1, "cancelled")
        assert time.monotonic() - asked < 6  # 5 s, and up to one look of the page
        stopped = Store(working).get(1)
        assert not stopped.process.alive()
        assert in_sight(page, "Resume job 1")
        page.get_by_role("button", name="Resume job 1").click()
        wait_state(page, 1, "done")
        fill_form(page)
        page.get_by_role("button", name="Estimate time").click()
        told = page.get_by_role("status").filter(has_text="of memory")
        told.wait_for()
        look_again(page)
        assert told.is_visible()  # an estimate is about the form, and nobody changed it
        page.fill(EPOCHS, "3")
        assert told.count() == 0
        done = Store(working).get(1)
        assert (done.attempt, done.progress["stage"], done.progress["epoch"]) == (2, "mad-all", 2)
        page.locator("[data-job='1'] button", has_text="Render sub-01").click()
        wait_state(page, 2, "done")
        page.locator("[data-job='1']").get_by_role("link", name=f"Open {RUN}-sub-01 in Explore").click()
        page.wait_for_selector(".nv-explore .nv-deck canvas[data-shown]")
        assert page.locator(".nv-explore .nv-deck canvas").count() == 4
        assert page.locator(".nv-heading .nv-badge", has_text="Simulated data").is_visible()
        assert f"run={RUN}-sub-01" in page.url
        page.close()
