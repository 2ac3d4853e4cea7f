"""Evaluate a run: clips in parallel, streamed and resumable, then the summary with chance, intervals and versions.

1. lay a random cycle through the clips; 2. score what is not done yet, clip by clip; 3. gather a table with one row a
clip, variant, metric and convention; 4. add what needs all clips at once: N-way accuracy, retrieval; 5. summarise.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ConfigError, DataError, ResourceError
from pipeline.evaluate.judged import judged_rows
from pipeline.evaluate.judging import load_judges
from pipeline.evaluate.parts import Parts
from pipeline.evaluate.settings import Settings
from pipeline.evaluate.sources import Source
from pipeline.evaluate.summary import Row, Summary, frames_line, summarise
from pipeline.evaluate.worded import caption_rows
from pipeline.evaluate.work import Line, Seen, Task, Worker
from pipeline.neighbours import told
from pipeline.paths import atomic_file, write_json

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int, str], None]
CHUNK = 8  # clips handed to a process at once: neighbours on the cycle share a true clip
MAX_WORKERS = 16
SHUFFLE_RULE = (
    "Shuffle test: a low share is no evidence by itself, as any video that moves smoothly beats most random orders of "
    "its own frames; read it beside its chance, the same test against other clips' truths."
)
PACKAGES = ("numpy", "scikit-image", "opencv-python-headless", "scipy", "pillow", "av")
JUDGE_PACKAGES = ("torch", "transformers", "timm")
WORD_PACKAGES = ("sacrebleu", "nltk", "rouge-score", "textblob")


@dataclass(frozen=True)
class Evaluation:
    """Scores of one run.

    Parameters
    ----------
    facts : dict
        Of the source, with ``n_clips``.
    settings : Settings
    rows : list of Row
        One a clip, variant, metric, convention and judge.
    summary : list of Summary
    notes : tuple of str
    versions : dict
    judges : list of dict
        Who judged: name, source, revision, checksum, preprocessing, versions.
    """

    facts: dict[str, Any]
    settings: Settings
    rows: list[Row]
    summary: list[Summary]
    notes: tuple[str, ...]
    versions: dict[str, str] = field(default_factory=dict)
    judges: list[dict[str, Any]] = field(default_factory=list)

    def table(self) -> pd.DataFrame:
        """Return the rows as a data frame."""
        import pandas as pd

        frame = pd.DataFrame([asdict(row) for row in self.rows])
        frame.insert(0, "run", self.facts["run"])
        return frame.astype({"value": "float64", "chance": "float64"})

    def to_dict(self) -> dict[str, Any]:
        """Return what ``summary.json`` holds."""
        return {
            "source": self.facts,
            "settings": self.settings.model_dump(mode="json"),
            "scores": [one.to_dict() for one in self.summary],
            "notes": list(self.notes),
            "versions": self.versions,
            "judges": self.judges,
        }

    def lines(self) -> list[str]:
        """Return the figures and notes as lines for people."""
        return [*(one.line() for one in self.summary), *(f"note: {note}" for note in self.notes)]

    def write(self, out: Path) -> None:
        """Write ``scores.parquet`` and ``summary.json`` into ``out``."""
        with atomic_file(out / "scores.parquet") as temporary:
            self.table().to_parquet(temporary, index=False)
        write_json(out / "summary.json", json.loads(json.dumps(self.to_dict(), default=str)))


def evaluate(
    source: Source,
    settings: Settings,
    out: Path,
    *,
    workers: int = 1,
    restart: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score all clips of a source, going on where an earlier call with the same settings was stopped.

    Parameters
    ----------
    source : Source
    settings : Settings
    out : Path
        Gets ``scores.parquet``, ``summary.json`` and the part results.
    workers : int
        Processes; 1 works in this one. The results do not depend on it.
    restart : bool
        Throw away part results made under other settings.
    progress : callable(done, total, message), optional

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    if not 1 <= workers <= MAX_WORKERS:
        raise ConfigError(f"--workers must lie in 1..{MAX_WORKERS}, got {workers}")
    ids, facts = source.clip_ids, source.facts
    judges, notes = load_judges(settings.judges)
    known = [{key: value for key, value in judge.to_dict().items() if key != "versions"} for judge in judges]
    parts = Parts(out / "parts", settings.fingerprint(source=facts["sha256"], clips=ids, judges=known), restart)
    tasks = [task for task in lay_cycle(len(ids), settings) if ids[task.index] not in parts.lines]
    total, done = len(ids), len(ids) - len(tasks)
    for line, seen in _scored(source, settings, tasks, workers):
        parts.add(line, seen)
        done += 1
        if progress:
            progress(done, total, f"clip {line.clip_id}")
    lines = [parts.lines[clip_id] for clip_id in ids]
    rows = _rows(lines)
    if not rows:
        raise DataError(f"{facts['run']}: no clip could be scored; {lines[0].notes[0] if lines[0].notes else ''}")
    more, trouble = judged_rows(source, settings, judges, parts, progress)
    words, rules = caption_rows(source, settings, judges)
    more += words
    if any(row.metric == "shuffle_share" and row.value is not None for row in rows):
        rules = [*rules, SHUFFLE_RULE]
    drawn = told([line.clip_id for line in lines if line.values])
    rules = rules if drawn is None else [*rules, drawn]
    said = [*source.notes, *notes, *trouble, *rules, *_counted(lines)]
    packages = (*PACKAGES, *(JUDGE_PACKAGES if judges else ()), *(WORD_PACKAGES if words else ()))
    evaluation = Evaluation(
        {**facts, "n_clips": len(ids)}, settings, rows + more,
        summarise(rows + more, settings, frames_line([line.facts for line in lines if line.facts])),
        tuple(dict.fromkeys(said)), {package: version(package) for package in packages},
        [judge.to_dict() for judge in judges],
    )  # fmt: skip
    evaluation.write(out)
    return evaluation


def lay_cycle(n_clips: int, settings: Settings) -> list[Task]:
    """Lay a random cycle through the clips: each one's neighbours are its chance pair and its ``mispaired`` control.

    Neighbours follow one another in the work, so that a true clip is read once for both; chance is measured on the
    first ``chance_clips`` of the cycle.
    """
    order = [int(i) for i in np.random.default_rng(settings.seed).permutation(n_clips)]
    if n_clips < 2:
        return [Task(i) for i in order]
    tasks = []
    for k, index in enumerate(order):
        before = order[k - 1] if k < settings.chance_clips else None
        tasks.append(Task(index, before, order[(k + 1) % n_clips] if settings.controls else None))
    return tasks


def _scored(source: Source, settings: Settings, tasks: Sequence[Task], workers: int) -> Iterator[tuple[Line, Seen]]:
    """Yield results as they come, from this process or from ``workers`` others; few chunks are in flight at a time."""
    if workers == 1 or len(tasks) <= 1:
        worker = Worker(source, settings) if tasks else None
        for task in tasks:
            assert worker is not None
            yield worker.score(task)
        return
    from multiprocessing import get_context

    size = max(1, min(CHUNK, -(-len(tasks) // workers)))
    chunks = iter([tasks[i : i + size] for i in range(0, len(tasks), size)])
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (source, settings)) as pool:
        running: set[Future[list[tuple[Line, Seen]]]] = {pool.submit(_work, c) for c in islice(chunks, 2 * workers)}
        try:
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield from future.result()
                    running |= {pool.submit(_work, c) for c in islice(chunks, 1)}
        except BrokenExecutor as error:
            raise ResourceError(
                "a process that scored clips was ended from outside, most likely for memory; "
                "run again with fewer --workers, finished clips are kept"
            ) from error
        finally:
            for future in running:
                future.cancel()


_WORKER: list[Worker] = []  # of a child process, made once


def _begin(source: Source, settings: Settings) -> None:
    from threadpoolctl import threadpool_limits

    # One process a core: BLAS threads of their own would wait for each other, and twice the time go by.
    threadpool_limits(1)
    _WORKER[:] = [Worker(source, settings)]


def _work(tasks: Sequence[Task]) -> list[tuple[Line, Seen]]:
    return [_WORKER[0].score(task) for task in tasks]


def _rows(lines: Sequence[Line]) -> list[Row]:
    found = []
    for line in lines:
        for variant, metric, convention, value, chance in line.values:
            found.append(Row(line.clip_id, variant, metric, convention, value, chance))
    return found


def _counted(lines: Sequence[Line]) -> list[str]:
    """Notes of clips, equal ones once, with their number."""
    counts = Counter(note for line in lines for note in dict.fromkeys(line.notes))
    return [note if n == 1 else f"{note} ({n} clips)" for note, n in counts.items()]
