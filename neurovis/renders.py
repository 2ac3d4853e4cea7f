"""Rendering what is not on disk yet, in the background: one clip on request, or all clips of a run."""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from neurovis.library import Library
from pipeline.ablate import Ablation, cannot_score
from pipeline.errors import ConfigError, NeuroVisError
from pipeline.manifest import is_variant
from pipeline.runs import Run, parse_variant, variant_name

log = logging.getLogger(__name__)
MAX_SEED = 999_999  # as MAX_SEED in static/state.js: the largest that the page asks for


@dataclass
class Job:
    """One rendering and how far it is; of a test set, ``done`` and ``total`` count clips."""

    run: str
    clip_id: str
    variant: str
    whole: bool = False  # the whole test set
    state: str = "queued"  # queued, running, done, stopped, failed
    done: int = 0
    total: int = 0
    message: str = "waiting for the renderer"
    started: float = field(default_factory=time.time)
    ended: float | None = None
    paced: tuple[float, int] | None = None  # when the pace began to be measured, and the clips done by then
    stop: threading.Event = field(default_factory=threading.Event)

    def to_dict(self) -> dict[str, Any]:
        """Return what the page shows."""
        names = ("run", "clip_id", "variant", "state", "done", "total", "message")
        seconds = (self.ended or time.time()) - self.started
        return {name: getattr(self, name) for name in names} | {"seconds": round(seconds, 1), "left": self._left()}

    def _left(self) -> float | None:
        """Estimate the seconds left from the pace since the first clip, which also loads the models."""
        if self.state != "running" or self.paced is None or self.done <= self.paced[1]:
            return None
        since, first = self.paced
        return round((time.time() - since) / (self.done - first) * (self.total - self.done))


