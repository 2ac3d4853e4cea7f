"""The Cortex tab as a user meets it: maps, hover, threshold, differences, bars, files, and what cannot be shown."""

from __future__ import annotations

import urllib.request

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser
LINK = "/?run=sample&tab=cortex&statistic=weight"
READY = '.nv-cortexview[data-shown$="ready"]'
# The place on the page of a pixel of the map whose vertex has a value, and that vertex.
FIND = """async () => {
    const { loadMap } = await import('/neurovis/static/cortexflat.js');
    const map = await loadMap();
    const dense = window.neurovis.cortex.field();
    const usable = (pixel) => map.vertex[pixel] !== 65535 && Number.isFinite(dense[map.vertex[pixel]]);
    const pixel = map.vertex.findIndex((_, i) => usable(i) && usable(i + 1));
    const vertex = map.vertex[pixel];
    const box = document.querySelector('#nv-cortex-canvas').getBoundingClientRect();
    const x = box.left + ((pixel % map.width) + 0.5) / map.width * box.width;
    const y = box.top + (Math.floor(pixel / map.width) + 0.5) / map.height * box.height;
    return { x, y, value: dense[vertex], name: map.short[map.region[vertex]], side: map.names[map.region[vertex]][0] };
}"""
# Vertices with the colour that the canvas gives them.
COLOURS = """async () => {
    const { loadMap } = await import('/neurovis/static/cortexflat.js');
    const map = await loadMap();
    const dense = window.neurovis.cortex.field();
    const canvas = document.querySelector('#nv-cortex-canvas');
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const found = {};
    map.vertex.forEach((vertex, pixel) => {
        if (vertex === 65535 || !Number.isFinite(dense[vertex])) return;
        found[vertex] = [dense[vertex], ...data.slice(pixel * 4, pixel * 4 + 3)];
    });
    return found;
}"""


PANEL_DARK, PANEL_LIGHT = (0x15, 0x1A, 0x21), (255, 255, 255)


def sides_on(path, panel) -> bool:
    """Whether a saved flat map has words in both upper corners, ink on the panel's colour with no map among them."""
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    corners = [picture[8:46, 4:190], picture[8:46, -190:-4]]
    for corner in corners:
        away = np.abs(corner - panel).max(2) > 60
        framed = np.abs(corner - panel).max(2) > 8
        if not 0.03 < away.mean() < 0.4 or framed[[0, -1]].any():
            return False
    return True


def painted(page) -> int:
    return int(page.locator("#nv-cortex-canvas").get_attribute("data-painted"))


def values(address: str, subject: str = "sub-01") -> tuple[np.ndarray, np.ndarray]:
    body = urllib.request.urlopen(f"{address}/neurovis/cortex/sample/{subject}/weight/values").read()
    rows = np.frombuffer(body, "<f4").reshape(5, -1)
    return rows[0].view("<i4"), rows[1:]


@pytest.mark.parametrize(("dark", "usual"), [(False, "YlOrRd"), (True, "inferno")])
def test_a_map_is_computed_painted_as_matplotlib_would_and_read_under_the_pointer(served_cortex, visit, dark, usual):
    from matplotlib import colormaps

    page = visit(f"{served_cortex}{LINK}", dark=dark, ready=READY)
    ids, rows = values(served_cortex)
    seen = page.evaluate(COLOURS)
    assert len(seen) > 30
    for vertex, (value, *colour) in seen.items():
        assert value == pytest.approx(rows[0][ids == int(vertex)][0])
        assert colour == list(colormaps[usual]((value - 0.25) / 0.5, bytes=True)[:3])
    assert page.locator("#nv-cx-colours").input_value() == usual and "colours=" not in page.url
    assert f"colours={usual}" in page.locator("a[data-kind=pdf]").get_attribute("href")
    place = page.evaluate(FIND)
    page.mouse.move(place["x"], place["y"])
    read = page.locator("#nv-cortex-readout").inner_text()
    side = {"L": "left", "R": "right"}[place["side"]]
    assert read.startswith(f"{side} {place['name']}  {place['value']:.3f}") and read.endswith("voxels in it")
    assert page.locator(".nv-marked").get_attribute("d")
    assert page.locator(".nv-roi").count() == 12
    if page.locator(f".nv-roi[data-region='{place['name']}']").count():
        assert page.locator(".nv-roi[data-marked]").get_attribute("data-region") == place["name"]
    page.locator(".nv-roi").first.hover()
    assert page.locator(".nv-marked").get_attribute("d").count("M") > 20
    page.locator("#nv-cortex-map").focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert page.locator("#nv-cortex-readout").inner_text().startswith("left")
    assert "HCP S1200" in page.locator(".nv-cxmain .nv-credit").inner_text()
    assert page.locator(".nv-cxmain .nv-warn").inner_text() == "Simulated data"


