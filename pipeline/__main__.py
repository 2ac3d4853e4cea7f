"""``python -m pipeline``: data sets, the doctor, imports and reconstructions from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import data_commands
from pipeline.cli import Home, Json, finish, parse_words, progress_bar, run, say
from pipeline.errors import ConfigError
from pipeline.render_commands import PARTS, reconstruct, weights

app = typer.Typer(
    name="pipeline",
    help="From a brain recording to a video: data sets, imports, reconstructions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

data_commands.add_to(app)


@app.command()
def datasets(home: Home = None, as_json: Json = False) -> None:
    """List the data sets: built-in and imported."""
    from pipeline.data import list_datasets

    cards = list_datasets(home)
    for card in cards:
        state = "ready" if card.ready else "made when first used" if card.built_in else "damaged"
        kind = "simulated" if card.simulated else "recorded"
        say(f"{card.name:<16} {kind}, {state}: {card.title}", quiet=as_json)
        for entry in card.subjects:
            clips = ", ".join(f"{n} {split}" for split, n in entry["n_clips"].items() if n and split != "all")
            say(f"  {entry['subject']}: {entry['n_voxels']:,} voxels; clips: {clips}", quiet=as_json)
        for note in card.notes:
            say(f"  note: {note}", quiet=as_json)
    finish({"datasets": [card.to_dict() for card in cards]}, as_json)


@app.command()
def doctor(
    path: Annotated[Path, typer.Argument(help="Folder of CC2017, HCP 7T movies or BIDS, or one image file")],
    as_json: Json = False,
) -> None:
    """Examine a recording and report what is there, what is missing and what is wrong; changes nothing.

    Exit status 1 when something must be mended before an import.
    """
    from pipeline.data import doctor as examine

    with progress_bar("examine") as tell:
        report = examine(path, tell)
    say(report.text(), quiet=as_json)
    finish(report.to_dict(), as_json)
    if not report.ok:
        raise typer.Exit(1)


@app.command(name="import")
def import_(
    path: Annotated[Path, typer.Argument(help="Folder of CC2017 (raw or preprocessed), HCP 7T movies or BIDS")],
    name: Annotated[str, typer.Option("--as", help="Name of the data set here: a-z, 0-9, dot, dash")],
    layout: Annotated[str, typer.Option(help="auto, cc2017, cc2017-pt, hcp7t or bids")] = "auto",
    subjects: Annotated[str | None, typer.Option(help="Such as sub-01,sub-02; all by default")] = None,
    select: Annotated[str, typer.Option(help="Voxels: auto, reliability (needs repeats) or all")] = "auto",
    alpha: Annotated[float, typer.Option(help="Bonferroni-corrected level of the selection")] = 0.05,
    rois: Annotated[str | None, typer.Option(help="MMP regions such as V1,MT (fs_LR only)")] = None,
    mask: Annotated[Path | None, typer.Option(help="BIDS: mask image on the grid of the runs")] = None,
    lag_tr: Annotated[int, typer.Option(help="CC2017: volumes of lag beyond the trim")] = 0,
    lag_s: Annotated[
        float | None, typer.Option(help="Seconds between what is shown and its response; default BIDS 5, HCP 4")
    ] = None,
    captions: Annotated[Path | None, typer.Option(help="Captions by trial_type or by clip")] = None,
    task: Annotated[str | None, typer.Option(help="BIDS: read this task only")] = None,
    bids_space: Annotated[str | None, typer.Option(help="BIDS: read images of this space only")] = None,
    derivative: Annotated[str | None, typer.Option(help="BIDS: read images from derivatives/NAME")] = None,
    val_runs: Annotated[str | None, typer.Option(help="Runs held out for validation; default the last tenth")] = None,
    test_runs: Annotated[str | None, typer.Option(help="BIDS, HCP: runs held out for tests")] = None,
    films: Annotated[str | None, typer.Option(help="HCP: films of this pattern only, such as *_v2.mp4")] = None,
    variant: Annotated[str | None, typer.Option(help="HCP: runs with this after _Atlas")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a data set of the same name")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Read a recording into the working folder: trim, clean, align to clips, choose voxels."""
    from pipeline.data import import_dataset

    words = {"subjects": subjects, "rois": rois, "val_runs": val_runs, "test_runs": test_runs}
    lists = {key: parse_words(value) or None for key, value in words.items()}
    plain = {"layout": layout, "select": select, "alpha": alpha, "lag_tr": lag_tr, "lag_s": lag_s, "replace": replace}
    paths = {"mask": mask, "captions": captions}
    filters = {"task": task, "bids_space": bids_space, "derivative": derivative, "films": films, "variant": variant}
    with progress_bar(f"import {name}") as tell:
        card = import_dataset(path, name, home, progress=tell, **lists, **plain, **paths, **filters)
    say(f"imported {card.title} as {card.name}", quiet=as_json)
    for entry in card.subjects:
        clips = ", ".join(f"{n} {split}" for split, n in entry["n_clips"].items() if n and split != "all")
        chosen = f"{entry['n_voxels']:,} of {entry['n_voxels_seen']:,} voxels"
        say(f"  {entry['subject']}: {chosen}; clips: {clips}", quiet=as_json)
        for note in entry["notes"]:
            say(f"    note: {note}", quiet=as_json)
    finish(card.to_dict(), as_json)


