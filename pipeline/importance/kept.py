"""Importance maps that were computed once, in memory and on disk, by decoder, recording and settings."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.clipset import VoxelSpace
from pipeline.data.importing import BUILT_IN, built_in_mark
from pipeline.errors import DataError
from pipeline.importance.inference import RegionRow
from pipeline.importance.maps import ImportanceMap, Settings
from pipeline.paths import PHANTOM_ASSETS, atomic_file

FORMAT = 2  # to be raised when a statistic's code changes what it computes
KEPT = 24  # sets of maps in memory, some 100 kB each
SHIPPED = PHANTOM_ASSETS / "importance"
Maps = Mapping[str, ImportanceMap]


@dataclass(frozen=True)
class MapKey:
    """What decides a set of maps.

    Parameters
    ----------
    decoder : str
        SHA-256 of its weights.
    dataset, subject : str
    recording : str
        From :func:`recording_of`.
    settings : Settings
    """

    decoder: str
    dataset: str
    subject: str
    recording: str
    settings: Settings

    @property
    def name(self) -> str:
        """Name of the file."""
        told = json.dumps([FORMAT, asdict(self)], sort_keys=True)
        return f"{self.subject}-{self.settings.statistic}-{hashlib.sha256(told.encode()).hexdigest()[:20]}"


def recording_of(dataset: str, subject: str, home: Path) -> str | None:
    """Return what tells one recording of a subject from another; None where it is not imported.

    A phantom is the same wherever it is made, and need not be made yet. For others it is the SHA-256 of what the
    working folder says of the import: another import is another recording.
    """
    if dataset in BUILT_IN:
        return f"built in: {built_in_mark(dataset)}"
    file = home / "datasets" / dataset / subject / "subject.json"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


class MapStore:
    """Keep sets of maps, and find those that ship.

    Parameters
    ----------
    folder : Path
        Made when the first map is written.
    shipped : Path, optional
        Another folder, which is only read.
    """

    def __init__(self, folder: Path, shipped: Path | None = SHIPPED) -> None:
        self.folder, self.shipped = folder, shipped
        self._held: OrderedDict[str, Maps] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: MapKey) -> Maps | None:
        """Return the maps by module, or None where they are not computed; a damaged file counts as none."""
        with self._lock:
            if key.name in self._held:
                self._held.move_to_end(key.name)
                return self._held[key.name]
        for folder in (self.folder, self.shipped):
            path = folder / f"{key.name}.safetensors" if folder else None
            if path is None or not path.is_file():
                continue
            try:
                maps = _read(path)
            except DataError:
                if folder == self.folder:
                    path.unlink(missing_ok=True)
                continue
            self._hold(key, maps)
            return maps
        return None

    def put(self, key: MapKey, maps: Maps) -> None:
        """Keep maps, on disk too."""
        with atomic_file(self.folder / f"{key.name}.safetensors") as temporary:
            _write(maps, temporary)
        self._hold(key, maps)

    def _hold(self, key: MapKey, maps: Maps) -> None:
        with self._lock:
            self._held[key.name] = maps
            while len(self._held) > KEPT:
                self._held.popitem(last=False)


def _write(maps: Maps, path: Path) -> None:
    from safetensors.numpy import save_file

    first = next(iter(maps.values()))
    arrays = {"voxel_ids": np.ascontiguousarray(first.voxel_ids)}
    facts: dict[str, Any] = {"subject": first.subject, "statistic": first.statistic, "simulated": first.simulated}
    facts |= {"space": asdict(first.space), "modules": {}}
    for module, found in maps.items():
        arrays[f"{module}.values"] = np.ascontiguousarray(found.values)
        if found.voxel_p is not None:
            arrays[f"{module}.voxel_p"] = np.ascontiguousarray(found.voxel_p, np.float32)
        half = None if np.isnan(found.reliability) else found.reliability
        table = [row.to_dict() for row in found.table]
        told = {"reliability": half, "table": table, "n_shifts": found.n_shifts, "note": found.note}
        facts["modules"][module] = told
    save_file(arrays, path, metadata={"facts": json.dumps(facts)})


def _read(path: Path) -> Maps:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads(file.metadata()["facts"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        space = VoxelSpace(**facts["space"])
        return {
            module: ImportanceMap(
                facts["subject"],
                module,
                facts["statistic"],
                arrays[f"{module}.values"],
                arrays["voxel_ids"],
                space,
                float("nan") if one["reliability"] is None else float(one["reliability"]),
                arrays.get(f"{module}.voxel_p"),
                tuple(RegionRow(**row) for row in one["table"]),
                bool(facts["simulated"]),
                int(one["n_shifts"]),
                str(one["note"]),
            )
            for module, one in facts["modules"].items()
        }
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is damaged ({error}); the maps are computed again") from error
