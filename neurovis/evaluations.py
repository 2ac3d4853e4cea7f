"""Evaluations kept in the working folder: which runs are scored under which settings, and what was found."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from neurovis.library import Library
from pipeline.errors import ConfigError, DataError
from pipeline.evaluate.engine import Evaluation
from pipeline.evaluate.judging import GROUPS, expand
from pipeline.evaluate.settings import CONTROLS, Settings, parse_convention
from pipeline.evaluate.sources import RunSource
from pipeline.evaluate.summary import Row, Summary
from pipeline.runs import FULL, RunInfo

if TYPE_CHECKING:
    import pandas as pd

CONVENTIONS = ("corrected", "paper", "both")
OF_PHANTOM = "phantom"  # its judges know no other world
KEPT = 16  # evaluations held in memory
DAMAGED = "its results cannot be read ({}); score it again"


@dataclass(frozen=True)
class Choice:
    """What the user wants scored.

    Parameters
    ----------
    runs : tuple of str
        Names, as the library lists them.
    convention : str
        One of ``CONVENTIONS``.
    judges : tuple of str
        Names of groups of judges.
    controls, shuffle : bool
        Whether the five controls are scored too, and whether the shuffle test is run.
    """

    runs: tuple[str, ...]
    convention: str = "corrected"
    judges: tuple[str, ...] = ()
    controls: bool = False
    shuffle: bool = True

    @classmethod
    def read(cls, values: dict[str, Any]) -> Choice:
        """Make a choice of what the page sent; raise ConfigError where it is none."""
        runs = tuple(dict.fromkeys(str(name) for name in values.get("runs") or ()))
        convention = str(values.get("convention") or "corrected")
        judges = tuple(dict.fromkeys(str(name) for name in values.get("judges") or ()))
        if not runs:
            raise ConfigError("Evaluate: expected at least one run, got none; tick a run")
        if convention not in CONVENTIONS:
            raise ConfigError(f"convention: expected {', '.join(CONVENTIONS)}, got {convention!r}")
        if unknown := set(judges) - set(GROUPS):
            raise ConfigError(f"judges: expected {', '.join(GROUPS)}, got {', '.join(sorted(unknown))}")
        return cls(runs, convention, judges, bool(values.get("controls")), bool(values.get("shuffle", True)))


@dataclass(frozen=True)
class Place:
    """Where one run is scored under one choice: source, settings, and the folder of the results."""

    source: RunSource
    settings: Settings
    folder: Path

    @property
    def scored(self) -> bool:
        """Tell whether there are results."""
        return (self.folder / "summary.json").is_file()

    @property
    def n_done(self) -> int:
        """Count the clips that are scored."""
        table = self.folder / "parts" / "part.jsonl"
        return len(table.read_bytes().splitlines()) if table.is_file() else 0


class Evaluations:
    """Find and read what was scored; nothing is scored here.

    Parameters
    ----------
    library : Library
        Whose working folder keeps the results, in ``evaluations/RUN/KEY``.
    """

    def __init__(self, library: Library) -> None:
        self.library, self.folder = library, library.home / "evaluations"
        self._kept: OrderedDict[tuple[str, str, int], Evaluation] = OrderedDict()
        self._lock = threading.Lock()

    def choices(self) -> dict[str, Any]:
        """Return the runs, judges and conventions to choose from, each with a reason where it cannot be chosen."""
        runs = []
        for info in self.library.infos():
            m = info.manifest
            facts = {"dataset": m.dataset, "subject": m.subject, "method": m.method, "title": m.title} if m else {}
            more = {"simulated": m.simulated, "labels": m.labels, "n_clips": len(m.clip_ids)} if m else {}
            runs.append({"name": info.name, "reason": self._refusal(info), **facts, **more})
        judges = [{"key": key, **_judges_at_hand(key)} for key in GROUPS if GROUPS[key]]
        return {"runs": runs, "judges": judges, "conventions": CONVENTIONS, "controls": CONTROLS}

    def place(self, name: str, choice: Choice) -> Place:
        """Return where a run is, or would be, scored: results of the same settings, else of more conventions.

        Raises
        ------
        ConfigError, DataError
            There is no such run, it is damaged, or it holds no true clips.
        """
        info = next((one for one in self.library.infos() if one.name == name), None)
        if info is None:
            raise ConfigError(f"{name}: no run of this name is listed; choose another")
        if reason := self._refusal(info):
            raise DataError(reason)
        source = RunSource(info.path)
        simulated, sha = bool(source.facts["simulated"]), source.facts["sha256"]
        judges = tuple(key for key in choice.judges if simulated or key != OF_PHANTOM)
        places = []
        for convention in dict.fromkeys((choice.convention, "both")):
            settings = Settings(
                conventions=parse_convention(convention), judges=judges, controls=choice.controls,
                shuffle=choice.shuffle,
            )  # fmt: skip
            here = [one for one in expand(judges) if missing_judge(one) is None]
            key = settings.fingerprint(source=sha, judges=here)[:16]
            places.append(Place(source, settings, self.folder / _inert(name) / key))
        return next((place for place in places if place.scored), places[0])

    def state(self, name: str, choice: Choice) -> dict[str, Any]:
        """Say how far a run is: ``scored`` with its figures, ``partial``, ``none``, ``damaged`` or ``impossible``."""
        try:
            place = self.place(name, choice)
        except (ConfigError, DataError) as error:
            return {"run": name, "state": "impossible", "reason": str(error)}
        total, done = len(place.source.clip_ids), place.n_done
        counted = {"run": name, "done": min(done, total), "total": total, "simulated": place.source.facts["simulated"]}
        if not place.scored:
            return {**counted, "state": "partial" if done else "none"}
        try:
            return {**counted, "state": "scored", **self._read(place, choice).to_dict()}
        except DataError as error:
            return {**counted, "state": "damaged", "reason": str(error)}

    def load(self, name: str, choice: Choice) -> Evaluation:
        """Return what was found, of the chosen conventions; raise DataError where nothing is scored yet."""
        return self._read(self.place(name, choice), choice)

    def _read(self, place: Place, choice: Choice) -> Evaluation:
        """Read an evaluation once; one that was written again is another one."""
        file = place.folder / "summary.json"
        stamp = file.stat().st_mtime_ns if file.is_file() else 0
        key = (str(place.folder), choice.convention, stamp)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = read(place, choice)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return self._kept[key]

    def _refusal(self, info: RunInfo) -> str | None:
        """Say why a run cannot be scored, by what is on disk of its first clip."""
        if info.manifest is None:
            return info.error or f"{info.name}: cannot be opened"
        ids = info.manifest.clip_ids
        if not ids:
            return f"{info.name}: holds no clip"
        try:
            run = self.library.run(info.name)
        except DataError as error:
            return str(error)
        what = {"truth": "what was shown", "reconstruction": "the full model's reconstructions"}
        known = run.manifest.streams
        lacks = " or ".join(t for stream, t in what.items() if stream not in known or not run.has(ids[0], stream, FULL))
        return f"{info.name}: holds no frames of {lacks}, so there is nothing to compare" if lacks else None


def read(place: Place, choice: Choice) -> Evaluation:
    """Read an evaluation from its folder, of the chosen conventions alone."""
    conventions = parse_convention(choice.convention)
    if not place.scored:
        raise DataError(f"{place.source.facts['run']}: not scored yet under these settings; press Score")
    try:
        found = json.loads((place.folder / "summary.json").read_text(encoding="utf-8"))
        scores = [Summary(**{**one, "interval": one["interval"] and tuple(one["interval"])}) for one in found["scores"]]
        kept = {**found["settings"]}
        settings = Settings.model_validate_json(json.dumps(kept)).model_copy(update={"conventions": conventions})
        rows = _rows(place.folder / "scores.parquet", conventions)
        return Evaluation(
            found["source"], settings, rows, [s for s in scores if s.convention in conventions],
            tuple(found["notes"]), found["versions"],
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        told = type(error).__name__
        raise DataError(f"{place.source.facts['run']}: {DAMAGED.format(told)}") from error


def _rows(path: Path, conventions: tuple[str, ...]) -> list[Row]:
    """Read the values clip by clip; NaN is what is not defined."""
    import pandas as pd

    table: pd.DataFrame = pd.read_parquet(path).drop(columns="run")
    table = table[table["convention"].isin(conventions)].astype(object)
    table = table.where(table.notna(), None)
    return [Row(**{str(k): v for k, v in row.items()}) for row in table.to_dict("records")]


def missing_judge(name: str) -> str | None:
    """Say why a judge cannot be used, without loading or downloading it; None where it is at hand."""
    folder = Path(name)
    if folder.is_absolute() or folder.is_dir():
        return None if any(folder.glob("*.safetensors")) else f"{folder.name} has no weights in {folder.parent}"
    from huggingface_hub import try_to_load_from_cache

    files = ("model.safetensors", "model.safetensors.index.json")
    there = isinstance(try_to_load_from_cache(name, "config.json"), str)
    if there and any(isinstance(try_to_load_from_cache(name, file), str) for file in files):
        return None
    return f"{name} is not on this machine"


def _judges_at_hand(key: str) -> dict[str, Any]:
    """Name a group's judges, and say which are missing; ``reason`` where none is left."""
    known = expand((key,))
    missing = [reason for reason in map(missing_judge, known) if reason]
    names = [Path(one).name if Path(one).is_absolute() else one for one in known]
    told = f"{'; '.join(missing)}; nothing is downloaded from here"
    reason = told if len(missing) == len(known) else None
    note = told if missing and reason is None else None
    return {"names": names, "reason": reason, "note": note, "only_simulated": key == OF_PHANTOM}


def _inert(name: str) -> str:
    """Keep a run's name from being a path."""
    plain = "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
