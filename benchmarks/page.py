"""How quickly the page answers, in headless Chromium: from the user's key or click to the changed, painted picture.

    python benchmarks/page.py [--out benchmarks/page.json] [--chromium PATH]

The server runs in a process of its own on a fresh working folder, with the shipped phantom run and a synthetic one of
1,200 clips. A change counts as shown when every player's pixels are those of the new clip (or combination) and two
frames have been painted since. Figures are medians of 20; they depend on the machine, which the result names. Any
request that leaves the machine is counted, and so is any error on the page.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
REPEATS, N_CLIPS, N_DRAWN, LOOP_SECONDS = 20, 1200, 60, 10
TARGETS = {
    "clip_ms": 150, "clip_of_1200_ms": 150, "switch_ms": 100, "apart_frames": 1, "sort_1200_ms": 1000,
    "filter_1200_ms": 1000, "requests_outside": 0, "page_errors": 0,
}  # fmt: skip

# In the page: act, then wait until every canvas shows what is wanted and two frames were painted.
MEASURE = """
async ({ act, argument, canvases, before }) => {
  const players = [...document.querySelectorAll(canvases)].filter((c) => c.offsetParent);
  const bytes = (c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  const pixels = (c) => bytes(c).reduce((a, v, i) => (a * 31 + v * (i % 7 + 1)) >>> 0, 7);
  const were = players.map(pixels);
  const began = performance.now();
  if (act === 'key') document.dispatchEvent(new KeyboardEvent('keydown', { key: argument, bubbles: true }));
  else document.querySelector(argument).click();
  const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  while (performance.now() - began < 10000) {
    await new Promise(requestAnimationFrame);
    const shown = new Set(players.map((c) => c.dataset.shown));
    if (shown.size === 1 && !shown.has(before) && players.some((c, i) => pixels(c) !== were[i])) {
      await painted();
      return performance.now() - began;
    }
  }
  throw new Error('nothing changed in ten seconds');
}
"""
LIST = """
async ({ selector, value, event }) => {
  const told = document.querySelector('.nv-told');
  const look = () => told.textContent + document.querySelector('.nv-row b')?.textContent;
  const before = look();
  const node = document.querySelector(selector);
  const began = performance.now();
  if (event === 'click') node.click();
  else { node.value = value; node.dispatchEvent(new Event(event, { bubbles: true })); }
  while (performance.now() - began < 10000) {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    if (look() !== before) return performance.now() - began;
  }
  throw new Error('the list did not change in ten seconds');
}
"""
# The largest distance, in frames of the longest stream, between what a player shows and what the clock says.
APART = """
async (seconds) => {
  const players = [...document.querySelectorAll('.nv-explore .nv-deck canvas')];
  const readout = (c) => c.closest('figure').querySelector('figcaption span').textContent;
  const counts = players.map((c) => Number(readout(c).split('/')[1] || 1));
  const most = Math.max(...counts);
  const moving = players.map((c, i) => [c, counts[i]]).filter(([, n]) => n > 1);
  const until = performance.now() + seconds * 1000;
  let [apart, looks] = [0, 0];
  while (performance.now() < until) {
    await new Promise(requestAnimationFrame);
    const frames = moving.map(([c, n]) => [Number(c.dataset.frame), most / n]);
    const spans = frames.map(([at, scale]) => [at * scale, (at + 1) * scale]);
    apart = Math.max(apart, Math.max(...spans.map((s) => s[0])) - Math.min(...spans.map((s) => s[1])));
    looks += 1;
  }
  return { apart: Math.max(0, apart), looks };
}
"""


def sample_run() -> Any:
    """Load the maker of synthetic runs that the browser tests use."""
    path = ROOT / "tests" / "browser" / "sample_run.py"
    spec = importlib.util.spec_from_file_location("sample_run", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def large_run(runs: Path) -> None:
    """Write the run ``large``: a small synthetic one over and over, each clip under an id and a score of its own."""
    import numpy as np

    from pipeline.runs import RunWriter

    small = sample_run().make_run(runs, "small", n_clips=N_DRAWN, combos=((), ("anchor",)))
    records = list(small.clips.values())
    ids = tuple(f"test1_{i:04d}" for i in range(N_CLIPS))
    manifest = small.manifest.model_copy(update={"name": "large", "title": "1,200 clips", "clip_ids": ids})
    writer = RunWriter(runs / "large", manifest)
    assert small.patterns is not None
    assert manifest.space is not None
    voxels, values = small.patterns
    writer.set_patterns(voxels, np.tile(values, (N_CLIPS // N_DRAWN, 1)), manifest.space)
    rng, lines = np.random.default_rng(7), []
    for i, clip_id in enumerate(ids):
        record = records[i % N_DRAWN]
        shutil.copytree(small.path / "clips" / record.clip_id, runs / "large" / "clips" / clip_id)
        noisy = {v: {k: x + rng.normal(0, 0.01) for k, x in row.items()} for v, row in record.scores.items()}
        lines.append(record.model_copy(update={"clip_id": clip_id, "scores": noisy}).model_dump_json())
    (runs / "large" / "clips.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    RunWriter(runs / "large", writer.manifest).finish(small.manifest.scores)


@contextmanager
def served(home: Path) -> Iterator[str]:
    """Run the app on a free port; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port), "--home", str(home)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/neurovis/health", timeout=2).read()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)


