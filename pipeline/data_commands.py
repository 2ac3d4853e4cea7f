"""Commands about imported data: how good it is, and where its voxels lie."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import Home, Json, finish, parse_words, progress_bar, say


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line of :mod:`pipeline`."""
    app.command(name="recover-index")(recover_index)
    app.command()(quality)


def recover_index(
    name: Annotated[str, typer.Argument(help="Data set imported from preprocessed CC2017 tensors")],
    raw: Annotated[Path, typer.Option("--raw", help="Folder of the same subjects in CC2017's raw layout")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Find where preprocessed voxels lie on the cortex, from the raw files; refuses what is not beyond doubt."""
    from pipeline.data.recover import recover_index as recover

    with progress_bar(f"recover {name}") as tell:
        found = recover(name, raw, home, tell)
    for one in found:
        say(one.text(), quiet=as_json)
    say(f"{name} has positions now; train its decoders again, older ones know its voxels by number", quiet=as_json)
    finish({"dataset": name, "subjects": [one.to_dict() for one in found]}, as_json)


def quality(
    name: Annotated[str, typer.Argument(help="Data set")],
    subject: Annotated[str | None, typer.Option(help="Such as sub-01,sub-02; all by default")] = None,
    lag: Annotated[bool, typer.Option(help="Scan the lag too, most of the time spent")] = True,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show signal-to-noise, reliability, noise ceiling, voxel counts and lag of an imported data set."""
    from pipeline.data.quality_report import quality_report
    from pipeline.data.registry import describe

    wanted = parse_words(subject) or describe(name, home).subject_names
    found = []
    for one in wanted:
        with progress_bar(f"quality {one}") as tell:
            found.append(quality_report(name, one, home, lag=lag, progress=tell))
        say(found[-1].text(), quiet=as_json)
    finish({"dataset": name, "subjects": [report.to_dict() for report in found]}, as_json)
