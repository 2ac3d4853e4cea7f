"""``python -m training``: train decoders, the phantom's world, or a cross-validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import Home, Json, Progress, finish, parse_words, progress_bar, run, say
from pipeline.errors import ConfigError, DataError
from training.jobs.commands import add_commands

if TYPE_CHECKING:
    from pipeline.backbones import World
    from pipeline.clipset import ClipSet
    from training.config import TrainingConfig
    from training.samples import Targets

app = typer.Typer(
    name="training",
    help="Train decoders, the phantom's world, or a cross-validation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("run")
def train(
    config: Annotated[Path, typer.Option("--config", help="YAML or JSON file with the fields of a training config")],
    resume: Annotated[bool, typer.Option("--resume", help="Take up what an earlier run left in its folder")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Train decoders: on all subjects first, then on each; writes one checkpoint per subject."""
    from pipeline.paths import home as working_folder
    from training.config import plan, read_config, replace
    from training.jobs.device import device_turn

    settings = read_config(config)
    settled = plan(settings.method, settings.plan_overrides)
    folder = working_folder(home)
    out = Path(settings.out) if settings.out else folder / "training" / f"{settings.dataset}-{settings.method}"
    if (out / "stages").exists() and not resume:
        raise ConfigError(f"{out}: holds an earlier run; add --resume to take it up, or set another `out`")
    chosen = _subjects(settings, folder)

    with progress_bar("train") as tell, device_turn(settings.device, folder, tell):
        tell(0, 0, "load the libraries")
        from pipeline.methods.semvideo import SemVideo, preset
        from training.decoders import train_semvideo

        method = replace(preset(settings.method), settings.method_overrides)
        parts = {split: _load(settings.dataset, chosen, split, folder, tell) for split in ("train", "val")}
        targets = _targets(_world(settings.world), [*parts["train"].values(), *parts["val"].values()], method, tell)
        paths = train_semvideo(
            parts["train"],
            parts["val"],
            targets,
            out,
            config=method,
            plan=settled,
            stages=settings.stages or SemVideo.STAGES,
            resume=resume,
            device=settings.device,
            provenance={"dataset": settings.dataset, "preset": settings.method},
            progress=tell,
        )
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    for name, entry in report.items():
        score = "not scored" if entry["best_score"] is None else f"best held-out score {entry['best_score']:.4f}"
        say(f"{name}: {entry['epochs']} epochs, {entry['seconds']} s, {score}", quiet=as_json)
    finish({"out": str(out), "checkpoints": {s: str(p) for s, p in paths.items()}, "report": report}, as_json)


