"""Find what a BIDS folder holds: runs, events, masks, repetition times. No image values are read here.

Any study with ``sub-*/func/*_bold.nii.gz`` or ``*_bold.dtseries.nii`` (also under ``derivatives/``), ``*_events.tsv``
and, for volumes, a mask in the same space.
"""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.data.options import ImportOptions
from pipeline.errors import ConfigError, DataError

SUFFIXES = ("_bold.dtseries.nii", "_bold.nii.gz", "_bold.nii")
MAX_TEXT_BYTES = 64 * 2**20
NO_STIMULUS = {"", "n/a", "rest", "baseline", "fixation"}


@dataclass(frozen=True)
class Event:
    """Something on the screen from ``onset`` for ``duration`` seconds."""

    onset: float
    duration: float
    trial_type: str
    stim_file: str


@dataclass(frozen=True)
class BidsRun:
    """One run: its name among the subject's, its image, its events, its repetition time in seconds."""

    name: str
    bold: Path
    events: Path | None
    tr: float | None
    masks: tuple[Path, ...]


@dataclass(frozen=True)
class BidsLayout:
    """What a BIDS folder holds; ``subjects`` maps ``sub-01`` to its runs in order."""

    root: Path
    name: str
    subjects: dict[str, list[BidsRun]] = field(default_factory=dict)


def is_bids(root: Path) -> bool:
    """Whether ``root`` looks like a BIDS folder."""
    return (root / "dataset_description.json").is_file() or any(root.glob("sub-*/func"))


def scan_bids(root: Path, options: ImportOptions) -> BidsLayout:
    """List subjects and runs.

    Raises
    ------
    DataError
        No runs, two images for one run, unreadable sidecars.
    """
    found: dict[str, dict[tuple[str, ...], Path]] = {}
    source = root / "derivatives" / options.derivative if options.derivative else root
    images = _bold_files(source)
    if not images and not options.derivative:
        folders = sorted(p for p in (root / "derivatives").glob("*") if _bold_files(p))
        if len(folders) > 1:
            raise ConfigError(f"{root}: runs lie in {[p.name for p in folders]}; choose one with --derivative NAME")
        images = _bold_files(folders[0]) if folders else []
    for path in images:
        entities = parse_entities(path.name)
        if options.task not in (None, entities.get("task")) or options.bids_space not in (None, entities.get("space")):
            continue
        subject = f"sub-{entities.get('sub', '')}"
        key = tuple(f"{k}-{entities[k]}" for k in ("ses", "task", "acq", "run") if k in entities)
        runs = found.setdefault(subject, {})
        if key in runs:
            raise DataError(
                f"{subject}: {path.name} and {runs[key].name} are two images of one run; "
                "choose with --bids-space or --derivative"
            )
        runs[key] = path
    if not found:
        raise DataError(
            f"{root}: expected sub-*/func/*_bold.nii.gz or *_bold.dtseries.nii, got none"
            + (f" of task {options.task}" if options.task else "")
        )
    layout = BidsLayout(root, _dataset_name(root))
    for subject, runs in sorted(found.items()):
        names = _run_names(sorted(runs))
        layout.subjects[subject] = [_run(root, subject, names[k], runs[k], options) for k in sorted(runs)]
    return layout


def parse_entities(name: str) -> dict[str, str]:
    """Split ``sub-01_task-x_run-02_bold.nii.gz`` into its entities."""
    return dict(re.findall(r"(?:^|_)([a-z]+)-([A-Za-z0-9+]+)", name))


def read_events(path: Path) -> list[Event]:
    """Read an events table: onset and duration in seconds, trial_type and stim_file where given.

    Raises
    ------
    DataError
        Missing columns, values that are not numbers, names the line.
    """
    events = []
    try:
        rows = list(csv.DictReader(read_text(path).splitlines(), delimiter="\t"))
    except csv.Error as error:
        raise DataError(f"{path}: not a table of tab-separated values ({error})") from error
    for number, row in enumerate(rows, start=2):
        if "onset" not in row or "duration" not in row:
            raise DataError(f"{path}: expected columns onset and duration, got {', '.join(map(str, row))}")
        try:
            onset = float(row["onset"])
            duration = 0.0 if row["duration"] in ("n/a", "", None) else float(row["duration"])
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: line {number}: onset and duration must be seconds, got {row}") from error
        if not (math.isfinite(onset) and math.isfinite(duration) and duration >= 0):
            raise DataError(
                f"{path}: line {number}: onset and duration must be finite seconds, got {onset}, {duration}"
            )
        kind, film = (row.get("trial_type") or "").strip(), (row.get("stim_file") or "").strip()
        events.append(Event(onset, duration, kind, "" if film.lower() == "n/a" else film))
    return sorted(events, key=lambda e: e.onset)


