"""The walk of ``python -m pipeline evaluate``: runs or a pair of folders in, tables out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, NeuroVisError
from pipeline.evaluate.budget import budget_rows, error_budget, keep_budget, measure_budget
from pipeline.evaluate.compare import compare
from pipeline.evaluate.engine import Evaluation, evaluate
from pipeline.evaluate.settings import Settings
from pipeline.evaluate.sources import FolderSource, RunSource, Source
from pipeline.evaluate.tables import write_tables
from pipeline.evaluate.worded import read_caption_file
from pipeline.named import find_run
from pipeline.paths import write_json

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Parameters
    ----------
    runs : sequence of str
        Folders of runs, or names of runs in the working folder or of shipped ones.
    truth, recon : Path, optional
        Two folders of clips instead.
    against : str, optional
        A run that the first one is tested against, clip by clip.
    fps_truth, fps_recon : float, optional
    budget : bool
        Measure the error budget on the run's own clips, also where a shipped one is known.
    budget_clips : int, optional
        On so many of them, the first.
    captions, decoded_captions : Path, optional
        Of a pair of folders: captions of the true clips, and what was decoded, by clip name.
    """

    runs: Sequence[str] = ()
    truth: Path | None = None
    recon: Path | None = None
    against: str | None = None
    fps_truth: float | None = None
    fps_recon: float | None = None
    budget: bool = False
    budget_clips: int | None = None
    captions: Path | None = None
    decoded_captions: Path | None = None


def evaluate_all(
    request: Request,
    settings: Settings,
    out: Path,
    *,
    workers: int = 1,
    restart: bool = False,
    home: Path | None = None,
    progress: Progress | None = None,
) -> tuple[list[Evaluation], dict[str, Any]]:
    """Evaluate what is asked for; one run writes into ``out``, several each into ``out/NAME``, tables into ``out``.

    Returns
    -------
    evaluations : list of Evaluation
    facts : dict
        What ``--json`` prints: summaries, paired tests, error budget.
    """
    sources = sources_of(request, home)
    names = [source.facts["run"] for source in sources]
    if len(set(names)) != len(names):
        raise ConfigError(f"--run: expected runs of different names, got {', '.join(names)}")
    if not settings.judges and all(source.facts["simulated"] for source in sources):
        settings = settings.model_copy(update={"judges": ("phantom",)})
    alone = len(sources) == 1
    done = []
    for name, source in zip(names, sources, strict=True):
        folder = out if alone else out / name
        done.append(evaluate(source, settings, folder, workers=workers, restart=restart, progress=progress))
    asked = done if request.against is None else done[:-1]
    facts: dict[str, Any] = {"out": str(out), "runs": [one.to_dict() for one in done]}
    if request.against is not None:
        tests = {one.facts["run"]: compare(one.rows, done[-1].rows, settings.seed) for one in asked}
        facts["against"] = names[-1]
        facts["paired"] = {name: [t.to_dict() for t in found] for name, found in tests.items()}
        write_json(out / "paired.json", {"against": names[-1], "tests": facts["paired"]})
    facts["tables"] = [path.name for path in write_tables(done, out)]
    facts["budget"], facts["budget_note"] = _budget(sources, request, out, home, progress)
    return done, facts


def sources_of(request: Request, home: Path | None = None) -> list[Source]:
    """Return what is to be scored, the run it is tested against last.

    Raises
    ------
    ConfigError
        Neither or both of runs and folders, or a run that is not found.
    """
    folders = request.truth, request.recon
    if bool(request.runs) == any(folders) or any(folders) != all(folders):
        raise ConfigError("evaluate: expected --run RUN, or --truth DIR and --recon DIR, got neither, half or both")
    found: list[Source] = [RunSource(find_run(name, home)) for name in request.runs]
    if request.truth and request.recon:
        pair = FolderSource(request.truth, request.recon, None, request.fps_truth, request.fps_recon)
        files = (request.captions, request.decoded_captions)
        captions, decoded = ({} if path is None else read_caption_file(path, pair.clip_ids) for path in files)
        found.append(replace(pair, captions=captions, decoded=decoded))
    elif request.captions or request.decoded_captions:
        raise ConfigError("evaluate: a file of captions goes with --truth and --recon; a run holds its own captions")
    if request.against is not None:
        found.append(RunSource(find_run(request.against, home)))
    return found


def _budget(
    sources: Sequence[Source], request: Request, out: Path, home: Path | None, progress: Progress | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the budget's rows of the first run, and a sentence where there are none."""
    first = sources[0]
    if not isinstance(first, RunSource):
        return [], "The error budget needs a run whose cues are known; a pair of folders has none."
    note = None
    try:
        if request.budget:
            steps = measure_budget(first.run, home, progress, request.budget_clips)
        else:
            steps = error_budget(first.run)
    except NeuroVisError as error:
        steps, note = [], f"The error budget could not be measured: {error}."
    if not steps:
        return [], note or "The error budget of this run is not known; measure it with --budget."
    keep_budget(steps, first.run, out)
    return budget_rows(steps), None