@app.command()
def lag(
    name: Annotated[str, typer.Argument(help="Data set")],
    subject: Annotated[str, typer.Option(help="Subject")] = "sub-01",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show how well the shown can be predicted from the volumes around it: the peak is the lag that is left."""
    from pipeline.data import load
    from pipeline.data.lag import scan_lags

    with progress_bar("lag scan") as tell:
        scan = scan_lags(load(name, subject, "train", home, tell), progress=tell)
    for shift, score in zip(scan.lags, scan.scores, strict=True):
        say(f"  {shift:+d} volumes  r = {score:.3f}  {'#' * round(80 * max(score, 0))}", quiet=as_json)
    say(f"peak at {scan.best:+d} volumes ({scan.target})", quiet=as_json)
    finish({"dataset": name, "subject": subject, **scan.to_dict()}, as_json)


@app.command()
def captions(
    dataset: Annotated[str, typer.Option(help="Data set")],
    model: Annotated[
        str, typer.Option(help="Hub id[@revision] or folder of a video-text model; phantom; or a server's model")
    ],
    subject: Annotated[str | None, typer.Option(help="Such as sub-01,sub-02; all by default")] = None,
    split: Annotated[str, typer.Option(help="Of train, val, test")] = "train,val,test",
    server: Annotated[
        str | None, typer.Option(help="Base URL of an OpenAI-compatible server of yours; key in $NEUROVIS_API_KEY")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Clips at a time; with --server, clips in flight")] = 4,
    frames: Annotated[int, typer.Option(min=1, max=64, help="Frames of a clip that the model sees")] = 6,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0: always the likeliest word")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling, where temperature is above 0")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1")] = "auto",
    out: Annotated[Path | None, typer.Option(help="JSONL file; default captions/DATASET/MODEL.jsonl in --home")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Put the captions into the data set")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Caption what was shown (SemMiner): C_basic, then anchor, motion and holistic; goes on where it stopped."""
    splits = parse_words(split, ("train", "val", "test"), "--split")
    if not splits:
        raise ConfigError("--split takes train, val, test, got nothing")
    from pipeline.semminer.contract import MinerSettings
    from pipeline.semminer.mine import caption_dataset

    settings = MinerSettings(n_frames=frames, temperature=temperature, seed=seed)
    with progress_bar(f"captions {dataset}") as tell:
        result = caption_dataset(
            dataset, model, subjects=parse_words(subject), splits=splits, server=server, batch_size=batch_size,
            settings=settings, out=out, apply=apply, device=device, home=home, progress=tell,
        )  # fmt: skip
    words = ", ".join(f"{level} {n:.1f}" for level, n in result.mean_words.items())
    say(f"{result.n_clips} clips of {dataset} ({result.n_new} new) are in {result.file}", quiet=as_json)
    say(f"  mean words: {words}", quiet=as_json)
    for note, count in result.notes.items():
        say(f"  note: {count} clips, {note}", quiet=as_json)
    for name, count in result.applied.items():
        say(f"  {name}: {count} clips have these captions now", quiet=as_json)
    finish(result.to_dict(), as_json)


app.command()(reconstruct)
app.command()(weights)


@app.command()
def ablate(
    run_: Annotated[str, typer.Argument(metavar="RUN", help="Run folder, such as reconstruct writes, or name")],
    without: Annotated[
        list[str] | None, typer.Option(help="Parts to leave out: anchor,holi; repeat it; default each part alone")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Render and score all clips of a run with parts left out; what is there already is kept."""
    from pipeline.ablate import SINGLE
    from pipeline.ablate import ablate as work
    from pipeline.named import find_run
    from pipeline.paths import home as working_folder
    from pipeline.runs import Run, read_manifest, variant_name

    wanted = [variant_name(parse_words(w, PARTS, "--without")) for w in without] if without else list(SINGLE)
    folder = find_run(run_, home)
    found = Run.open(folder, extra=working_folder(home) / "renders" / read_manifest(folder).name)
    with progress_bar("ablate") as tell:
        scores = work(found, wanted, tell)
    for variant, rows in scores.items():
        say(variant, quiet=as_json)
        for score in rows.values():
            chance = "not measured" if score.chance is None else f"{score.chance:.3f}"
            say(f"  {score.label}: {score.value:.3f} (chance {chance}, {score.n} clips)", quiet=as_json)
    if not scores:
        say("nothing to do: the run came with these scores", quiet=as_json)
    finish({v: {k: s.model_dump(mode="json") for k, s in rows.items()} for v, rows in scores.items()}, as_json)


@app.command(name="import-run")
def import_run_(
    truth: Annotated[Path, typer.Option("--truth", help="True clips: a GIF, MP4 or folder of frames each")],
    recon: Annotated[Path, typer.Option("--recon", help="Reconstructed clips of the same names")],
    name: Annotated[str, typer.Option("--name", help="Name of the run here")],
    title: Annotated[str | None, typer.Option(help="As shown; default from the method")] = None,
    method: Annotated[str | None, typer.Option(help="What reconstructed them; default the name")] = None,
    dataset: Annotated[str, typer.Option(help="Data set that the clips are from")] = "imported",
    subject: Annotated[str, typer.Option(help="Whose brain it was")] = "not stated",
    captions: Annotated[Path | None, typer.Option(help="JSON or JSONL of captions by clip name")] = None,
    fps_truth: Annotated[float | None, typer.Option(help="Frames a second; default what the files tell")] = None,
    fps_recon: Annotated[float | None, typer.Option(help="Frames a second; default what the files tell")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse lengths that differ by more than 25 %")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an import of the same name")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Import published reconstructions, videos beside the true clips, as a run with scores for the app."""
    from pipeline.peers import Options, import_run

    options = Options(
        name=name, title=title, method=method, dataset=dataset, subject=subject, captions=captions,
        fps_truth=fps_truth, fps_recon=fps_recon, replace=replace, strict=strict,
    )  # fmt: skip
    with progress_bar(f"import {name}") as tell:
        run = import_run(truth, recon, options, home, tell)
    manifest = run.manifest
    say(f"imported {len(manifest.clip_ids)} clips as the run {name}, in {run.path}", quiet=as_json)
    for note in manifest.notes:
        say(f"  note: {note}", quiet=as_json)
    scores = manifest.scores.get("full", {})
    for score in scores.values():
        chance = "not measured" if score.chance is None else f"{score.chance:.3f}"
        told = f"{score.value:.3f} (chance {chance}, {score.n} clips, {score.convention})"
        say(f"  {score.label}: {told}; {score.frames}", quiet=as_json)
    rows = {key: score.model_dump(mode="json") for key, score in scores.items()}
    facts = {"run": name, "n_clips": len(manifest.clip_ids), "notes": manifest.notes, "scores": rows}
    finish(facts, as_json)


@app.command()
def evaluate(
    out: Annotated[Path, typer.Option("--out", help="Folder for scores.parquet, summary.json and tables")],
    runs: Annotated[list[str] | None, typer.Option("--run", help="Run folder or name; several make one table")] = None,
    truth: Annotated[Path | None, typer.Option(help="True clips, with --recon, instead of a run")] = None,
    recon: Annotated[Path | None, typer.Option(help="Reconstructed clips of the same names")] = None,
    convention: Annotated[str, typer.Option(help="corrected, paper, both, or all (with neurons)")] = "corrected",
    judges: Annotated[
        str | None,
        typer.Option(help="phantom, paper, imagenet, none, hub ids, folders, vifi:FILE, timm:NAME"),
    ] = None,
    captions: Annotated[Path | None, typer.Option(help="Of the true clips in --truth: JSON or JSONL by name")] = None,
    decoded_captions: Annotated[Path | None, typer.Option(help="What was decoded of them, to score the words")] = None,
    vbench: Annotated[bool, typer.Option("--vbench", help="Smoothness and dynamic degree, VBench-style")] = False,
    variants: Annotated[str, typer.Option(help="Such as full,anchor,anchor+holi")] = "full",
    against: Annotated[str | None, typer.Option(help="Run to test against, clip by clip")] = None,
    controls: Annotated[bool, typer.Option("--controls", help="Score the five controls too")] = False,
    shuffle: Annotated[bool, typer.Option(help="Run the shuffle test and its chance, most of the time spent")] = True,
    budget: Annotated[bool, typer.Option("--budget", help="Measure the error budget of a phantom run")] = False,
    budget_clips: Annotated[int | None, typer.Option(min=2, help="On its first clips only")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of pairings, frame orders and intervals")] = 0,
    fps_truth: Annotated[float | None, typer.Option(help="Frames a second; default what the files tell")] = None,
    fps_recon: Annotated[float | None, typer.Option(help="Frames a second; default what the files tell")] = None,
    workers: Annotated[int, typer.Option(help="Processes, 1 to 16")] = 1,
    restart: Annotated[bool, typer.Option("--restart", help="Drop part results made with other settings")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Score runs or two folders of clips, with chance, intervals, controls and tests; goes on where it stopped."""
    from pipeline.evaluate.command import Request, evaluate_all
    from pipeline.evaluate.settings import Settings, parse_convention

    chosen = parse_words(variants)
    if not chosen:
        raise ConfigError("--variants names no variant; leave it out for full")
    settings = Settings(
        conventions=parse_convention(convention), variants=chosen, controls=controls, judges=parse_words(judges),
        shuffle=shuffle, vbench=vbench, seed=seed,
    )  # fmt: skip
    request = Request(
        tuple(runs or ()), truth, recon, against, fps_truth, fps_recon, budget=budget or budget_clips is not None,
        budget_clips=budget_clips, captions=captions, decoded_captions=decoded_captions,
    )  # fmt: skip
    with progress_bar("evaluate") as tell:
        done, facts = evaluate_all(
            request, settings, out, workers=workers, restart=restart, home=home, progress=tell
        )  # fmt: skip
    for one in done:
        say(f"{one.facts['run']}: {one.facts['n_clips']} clips, in {out}", quiet=as_json)
        for line in one.lines():
            say(f"  {line}", quiet=as_json)
    if facts["budget_note"]:
        say(f"  note: {facts['budget_note']}", quiet=as_json)
    finish(facts, as_json)


if __name__ == "__main__":
    run(app)