def test_threshold_colours_ends_and_names_repaint_without_the_server_and_live_in_the_address(served_cortex, visit):
    page = visit(f"{served_cortex}{LINK}", ready=READY)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    before = painted(page)
    page.locator("#nv-cx-threshold").fill("0.6")
    assert painted(page) > before
    hidden = [colour for value, *colour in page.evaluate(COLOURS).values() if value < 0.6]
    assert hidden and all(red == green == blue for red, green, blue in hidden)
    page.locator("#nv-cx-colours").select_option("viridis")
    page.locator("#nv-cx-high").fill("0.9")
    page.locator("#nv-cx-high").press("Enter")
    page.locator("#nv-cx-low").fill("2")
    page.locator("#nv-cx-low").press("Enter")
    page.get_by_text("The lower end must be a number below").wait_for()
    assert page.locator("#nv-cx-low").input_value() == "0.25"
    page.get_by_role("button", name="Back to the usual ends").click()
    page.get_by_text("The lower end must be a number below").wait_for(state="detached")
    page.locator("#nv-cx-high").fill("0.9")
    page.locator("#nv-cx-high").press("Enter")
    page.locator("#nv-cx-outlines").uncheck()
    page.get_by_text("Names on the map").click()
    page.locator("#nv-cx-label").fill("pfm")
    page.locator("#nv-cx-label").press("Enter")
    page.wait_for_selector(".nv-names text[data-name=PFm]")
    page.wait_for_function("location.search.includes('PFm')")
    assert not [url for url in asked if "/cortex/" in url]
    for part in ("threshold=0.6", "limits=0.25,0.9", "colours=viridis", "outlines=off", "statistic=weight"):
        assert part in page.url
    page.reload()
    page.wait_for_selector(READY)
    assert page.locator("#nv-cx-high").input_value() == "0.9"
    assert not page.locator("#nv-cx-outlines").is_checked()


def test_modules_subjects_and_their_differences(served_cortex, visit):
    page = visit(f"{served_cortex}{LINK}&module=motion", ready=READY)
    ids, rows = values(served_cortex)
    page.locator("#nv-cx-minus").select_option("module:mad")
    page.wait_for_selector('.nv-cortexview[data-shown="C_motion minus MAD, sub-01; weight; ready"]')
    dense = np.array([np.nan if v is None else v for v in page.evaluate("[...window.neurovis.cortex.field()]")])
    np.testing.assert_allclose(dense[ids], rows[1] - rows[3], atol=1e-6)
    assert np.isnan(np.delete(dense, ids)).all()
    assert page.locator("#nv-cx-low").input_value() == "-0.5"
    page.locator("#nv-cx-minus").select_option("")
    page.locator("#nv-cx-subject").select_option("mean")
    page.wait_for_selector('.nv-cortexview[data-shown="C_motion, mean of 2 subjects; weight; ready"]')
    others, more = values(served_cortex, "sub-02")
    both = np.full((2, 59412), np.nan)
    both[0, ids], both[1, others] = rows[1], more[1]
    known = np.isfinite(both).any(0)
    dense = np.array([np.nan if v is None else v for v in page.evaluate("[...window.neurovis.cortex.field()]")])
    np.testing.assert_allclose(dense[known], np.nanmean(both[:, known], 0), atol=1e-6)
    assert "choose one to see them" in page.locator(".nv-rois + .nv-note").inner_text()
    page.locator("#nv-cx-layer").select_option("planted")
    page.wait_for_selector('.nv-cortexview[data-shown^="Planted truth for C_motion"]')
    page.locator("#nv-cx-layer").select_option("clip")
    page.wait_for_selector('.nv-cortexview[data-shown^="fMRI of test1_0000"]')
    page.locator(".nv-cortexview h2").first.click()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector('.nv-cortexview[data-shown^="fMRI of test1_0001"]')