class Visitor:
    """A page that counts what it should not do."""

    def __init__(self, browser: Any, address: str) -> None:
        self.address, self.outside, self.errors = address, 0, 0
        self.page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        self.page.on("request", self._request)
        self.page.on("pageerror", lambda _: self._wrong())
        self.page.on("console", lambda message: self._wrong() if message.type == "error" else None)

    def open(self, query: str, ready: str) -> None:
        """Open a view and let it settle."""
        self.page.goto(f"{self.address}/?{query}")
        self.page.wait_for_selector(ready, state="attached", timeout=120_000)
        self.page.wait_for_timeout(2500)

    def change(self, canvases: str, act: str, argument: str) -> float:
        """Act and return the milliseconds until the picture had changed."""
        before = self.page.eval_on_selector(canvases, "node => node.dataset.shown")
        facts = {"act": act, "argument": argument, "canvases": canvases, "before": before}
        found = float(self.page.evaluate(MEASURE, facts))
        self.page.wait_for_timeout(400)
        return found

    def _request(self, request: Any) -> None:
        own = self.address.removeprefix("http://")
        self.outside += not request.url.startswith((f"http://{own}", f"ws://{own}", "data:", "blob:"))

    def _wrong(self) -> None:
        self.errors += 1


def measure(visitor: Visitor) -> dict[str, Any]:
    """Walk through the page as a user does."""
    found: dict[str, Any] = {}
    explore, compare = ".nv-explore .nv-deck canvas", ".nv-ablate .nv-compare > figure > .nv-glass canvas"
    visitor.open("run=phantom-sub-01&pick=all&beside=phantom-sub-02", f"{explore}[data-shown]")
    found["clip_ms"] = [visitor.change(explore, "key", "ArrowRight") for _ in range(REPEATS)]
    together = visitor.page.evaluate(APART, LOOP_SECONDS)
    found |= {"apart_frames": round(together["apart"], 2), "apart_looks": together["looks"]}
    visitor.open("run=phantom-sub-01&tab=ablate", f"{compare}[data-shown]")
    switch = ".nv-switches [data-part=anchor]"
    last = ".nv-ablate .nv-compare > figure:last-child > .nv-glass canvas"
    found["switch_ms"] = [visitor.change(last, "click", switch) for _ in range(REPEATS)]
    visitor.open("run=large&pick=all", f"{explore}[data-shown]")
    found["clip_of_1200_ms"] = [visitor.change(explore, "key", "ArrowRight") for _ in range(REPEATS)]
    names = ("ssim", "epe", "shuffle", "")
    sort = ".nv-sort select"
    found["sort_1200_ms"] = [_list(visitor, sort, names[i % 4], "change") for i in range(REPEATS)]
    words = ("cat", "sea", "", "bird in front")
    search = ".nv-filters input"
    found["filter_1200_ms"] = [_list(visitor, search, words[i % 4], "input") for i in range(REPEATS)]
    return found | {"requests_outside": visitor.outside, "page_errors": visitor.errors}


def _list(visitor: Visitor, selector: str, value: str, event: str) -> float:
    found = float(visitor.page.evaluate(LIST, {"selector": selector, "value": value, "event": event}))
    visitor.page.wait_for_timeout(150)
    return found


def machine(browser: Any) -> dict[str, Any]:
    """Name what the figures were measured on."""
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "chromium": browser.version,
        "viewport": "1440 x 900, no GPU",
        "date": datetime.date.today().isoformat(),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--chromium", default=os.environ.get("CHROMIUM") or shutil.which("chromium"))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "page.json")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Path(folder)
        large_run(home / "runs")
        browser = playwright.chromium.launch(executable_path=options.chromium, args=list(FLAGS))
        with served(home) as address:
            raw = measure(Visitor(browser, address))
        lists = {key: value for key, value in raw.items() if isinstance(value, list)}
        found = {key: round(statistics.median(value), 1) for key, value in lists.items()}
        worst = {f"{key}_worst": round(max(value), 1) for key, value in lists.items()}
        found |= {key: value for key, value in raw.items() if key not in lists} | worst
        result = {"figures": found, "targets": TARGETS, "repeats": REPEATS, **machine(browser)}
        browser.close()
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
