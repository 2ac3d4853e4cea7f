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
from pipeline.paths import PHANTOM_ASSETS, atomic_file, write_json
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
_ABLATED = "as decoded, but {} is left out: how far this lies from the full model is what it was worth"
MEANING = {
    "truth": "the very frames that were shown, judged as a reconstruction would be: no reconstruction can do better",
    "round_trip": "the true frames through the renderer's autoencoder and back: what its compression alone loses",
    "true_cues": "rendered from the true captions and the true motion: what the renderer loses with a perfect decoder",
    FULL: "rendered from what was decoded of the fMRI: what is lost on top is the decoders' share",
    "anchor": _ABLATED.format("C_anchor"),
    "motion": _ABLATED.format("C_motion"),
    "holi": _ABLATED.format("C_holi"),
    "mad": _ABLATED.format("MAD"),
}
KEPT_NAME = "budget.json"


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
            if progress:
                progress(len(ids), len(ids), f"scoring: {DECODED[variant]}")
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
            row["meaning"] = MEANING.get(step.key, "")
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


def keep_budget(steps: Sequence[Step], run: Run, folder: Path, seconds: float | None = None) -> None:
    """Write a budget as ``budget.csv`` and, with its intervals and what it was measured on, as ``budget.json``.

    Parameters
    ----------
    steps : sequence of Step
    run : Run
        That was measured.
    folder : Path
        Made where it is not there.
    seconds : float, optional
        How long it took.
    """
    with atomic_file(folder / "budget.csv") as temporary:
        temporary.write_text(budget_csv(steps), encoding="utf-8")
    facts = {"run": run.manifest.name, "created": run.manifest.created, "simulated": run.manifest.simulated}
    rows = [{key: _plain(value) for key, value in row.items()} for row in budget_rows(steps)]
    write_json(folder / KEPT_NAME, {**facts, "seconds": seconds, "rows": rows})


def kept_budget(run: Run, folder: Path) -> dict[str, Any] | None:
    """Return what :func:`keep_budget` wrote of this very run, or None; one of an older run of its name is not used.

    Raises
    ------
    DataError
        The file is there and damaged.
    """
    path = folder / KEPT_NAME
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows = [(row["step"], row["metric"], row["value"], row["n"], row["chance"]) for row in found["rows"]]
        return found if rows and found["created"] == run.manifest.created else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected an error budget, got a damaged file; measure it again") from error


def _plain(value: Any) -> Any:
    """Return a value that JSON knows: a figure that is defined for no clip, and its interval, are None."""
    undefined = any(isinstance(one, float) and one != one for one in (value if isinstance(value, list) else [value]))
    return None if undefined else value


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
