"""What a rendering is asked for: the arguments of ``python -m pipeline reconstruct``, checked before it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cli import parse_clips, parse_words
from pipeline.errors import ConfigError, DataError

_OURS = {"shard": "--shard", "home": "--home", "as_json": "--json"}  # which every task is given


@dataclass(frozen=True)
class Wanted:
    """A rendering that could be sent.

    Parameters
    ----------
    command : list of str
        Command line, without the interpreter; its paths are absolute, since the nodes run it elsewhere.
    out : Path
        The run folder.
    dataset, subject : str
    n_clips : int
    device : {"cpu", "cuda:0"}
        What each task asks Slurm for.
    """

    command: list[str]
    out: Path
    dataset: str
    subject: str
    n_clips: int
    device: str


def read_arguments(words: Sequence[str], home: Path) -> Wanted:
    """Read the arguments of ``python -m pipeline reconstruct`` as that command would.

    Parameters
    ----------
    words : sequence of str
    home : Path
        Working folder, whose data sets are looked at.

    Raises
    ------
    ConfigError, DataError
        One sentence about the first thing that command would refuse, as far as it shows without loading the data.
    """
    command, values = _parse(words)
    clips = parse_clips(values["clips"])
    from pipeline.render_commands import PARTS

    parse_words(values["without"], PARTS, "--without")
    dataset, subject = str(values["dataset"]), str(values["subject"])
    _check_clips(dataset, subject, clips, home)
    for name in ("checkpoint", "weights"):
        if values[name] is not None and not _absolute(values[name]).is_dir():
            raise ConfigError(f"--{name}: {_absolute(values[name])} is no folder; name one that the nodes see too")
    if values["checkpoint"] is None and (values["profile"] != "phantom" or dataset != "phantom"):
        raise ConfigError(
            f"{dataset}, profile {values['profile']}: no decoders are shipped for it; train them and name their "
            "folder with --checkpoint"
        )
    card = values["device"].startswith("cuda") or (values["profile"] == "paper" and values["device"] in ("", "auto"))
    device = "cuda:0" if card else "cpu"
    return Wanted(command, _absolute(values["out"]), dataset, subject, len(clips), device)


def _parse(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the command line that says the same with absolute paths, and the value of each option."""
    import typer
    from typer.exceptions import Exit, TyperException

    from pipeline.render_commands import reconstruct

    app = typer.Typer(add_completion=False)
    app.command()(reconstruct)
    parser = typer.main.get_command(app)
    try:
        context = parser.make_context("reconstruct", list(words))
    except (TyperException, Exit) as error:
        told = error.format_message().rstrip(".") if hasattr(error, "format_message") else "--help is no rendering"
        raise ConfigError(f"reconstruct: {told}; see python -m pipeline reconstruct --help") from error
    given = [
        p for p in parser.params if getattr(context.get_parameter_source(p.name or ""), "name", "") == "COMMANDLINE"
    ]
    command = ["-m", "pipeline", "reconstruct"]
    for option in given:
        name = str(option.name)
        if name in _OURS:
            raise ConfigError(f"reconstruct: {_OURS[name]} is given to each task by render; leave it out after --")
        value = context.params[name]
        command += [option.opts[0], str(_absolute(value) if isinstance(value, Path) else value)]
    return command, dict(context.params)


def _check_clips(dataset: str, subject: str, clips: Sequence[int], home: Path) -> None:
    """Refuse a subject or clips that the data set's card does not have."""
    from pipeline.data import describe

    card = describe(dataset, home)
    if subject not in card.subject_names:
        raise DataError(f"{dataset}: no subject {subject}, expected one of {', '.join(card.subject_names)}")
    counts: object = next((entry["n_clips"] for entry in card.subjects if entry["subject"] == subject), None)
    n_test = counts.get("test") if isinstance(counts, dict) else None
    if n_test is not None and max(clips) >= int(n_test):
        raise ConfigError(f"{dataset} {subject}: clips must lie in 0..{int(n_test) - 1}, got {max(clips)}")


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()
