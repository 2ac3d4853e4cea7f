"""How a training tells where it stands: ``progress.jsonl`` in the run's folder, for pages, jobs and people.

The protocol. The command ``python -m training run --config FILE [--resume]`` appends one JSON object a line, each line
whole; a reader ignores fields and events it does not know, and a line that does not parse (the disk was full). Every
line has ``time`` (seconds since 1970) and ``event``:

``run``
    A process took the run up: ``pid``, ``resumed``, ``stages`` (list of ``name``, ``stage``, ``subject``, ``steps``,
    ``samples``, in order), ``run_steps`` (steps of all stages). All lines before it are of earlier processes.
``stage``
    A stage begins or is taken up, at its ``step``.
``step``
    About once a second: the fields below, losses averaged since the line before.
``epoch``
    After each epoch: the same, losses averaged over it, and, where it was scored, ``score`` (held-out training runs,
    higher is better), ``scores``, ``best_score``, ``best_epoch``.
``checkpoint``
    The run could now be killed and would go on from ``step``.
``stage_done``
    ``epochs``, ``best_score``, ``best_epoch``, ``seconds``.
``note``
    ``message``: a sentence for the user.
``end``
    The last line of a process that was not killed: ``status`` is ``done``, ``stopped`` (``signal``, ``exit_code``) or
    ``failed`` (``message``).

``stage``, ``step``, ``epoch``, ``checkpoint`` and ``stage_done`` carry ``name`` (folder below ``stages/``), ``stage``
(anchor, motion, holi, mad), ``subject`` (a name, or ``all``), ``epoch`` (finished ones), ``epochs``, ``step``,
``total_steps``, ``run_step``, ``run_steps``; ``step`` and ``epoch`` also ``lr``, ``losses``, ``samples_per_s`` and
``data_wait``, the share (0 to 1) of the time in which the network waited for its data.

Exit status: 0 done, 2 refused with a sentence, 130 (SIGINT) or 143 (SIGTERM) stopped with a state on disk from which
``--resume`` goes on exactly, anything else a crash, after which ``--resume`` goes on from the last checkpoint. A
process that is asked to stop finishes its step, writes a state and leaves; if no step ends within 4.5 s it leaves
without one, and only what came after the last checkpoint is done again.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


class ProgressLog:
    """Appends to ``progress.jsonl``.

    Parameters
    ----------
    path : Path, optional
        None writes nothing (processes beside the first).
    every : float
        Least seconds between ``step`` lines.
    """

    def __init__(self, path: Path | None, every: float = 1.0) -> None:
        self.path, self.every = path, every
        self.common: dict[str, Any] = {}
        self.run_steps, self.steps_before = 0, 0
        self._last = 0.0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A process that was killed may have left half a line.
            if path.exists() and _last_byte(path) not in (b"", b"\n"):
                self._append(b"\n")

    def write(self, event: str, **values: Any) -> None:
        """Append a line."""
        line = {"time": round(time.time(), 3), "event": event, **values}
        self._append(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    def tell(self, event: str, step: int, **values: Any) -> None:
        """Append a line about the present stage."""
        place = {"step": step, "run_step": self.steps_before + step, "run_steps": self.run_steps}
        self.write(event, **self.common, **place, **values)

    def due(self) -> bool:
        """Say, at most once every ``every`` seconds, that it is time for a ``step`` line."""
        now = time.monotonic()
        if self.path is None or now - self._last < self.every:
            return False
        self._last = now
        return True

    def _append(self, line: bytes) -> None:
        if self.path is None:
            return
        # One write to a file opened for appending: lines of two writers never mix.
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)


def _last_byte(path: Path) -> bytes:
    with open(path, "rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
        return stream.read(1)


def read_progress(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Read the whole lines after ``offset`` bytes: (lines, new offset), for a reader that follows the file."""
    if not path.is_file():
        return [], 0
    with open(path, "rb") as stream:
        stream.seek(offset)
        text = stream.read()
    text = text[: text.rfind(b"\n") + 1]
    lines = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            lines.append(value)
    return lines, offset + len(text)
