"""The 3-D view in a real browser with software WebGL: a brain is painted, changes, and asks for nothing outside."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytestmark = pytest.mark.browser
GL = ("--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
      "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")  # fmt: skip
PAGE = """<!doctype html><html lang="en"><title>3-D</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/neurovis/static/neurovis.css"><link rel="stylesheet" href="/neurovis/static/brain3d.css">
<div class="nv-root" id="root"></div><script type="module">
import { brain3d } from "/neurovis/static/brain3d.js";
window.view = brain3d(); root.append(view.node); view.show("/neurovis/brain3d/run-a/sub-07/pattern");</script></html>"""
LOADED = "typeof viewer !== 'undefined' && !!viewer && viewer.loaded.state() === 'resolved'"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Serve the router and the panel alone, as a tab would mount them."""
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse
    from starlette.staticfiles import StaticFiles

    from neurovis.brain3d_routes import brain3d_router
    from neurovis.routes import STATIC, _sentence
    from neurovis.security import Guard
    from pipeline.clipset import VoxelSpace
    from pipeline.errors import DataError, NeuroVisError
    from pipeline.grayordinates import N_CORTEX
    from pipeline.importance.maps import ImportanceMap

    ids = np.arange(0, N_CORTEX, 2, dtype=np.int64)
    values = {"anchor": np.sin(ids / 900), "motion": np.cos(ids / 900)}

    def maps_of(name, subject, statistic):
        if name != "run-a":
            raise DataError(f"{name}: no such run; name another")
        space = VoxelSpace("fs_LR_32k")
        return {
            module: ImportanceMap("sub-07", module, statistic, v.astype(np.float32), ids, space, 0.5, simulated=True)
            for module, v in values.items()
        }

    app = FastAPI()
    app.add_exception_handler(NeuroVisError, _sentence)
    app.include_router(brain3d_router(maps_of, tmp_path_factory.mktemp("cache")), prefix="/neurovis")
    app.mount("/neurovis/static", StaticFiles(directory=STATIC))
    app.get("/")(lambda: HTMLResponse(PAGE))
    app.add_middleware(Guard)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


def _wait(page, true, seconds=90):
    """Wait by asking: the sandbox lets nobody evaluate strings within the page."""
    for _ in range(seconds * 5):
        if true():
            return
        page.wait_for_timeout(200)
    pytest.fail("the view did not come")


def _coloured(page) -> tuple[np.ndarray, int]:
    """Return the picture of the frame and how many of its pixels have a colour, neither black nor grey."""
    import io

    from PIL import Image

    picture = np.asarray(Image.open(io.BytesIO(page.locator("iframe").screenshot())).convert("RGB")).astype(int)
    middle = picture[60:-90]
    return middle, int((np.ptp(middle, axis=2) > 60).sum())


@pytest.fixture
def page3d(playwright, chromium):
    """A page of a browser that has WebGL."""
    browser = playwright.chromium.launch(executable_path=chromium, args=list(GL))
    yield browser.new_context(viewport={"width": 900, "height": 700}).new_page()
    browser.close()


def test_the_3d_view_paints_a_brain_and_asks_for_nothing_outside(address, page3d):
    page, wrong = page3d, []
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("websocket", lambda socket: wrong.append(socket.url))
    own = (address, "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(own) else wrong.append(r.url))
    page.goto(address)
    page.click("#nv-cortex-3d button")
    page.wait_for_selector("iframe", timeout=120_000)
    frame = page.query_selector("iframe").content_frame()
    _wait(page, lambda: frame.url.endswith("index.html") and frame.evaluate(LOADED))
    _wait(page, lambda: _coloured(page)[1] > 20_000)
    page.wait_for_timeout(1500)
    first, _ = _coloured(page)
    assert frame.evaluate("window.origin") == "null"
    assert "SIMULATED DATA" in frame.inner_text("#neurovis-note")
    for button in ("[data-shape=flat]", "[data-map=Motion]"):
        frame.click(f"#neurovis-bar {button}")
        _wait(page, lambda before=first: (np.abs(_coloured(page)[0] - before).max(2) > 60).sum() > 5_000)
        page.wait_for_timeout(1500)
        first, count = _coloured(page)
        assert count > 10_000
    page.evaluate("view.show(null, 'This run has no map.')")
    assert page.locator("iframe").count() == 0 and page.is_disabled("#nv-cortex-3d button")
    assert "no map" in page.inner_text("#nv-cortex-3d")
    assert wrong == []
    # A mistake is told, and the button works again.
    page.evaluate("view.show('/neurovis/brain3d/run-b/sub-07/pattern')")
    page.click("#nv-cortex-3d button")
    page.wait_for_selector(".nv-broken")
    assert "no such run" in page.inner_text(".nv-broken")
