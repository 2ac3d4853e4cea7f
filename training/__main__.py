"""``python -m training``: train decoders, the phantom's world, or a cross-validation."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import Home, Json, finish, parse_words, progress_bar, run, say
from pipeline.errors import ConfigError, DataError
from training.jobs.commands import add_commands

if TYPE_CHECKING:
    from training.config import TrainingConfig
    from training.stopping import Stop

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
    from training.config import read_config
    from training.stopping import Stop, Stopped, signals_answered

    settings, stop = read_config(config), Stop()
    try:
        with signals_answered(stop):
            out, paths = _train(settings, home, resume, stop)
    except Stopped as stopped:
        say(str(stopped), quiet=True)
        raise typer.Exit(stopped.exit_code) from stopped
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    for name, entry in report.items():
        score = "not scored" if entry["best_score"] is None else f"best held-out score {entry['best_score']:.4f}"
        say(f"{name}: {entry['epochs']} epochs, {entry['seconds']} s, {score}", quiet=as_json)
    finish({"out": str(out), "checkpoints": {s: str(p) for s, p in paths.items()}, "report": report}, as_json)


def _train(settings: TrainingConfig, home: Path | None, resume: bool, stop: Stop) -> tuple[Path, dict[str, Path]]:
    """Read what the settings name, and train: the run's folder, and a checkpoint per subject."""
    from pipeline.paths import home as working_folder
    from training import processes
    from training.inputs import read_inputs, settled
    from training.jobs.device import device_turn
    from training.stopping import sole_owner
    from training.tracking import trackers

    found = settled(settings, working_folder(home))
    out = found.out
    if (out / "stages").exists() and not resume:
        raise ConfigError(f"{out}: holds an earlier run; add --resume to take it up, or set another `out`")
    first = processes.rank() == 0
    with (
        progress_bar("train") as tell,
        device_turn(settings.device, found.home, tell) if first else nullcontext(),
        sole_owner(out) if first else nullcontext(),
    ):
        tell(0, 0, "load the libraries")
        named = trackers(settings.tracker)
        train, val, targets = read_inputs(found, tell)

        from training.decoders import train_semvideo
        from training.estimate import check_room

        check_room(found, train, targets)
        paths = train_semvideo(
            train,
            val,
            targets,
            out,
            config=found.method,
            plan=found.plan,
            stages=found.stages,
            resume=resume,
            device=settings.device,
            provenance={"dataset": settings.dataset, "preset": settings.method},
            progress=tell,
            trackers=named,
            stop=stop,
        )
    return out, paths


@app.command()
def estimate(
    config: Annotated[Path, typer.Option("--config", help="YAML or JSON file with the fields of a training config")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Say how long a training will take, and how much memory and disk, from a few measured steps of each stage."""
    from training.config import read_config
    from training.estimate import estimate as measure

    with progress_bar("estimate") as tell:
        found = measure(read_config(config), home, tell)
    for leg in found.legs:
        say(f"{leg.name}: {leg.steps} steps of {leg.seconds_per_step:.3g} s, {leg.seconds:.3g} s", quiet=as_json)
    say(found.sentence, quiet=as_json)
    finish(found.to_dict(), as_json)


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
    from training.inputs import open_world

    world = open_world(None)
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


add_commands(app)

if __name__ == "__main__":
    run(app)
