"""How long the app takes from the command to its first picture, in headless Chromium.

    python benchmarks/start.py [--runs 5] [--out benchmarks/start.json]

The clock starts with the command and stops when the first canvas of Explore holds pixels; the browser is running
already, as a user's is. Medians over several starts; times depend on the machine, which the result names.
"""

from __future__ import annotations

import argparse
import datetime
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PAINTED = """() => [...document.querySelectorAll('.nv-deck canvas')].some((canvas) => {
    const { width, height } = canvas;
    const data = width && height ? canvas.getContext('2d').getImageData(0, 0, width, height).data : [];
    return data.some((value) => value);
})"""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def one_start(browser: Any) -> tuple[float, float]:
    """Start the app in a fresh working folder: seconds until it answers, and until the first picture."""
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "app.py", "--port", str(port), "--home", home]
        began = time.perf_counter()
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            while True:
                if server.poll() is not None:
                    sys.exit(f"app.py stopped with status {server.returncode} before it answered")
                try:
                    socket.create_connection(("127.0.0.1", port), 0.2).close()
                    break
                except OSError:
                    time.sleep(0.02)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
            answered = time.perf_counter() - began
            page.wait_for_function(PAINTED, timeout=60_000)
            painted = time.perf_counter() - began
            page.close()
        finally:
            server.terminate()
            server.wait()
    return answered, painted


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "start.json")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = shutil.which("chromium") or "/usr/bin/chromium"
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        starts = [one_start(browser) for _ in range(options.runs)]
        browser.close()
    answered, painted = (statistics.median(values) for values in zip(*starts, strict=True))
    result = {
        "answers_s": round(answered, 2),
        "first_picture_s": round(painted, 2),
        "slowest_first_picture_s": round(max(p for _, p in starts), 2),
        "runs": options.runs,
        "cpu": platform.machine(),
        "cores": os.cpu_count(),
        "date": datetime.date.today().isoformat(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
