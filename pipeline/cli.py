"""What every command line here shares: one line for a user's mistake, a progress bar, a machine-readable line."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.errors import ConfigError, NeuroVisError

USER_ERROR = 2
# Options that every command has, typed once.
Home = Annotated[
    Path | None, typer.Option("--home", help="Working folder; default $NEUROVIS_HOME, else the platform's data folder")
]
Json = Annotated[bool, typer.Option("--json", help="Write one machine-readable last line to stdout")]
Progress = Callable[[int, int, str], None]
PACE = 0.25  # s between two lines of the same thing for a watcher


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Run a typer app; a :class:`~pipeline.errors.NeuroVisError` becomes ``error: ...`` and exit status 2.

    Anything else keeps its traceback: it is a bug.
    """
    quiet_libraries()
    try:
        app(args=arguments)
    except NeuroVisError as error:
        _fail(str(error))
    except BrokenPipeError:
        # The reader (such as head) has seen enough; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def quiet_libraries() -> None:
    """Keep the model libraries' bars and advice to developers off the screen; call before they are imported.

    diffusers tells of config fields that it writes itself, and of casts to the precision a model already has.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def say(text: str, *, quiet: bool = False) -> None:
    """Write a line for people to stdout; with ``quiet`` (``--json``) to stderr, which leaves stdout to the machine."""
    typer.echo(text, err=quiet)


def finish(result: Any, as_json: bool) -> None:
    """Write the machine-readable last line where ``--json`` asked for it."""
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False, default=str))


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Show a bar on stderr; yields a callback of (done, total, what).

    What it is told is also appended to the file that $NEUROVIS_PROGRESS names, a JSON line at a time, for whoever
    watches from another process.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        write = _progress_file()

        def tell(done: int, total: int, what: str) -> None:
            write(done, total, what)
            bar.update(task, completed=done, total=total, description=f"{title}: {what}" if what else title)

        yield tell


def _progress_file() -> Progress:
    """Return a callback that writes to $NEUROVIS_PROGRESS, a few lines a second at most."""
    path = os.environ.get("NEUROVIS_PROGRESS")
    last: tuple[float, str] = (0.0, "")

    def write(done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.time()
        if not path or (what == last[1] and done < total and now - last[0] < PACE):
            return
        last = (now, what)
        line = {"time": round(now, 2), "done": done, "total": total, "what": what}
        # Whoever watches can do without a line; a full disk must not end the work for it.
        with suppress(OSError), open(path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    return write


def parse_clips(text: str) -> list[int]:
    """Turn ``0:8``, ``3``, ``0,4,10:12`` or ``0:20:5`` into indices, in the order given, each once.

    Raises
    ------
    ConfigError
        Anything else, or nothing.
    """
    found: dict[int, None] = {}
    for piece in text.split(","):
        try:
            numbers = [int(n) for n in piece.strip().split(":")]
            if not 1 <= len(numbers) <= 3 or min(numbers) < 0:
                raise ValueError
            chosen = range(*numbers) if len(numbers) > 1 else range(numbers[0], numbers[0] + 1)
        except ValueError as error:
            raise ConfigError(f"--clips must be such as 0:8 or 0,4,10, got {text!r}") from error
        if len(chosen) > 1_000_000:
            raise ConfigError(f"--clips {text!r} names more clips than any data set has")
        found.update(dict.fromkeys(chosen))
    if not found:
        raise ConfigError(f"--clips {text!r} names no clip")
    return list(found)


def parse_words(text: str | None, allowed: Sequence[str] | None = None, option: str = "") -> tuple[str, ...]:
    """Split a comma-separated option, checking the words where they are known."""
    words = tuple(dict.fromkeys(w.strip() for w in (text or "").split(",") if w.strip()))
    wrong = [w for w in words if allowed is not None and w not in allowed]
    if wrong:
        raise ConfigError(f"{option} takes {', '.join(allowed or ())}, got {', '.join(wrong)}")
    return words


def _fail(message: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(USER_ERROR)