class Renders:
    """Render on request, one job at a time, so that two tabs do not fight for the processor.

    Parameters
    ----------
    library : Library
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self.jobs: dict[str, Job] = {}
        self.kept: dict[str, Any] = {}  # results that belong to no run, by key; gone when the server stops
        self._turn = threading.Lock()
        self._table = threading.Lock()

    def disabled(self, run: Run) -> str | None:
        """Say why this run cannot be rendered here, or None where it can."""
        if importlib.util.find_spec("pipeline.reconstruct") is None:
            return "This installation has no renderer."
        if run.manifest.source == "videos":
            return "This run was imported from videos: there is no decoder here whose parts could be switched off."
        if run.manifest.cues is None or not (run.path / run.manifest.cues).is_file():
            return "The run keeps no decoded cues, so other combinations cannot be rendered from it."
        missing = self.lacking(run)
        return f"The renderer's weights are missing: {missing}." if missing else None

    def lacking(self, run: Run) -> str | None:
        """Name the weights that a run was rendered with and that are not on this machine; None where none is needed."""
        return None if run.manifest.source == "videos" else _missing_weights(run)

    def start(self, name: str, clip_id: str, without: list[str], seed: object) -> str:
        """Queue a rendering and return its id; one that is already under way is joined.

        Raises
        ------
        ConfigError
            When the run cannot be rendered, the clip is not one of it, or the seed is no whole number in range.
        """
        run = self.library.run(name)
        reason = self.disabled(run)
        if reason:
            raise ConfigError(reason)
        if clip_id not in run.manifest.clip_ids:
            raise ConfigError(f"{name}: clip {clip_id!r} is not one of its {len(run.manifest.clip_ids)} clips")
        chosen = run.manifest.seed if seed is None else checked_seed(seed, run)
        variant = variant_name(without, None if chosen == run.manifest.seed else chosen)

        def work(job: Job) -> bool:
            streams = _render(run, job, frozenset(without), chosen or 0)
            if streams is None or job.stop.is_set():
                return False
            run.store(clip_id, variant, streams)
            return True

        return self.submit(Job(name, clip_id, variant), work)

    def submit(self, job: Job, work: Callable[[Job], bool]) -> str:
        """Queue ``work`` behind the other renderings and return its id; one that is already under way is joined.

        ``work`` gets the job to tell its progress to, and returns whether it came to its end and kept a result.
        """
        key = f"{job.run}/{job.clip_id}/{job.variant}"
        self._begin(key, job, self._work, work)
        return key

    def start_set(self, name: str, variants: list[str], clip_id: str | None = None) -> str:
        """Queue the rendering and scoring of all clips of a run; one that is under way is joined, whatever it does.

        With ``clip_id`` it is of that clip alone; as one book takes the scores of a run, this waits for no other job
        but is refused while one is under way.
        """
        run = self.library.run(name)
        reason = self.disabled(run) or cannot_score(run)
        if reason:
            raise ConfigError(reason)
        for variant in variants:
            seed = parse_variant(variant)[1]
            if seed is not None:
                checked_seed(seed, run)
        key = f"{name}/set"
        held = self.jobs.get(key)
        if clip_id is not None and held is not None and held.state in ("queued", "running"):
            raise ConfigError(f"{name}: its clips are being scored by another job; wait for it, or stop it below")
        work = Ablation(run, variants, None if clip_id is None else [clip_id])
        self._begin(key, Job(name, "", ", ".join(variants), whole=True, total=work.total), self._work_set, work)
        return key

    def whole_set(self, name: str) -> dict[str, Any] | None:
        """Return the progress of the run's job over its test set, or None; a page that was reloaded asks this."""
        job = self.jobs.get(f"{name}/set")
        return None if job is None else {"key": f"{name}/set", **job.to_dict()}

    def of_clips(self, name: str) -> list[dict[str, Any]]:
        """List the run's renderings of single clips that are under way or ended last; a reloaded page asks this."""
        jobs = [(k, j) for k, j in list(self.jobs.items()) if j.run == name and not j.whole and is_variant(j.variant)]
        return [{"key": key, **job.to_dict()} for key, job in jobs]

    def _begin(self, key: str, job: Job, work: Callable[..., None], *arguments: Any) -> None:
        """Start a job in a thread of its own, unless one of its name is under way; forget what ended long ago."""
        with self._table:
            held = self.jobs.get(key)
            if held is not None and held.state in ("queued", "running"):
                return
            self.jobs = {k: j for k, j in self.jobs.items() if j.state in ("queued", "running") or j.whole}
            self.jobs[key] = job
            threading.Thread(target=work, args=(job, *arguments), daemon=True, name=f"render {key}").start()

    def status(self, key: str) -> dict[str, Any]:
        """Return a job's progress."""
        job = self.jobs.get(key)
        if job is None:
            return {"state": "failed", "message": "This job is not known any more; start it again."}
        return job.to_dict()

    def stop(self, key: str) -> None:
        """Ask a job to stop at its next step."""
        job = self.jobs.get(key)
        if job:
            job.stop.set()

    def _work(self, job: Job, work: Callable[[Job], bool]) -> None:
        with self._turn, _told(job):
            if job.stop.is_set():
                job.state, job.message = "stopped", "Stopped."
                return
            job.state, job.message = "running", "loading the renderer"
            done = work(job)
            job.state, job.message = ("done", "Rendered.") if done else ("stopped", "Stopped; nothing was kept.")

    def _work_set(self, job: Job, work: Ablation) -> None:
        """Work off a test set; between two clips the turn is given to whoever waits for a single clip."""
        with _told(job):
            try:
                while work.todo and not job.stop.is_set():
                    with self._turn:
                        job.state, job.message = "running", " ".join(work.todo[0])
                        work.step(should_stop=job.stop.is_set)
                    job.done = work.total - len(work.todo)
                    job.paced = job.paced or (time.time(), job.done)
                    time.sleep(0.02)
            finally:
                work.close()
            if work.todo:
                job.state, job.message = "stopped", f"Stopped; the {job.done} clips that were finished are kept."
            else:
                job.state, job.message = "done", "Everything asked for is rendered and scored."


def checked_seed(seed: object, run: Run) -> int:
    """Return a seed that was asked for: the run's own, or a whole number from 0 to ``MAX_SEED``; else ConfigError."""
    if type(seed) is int and (0 <= seed <= MAX_SEED or seed == run.manifest.seed):
        return seed
    raise ConfigError(f"{run.manifest.name}: a seed is a whole number from 0 to {MAX_SEED}, got {seed!r}; change it")


@contextmanager
def _told(job: Job) -> Iterator[None]:
    """Turn what goes wrong in a job into its message."""
    try:
        yield
    except NeuroVisError as error:
        job.state, job.message = "failed", str(error)
    except Exception:
        log.exception("rendering %s %s %s failed", job.run, job.clip_id, job.variant)
        job.state, job.message = "failed", "It failed unexpectedly; the server's log has the details."
    finally:
        job.ended = time.time()


def _render(run: Run, job: Job, without: frozenset[str], seed: int) -> Any:
    """Call the pipeline, which loads its models on first use."""
    from pipeline.reconstruct import render_clip

    def progress(done: int, total: int, message: str) -> None:
        job.done, job.total, job.message = done, total, message

    return render_clip(run, job.clip_id, without, seed, progress, job.stop.is_set)


def _missing_weights(run: Run) -> str | None:
    """Ask the pipeline, without loading anything heavy, what a live rendering would lack."""
    from pipeline import reconstruct

    check: Callable[[Run], str | None] | None = getattr(reconstruct, "missing_weights", None)
    return check(run) if check else None