def test_files_are_saved_and_the_view_fits_a_phone(served_cortex, visit):
    page = visit(f"{served_cortex}{LINK}&close=on", 390, 844, True, ready=READY)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    with page.expect_download() as download:
        page.locator("a[data-kind=csv]").click()
    assert download.value.suggested_filename == "sample_sub-01_weight_simulated_importance.csv"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save exactly this map as PNG").click()
    assert download.value.suggested_filename == "sample_cortex_C_anchor-sub-01_weight_simulated.png"
    assert sides_on(download.value.path(), PANEL_DARK)
    page.locator(".nv-trust summary").click()
    assert "|W(k, v)|" in page.locator(".nv-equation").inner_text()
    panel = page.locator("#nv-cortex-3d")
    assert panel.count() == 1


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_every_flat_map_names_its_sides_and_no_name_covers_another(served_cortex, visit, width, dark):
    page = visit(f"{served_cortex}{LINK}", width, 844, dark, ready=READY)
    for close in (False, True):
        page.locator("#nv-cx-close").set_checked(close)
        left, right = (
            page.locator(".nv-flatwhole").get_by_text(f"{side} hemisphere").bounding_box() for side in ("Left", "Right")
        )
        box = page.locator("#nv-cortex-map").bounding_box()
        assert left["x"] + left["width"] < right["x"] and left["y"] + left["height"] <= box["y"] + 1
        assert box["x"] - 1 <= left["x"] and right["x"] + right["width"] <= box["x"] + box["width"] + 1
        names = page.eval_on_selector_all(
            ".nv-names text",
            "all => all.map(one => [one.getBoundingClientRect(), one.textContent])"
            "    .map(([b, name]) => [b.left, b.right, b.top, b.bottom, name])",
        )
        assert len(names) >= 6
        for i, (x0, x1, y0, y1, name) in enumerate(names):
            for left0, right1, top0, bottom1, other in names[:i]:
                # A glyph's box has room above and below its ink, of which a quarter may be shared.
                slack = (y1 - y0) / 4
                apart = x0 >= right1 or left0 >= x1 or y0 + slack >= bottom1 or top0 + slack >= y1
                assert apart, f"{name} covers {other}"
    page.goto(f"{served_cortex}/?run=sample")
    page.wait_for_selector(".nv-brain[data-clip]")
    sides = page.locator(".nv-brainbox .nv-sides span")
    assert sides.all_inner_texts() == ["Left hemisphere", "Right hemisphere"]
    assert sides.first.bounding_box()["y"] < page.locator(".nv-brain").bounding_box()["y"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the fMRI pattern as PNG").click()
    assert sides_on(download.value.path(), PANEL_DARK if dark else PANEL_LIGHT)


def test_a_slow_statistic_waits_for_a_word_and_a_computation_can_be_stopped(served_cortex, visit):
    page = visit(f"{served_cortex}/?run=sample&tab=cortex&statistic=permutation", ready="#nv-cortex-work button")
    assert page.locator(".nv-rois + .nv-note").inner_text() == "No area has a value on this map yet."
    page.get_by_role("button", name="Compute it").click()
    page.wait_for_selector("#nv-cortex-work:has-text('Computing')")
    page.get_by_role("button", name="Stop computing").click()
    page.wait_for_selector("#nv-cortex-work:has-text('nothing was kept'), #nv-cortex-work:has-text('Try again')")
    page.locator("#nv-cx-statistic").select_option("weight")
    page.wait_for_selector(READY)


def test_what_cannot_be_shown_says_why_and_the_page_goes_on(served_cortex, visit):
    page = visit(f"{served_cortex}/?run=zz-peer&tab=cortex", ready=".nv-cxtrouble:not([hidden])")
    assert "imported from videos" in page.locator(".nv-cxtrouble").inner_text()
    page.evaluate("window.neurovis.open('volume')")
    page.wait_for_selector(".nv-slicecanvas[data-painted='1']")
    told = page.locator(".nv-cxmain .nv-credit").inner_text()
    assert "slice by slice" in told and "Which side is left is not known" in told
    page.get_by_label("Slice", exact=True).fill("2")
    page.locator("#nv-cortex-slices").focus()
    page.keyboard.press("ArrowUp")
    read = page.locator("#nv-cortex-readout").inner_text()
    assert read.startswith("voxel 20, 11, 2")
    page.evaluate("window.neurovis.open('silent')")
    page.get_by_text("does not say which decoder made it").wait_for()
    page.wait_for_selector("#nv-cortex-canvas[data-painted='1']")
    offered = page.eval_on_selector_all("#nv-cx-layer option", "all => all.map(one => one.value)")
    assert offered == ["clip"]
    page.evaluate("window.neurovis.open('sample')")
    page.wait_for_selector('.nv-cortexview[data-shown^="C_anchor, sub-01"]')
