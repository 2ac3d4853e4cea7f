"""The Data tab as a user meets it: a folder is examined, imported while one looks on, and its quality is seen."""

from __future__ import annotations

import csv

import pytest
from PIL import Image

from tests.unit.data_makers import N_CLIPS, N_LEFT, N_RIGHT, N_RUNS

pytestmark = pytest.mark.browser
READY = ".nv-datacard"
PATH, EXAMINE = "Folder on this machine", "Examine this folder"


def examine(page, path):
    page.get_by_label(PATH).fill(str(path))
    page.get_by_role("button", name=EXAMINE).click()


def test_a_study_is_examined_imported_and_its_quality_is_seen(served_data, visit):
    address, folder = served_data
    page = visit(f"{address}/?tab=data", ready=READY)
    assert page.locator(".nv-datacard").count() == 3
    assert "was not measured on this machine yet" in page.locator("[data-name=phantom-full]").inner_text()
    examine(page, folder / "films")
    page.locator(".nv-verdict[data-ok=true]").wait_for()
    assert f"path={folder / 'films'}" in page.url
    found = page.locator(".nv-report tbody tr").first.inner_text().split()
    assert (found[0], str(N_LEFT + N_RIGHT) in found) == ("sub-01", True)
    page.reload()  # the report is still there
    page.locator(".nv-verdict").wait_for()
    page.get_by_label("Name of the data set").fill("phantom")
    page.get_by_text("belongs to a built-in data set").wait_for()
    assert page.get_by_role("button", name="Import", exact=True).is_disabled()
    page.get_by_label("Name of the data set").fill("my-films")
    page.locator("#nv-data-options summary").click()
    assert page.locator("#nv-data-mask").count() == 0  # an option of BIDS
    page.locator("#nv-data-alpha").fill("0.04")
    page.locator(".nv-bring code", has_text="--as my-films --alpha 0.04").wait_for()
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_text("Importing my-films").wait_for()
    page.reload()  # it goes on, and the page finds it again, or what came of it
    page.locator("[data-name=my-films] tbody tr").wait_for()
    who = page.get_by_role("button", name="Quality of my-films sub-01")
    assert f"{8 * N_CLIPS}" in page.locator("[data-name=my-films] tbody tr").inner_text()
    assert page.locator("[data-name=my-films] .nv-badge").first.inner_text() == "Simulated"
    who.press("Enter")
    page.locator('.nv-quality[data-shown="my-films sub-01 tsnr"]').wait_for()
    page.get_by_role("button", name="Show correlation of two repeats, training").click()
    page.locator('.nv-quality[data-shown="my-films sub-01 reliability"]').wait_for()
    assert "measure=reliability" in page.url
    assert int(page.locator("#nv-data-canvas").get_attribute("data-painted")) >= 2
    assert f"of {N_LEFT + N_RIGHT} voxels selected" in page.locator("#nv-data-counts").inner_text()
    assert page.locator(".nv-spread .chosen").count() > 0
    page.get_by_role("button", name="Scan the lag").click()
    page.locator(".nv-lagcurve .best").wait_for()
    assert page.locator(".nv-lagcurve circle").count() == 8
    with page.expect_download() as download:
        page.get_by_role("link", name="All voxels, CSV").click()
    assert download.value.suggested_filename == "my-films_sub-01_voxels_simulated.csv"
    with open(download.value.path(), newline="") as file:
        assert len(list(csv.DictReader(file))) == N_LEFT + N_RIGHT
    with page.expect_download() as download:
        page.locator("button:visible", has_text="Map, PNG").click()
    assert download.value.suggested_filename == "my-films_sub-01_reliability_simulated.png"
    width, height = (int(page.locator("#nv-data-canvas").get_attribute(side)) for side in ("width", "height"))
    with Image.open(download.value.path()) as picture:  # the map at a whole scale, and what it shows written below it
        assert picture.width % width == 0
        assert picture.height == height * picture.width // width + 150
        corners = [picture.convert("L").crop((x, 8, x + 186, 46)) for x in (4, picture.width - 190)]
        assert all(corner.getextrema()[0] < 90 for corner in corners)  # which side is left, and which right
    assert page.locator(".nv-quality .nv-sides").inner_text().split("\n") == ["Left hemisphere", "Right hemisphere"]
    page.locator("[data-name=my-films]").get_by_role("link", name="Open in Train").click()
    page.locator("#nv-train-dataset").wait_for()
    assert page.locator("#nv-train-dataset").input_value() == "my-films"


def test_a_wrong_path_and_a_damaged_study_are_refused_in_words_on_a_phone(served_data, visit):
    address, folder = served_data
    page = visit(f"{address}/?tab=data", 390, 844, True, ready=READY)
    examine(page, folder / "nowhere")
    page.get_by_role("alert").filter(has_text="expected a folder with a recording, got nothing").wait_for()
    examine(page, "study")
    page.get_by_role("alert").filter(has_text="expected a full path").wait_for()
    examine(page, folder / "damaged")
    page.locator(".nv-verdict[data-ok=false]").wait_for()
    finding = page.locator(".nv-findings [data-level=error]")
    assert "sub-01" in finding.first.inner_text()
    assert "run-02" in finding.first.inner_text()
    page.locator(".nv-bring .nv-broken", has_text="in the way of the import").wait_for()
    assert page.get_by_role("button", name="Import", exact=True).is_disabled()
    assert page.locator("[data-name=damaged]").count() == 0
    examine(page, folder / "blocks")
    page.locator(".nv-verdict[data-ok=true]").wait_for()
    page.get_by_label("Name of the data set").fill("blocks")
    page.wait_for_function("!document.querySelector('.nv-bring .nv-primary').disabled")
    page.get_by_role("button", name="Import", exact=True).click()
    page.locator('.nv-quality[data-shown="blocks sub-01 tsnr"]').wait_for()
    assert page.locator("#nv-data-slices").is_visible()
    assert page.locator("[data-split] .nv-chip").count() == N_RUNS
    assert "not known, no test run was recorded twice" in page.locator(".nv-unknown").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
