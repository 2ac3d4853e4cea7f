"""Stages ``decoders`` and ``runs``: what ships to be looked at, a minute after the download."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backbones import World, local
from pipeline.clipset import ClipSet
from pipeline.judges import Judge
from pipeline.nearest import nearest_captions
from pipeline.paths import atomic_folder
from pipeline.reconstruct import decode, new_manifest, record
from pipeline.render.cvr import CONFIGS, CVR
from pipeline.runs import FULL, RunWriter, Score, Space, variant_name
from training.world import scores

Progress = Callable[[int, int, str], None]
DATASETS = {"small": "phantom", "tiny": "phantom-tiny", "full": "phantom-full"}


def subjects_of(dataset: str, home: Path) -> list[str]:
    """Return the subjects of an imported data set."""
    from pipeline.data import describe, load

    load(dataset, "sub-01", "test", home)
    return [str(entry["subject"]) for entry in describe(dataset, home).to_dict()["subjects"]]


def train_decoders(out: Path, home: Path, work: Path, size: str, progress: Progress | None) -> dict[str, Any]:
    """Train SAD and MAD for every subject; write ``out/decoders/SUBJECT``."""
    from pipeline.data import load
    from training.decoders import make_targets, train_semvideo
    from training.samples import join_targets

    dataset = DATASETS[size]
    names = subjects_of(dataset, home)
    train = {s: load(dataset, s, "train", home) for s in names}
    val = {s: load(dataset, s, "val", home) for s in names}
    world = World(local(out))
    # All subjects saw the same film: one set of targets serves them.
    targets = join_targets([make_targets(world, clips) for clips in (train[names[0]], val[names[0]]) if len(clips)])
    about = {"dataset": dataset}
    folders = train_semvideo(
        train, val, targets, work / "decoders", config="semvideo-phantom", provenance=about, progress=progress
    )
    for subject, folder in folders.items():
        with atomic_folder(out / "decoders" / subject) as target:
            shutil.copytree(folder, target, dirs_exist_ok=True)
    return {"subjects": names}


def write_runs(out: Path, home: Path, work: Path, size: str, progress: Progress | None) -> dict[str, Any]:
    """Decode, render and score the test film for every subject; write ``out/runs/phantom-SUBJECT``."""
    from pipeline.data import load

    dataset = DATASETS[size]
    world = World(local(out))
    cvr = CVR(world, CONFIGS["phantom"])
    judges = scores.Judges(Judge.load(out / "judge_object"), Judge.load(out / "judge_motion"))
    found: dict[str, Any] = {}
    for number, subject in enumerate(subjects_of(dataset, home)):
        everything = load(dataset, subject, "test", home)
        chosen = everything.take(scores.scored_clips(len(everything)))
        if number == 0:
            steps = scores.oracle(world, cvr, chosen, judges, progress)
            found["oracle"] = {step: _plain(one) for step, one in steps.items()}
        clipset = decode(chosen, out / "decoders" / subject)
        known = load(dataset, subject, "train", home).captions
        found[subject] = _write_run(out / "runs", dataset, clipset, known, world, cvr, judges, progress)
    return {"scores": found}


def _write_run(
    runs: Path,
    dataset: str,
    clipset: ClipSet,
    known: Any,
    world: World,
    cvr: CVR,
    judges: scores.Judges,
    progress: Progress | None,
) -> dict[str, Any]:
    """Write one subject's run and return its scores as plain values."""
    name = f"{dataset}-{clipset.subject}"
    ids = [str(c) for c in clipset.clip_ids]
    truth = scores.true_frames(clipset, world.backbones.n_frames)
    cues = dict(clipset.cues)
    made = scores.render_all(cvr, cues, ids, scores.ABLATIONS, progress=progress)
    shown = ids[: scores.N_SHOWN]
    rest = [c for c in scores.all_combinations() if c not in scores.ABLATIONS]
    made |= scores.render_all(cvr, {k: v[: len(shown)] for k, v in cues.items()}, shown, rest, progress=progress)
    summary: dict[str, dict[str, Score]] = {}
    values = {}
    for without in scores.ABLATIONS:
        variant = variant_name(without)
        video = scores.stack(made[variant])
        summary[variant], values[variant] = scores.evaluate(truth, video, clipset, judges, shuffle=True)
    for without in rest:
        variant = variant_name(without)
        part = clipset.take(np.arange(len(shown)))
        values[variant] = scores.evaluate(truth[: len(shown)], scores.stack(made[variant]), part, judges)[1]
    changes: dict[str, Any] = {"layout": "compact", "title": f"SemVideo, phantom {clipset.subject} (simulated)"}
    manifest = new_manifest(clipset, dataset, name, 0, world, cvr, **changes)
    with atomic_folder(runs / name) as folder:
        writer = RunWriter(folder, manifest)
        writer.set_cues(cues)
        space = Space(kind=clipset.space.kind, shape=clipset.space.shape, affine=clipset.space.affine)
        writer.set_patterns(clipset.voxel_ids, clipset.mean_fmri(), space)
        nearest = nearest_captions(world, cues, known)
        for i in range(len(ids)):
            frames = {variant: dict(clips[i]) for variant, clips in made.items() if i < len(clips)}
            frames[FULL] = {"truth": truth[i], **frames[FULL]}
            one = record(clipset, i, nearest)
            table = {
                variant: {k: None if np.isnan(v[i]) else round(float(v[i]), 5) for k, v in per.items()}
                for variant, per in values.items()
                if i < len(next(iter(per.values())))
            }
            writer.add_clip(one.model_copy(update={"scores": table}), frames)
        writer.finish(summary)
    return {variant: _plain(one) for variant, one in summary.items()}


def _plain(summary: dict[str, Score]) -> dict[str, Any]:
    return {name: score.model_dump(mode="json") for name, score in summary.items()}