def event_at(events: list[Event], seconds: float) -> Event | None:
    """Return the event on the screen at a time; of overlapping ones the last to start; None at rest."""
    shown = [e for e in events if e.onset - 1e-6 <= seconds < e.onset + e.duration - 1e-6]
    shown = [e for e in shown if e.stim_file or e.trial_type.lower() not in NO_STIMULUS]
    return shown[-1] if shown else None


def stimulus_path(root: Path, name: str) -> Path:
    """Path of a ``stim_file`` below ``stimuli/``; anything that leads out of there is refused."""
    base = (root / "stimuli").resolve()
    path = (base / name).resolve()
    if not path.is_relative_to(base):
        raise DataError(f"{root}: stim_file {name!r} leads out of stimuli/, so it is refused")
    return path


def read_text(path: Path) -> str:
    """Read a small UTF-8 text file."""
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise DataError(
                f"{path}: expected a text file under {MAX_TEXT_BYTES >> 20} MB, got {path.stat().st_size} bytes"
            )
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error})") from error


def _bold_files(root: Path) -> list[Path]:
    patterns = [f"{pre}sub-*/{ses}func/*{s}" for pre in ("",) for ses in ("", "ses-*/") for s in SUFFIXES]
    return sorted({path for pattern in patterns for path in root.glob(pattern)})


def _run_names(keys: list[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """Short names for the groups: only the entities that tell the runs apart, ``run-01`` for a single run."""
    varying = [e for e in ("ses", "task", "acq", "run") if len({_value(k, e) for k in keys}) > 1]
    named: dict[tuple[str, ...], str] = {}
    for index, key in enumerate(keys, start=1):
        wanted = {*varying, "run"} if varying else {"run"}
        named[key] = "_".join(part for part in key if part.split("-")[0] in wanted) or f"run-{index:02d}"
    return named


def _value(key: tuple[str, ...], entity: str) -> str | None:
    return next((part for part in key if part.startswith(entity + "-")), None)


def _run(root: Path, subject: str, name: str, bold: Path, options: ImportOptions) -> BidsRun:
    entities = parse_entities(bold.name)
    return BidsRun(
        name, bold, _events(root, bold, entities), _tr(root, bold, entities), _masks(root, subject, bold, options)
    )


def _events(root: Path, bold: Path, entities: dict[str, str]) -> Path | None:
    """Find the events table beside the image, in the raw folder, or (inherited) at the root."""
    kept = [f"{k}-{entities[k]}" for k in ("sub", "ses", "task", "acq", "run") if k in entities]
    raw = root / f"sub-{entities.get('sub')}"
    raw = raw / f"ses-{entities['ses']}" if "ses" in entities else raw
    names = ["_".join(kept), "_".join(k for k in kept if not k.startswith("acq-"))]
    places = [folder / f"{stem}_events.tsv" for folder in (bold.parent, raw / "func") for stem in names]
    if "task" in entities:
        places.append(root / f"task-{entities['task']}_events.tsv")
    return next((p for p in places if p.is_file()), None)


def _tr(root: Path, bold: Path, entities: dict[str, str]) -> float | None:
    """Repetition time from the nearest sidecar that states it (BIDS' inheritance), in seconds."""
    stem = next(bold.name[: -len(s)] for s in SUFFIXES if bold.name.endswith(s))
    task = f"task-{entities.get('task')}_bold.json"
    sub = f"sub-{entities.get('sub')}"
    kept = "_".join(f"{k}-{entities[k]}" for k in ("sub", "ses", "task", "run") if k in entities)
    raw = root / sub / f"ses-{entities['ses']}" if "ses" in entities else root / sub
    places = [
        bold.parent / f"{stem}_bold.json",
        raw / "func" / f"{kept}_bold.json",
        root / sub / f"{sub}_{task}",
        root / task,
    ]
    for path in places:
        if path.is_file():
            sidecar = read_json(path)
            value = sidecar.get("RepetitionTime") if isinstance(sidecar, dict) else None
            if value is not None:
                if not isinstance(value, int | float) or not 0.05 <= value <= 60:
                    raise DataError(f"{path}: RepetitionTime must be seconds between 0.05 and 60, got {value!r}")
                return float(value)
    return None


def _masks(root: Path, subject: str, bold: Path, options: ImportOptions) -> tuple[Path, ...]:
    """Masks of a run: the user's, else the run's own, else the subject's."""
    if options.mask is not None:
        return (options.mask,)
    stem = next(bold.name[: -len(s)] for s in SUFFIXES if bold.name.endswith(s))
    own = sorted(bold.parent.glob(f"{stem.removesuffix('_desc-preproc')}*_mask.nii*"))
    shared = sorted((root / "derivatives" / "masks" / subject).rglob("*_mask.nii*"))
    if not own and len(shared) > 1:
        raise ConfigError(f"{subject}: {len(shared)} masks in derivatives/masks; choose one with --mask FILE")
    return tuple(own[:1] or shared)


def _dataset_name(root: Path) -> str:
    path = root / "dataset_description.json"
    value = read_json(path) if path.is_file() else {}
    return str(value.get("Name", root.name)) if isinstance(value, dict) else root.name
