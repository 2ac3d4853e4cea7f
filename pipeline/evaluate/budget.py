"""The error budget: what each step between the truth and the reconstruction costs.

truth -> autoencoder round trip -> rendered from true cues -> rendered from decoded cues -> each ablation. The steps
that need no brain are read from the manifest that ships with the phantom, or measured where data and models are.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from pipeline.errors import DataError
from pipeline.manifest import FULL, Score
from pipeline.paths import PHANTOM_ASSETS
from pipeline.runs import Run

Progress = Callable[[int, int, str], None]
MANIFEST = PHANTOM_ASSETS / "manifest.json"
ORACLE = {"truth": "the truth itself", "round_trip": "autoencoder round trip", "true_cues": "rendered from true cues"}
DECODED = {
    FULL: "rendered from decoded cues",
    "anchor": "without C_anchor",
    "motion": "without C_motion",
    "holi": "without C_holi",
    "mad": "without MAD",
}


@dataclass(frozen=True)
class Step:
    """One step of the budget: its key and name, its scores, and where they were measured."""

    key: str
    label: str
    scores: Mapping[str, Score]
    origin: str


def error_budget(run: Run, manifest: Path = MANIFEST) -> list[Step]:
    """Assemble the budget of a run from what was measured when the phantom was made.

    Empty where the run is not one of the phantom's shipped ones: :func:`measure_budget` measures.

    Raises
    ------
    DataError
        The manifest is there and cannot be read.
    """
    if run.manifest.dataset != "phantom" or not manifest.is_file():
        return []
    known = _read(manifest)
    if run.manifest.name != f"phantom-{run.manifest.subject}" or not known.get("oracle"):
        return []
    decoded = run.manifest.scores or known.get(run.manifest.subject, {})
    return _steps(known["oracle"], decoded, "assets/phantom/manifest.json", "the run's manifest")


def measure_budget(
    run: Run, home: Path | None = None, progress: Progress | None = None, n_clips: int | None = None
) -> list[Step]:
    """Measure the steps that need no brain on the very clips of a phantom run, and its own variants beside them.

    Parameters
    ----------
    run : Run
        Frames of a compact run are lossy; the truth and the steps that are rendered here are not.
    home : Path, optional
    progress : callable(done, total, message), optional
    n_clips : int, optional
        Measure on the first clips of the run only; two or more, since chance is told from mispaired clips.

    Raises
    ------
    DataError
        The run is of another data set than the phantom, or its clips are not in it.
    WeightsError, CheckpointError
        The phantom's models or judges are not there.
    """
    from pipeline.data import load
    from pipeline.evaluate.oracle import Judges, evaluate, oracle, true_frames
    from pipeline.judges import Judge
    from pipeline.reconstruct import renderer

    facts = run.manifest
    if not facts.simulated:
        raise DataError(f"{facts.name}: expected a run of the phantom, whose world is known, got {facts.dataset}")
    clipset = load(facts.dataset, facts.subject, "test", home)
    place = {str(clip_id): i for i, clip_id in enumerate(clipset.clip_ids)}
    ids = facts.clip_ids[:n_clips]
    if len(ids) < 2:
        raise DataError(f"{facts.name}: expected two clips or more, for chance is told from others, got {len(ids)}")
    missing = [clip_id for clip_id in ids if clip_id not in place]
    if missing:
        raise DataError(
            f"{facts.name}: expected its clips in {facts.dataset}, got no {missing[0]}; make the data again"
        )
    chosen = clipset.take(np.array([place[clip_id] for clip_id in ids]))
    world, cvr = renderer("phantom")
    judges = Judges(Judge.load(PHANTOM_ASSETS / "judge_object"), Judge.load(PHANTOM_ASSETS / "judge_motion"))
    steps = oracle(world, cvr, chosen, judges, progress)
    truth = true_frames(chosen, world.backbones.n_frames)
    decoded = {}
    for variant in DECODED:
        if all(run.has(clip_id, "reconstruction", variant) for clip_id in ids):
            video = np.stack([run.frames(clip_id, "reconstruction", variant) for clip_id in ids])
            decoded[variant] = evaluate(truth, video, chosen, judges)[0]
    return _steps(steps, decoded, "measured", "measured")


def budget_rows(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return one plain row a step and metric, with what was lost since the step before (ablations: since ``full``)."""
    found = []
    before: Mapping[str, Score] = {}
    for step in steps:
        for name, score in step.scores.items():
            lost = score.value - before[name].value if name in before else None
            row = {"step": step.key, "label": step.label, "metric": name, **score.model_dump(mode="json")}
            found.append({**row, "label_of_metric": score.label, "label": step.label, "change": lost})
        if step.key in ORACLE or step.key == FULL:
            before = step.scores
    return [{**row, "origin": step.origin} for row, step in zip(found, _repeated(steps), strict=True)]


def budget_csv(steps: Sequence[Step]) -> str:
    """Return the rows as CSV."""
    columns = ("step", "label", "metric", "value", "change", "chance", "n", "convention", "judge", "frames", "origin")
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(budget_rows(steps))
    return stream.getvalue()


def _repeated(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps for _ in step.scores]


def _steps(
    oracle: Mapping[str, Mapping[str, Score]], decoded: Mapping[str, Mapping[str, Score]], of_oracle: str, of_run: str
) -> list[Step]:
    found = [Step(key, label, oracle[key], of_oracle) for key, label in ORACLE.items() if key in oracle]
    return found + [Step(key, label, decoded[key], of_run) for key, label in DECODED.items() if decoded.get(key)]


def _read(manifest: Path) -> dict[str, dict[str, dict[str, Score]]]:
    """Read the oracle's and the subjects' scores of the manifest."""
    try:
        text = json.loads(manifest.read_text(encoding="utf-8")).get("scores", {})
        chosen = {k: v for k, v in text.items() if k == "oracle" or k.startswith("sub-")}
        return TypeAdapter(dict[str, dict[str, dict[str, Score]]]).validate_python(chosen)
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(f"{manifest}: expected the phantom's scores, got a damaged file; restore assets/") from error
