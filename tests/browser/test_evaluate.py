"""The Evaluate tab as a user meets it: a run is scored while one looks on, read, saved, and followed to its clips."""

from __future__ import annotations

import csv
import re

import pytest

pytestmark = pytest.mark.browser
CHOSEN = "judges=phantom&shuffle=0"
LINK = f"/?run=bb-phantom&tab=evaluate&{CHOSEN}"
READY = ".nv-evaltable"


def test_a_run_is_scored_from_the_tab_and_leads_to_its_clips(served, visit):
    page = visit(f"{served}{LINK}", ready=READY)
    page.get_by_text("Nothing is scored yet").wait_for()
    assert page.locator("[data-run=bb-phantom] input").is_checked()
    assert page.locator("[data-run=zz-haxby] input").is_disabled()
    assert "holds no frames" in page.locator("[data-run=zz-haxby]").inner_text()
    line = page.locator(".nv-evalcommands code").inner_text()
    assert line.startswith("python -m pipeline evaluate --run bb-phantom --convention corrected --judges phantom")
    page.get_by_role("button", name="Score", exact=True).click()
    page.wait_for_function("/[1-6] of 6 clips/.test(document.querySelector('.nv-evalcount')?.textContent)")
    page.reload()  # the evaluation goes on, and the page finds it again, or its results
    page.wait_for_selector(".nv-evaltable table")
    cell = page.locator(".nv-evaltable [data-kind=run] td").first
    assert "chance 0." in cell.inner_text()
    assert "6 clips" in cell.inner_text()
    assert "…" in cell.inner_text()
    assert page.locator(".nv-evaltable [data-kind=run] .nv-badge").inner_text() == "Simulated"
    assert page.locator(".nv-evaltable [data-kind=published]").count() == 9
    page.get_by_role("button", name="Show published figures").click()
    assert page.locator(".nv-evaltable [data-kind=published]").count() == 0
    with page.expect_download() as download:
        page.locator(".nv-evaltable a[data-kind=csv]").click()
    assert download.value.suggested_filename == "evaluation_bb-phantom_corrected_simulated.csv"
    with open(download.value.path(), newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["run"] == "bb-phantom"
    assert float(rows[0]["SSIM"].split()[0]) == pytest.approx(float(cell.locator("b").inner_text()), abs=1e-3)
    dot = page.locator(".nv-strips a").nth(3)
    clip = dot.get_attribute("data-clip")
    dot.click()
    page.wait_for_function("c => document.querySelector('.nv-explore .nv-deck canvas')?.dataset.shown === c", arg=clip)
    assert f"clip={clip}" in page.url
    assert "tab=" not in page.url


def test_two_runs_are_tested_in_pairs_stopped_gone_on_with_and_fit_a_phone(served, visit):
    second = visit(f"{served}{LINK}&runs=bb-phantom&convention=paper", ready=READY)
    page = visit(f"{served}{LINK}&runs=bb-phantom,yy-live&convention=corrected", 390, 844, True, ready=READY)
    page.locator(".nv-evalruns [data-run=aa-phantom] input").check()
    page.get_by_role("button", name="Score", exact=True).or_(page.get_by_role("button", name="Go on scoring")).click()
    page.wait_for_function("/[1-9]\\d* of /.test(document.querySelector('.nv-evalcount')?.textContent)")
    assert "Not what is chosen" not in page.locator(".nv-atwork").inner_text()
    second.get_by_role("button", name="Score", exact=True).click()
    second.wait_for_selector(".nv-atwork b")
    told = second.locator(".nv-atwork").inner_text()
    assert "yy-live, aa-phantom; corrected convention. Not what is chosen here" in told
    second.close()
    page.get_by_role("button", name=re.compile("^Stop scoring .*yy-live, aa-phantom; corrected convention")).click()
    page.get_by_role("alert").wait_for()
    assert "finished are kept" in page.get_by_role("alert").inner_text()
    page.locator(".nv-evalruns [data-run=yy-live] input").uncheck()
    go = page.get_by_role("button", name="Score", exact=True).or_(page.get_by_role("button", name="Go on scoring"))
    go.click()
    page.wait_for_selector(".nv-pairtable")
    page.wait_for_selector(".nv-scatter a")
    assert page.locator(".nv-scatter a").count() == 6  # the clips 2 to 7, which both have
    words = page.locator(".nv-inwords").all_inner_texts()
    assert words and all("corrected p" in text for text in words)
    assert page.locator("[data-best]").count() == 0  # of six clips nothing is established
    page.locator(".nv-evaltable thead button", has_text="end-point error").click()
    values = [
        float(text) for text in page.locator(".nv-evaltable [data-kind=run] td:nth-of-type(4) b").all_inner_texts()
    ]
    assert values == sorted(values)
    assert "sort=epe" in page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_charts_of_1200_clips_are_quick_and_can_be_read(served, visit):
    page = visit(f"{served}{LINK}", ready=READY)
    found = page.evaluate("""async () => {
        const { intervalplot, stripplot } = await import('/neurovis/static/evaluatecharts.js');
        const row = { title: 'one', value: 0.0006, chance: 0.0033, interval: [0.0001, 0.0021], n: 1200 };
        const small = intervalplot([row], 'of few');
        const values = (n) => Array.from({ length: n }, (_, i) => ({ clip: `c${i}`, value: (i * 37) % n }));
        const clips = (n) => [{ run: 'r', title: 'r', clips: values(n), mean: 1, chance: 0 }];
        const began = performance.now();
        const many = stripplot(clips(1200), 'many');
        document.body.append(many);
        many.getBoundingClientRect();
        const seconds = (performance.now() - began) / 1000;
        many.remove();
        const radius = (plot) => Number(plot.querySelector('.dot').getAttribute('r'));
        return [[...small.querySelectorAll('text[text-anchor=middle]')].map((one) => one.textContent), seconds,
            many.querySelectorAll('a').length, radius(many), radius(stripplot(clips(42), 'few'))];
    }""")
    ticks, seconds, dots, small, large = found
    assert len(set(ticks)) == len(ticks) >= 4
    assert (dots, large) == (1200, 4) and small < 2
    assert seconds < 2
