"""States of a training on disk: written whole or not at all, checked by checksum, the last two kept.

``step-000000120/``
    ``state.safetensors``: weights, running mean, best weights, optimiser. ``state.json``: format, what the run is,
    where it stands, all random state. ``SHA256SUMS``: of both, as ``sha256sum -c`` reads it.

A finished run keeps one state with the chosen weights alone: at full size the others are gigabytes of no use.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.errors import CheckpointError, ResourceError
from pipeline.paths import check_space, disk_is_full

FORMAT = 2
KEPT = 2
SLOW = 1.0  # seconds that writing a state may take without being put off
SHARE = 0.05  # of the time that slower states may take
SPEED = 5e8  # bytes a second that a disk is thought to take until a state has been written
_WRITING = ".writing-"
_FILES = ("state.safetensors", "state.json")


class Pace:
    """When a state is due at the end of an epoch: always, unless writing is slow and the last one is not long ago.

    At the published sizes a state is 6 GB and an epoch takes two seconds: written after each, states would take ten
    times as long as the training.

    Parameters
    ----------
    n_bytes : int
        Of a state, about.
    minutes : float, optional
        After which one is due anywhere.
    """

    def __init__(self, n_bytes: int, minutes: float | None) -> None:
        self.cost, self.minutes, self.last = n_bytes / SPEED, minutes, time.monotonic()

    def wrote(self, began: float) -> None:
        """Take note of a state whose writing began at a time of ``time.monotonic``."""
        self.last = time.monotonic()
        self.cost = self.last - began

    def late(self) -> bool:
        """Return whether the clock alone asks for a state."""
        return self.minutes is not None and time.monotonic() - self.last > 60 * self.minutes

    def affordable(self) -> bool:
        """Return whether a state at the end of an epoch costs little of the time since the last."""
        return self.cost <= SLOW or self.cost <= SHARE * (time.monotonic() - self.last)


class States:
    """The states in one folder.

    Parameters
    ----------
    folder : Path
    about : mapping
        JSON values that say what the run is; a state of another run is refused.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        # As it will be read back: JSON knows neither tuples nor keys that are numbers.
        self.about: dict[str, Any] = json.loads(json.dumps(dict(about)))

    def save(self, step: int, tensors: Mapping[str, Tensor], fit: Mapping[str, Any], random: list[Any]) -> Path:
        """Write the state of a step, flushed to disk, then delete all but the last two.

        Parameters
        ----------
        step : int
        tensors : mapping of name to Tensor
        fit : mapping
            Where the run stands; ``done`` makes it the only state that is kept.
        random : list
            Random state of each process.

        Raises
        ------
        ResourceError
            When the disk is full; the earlier states stay.
        """
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(f"{_WRITING}*"):  # of a process that was killed while it wrote
            shutil.rmtree(left, ignore_errors=True)
        check_space(self.folder, sum(t.nbytes for t in tensors.values()))
        body = {"format": FORMAT, "run": self.about, "fit": dict(fit), "random": random}
        temporary = Path(tempfile.mkdtemp(dir=self.folder, prefix=_WRITING))
        target = self.folder / f"step-{step:09d}"
        try:
            save_file(_apart(tensors), temporary / "state.safetensors")
            (temporary / "state.json").write_text(json.dumps(body), encoding="utf-8")
            sums = "".join(f"{_digest(temporary / name)}  {name}\n" for name in _FILES)
            (temporary / "SHA256SUMS").write_text(sums, encoding="utf-8")
            for name in (*_FILES, "SHA256SUMS"):
                _flush(temporary / name)
            if target.exists():  # damaged, else the run would have gone on from it
                shutil.rmtree(target)
            os.replace(temporary, target)
            _flush_folder(self.folder)
        except Exception as error:  # safetensors tells of a full disk in an error of its own
            if disk_is_full(error):
                raise ResourceError(
                    f"{self.folder}: the disk is full; the earlier states are kept, make room and resume"
                ) from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for newer in self.found():  # damaged, passed over when the run was taken up
            if newer.name > target.name:
                shutil.rmtree(newer, ignore_errors=True)
        for old in self.found()[1 if fit.get("done") else KEPT :]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def clear(self) -> None:
        """Delete all states, to start over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def found(self) -> list[Path]:
        """Return the folders of states, the last step first."""
        return sorted(self.folder.glob("step-*"), reverse=True)

    def load(self, note: Callable[[str], None]) -> tuple[dict[str, Tensor], dict[str, Any], list[Any]] | None:
        """Return (tensors, fit, random) of the last state that is whole; None where there is none.

        Where it is not the last one, ``note`` is told so in a sentence.

        Raises
        ------
        CheckpointError
            When all are damaged, or the state is of another version or another run.
        """
        if (self.folder / "state.json").is_file():
            raise CheckpointError(f"{self.folder}: written by an earlier version of NeuroVis; delete it and start over")
        damaged = ""
        for path in self.found():
            try:
                tensors, body = _read(path)
            except (OSError, ValueError, KeyError) as error:
                damaged = damaged or f"{path}: cannot be read ({' '.join(str(error).split())})"
                continue
            self._check(path, body)
            if damaged:
                note(f"{damaged}; going on from {path.name}, the one before")
            return tensors, body["fit"], body["random"]
        if damaged:
            raise CheckpointError(f"{damaged}, and no earlier state is whole; delete {self.folder} to start over")
        return None

    def _check(self, path: Path, body: dict[str, Any]) -> None:
        if body["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: state of format {body['format']}, this version reads {FORMAT}; "
                "resume with the version that wrote it, or start over"
            )
        if body["run"] != self.about:
            keys = sorted({*body["run"], *self.about})
            changed = [name for key in keys for name in _differences(key, body["run"].get(key), self.about.get(key))]
            raise CheckpointError(
                f"{path}: of a run with another {', '.join(changed)}; delete it, choose another folder, or start over"
            )


def _differences(name: str, one: Any, other: Any) -> list[str]:
    """Return the name of a setting if it differs, with the names within it that do."""
    if one == other:
        return []
    if isinstance(one, dict) and isinstance(other, dict):
        inner = [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
        return [f"{name} ({', '.join(inner)})"]
    return [name]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a state or raise OSError, ValueError or KeyError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    sums = dict(line.split()[::-1] for line in (path / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    for name in _FILES:
        if _digest(path / name) != sums[name]:
            raise ValueError(f"{name} is not what was written")
    body: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    for key in ("format", "run", "fit", "random"):
        body[key]
    try:
        return load_file(path / "state.safetensors"), body
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors to the CPU where they share memory, which safetensors refuses; leave the others where they are."""
    seen: set[int] = set()
    found = {}
    for name, value in tensors.items():
        plain = value.detach().cpu().contiguous()
        found[name] = plain.clone() if plain.untyped_storage().data_ptr() in seen else plain
        seen.add(found[name].untyped_storage().data_ptr())
    return found


def _digest(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    with open(path, "r+b") as stream:
        os.fsync(stream.fileno())


def _flush_folder(path: Path) -> None:
    """Flush the names in a folder, where the system can (Windows cannot)."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