@app.command()
def phantom(
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the weights; default assets/phantom")] = None,
    stages: Annotated[str | None, typer.Option("--stages", help="Comma-separated names; default all")] = None,
    resume: Annotated[bool, typer.Option("--resume/--fresh", help="Keep stages that are done")] = True,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Train the phantom's whole world from nothing: backbones, judges, and the decoders of three subjects."""
    from pipeline.paths import PHANTOM_ASSETS
    from pipeline.paths import home as working_folder
    from training.world.build import build

    target = out or PHANTOM_ASSETS
    build(target, working_folder(home), list(parse_words(stages)) or None, resume=resume)
    finish({"out": str(target)}, as_json)


@app.command()
def presets(as_json: Json = False) -> None:
    """List the presets of methods."""
    from pipeline.methods import PRESETS

    for name, (method, about) in PRESETS.items():
        say(f"{name:<18} {method}: {about}", quiet=as_json)
    finish({name: {"method": method, "about": about} for name, (method, about) in PRESETS.items()}, as_json)


@app.command()
def crossval(
    dataset: Annotated[str, typer.Option("--dataset", help="An imported data set with labelled volumes")],
    subject: Annotated[str | None, typer.Option("--subject", help="Default: the first")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of weights, data order and permutations")] = 0,
    members: Annotated[int, typer.Option("--members", min=1, help="SADs per level and run, averaged")] = 3,
    render: Annotated[int, typer.Option("--render", min=0, help="Held-out blocks to render as a run; 0: none")] = 8,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; default HOME/runs/DATASET-crossval")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Train the SAD on all runs but one and decode that one, run by run; compare with reference classifiers."""
    from pipeline.data import describe, load
    from pipeline.paths import home as working_folder

    folder = working_folder(home)
    card = describe(dataset, folder)
    if not card.subjects:
        raise DataError(f"{dataset}: no subject is imported; run python -m pipeline import PATH --as {dataset}")
    chosen = subject or str(card.subjects[0]["subject"])
    if "trial_type" not in next((s["labels"] for s in card.subjects if s["subject"] == chosen), ("trial_type",)):
        raise DataError(f"{dataset}: has no trial types to tell apart; cross-validate a study with labelled blocks")
    clipset = load(dataset, chosen, "all", folder)

    from pipeline.backbones import encode_text
    from training.block_run import render_blocks, save_crossval
    from training.crossval import caption_codes
    from training.crossval import crossval as cross_validate

    world = _world(None)
    codes = caption_codes(clipset, lambda texts: encode_text(world, texts))
    with progress_bar("crossval") as tell:
        result = cross_validate(clipset, codes, seed=seed, n_members=members, progress=tell)
    name = f"{dataset}-crossval"
    save_crossval(result, folder / "training" / name)
    target = out or folder / "runs" / name
    if render:
        with progress_bar("render") as tell:
            render_blocks(result, dataset, target, render, seed, tell)
    found = result.summary
    say(f"{chosen}: volumes {found['volume_accuracy']:.3f}, blocks {found['block_accuracy']:.3f}", quiet=as_json)
    say(f"chance {found['chance']:.3f}, permutation p {found['permutation_p']:.4f}", quiet=as_json)
    for name, scores in found["references"].items():
        say(f"{name}: {scores['volume_accuracy']:.3f}, blocks {scores['block_accuracy']:.3f}", quiet=as_json)
    finish({"dataset": dataset, "subject": chosen, **found, "run": str(target) if render else None}, as_json)


def _subjects(settings: TrainingConfig, home: Path) -> list[str]:
    """Return the chosen subjects, checked; a phantom that is not made yet is made by loading its first."""
    from pipeline.data import describe, load

    card = describe(settings.dataset, home)
    if not card.subjects:
        load(settings.dataset, "sub-01", "val", home)
        card = describe(settings.dataset, home)
    known = [str(entry["subject"]) for entry in card.subjects]
    if card.built_in:
        from pipeline.data.registry import BUILT_IN
        from pipeline.phantom.sizes import phantom_size

        known = [f"sub-{i + 1:02d}" for i in range(len(phantom_size(BUILT_IN[settings.dataset]).subjects))]
    unknown = [subject for subject in settings.subjects if subject not in known]
    if unknown:
        raise DataError(f"{settings.dataset}: no subject {unknown[0]}, expected some of {', '.join(known)}")
    return list(settings.subjects) or known


def _load(dataset: str, subjects: list[str], split: str, home: Path, progress: Progress) -> dict[str, ClipSet]:
    from pipeline.data import load

    loaded = {subject: load(dataset, subject, split, home, progress) for subject in subjects}
    return {subject: clipset for subject, clipset in loaded.items() if len(clipset) or split == "train"}


def _targets(world: World, clipsets: list[ClipSet], method: Any, progress: Progress) -> Targets:
    """Encode captions and frames, once per clip id."""
    import numpy as np

    from training.decoders import make_targets
    from training.samples import join_targets

    parts: list[Targets] = []
    seen: set[str] = set()
    for done, clipset in enumerate(clipsets):
        progress(done, len(clipsets), "encode captions and frames")
        new = np.asarray([i for i, clip_id in enumerate(clipset.clip_ids) if str(clip_id) not in seen], dtype=np.int64)
        if len(new):
            parts.append(make_targets(world, clipset.take(new), method.n_frames))
            seen |= {str(clip_id) for clip_id in clipset.clip_ids}
    return join_targets(parts)


def _world(spec: str | None) -> World:
    """Return backbones by profile name or local folder; none means the phantom's."""
    from pipeline.backbones import World, local, profile

    if spec and Path(spec).is_dir():
        return World(local(Path(spec), name=spec))
    return World(profile(spec or "phantom"))


add_commands(app)

if __name__ == "__main__":
    run(app)
