"""The table of jobs: one small SQLite file that the app, the commands and the supervisors share."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, ResourceError
from training.jobs.process import Identity

ACTIVE = ("queued", "running")
STATES = (*ACTIVE, "done", "failed", "cancelled", "lost")
_JSON = ("command", "config", "stages", "progress", "result")
_COLUMNS = """
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, title TEXT NOT NULL, state TEXT NOT NULL,
    device TEXT NOT NULL, executor TEXT NOT NULL, out TEXT NOT NULL, command TEXT NOT NULL, config TEXT NOT NULL,
    stages TEXT NOT NULL DEFAULT '[]', parent INTEGER, turn INTEGER NOT NULL, attempt INTEGER NOT NULL DEFAULT 1,
    created REAL NOT NULL, queued REAL NOT NULL, started REAL, ended REAL, beat REAL, stop_asked REAL,
    exit_code INTEGER, message TEXT NOT NULL DEFAULT '', progress TEXT NOT NULL DEFAULT '{}',
    result TEXT NOT NULL DEFAULT '{}', pid INTEGER, pid_started REAL, host TEXT, slurm_id TEXT
"""


@dataclass(frozen=True)
class Job:
    """One row of the table; times are seconds since 1970.

    Parameters
    ----------
    id : int
        In the order of submission.
    kind : {"train", "reconstruct", "render"}
        render: a reconstruction as a Slurm array.
    title : str
    state : {"queued", "running", "done", "failed", "cancelled", "lost"}
    device : str
        ``cpu`` or ``cuda:N``.
    executor : {"local", "slurm"}
    out : str
        Folder of the result.
    command : list of str
        Command line, without the interpreter.
    config : dict
    stages : list of [name, epochs]
        What a training will go through, as far as that is known before.
    parent : int or None
        The job whose result this one works on.
    turn : int
        Place in the queue: the lowest comes first.
    attempt : int
        1, and 1 more with every resume.
    beat : float or None
        When its supervisor last said that it runs.
    stop_asked : float or None
    progress, result : dict
    pid, pid_started, host
        The running process, and the machine whose queue it is in.
    """

    id: int
    kind: str
    title: str
    state: str
    device: str
    executor: str
    out: str
    command: list[str]
    config: dict[str, Any]
    stages: list[list[Any]]
    parent: int | None
    turn: int
    attempt: int
    created: float
    queued: float
    started: float | None
    ended: float | None
    beat: float | None
    stop_asked: float | None
    exit_code: int | None
    message: str
    progress: dict[str, Any]
    result: dict[str, Any]
    pid: int | None
    pid_started: float | None
    host: str | None
    slurm_id: str | None

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE

    @property
    def process(self) -> Identity | None:
        """The process that does the work, or None before there was one."""
        if self.pid is None:
            return None
        return Identity(self.pid, self.pid_started or 0.0, self.host or "")


_NAMES = tuple(field.name for field in fields(Job))


class Store:
    """The table in ``HOME/jobs/jobs.sqlite``; each call opens and closes it, so that any process may be killed.

    Parameters
    ----------
    home : Path
        The working folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "jobs"
        self.path = self.folder / "jobs.sqlite"

    def job_folder(self, number: int) -> Path:
        """Return the folder of a job's logs."""
        return self.folder / f"{number:04d}"

    def add(self, **values: Any) -> Job:
        """Append a job to the queue.

        Raises
        ------
        ConfigError
            When a job that waits or runs writes into the same folder.
        """
        now = time.time()
        row = {**values, "state": "queued", "created": now, "queued": now, "host": socket.gethostname()}
        with self._write() as base:
            _refuse_same_folder(base, str(row["out"]), None)
            number = _insert(base, row)
        return self.get(number)

    def requeue(self, number: int, command: Sequence[str]) -> Job:
        """Put a job that ended to the end of the queue again, with a new attempt.

        Raises
        ------
        ConfigError
            When it waits or runs already, or another job writes into the same folder.
        """
        with self._write() as base:
            row = base.execute("SELECT state, out FROM jobs WHERE id = ?", (number,)).fetchone()
            if row is not None and row[0] in ACTIVE:
                raise ConfigError(f"job {number} is {row[0]} already; wait for it, or cancel it first")
            if row is not None:
                _refuse_same_folder(base, row[1], number)
            base.execute(
                f"UPDATE jobs SET state = 'queued', turn = ({_NEXT_TURN}), attempt = attempt + 1, queued = ?, "
                "command = ?, ended = NULL, beat = NULL, stop_asked = NULL, exit_code = NULL, message = '', "
                "pid = NULL, pid_started = NULL, slurm_id = NULL, host = ? WHERE id = ?",
                (time.time(), json.dumps(list(command)), socket.gethostname(), number),
            )
        return self.get(number)

    def get(self, number: int) -> Job:
        """Return one job.

        Raises
        ------
        ConfigError
            When there is none of that number.
        """
        found = self._jobs("WHERE id = ?", number)
        if not found:
            raise ConfigError(f"no job has the number {number}; python -m training status lists them")
        return found[0]

    def all(self) -> list[Job]:
        """Return every job, the newest first."""
        return self._jobs("ORDER BY id DESC")

    def active(self, device: str | None = None) -> list[Job]:
        """Return the jobs that run or wait, in the order of their turns; ``device``: those of this machine's queue."""
        where = "WHERE state IN ('queued', 'running')"
        if device is None:
            return self._jobs(f"{where} ORDER BY turn")
        where += " AND executor = 'local' AND host = ? AND device = ?"
        return self._jobs(f"{where} ORDER BY turn", socket.gethostname(), device)

    def update(self, number: int, only: Sequence[str] = STATES, **values: Any) -> bool:
        """Change a job that is in one of the states ``only``; returns whether it was.

        The states make a change by two processes at once safe: the second finds the job moved on.
        """
        packed = {key: json.dumps(value) if key in _JSON else value for key, value in values.items()}
        sets = ", ".join(f"{key} = ?" for key in packed)
        marks = ", ".join("?" * len(only))
        with self._write() as base:
            done = base.execute(
                f"UPDATE jobs SET {sets} WHERE id = ? AND state IN ({marks})", (*packed.values(), number, *only)
            )
            return done.rowcount == 1

    def set_supervisor(self, device: str, identity: Identity) -> None:
        """Write down who works off a device's queue."""
        with self._write() as base:
            base.execute(
                "INSERT OR REPLACE INTO supervisors VALUES (?, ?, ?, ?)",
                (device, identity.pid, identity.started, identity.host),
            )

    def supervisor(self, device: str) -> Identity | None:
        """Return who last worked off a device's queue."""
        with self._open() as base:
            row = base.execute("SELECT pid, started, host FROM supervisors WHERE device = ?", (device,)).fetchone()
        return None if row is None else Identity(*row)

    def _jobs(self, rest: str, *values: Any) -> list[Job]:
        if not self.path.is_file():
            return []
        with self._open() as base:
            rows = base.execute(f"SELECT {', '.join(_NAMES)} FROM jobs {rest}", values).fetchall()
        return [_job(row) for row in rows]

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """Hold the one writer's place from the first look to the change."""
        with self._open() as base:
            base.execute("BEGIN IMMEDIATE")
            yield base
            base.execute("COMMIT")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            base = sqlite3.connect(self.path, timeout=20, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise ResourceError(f"{self.path}: cannot be opened ({error}); name another folder with --home") from error
        try:
            base.execute("PRAGMA journal_mode = WAL")
            base.execute(f"CREATE TABLE IF NOT EXISTS jobs ({_COLUMNS})")
            base.execute(
                "CREATE TABLE IF NOT EXISTS supervisors (device TEXT PRIMARY KEY, pid INTEGER, started REAL, host TEXT)"
            )
            yield base
        except sqlite3.DatabaseError as error:
            raise ResourceError(
                f"{self.path}: the table of jobs cannot be used ({error}); make room, or move the file away"
            ) from error
        finally:
            base.close()


_NEXT_TURN = "SELECT COALESCE(MAX(turn), 0) + 1 FROM jobs"


def _insert(base: sqlite3.Connection, row: dict[str, Any]) -> int:
    packed = {key: json.dumps(value) if key in _JSON else value for key, value in row.items()}
    names, marks = ", ".join(packed), ", ".join("?" * len(packed))
    done = base.execute(
        f"INSERT INTO jobs ({names}, turn) VALUES ({marks}, ({_NEXT_TURN}))", tuple(packed.values())
    )  # fmt: skip
    return int(done.lastrowid or 0)


def _refuse_same_folder(base: sqlite3.Connection, out: str, own: int | None) -> None:
    query = "SELECT id, state FROM jobs WHERE out = ? AND state IN ('queued', 'running') AND id IS NOT ?"
    row = base.execute(query, (out, own)).fetchone()
    if row is not None:
        raise ConfigError(f"{out}: job {row[0]}, which is {row[1]}, writes there; wait for it, or set another `out`")


def _job(row: Sequence[Any]) -> Job:
    values = dict(zip(_NAMES, row, strict=True))
    return Job(**{key: json.loads(value) if key in _JSON else value for key, value in values.items()})
