"""What the phantom of CC2017's own counts costs: making one subject, importing it, choosing its voxels.

    python -m benchmarks.full_phantom [--probe] [--home DIR] [--out benchmarks/full_phantom.json]

Each stage runs in a process of its own, whose largest resident size is the stage's peak. One subject writes 86 runs of
59,412 grayordinates, about 5 GB. ``--probe`` makes one training and one test film of the same size, each seen twice,
and multiplies by the number of films and runs; such figures are written under ``extrapolated`` and are no measurement.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.phantom.sizes import SIZES, PhantomSize

ROOT = Path(__file__).resolve().parent.parent
SUBJECT = "sub-01"


def chosen(probe: bool) -> PhantomSize:
    """Return the full size, or one film of each kind of it for one subject."""
    full = SIZES["full"]
    if not probe:
        return full
    return replace(full, name="phantom-probe", n_train=1, n_test=1, test_repeats=2, subjects=full.subjects[:1])


def generate(home: Path, probe: bool) -> dict[str, Any]:
    """Make films and one subject's runs, and time them apart."""
    from pipeline.phantom.write import ensure_phantom

    marks: list[float] = []
    size = chosen(probe)
    started = time.perf_counter()
    ensure_phantom(home, size, lambda *told: marks.append(time.perf_counter()), [SUBJECT])
    n_films = len(size.films)
    return {
        "films_s": round(marks[n_films - 1] - started, 1),
        "n_films": n_films,
        "runs_s": round(time.perf_counter() - marks[n_films - 1], 1),
        "n_runs": size.n_runs,
    }


def bring_in(home: Path, probe: bool) -> dict[str, Any]:
    """Import one subject by the door that real recordings take, voxel selection included."""
    from pipeline.data import import_dataset

    raw = home / "datasets" / chosen(probe).name / "raw"
    started = time.perf_counter()
    card = import_dataset(raw, "full-import", home, subjects=[SUBJECT], replace=True)
    entry = card.subjects[0]
    facts = {key: entry[key] for key in ("n_voxels", "n_voxels_seen", "n_clips")}
    return {"import_s": round(time.perf_counter() - started, 1), "n_runs": chosen(probe).n_runs, **facts}


STAGES = {"generate": generate, "import": bring_in}


def child(stage: str, home: Path, probe: bool) -> dict[str, Any]:
    """Run one stage in a process of its own; its result and peak memory."""
    line = [sys.executable, "-m", "benchmarks.full_phantom", "--stage", stage, "--home", str(home)]
    done = subprocess.run([*line, *(["--probe"] if probe else [])], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def extrapolate(found: dict[str, Any]) -> dict[str, float]:
    """Multiply the probe's figures to the full counts; a film is made once, a run is read twice by the import."""
    full = SIZES["full"]
    made, read = found["generate"], found["import"]
    return {
        "films_s": round(made["films_s"] / made["n_films"] * len(full.films)),
        "runs_s": round(made["runs_s"] / made["n_runs"] * full.n_runs),
        "import_s": round(read["import_s"] / read["n_runs"] * full.n_runs),
        "import_processor_s": round(read["processor_s"] / read["n_runs"] * full.n_runs),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--home", type=Path, default=None)
    parser.add_argument("--stage", choices=sorted(STAGES), default=None)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "full_phantom.json")
    options = parser.parse_args()
    if options.stage:
        import resource

        result = STAGES[options.stage](options.home, options.probe)
        used = resource.getrusage(resource.RUSAGE_SELF)
        cost = {"processor_s": round(used.ru_utime + used.ru_stime, 1), "peak_gib": round(used.ru_maxrss / 2**20, 2)}
        print(json.dumps({**result, **cost}))
        return
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder)
        found: dict[str, Any] = {stage: child(stage, home, options.probe) for stage in STAGES}
    found |= {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    found |= {"load": round(os.getloadavg()[0], 1), "date": datetime.date.today().isoformat()}
    if options.probe:
        found["extrapolated"] = extrapolate(found)
    known = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    known["probe" if options.probe else "full"] = found
    known.setdefault("full", "not yet measured")
    options.out.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
