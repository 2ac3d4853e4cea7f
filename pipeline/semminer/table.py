"""The captions file: a line per clip, appended as each is finished, so that a stopped run goes on where it was.

NAME.jsonl            one CaptionLine a clip
NAME.jsonl.meta.json  model, prompts and settings: one file holds the words of one of each
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from pipeline.errors import ConfigError, DataError, ResourceError
from pipeline.paths import atomic_file, write_json
from pipeline.semminer.contract import CaptionLine

FORMAT = 1


class CaptionTable:
    """An open captions file; see :func:`open_table`.

    Attributes
    ----------
    lines : dict
        Clip id -> finished line.
    """

    def __init__(self, path: Path, lines: dict[str, CaptionLine], stream: TextIO) -> None:
        self.path, self.lines = path, lines
        self._stream = stream

    def append(self, line: CaptionLine) -> None:
        """Write a line so that it outlives a crash of this process or of the machine.

        Raises
        ------
        ResourceError
            The disk is full.
        """
        try:
            self._stream.write(line.model_dump_json() + "\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            if error.errno == 28:
                raise ResourceError(f"{self.path}: the disk is full; make room and run again: it goes on") from error
            raise
        self.lines[line.clip_id] = line

    def sort(self, clip_ids: Iterable[str]) -> None:
        """Bring the file into this order, lines of other clips last; nothing can be appended after it."""
        self._stream.close()
        order = [*(c for c in clip_ids if c in self.lines)]
        order += [c for c in self.lines if c not in set(order)]
        if order == list(self.lines):
            return
        self.lines = {clip_id: self.lines[clip_id] for clip_id in order}
        with atomic_file(self.path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            stream.writelines(line.model_dump_json() + "\n" for line in self.lines.values())


@contextmanager
def open_table(path: Path, identity: dict[str, Any]) -> Iterator[CaptionTable]:
    """Open a captions file to go on with, or start it.

    Parameters
    ----------
    path : Path
    identity : dict
        What decides the words: data set, model, prompts, settings.

    Raises
    ------
    ConfigError
        The file holds words of another identity, or is not one of these.
    DataError
        A line other than the last is damaged.
    ResourceError
        Another process writes the file.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(path.with_name(f".{path.name}.lock")), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ResourceError(f"{path}: another process writes this file; wait for it, or give another --out") from error
    try:
        _check_identity(path, identity)
        lines = _read_lines(path)
        with open(path, "a", encoding="utf-8") as stream:
            yield CaptionTable(path, lines, stream)
    finally:
        lock.release()


def read_table(path: Path) -> list[CaptionLine]:
    """Read a finished captions file.

    Raises
    ------
    DataError
        A line is damaged or a clip is there twice.
    """
    return list(_parse(path, _rows(path.read_bytes())).values())


def _check_identity(path: Path, identity: dict[str, Any]) -> None:
    """Refuse a file of another identity; write down the identity of a new one."""
    meta = path.with_name(f"{path.name}.meta.json")
    wanted = {"format": FORMAT, **identity}
    if not path.exists() or not path.stat().st_size:
        write_json(meta, wanted)
        return
    try:
        found = json.loads(meta.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: holds lines, but {meta.name} beside it, which says what they were made with, cannot be read; "
            "give another --out, or remove the file to start anew"
        ) from error
    keys = [key for key in {**wanted, **found} if wanted.get(key) != found.get(key)]
    if keys:
        was = ", ".join(f"{key} {found.get(key)!r} (now {wanted.get(key)!r})" for key in keys)
        raise ConfigError(f"{path}: was begun with {was}; give another --out, or remove the file to start anew")


def _read_lines(path: Path) -> dict[str, CaptionLine]:
    """Read the finished lines, and cut off a last line that a crash left incomplete."""
    if not path.exists():
        return {}
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        with open(path, "r+b") as stream:
            stream.truncate(len(whole))
    return _parse(path, _rows(whole))


def _rows(raw: bytes) -> list[str]:
    return raw.decode("utf-8", "replace").removesuffix("\n").split("\n") if raw else []


def _parse(path: Path, rows: list[str]) -> dict[str, CaptionLine]:
    lines: dict[str, CaptionLine] = {}
    for number, row in enumerate(rows, start=1):
        try:
            line = CaptionLine.model_validate_json(row)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise DataError(
                f"{path}: line {number} is damaged ({where}: {first['msg']}); remove that line and run again"
            ) from error
        if line.clip_id in lines:
            raise DataError(f"{path}: line {number}: {line.clip_id} is there twice; remove one line and run again")
        lines[line.clip_id] = line
    return lines
