"""``python -m neurovis``: figures and tables of importance from the command line; the app itself is ``app.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli import Home, Json, Progress, finish, parse_words, progress_bar, run, say
from pipeline.errors import ConfigError

ENGINES = ("matplotlib", "pycortex")

app = typer.Typer(
    name="neurovis",
    help="Importance of voxels and regions to a decoder: figures to publish, maps, tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def importance(
    out: Annotated[Path, typer.Option("--out", help="Folder for the figure, maps and tables")],
    run_: Annotated[str | None, typer.Option("--run", help="A training run, or a run that the app shows")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="A decoder's folder, or a folder of one per subject")
    ] = None,
    statistic: Annotated[
        str, typer.Option(help="pattern, pattern_alone, pattern_joint, weight, weight_signed or permutation")
    ] = "pattern",
    subject: Annotated[str | None, typer.Option(help="Such as sub-01,sub-02; all that are there by default")] = None,
    modules: Annotated[str | None, typer.Option(help="Such as anchor,mad; default anchor,motion,holi")] = None,
    dataset: Annotated[str | None, typer.Option(help="Data set; default the one it was trained on")] = None,
    parcellation: Annotated[str, typer.Option(help="Regions: mmp1")] = "mmp1",
    correction: Annotated[str, typer.Option(help="benjamini-hochberg, holm or none")] = "benjamini-hochberg",
    n_null: Annotated[
        int | None, typer.Option(min=1, help="Shifts of a pattern's null, at least; as many as areas need by default")
    ] = None,
    n_shuffles: Annotated[int, typer.Option(min=1, help="permutation: shuffles of a region")] = 3,
    limits: Annotated[str, typer.Option(help="Ends of the colour bar")] = "0.25,0.75",
    formats: Annotated[str, typer.Option(help="Of png, svg, pdf")] = "png,svg,pdf",
    engine: Annotated[str, typer.Option(help="What draws the figure: matplotlib or pycortex")] = "matplotlib",
    world: Annotated[Path | None, typer.Option(help="permutation: folder of the generative models")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of nulls, shuffles and bootstraps")] = 0,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Find the voxels and regions that each module draws on: figure, CIFTI or NIfTI map, tables, JSON."""
    from pipeline.importance.inference import adjust
    from pipeline.importance.maps import Settings, find_checkpoints
    from pipeline.importance.statistics import check_statistic

    ends, kinds = _limits(limits), parse_words(formats, ("png", "svg", "pdf"), "--formats")
    settings = Settings(
        statistic=check_statistic(statistic), modules=parse_words(modules), parcellation=parcellation,
        correction=correction, n_null=n_null, n_shuffles=n_shuffles, seed=seed,
    )  # fmt: skip
    if engine not in ENGINES:
        raise ConfigError(f"--engine must be {' or '.join(ENGINES)}, got {engine!r}")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; name a folder")
    import numpy as np

    adjust(np.zeros(0), correction)
    folders = find_checkpoints(run_, checkpoint, parse_words(subject), home)
    results: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    with progress_bar("importance") as tell:
        for name, folder in folders.items():
            place = out if len(folders) == 1 else out / name
            maps, facts = _one_subject(name, folder, place, settings, dataset, world, home, tell, ends, kinds, engine)
            results[name] = facts
            tables |= {f"{name} {module}": found.table for module, found in maps.items() if found.table}
    if tables:
        from pipeline.importance.export import write_comparison

        write_comparison(tables, out / "compare.csv")
    for name, facts in results.items():
        _tell(name, facts, quiet=as_json)
    say(f"figures, maps and tables are in {out}", quiet=as_json)
    finish({"out": str(out), "statistic": statistic, "subjects": results}, as_json)


@app.command(name="importance-truth")
def importance_truth(
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Folder of a decoder per subject; default the shipped ones")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Such as sub-01,sub-02; all that are there by default")] = None,
    dataset: Annotated[str, typer.Option(help="A phantom data set")] = "phantom",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Check each statistic against the phantom's planted truth: AUC of planted against other voxels."""
    from pipeline.importance.truth import as_text, truth_table

    rows = truth_table(home, checkpoint, parse_words(subject), dataset=dataset)
    say("AUC of planted against other selected voxels [95 % interval over regions], simulated data", quiet=as_json)
    say(as_text(rows), quiet=as_json)
    finish({"dataset": dataset, "rows": [row.to_dict() for row in rows]}, as_json)


def _one_subject(
    subject: str,
    folder: Path,
    out: Path,
    settings: Any,
    dataset: str | None,
    world: Path | None,
    home: Path | None,
    progress: Progress,
    limits: tuple[float, float],
    formats: tuple[str, ...],
    engine: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compute and write everything for one subject; returns its maps and the facts of ``importance.json``."""
    from neurovis.importance_figure import draw, save
    from pipeline.checkpoints import load_checkpoint
    from pipeline.data import load
    from pipeline.importance.export import describe, write_description, write_files
    from pipeline.importance.maps import importance_maps
    from pipeline.importance.statistics import PERMUTATION

    checkpoint = load_checkpoint(folder, subject=subject)
    name = dataset or checkpoint.about.get("training", {}).get("dataset")
    if not name:
        raise ConfigError(f"{folder}: does not say what it was trained on; name the data set with --dataset")
    train = load(name, subject, "train", home, progress)
    n_clips, held_out, models = {"train": len(train)}, None, None
    if settings.statistic == PERMUTATION:
        from pipeline.backbones import World, local, profile

        held_out = load(name, subject, "val", home)
        n_clips = {"val": len(held_out)}
        models = World(profile("phantom" if checkpoint.simulated else "paper") if world is None else local(world))
    maps = importance_maps(checkpoint, train, settings, held_out, models, progress)
    facts = describe(maps, settings, folder, name, n_clips)
    if engine == "pycortex":
        from neurovis.brain3d import quickflat_figure
        from pipeline.paths import home as working_folder

        figure = quickflat_figure(maps, working_folder(home) / "cache", limits)
    else:
        figure = draw(maps, limits)
    written = [*write_files(maps, out), *save(figure, out, formats)]
    facts["files"] = [path.name for path in written]
    write_description(facts, out / "importance.json")
    return maps, facts


def _limits(text: str) -> tuple[float, float]:
    """Read the ends of the colour bar."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--limits must be two numbers such as 0.25,0.75, got {text!r}") from error
    if not low < high:
        raise ConfigError(f"--limits must rise, such as 0.25,0.75, got {text!r}")
    return low, high


def _tell(subject: str, facts: dict[str, Any], *, quiet: bool) -> None:
    """Say what was found of one subject."""
    kind = ", simulated data" if facts["simulated"] else ""
    say(f"{subject}: {facts['statistic']} over {facts['n_voxels']:,} voxels{kind}", quiet=quiet)
    for module, found in facts["maps"].items():
        half = "" if found["split_half"] is None else f"; split-half r = {found['split_half']:.2f}"
        top = ", ".join(found["top_regions"]) or "no region table for a volume"
        say(f"  {module}: {top}{half}", quiet=quiet)
    if facts["note"]:
        say(f"  {facts['note']}", quiet=quiet)


if __name__ == "__main__":
    run(app)
