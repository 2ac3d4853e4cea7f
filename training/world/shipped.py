"""Stages ``decoders``, ``runs`` and ``importance``: what ships to be looked at, a minute after the download."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backbones import World, local
from pipeline.clipset import ClipSet
from pipeline.data.importing import built_in_subjects
from pipeline.judges import Judge
from pipeline.nearest import nearest_captions
from pipeline.paths import atomic_folder
from pipeline.reconstruct import decode, new_manifest, record
from pipeline.render.cvr import CONFIGS, CVR
from pipeline.runs import FULL, RunWriter, Score, Space, variant_name
from training.world import scores

Progress = Callable[[int, int, str], None]
SHIPPED_STATISTICS = ("pattern", "weight")  # the tab's own choice, and the published figures'
DATASETS = {"small": "phantom", "tiny": "phantom-tiny", "full": "phantom-full"}


def train_decoders(out: Path, home: Path, work: Path, size: str, progress: Progress | None) -> dict[str, Any]:
    """Train SAD and MAD for every subject; write ``out/decoders/SUBJECT``."""
    from pipeline.data import load
    from training.decoders import make_targets, train_semvideo
    from training.samples import join_targets

    dataset = DATASETS[size]
    names = built_in_subjects(dataset)
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


def write_importance(out: Path, home: Path, size: str, progress: Progress | None) -> dict[str, Any]:
    """Compute what each subject's decoders draw on; write ``out/importance``, which the Cortex tab shows at once."""
    from pipeline.checkpoints import load_checkpoint
    from pipeline.data import load
    from pipeline.importance.kept import MapKey, MapStore, recording_of
    from pipeline.importance.maps import Settings, importance_maps
    from pipeline.provenance import weights_sha256

    dataset, folder = DATASETS[size], out / "importance"
    shutil.rmtree(folder, ignore_errors=True)
    store = MapStore(folder, shipped=None)
    for subject in built_in_subjects(dataset):
        checkpoint = load_checkpoint(out / "decoders" / subject, subject=subject)
        train = load(dataset, subject, "train", home)
        sha256, recording = weights_sha256(out / "decoders" / subject), recording_of(dataset, subject, home)
        assert recording is not None
        for statistic in SHIPPED_STATISTICS:
            settings = Settings(statistic=statistic, modules=tuple(checkpoint.model.first_layers(subject)))
            maps = importance_maps(checkpoint, train, settings, progress=progress)
            # The modules are all of the decoder, and so no part of the maps' name.
            store.put(MapKey(sha256, dataset, subject, recording, Settings(statistic=statistic, modules=())), maps)
    return {"statistics": list(SHIPPED_STATISTICS)}


def write_runs(out: Path, home: Path, work: Path, size: str, progress: Progress | None) -> dict[str, Any]:
    """Decode, render and score the test film for every subject; write ``out/runs/phantom-SUBJECT``."""
    from pipeline.data import load

    dataset = DATASETS[size]
    world = World(local(out))
    cvr = CVR(world, CONFIGS["phantom"])
    judges = scores.Judges(Judge.load(out / "judge_object"), Judge.load(out / "judge_motion"))
    found: dict[str, Any] = {}
    for number, subject in enumerate(built_in_subjects(dataset)):
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
