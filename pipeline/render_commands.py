"""The commands ``python -m pipeline reconstruct`` and ``weights``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import Home, Json, finish, parse_clips, parse_words, progress_bar, say

PARTS = ("anchor", "motion", "holi", "mad")


def reconstruct(
    out: Annotated[Path, typer.Option("--out", help="Folder for the videos, frames and manifest.json")],
    dataset: Annotated[str, typer.Option(help="Data set")] = "phantom",
    subject: Annotated[str, typer.Option(help="Subject")] = "sub-01",
    clips: Annotated[str, typer.Option(help="Test clips: 0:8, or 0,4,10")] = "0:8",
    without: Annotated[str | None, typer.Option(help="Parts to leave out: anchor,motion,holi,mad")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the rendering")] = 0,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", "--run", help="Decoders from this folder; default the shipped ones")
    ] = None,
    profile: Annotated[str, typer.Option(help="Renderer: phantom, or paper (SD 1.5, AnimateDiff)")] = "phantom",
    weights: Annotated[Path | None, typer.Option(help="Folder of the paper's models; see the command weights")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1; default cpu for the phantom")] = "",
    memory: Annotated[str, typer.Option(help="auto, 8gb, 12gb, 24gb, 80gb or cpu")] = "auto",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Clips at a time; default by --memory")] = None,
    shard: Annotated[str | None, typer.Option(help="I/N: every N-th clip; default from the launcher")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Decode test clips and render them: an MP4 and lossless frames of every step, and manifest.json."""
    left_out = frozenset(parse_words(without, PARTS, "--without"))
    indices = parse_clips(clips)
    from pipeline.batches import shard as share_of
    from pipeline.reconstruct import Rendering
    from pipeline.reconstruct import reconstruct as render

    how = Rendering(profile, weights, device, memory, batch_size, share_of(shard))
    with progress_bar("reconstruct") as tell:
        manifest = render(dataset, subject, indices, out, left_out, seed, home, tell, checkpoint, how)
    owed = manifest.get("unfinished", 0)
    there = f"{len(indices) - owed} of {len(indices)} clips" if owed else f"{len(indices)} clips"
    say(f"{there} of {dataset} {subject} are in {out}", quiet=as_json)
    if owed:
        say(
            "  the others are still to come from the other processes; whoever ends last writes manifest.json",
            quiet=as_json,
        )
    finish(manifest, as_json)


def weights(
    profile: Annotated[str, typer.Option(help="paper, or phantom")] = "paper",
    folder: Annotated[Path | None, typer.Option("--weights", help="Folder that holds vae/, unet/, ...")] = None,
    check: Annotated[bool, typer.Option("--check", help="Open every file; exit status 1 if any is missing")] = False,
    download: Annotated[bool, typer.Option("--download", help="Fetch what is missing from the hub")] = False,
    as_json: Json = False,
) -> None:
    """List a profile's weights: what is needed, where it is looked for, how large it is, what is missing."""
    from pipeline.weights import download as fetch
    from pipeline.weights import inspect, report

    if download:
        with progress_bar("weights") as tell:
            fetch(profile, folder, tell)
    parts = inspect(profile, folder, deep=check)
    found = report(profile, folder, parts)
    for line in found.pop("lines"):
        say(line, quiet=as_json)
    finish(found, as_json)
    if check and found["missing"]:
        raise typer.Exit(1)
