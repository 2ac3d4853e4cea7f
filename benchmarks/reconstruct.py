"""How long `reconstruct` takes: eight phantom clips from a cold start, then clip by clip in a warm process.

    python benchmarks/reconstruct.py [--home DIR] [--out benchmarks/reconstruct.json]

The phantom is generated and imported before the clock starts, as it is on every run of the app but the first. The cold
figure is the wall time of the whole command, imports and decoding included; memory is the largest resident size of
its process. Times depend on the machine, which the result names.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def cold(home: Path, n_clips: int) -> dict[str, float]:
    """Run the command in a process of its own: seconds and peak memory, GiB."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "pipeline", "reconstruct", "--dataset", "phantom", "--subject", "sub-01",
             "--clips", f"0:{n_clips}", "--out", f"{folder}/run", "--home", str(home), "--json"],
            cwd=ROOT, check=True, capture_output=True,
        )  # fmt: skip
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {"cold_s": round(seconds, 1), "peak_gib": round(peak, 2), "clips": n_clips}


def warm(home: Path, n_clips: int) -> dict[str, float]:
    """Reconstruct twice in this process; the second time everything is loaded."""
    from pipeline.reconstruct import reconstruct

    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "second"):
            began = time.perf_counter()
            reconstruct("phantom", "sub-01", range(n_clips), Path(folder) / name, home=home)
            seconds.append(time.perf_counter() - began)
    return {"warm_s_per_clip": round(seconds[1] / n_clips, 2)}


def machine() -> dict[str, Any]:
    """Name what the figures were measured on."""
    import torch

    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--home", type=Path, default=None)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "reconstruct.json")
    options = parser.parse_args()

    from pipeline.data import load
    from pipeline.paths import home as working_folder

    home = working_folder(options.home)
    load("phantom", "sub-01", "test", home)
    found = {**cold(home, options.clips), **warm(home, options.clips), **machine()}
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
