"""Where the curves go besides the log: TensorBoard always, trackio or Weights & Biases where asked, never online."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError

ALWAYS = ("tensorboard",)
NAMED = ("trackio", "wandb")


def trackers(named: str | None) -> tuple[str, ...]:
    """Return accelerate's names of the trackers to use.

    Raises
    ------
    ConfigError
        When the named one is not known or not installed.
    """
    if named is None:
        return ALWAYS
    if named not in NAMED:
        raise ConfigError(f"tracker {named!r} is not known, expected one of {', '.join(NAMED)}, or none")
    if find_spec(named) is None:
        raise ConfigError(
            f"tracker {named!r} is not installed; run `.venv/bin/python -m pip install {named}`, or set no tracker "
            "(TensorBoard is always written)"
        )
    return (*ALWAYS, named)


def begin(accelerator: Any, name: str, step: int, folder: Path) -> None:
    """Start the accelerator's trackers for a stage; points that a killed process wrote after ``step`` are dropped.

    ``WANDB_MODE=online``, set by the user, is the only way to send anything anywhere.
    """
    if not accelerator.log_with:
        return
    os.environ.setdefault("WANDB_SILENT", "true")
    accelerator.init_trackers(
        name,
        init_kwargs={
            "tensorboard": {"purge_step": step},
            "trackio": {"name": folder.parent.name, "space_id": None},
            "wandb": {"mode": os.environ.get("WANDB_MODE", "offline"), "dir": str(folder.parent)},
        },
    )


def log(accelerator: Any, step: int, line: dict[str, Any]) -> None:
    """Send the numbers of a line of the log to the trackers."""
    if accelerator.log_with:
        numbers = {k: float(v) for k, v in line.items() if isinstance(v, int | float) and k != "step"}
        accelerator.log(numbers, step=step)


def end(accelerator: Any) -> None:
    """Close the trackers' files."""
    for tracker in getattr(accelerator, "trackers", []):
        tracker.finish()
