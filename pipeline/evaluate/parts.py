"""Results on their way: a line a clip in ``part.jsonl``, what the judges saw in ``seen/``; a stopped run goes on."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pipeline.errors import ConfigError, DataError, ResourceError
from pipeline.evaluate.work import Line, Seen
from pipeline.paths import atomic_file


class Parts:
    """The part results of one evaluation.

    Parameters
    ----------
    folder : Path
    fingerprint : str
        Of the settings and the clips; parts made under another are refused.
    restart : bool
        Throw away what is there instead.

    Raises
    ------
    ConfigError
        The parts in ``folder`` were made under other settings or from other clips.
    """

    def __init__(self, folder: Path, fingerprint: str, restart: bool = False) -> None:
        self.folder, self.table, self.seen_folder = folder, folder / "part.jsonl", folder / "seen"
        if restart and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        mark = folder / "settings.sha256"
        if mark.exists() and mark.read_text(encoding="utf-8").strip() != fingerprint:
            raise ConfigError(
                f"{folder}: the results here were made with other settings or of other clips; "
                "choose another --out, or start over with --restart"
            )
        if not mark.exists():
            with atomic_file(mark) as temporary:
                temporary.write_text(fingerprint + "\n", encoding="utf-8")
        self.lines: dict[str, Line] = {}
        self._read()

    def add(self, line: Line, seen: Seen) -> None:
        """Keep one clip's results: first what the judges saw, then the line, flushed to disk."""
        if seen:
            from safetensors.numpy import save_file

            with atomic_file(self.seen_folder / f"{line.clip_id}.safetensors") as temporary:
                save_file({key: np.ascontiguousarray(value) for key, value in seen.items()}, temporary)
        try:
            with open(self.table, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise ResourceError(f"{self.table}: cannot be written ({error}); make room and run again") from error
        self.lines[line.clip_id] = line

    def seen(self, clip_id: str) -> Seen:
        """Return what the judges saw in a clip; empty where there were none."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self.seen_folder / f"{clip_id}.safetensors"
        try:
            return load_file(path) if path.exists() else {}
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path}: damaged ({error}); start over with --restart") from error

    def _read(self) -> None:
        """Read the finished lines; one that a crash cut short is dropped from the file, and its clip done again."""
        if not self.table.exists():
            return
        kept = []
        for text in self.table.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = Line(**json.loads(text))
            except (ValueError, TypeError):
                continue
            self.lines[line.clip_id] = line
            kept.append(text)
        with atomic_file(self.table) as temporary:
            temporary.write_text("".join(f"{text}\n" for text in kept), encoding="utf-8")
