"""A server of its own on a free port, and a page that fails a test on any outside request or console error."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pipeline.frames import write_gif, write_mp4
from pipeline.peers import Options, import_run
from pipeline.runs import PARTS, Space

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
WAIT = 60_000


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[str]:
    """Start ``python app.py`` on sample runs; yields its address."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("sample_run", Path(__file__).parent / "sample_run.py")
    sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sample)
    home = tmp_path_factory.mktemp("served")
    combos = [
        c
        for k in range(5)
        for c in combinations(PARTS, k)
        if not {"mad", "motion"} <= set(c) and c != ("anchor", "holi")
    ]
    sample.make_run(home / "runs", "aa-phantom", n_clips=14, combos=tuple(combos))
    sample.make_run(home / "runs", "bb-phantom", n_clips=6, combos=((),), subject="sub-02", first=2)
    sample.make_renderable(home / "runs", "yy-live")
    slices = Space(kind="volume", shape=(40, 20, 1))
    sample.make_run(
        home / "runs",
        "zz-haxby",
        n_clips=3,
        dataset="haxby2001",
        truth=False,
        simulated=False,
        space=slices,
        layout="lossless",
    )
    _import_peer(home)
    yield from _serve(home)


@pytest.fixture(scope="module")
def served_phantom(tmp_path_factory) -> Iterator[str]:
    """Start the app on the shipped runs, whose clips can be rendered again."""
    yield from _serve(tmp_path_factory.mktemp("served-phantom"), str(ROOT / "assets" / "phantom" / "runs"))


@pytest.fixture(scope="module")
def served_real(tmp_path_factory) -> Iterator[str]:
    """Start the app on the eight real clips of CC2017 with NeuroClips' reconstructions, imported with captions."""
    folder = ROOT.parent / "shared" / "real" / "cc2017_neuroclips"
    if not folder.is_dir():
        pytest.skip("the published clips are not beside this checkout (../shared/real/cc2017_neuroclips)")
    home = tmp_path_factory.mktemp("served-real")
    options = Options("neuroclips", method="NeuroClips", captions=folder.parent / "cc2017_captions.json")
    import_run(folder / "truth", folder / "recon", options, home)
    yield from _serve(home, "none")


@pytest.fixture(scope="module")
def served_cortex(tmp_path_factory, phantom_home) -> Iterator[str]:
    """Start the app on a run whose decoder is recorded, one whose is not, a volume, and imported videos."""
    import cortex_sample

    home = cortex_sample.make_home(tmp_path_factory.mktemp("served-cortex"), phantom_home)
    slices = Space(kind="volume", shape=(40, 20, 3))
    facts = {"dataset": "slices", "truth": False, "simulated": False, "space": slices}
    cortex_sample.sample_runs().make_run(home / "runs", "volume", n_clips=2, combos=((),), **facts)
    cortex_sample.make_hostile(home)
    cortex_sample.make_other(home)
    _import_peer(home)
    yield from _serve(home, "none")


@pytest.fixture(scope="module")
def served_data(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """Start the app with no run, beside a study on the cortex, one of volumes, and a damaged one, not imported yet."""
    from tests.unit.data_makers import make_bids, make_cc2017

    folder = tmp_path_factory.mktemp("served-data")
    make_cc2017(folder / "films", np.random.default_rng(6))
    for name in ("blocks", "damaged"):
        make_bids(folder / name, np.random.default_rng(7))
    cut = folder / "damaged" / "sub-01" / "func" / "sub-01_task-look_run-02_bold.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-40])
    for address in _serve(folder / "home", "none"):
        yield address, folder


@pytest.fixture(scope="module")
def served_empty(tmp_path_factory) -> Iterator[str]:
    """Start the app with no run at all."""
    yield from _serve(tmp_path_factory.mktemp("served-empty"), "none")


@pytest.fixture
def start_app():
    """Return ``start_app(home)``, a context in which the app runs on a working folder with no shipped run.

    More arguments are environment variables; ``PYTHONPATH`` is put before the repository.
    """
    return contextmanager(lambda home, **environment: _serve(home, "none", environment))


def _import_peer(home: Path) -> None:
    """Import two clips as ``zz-peer``: 6 frames in 1.98 s beside 16 in 2 s, and beside 8 in 1 s; no captions."""
    rng = np.random.default_rng(5)
    truth, recon = home / "films", home / "published"
    recon.mkdir()
    for clip_id, n in (("1", 16), ("2", 8)):
        write_gif(truth / f"{clip_id}.gif", rng.integers(0, 255, (6, 48, 64, 3), dtype=np.uint8), 1 / 0.33)
        write_mp4(recon / f"{clip_id}.mp4", rng.integers(0, 255, (n, 36, 40, 3), dtype=np.uint8), 8)
    import_run(truth, recon, Options("zz-peer", method="Peer"), home)


def _serve(home: Path, shipped: str | None = None, environment: dict[str, str] | None = None) -> Iterator[str]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home.mkdir(exist_ok=True)
    log = open(home / "server.log", "w")  # noqa: SIM115
    code = (
        "import sys; from pathlib import Path; import neurovis.library as library, neurovis.server as server\n"
        "library.Library.__init__.__defaults__ = (Path(sys.argv.pop(1)),)\n"
        "sys.exit(server.main(sys.argv[1:]))"
    )
    # The shipped runs are left out, so that the tests know what there is to see.
    command = [
        sys.executable,
        "-c",
        code,
        str(home / (shipped or "no-shipped")),
        "--port",
        str(port),
        "--home",
        str(home),
    ]
    more = environment or {}
    paths = os.pathsep.join([*filter(None, [more.get("PYTHONPATH")]), str(ROOT)])
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | more | {"PYTHONPATH": paths})
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/neurovis/health", timeout=2).read()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    pytest.fail((home / "server.log").read_text())
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.fixture(scope="session")
def playwright():
    """Playwright's driver, of which a process may run one."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as found:
        yield found


@pytest.fixture(scope="session")
def browser(playwright, chromium):
    """One headless Chromium for all tests of a worker."""
    found = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
    yield found
    found.close()


@pytest.fixture
def visit(browser):
    """Return ``visit(url, width, height, dark)``; at the end nothing may have gone wrong on the page."""
    contexts, wrong = [], []

    def open_page(
        url: str, width: int = 1440, height: int = 900, dark: bool = False, ready: str = "canvas[data-shown]"
    ):
        scheme = "dark" if dark else "light"
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        own = url.split("/", 3)[2]
        page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(f"page: {error}"))
        page.on("response", lambda r: wrong.append(f"{r.status}: {r.url}") if r.status >= 400 else None)

        def inside(request) -> None:
            if not request.url.startswith((f"http://{own}", f"ws://{own}", "data:", "blob:")):
                wrong.append(f"left the machine: {request.url}")

        page.on("request", inside)
        page.goto(url)
        page.wait_for_selector(ready, state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
