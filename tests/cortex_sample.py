"""A working folder for the Cortex tab's tests: the tiny phantom, untrained decoders, and a run that names one."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.checkpoints import save_checkpoint
from pipeline.data import load
from pipeline.methods.semvideo import CONFIGS, SemVideo, Sizes
from pipeline.provenance import decoder_source

NAME, SUBJECTS = "sample", ("sub-01", "sub-02")
DATASET = "phantom-tiny"
HTML = '<img src=x onerror="window.struck=1">{{7*7}}</script>'


def sample_runs() -> ModuleType:
    """Load the maker of runs that the browser's tests use."""
    path = Path(__file__).parent / "browser" / "sample_run.py"
    spec = importlib.util.spec_from_file_location("sample_run", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_home(home: Path, phantom_home: Path) -> Path:
    """Write two subjects' decoders, the run ``sample`` that names the first, and ``silent``, which names none."""
    for subject in SUBJECTS:
        clips = load(DATASET, subject, "train", phantom_home)
        sizes = Sizes(n_voxels={subject: len(clips.voxel_ids)}, n_tokens=7, d_text=12, latent=(4, 8, 8))
        model = SemVideo.build(CONFIGS["semvideo-tiny"], sizes)
        facts: dict[str, Any] = {"simulated": True, "seed": 0, "training": {"dataset": DATASET}}
        save_checkpoint(home / "decoders" / subject, model, {subject: clips.voxel_ids}, clips.space, **facts)
    (home / "datasets").symlink_to(phantom_home / "datasets")
    for name in (NAME, "silent"):
        sample_runs().make_run(home / "runs", name, n_clips=2, combos=((),), dataset=DATASET)
    name_decoder(home)
    return home


def name_decoder(home: Path) -> None:
    """Write the first subject's decoder, as it is now, into the manifest of the run ``sample``."""
    file = home / "runs" / NAME / "manifest.json"
    source = decoder_source(home / "decoders" / SUBJECTS[0]).model_dump()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"decoder": source}))


def make_hostile(home: Path) -> None:
    """Write the run ``hostile``, which holds HTML in every field that is free text."""
    sample_runs().make_run(home / "runs", "hostile", n_clips=2, combos=((),), dataset="zz")
    folder = home / "runs" / "hostile"
    manifest = json.loads((folder / "manifest.json").read_text())
    for key in ("title", "method", "dataset", "subject"):
        manifest[key] += HTML
    manifest |= {"labels": [HTML], "notes": [HTML], "config": {HTML: HTML}, "versions": {HTML: HTML}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    clips = [json.loads(line) for line in (folder / "clips.jsonl").read_text().splitlines()]
    for clip in clips:
        clip["captions"] = {key: text + HTML for key, text in clip["captions"].items()}
    (folder / "clips.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips))


def make_other(home: Path) -> None:
    """Write the run ``other``, of the second subject and its decoder."""
    sample_runs().make_run(home / "runs", "other", n_clips=2, combos=((),), dataset=DATASET, subject=SUBJECTS[1])
    file = home / "runs" / "other" / "manifest.json"
    source = decoder_source(home / "decoders" / SUBJECTS[1]).model_dump()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"decoder": source}))
