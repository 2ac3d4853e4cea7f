"""What the phantom of CC2017's own counts costs, stage by stage, for one subject.

    python -m benchmarks.full_phantom [--probe] [--only train,...] [--home DIR] [--out benchmarks/full_phantom.json]

The stages: make films and runs; import them and choose voxels; train the phantom's decoders; decode and render the
1,200 test clips; score them (pixel, hue and flow metrics, convention ``corrected``, chance beside).

Each stage runs in a process of its own; its peak is the largest resident size of a process. One subject writes 86 runs
of 59,412 grayordinates, about 5 GB. ``--probe`` makes one training and one test film of the same size, each seen twice,
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
SUBJECT, IMPORTED = "sub-01", "full-import"


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
    card = import_dataset(raw, IMPORTED, home, subjects=[SUBJECT], replace=True)
    entry = card.subjects[0]
    facts = {key: entry[key] for key in ("n_voxels", "n_voxels_seen", "n_clips")}
    return {"import_s": round(time.perf_counter() - started, 1), "n_runs": chosen(probe).n_runs, **facts}


def train(home: Path, probe: bool) -> dict[str, Any]:
    """Train all decoders on the imported subject with the phantom's preset."""
    from training.config import TrainingConfig
    from training.decoders import train_semvideo
    from training.inputs import read_inputs, settled

    found = settled(TrainingConfig(dataset=IMPORTED, out=str(home / "decoders")), home)
    started = time.perf_counter()
    train, val, targets = read_inputs(found, lambda *told: None)
    read = time.perf_counter() - started
    train_semvideo(train, val, targets, found.out, config=found.method, plan=found.plan, stages=found.stages)
    samples = sum(int(clipset.present.sum()) for clipset in train.values())
    return {"read_s": round(read, 1), "train_s": round(time.perf_counter() - started - read, 1), "n_samples": samples}


def render(home: Path, probe: bool) -> dict[str, Any]:
    """Decode and render every test clip."""
    from pipeline.data import load
    from pipeline.reconstruct import reconstruct

    n_clips = len(load(IMPORTED, SUBJECT, "test", home))
    started = time.perf_counter()
    reconstruct(IMPORTED, SUBJECT, range(n_clips), home / "run", checkpoint=home / "decoders", home=home)
    return {"render_s": round(time.perf_counter() - started, 1), "n_clips": n_clips}


def score(home: Path, probe: bool) -> dict[str, Any]:
    """Score the run with two processes."""
    from pipeline.evaluate.engine import evaluate
    from pipeline.evaluate.settings import Settings
    from pipeline.evaluate.sources import RunSource

    source = RunSource(home / "run")
    started = time.perf_counter()
    evaluate(source, Settings(conventions=("corrected",), shuffle=False), home / "scores", workers=2)
    return {"score_s": round(time.perf_counter() - started, 1)}


STAGES = {"generate": generate, "import": bring_in, "train": train, "render": render, "score": score}


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
    parser.add_argument("--only", default=",".join(STAGES), help="stages; others keep what an earlier call measured")
    parser.add_argument("--stage", choices=sorted(STAGES), default=None)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "full_phantom.json")
    options = parser.parse_args()
    if options.stage:
        import resource

        result = STAGES[options.stage](options.home, options.probe)
        both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        spent = sum(used.ru_utime + used.ru_stime for used in both)
        cost = {"processor_s": round(spent, 1), "peak_gib": round(max(used.ru_maxrss for used in both) / 2**20, 2)}
        print(json.dumps({**result, **cost}))
        return
    known = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    before = known.get("probe" if options.probe else "full")
    found: dict[str, Any] = dict(before) if isinstance(before, dict) else {}
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder)
        found |= {stage: child(stage, home, options.probe) for stage in STAGES if stage in options.only.split(",")}
    found |= {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    found |= {"load": round(os.getloadavg()[0], 1), "date": datetime.date.today().isoformat()}
    if options.probe:
        found["extrapolated"] = extrapolate(found)
    known["probe" if options.probe else "full"] = found
    known.setdefault("full", "not yet measured")
    options.out.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
