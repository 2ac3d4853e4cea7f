"""Runs by their names: in the working folder, or shipped."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.paths import PHANTOM_ASSETS
from pipeline.paths import home as working_folder


def find_run(name: str, home: Path | None = None) -> Path:
    """Return a run's folder: a path, or the name of a run in the working folder or of a shipped one.

    Raises
    ------
    ConfigError
        When there is none; it lists the runs that are known.
    """
    shelves = [working_folder(home) / "runs", PHANTOM_ASSETS / "runs"]
    for place in (Path(name), *(shelf / name for shelf in shelves)):
        if (place / "manifest.json").is_file():
            return place
    # A hidden folder is one that is still being written.
    known = sorted({file.parent.name for shelf in shelves for file in shelf.glob("[!.]*/manifest.json")})
    raise ConfigError(
        f"{name}: no run of this name, nor a folder with a manifest.json; runs are {', '.join(known) or 'none yet'}"
    )
