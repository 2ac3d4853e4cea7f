"""What an imported subject's clips are, without reading a voxel: clips by run, worded clips by level, films."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from pathlib import Path

from pipeline.data import store
from pipeline.errors import DataError

KEPT = 32


@dataclass(frozen=True)
class Parts:
    """Clips of every run by its name, clips with words by caption level, and the names of the films."""

    clips: dict[str, int]
    captions: dict[str, int]
    film_names: tuple[str, ...]

    def films(self, dataset_folder: Path) -> list[Path]:
        """Return the paths of the films; those made here are kept relative to the data set's folder."""
        return [dataset_folder / name for name in self.film_names]


_kept: OrderedDict[tuple[str, int], Parts] = OrderedDict()


def read_parts(folder: Path) -> Parts:
    """Read the records of a subject's folder; they are kept until they change.

    Raises
    ------
    DataError
        Damaged files.
    """
    paths = [path for name in ("train", "test") if (path := folder / f"{name}.json").is_file()]
    if not paths:
        raise DataError(f"{folder}: the imported clips are missing; import the data set again")
    key = str(folder), sum(path.stat().st_mtime_ns for path in paths)
    if key not in _kept:
        while len(_kept) >= KEPT:
            _kept.popitem(last=False)
        _kept[key] = _read(paths)
    return _kept[key]


def _read(paths: list[Path]) -> Parts:
    clips: Counter[str] = Counter()
    captions: Counter[str] = Counter()
    films: set[str] = set()
    for path in paths:
        record = store.read_record(path)
        try:
            clips.update(record["groups"])
            captions.update({level: sum(bool(t) for t in texts) for level, texts in record["captions"].items()})
            films.update((record["stimulus"] or {}).get("files", ()))
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: the record is damaged ({error!r}); import the data set again") from error
    return Parts(dict(clips), dict(captions), tuple(sorted(films)))
