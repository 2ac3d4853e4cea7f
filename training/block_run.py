"""What a cross-validation leaves behind: its figures, its decoded cues, and a run that the app can show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.loop import Progress

if TYPE_CHECKING:
    from pipeline.runs import Run
    from training.crossval import Crossval


def save_crossval(result: Crossval, folder: Path) -> Path:
    """Write what a renderer needs, and the scores, to a folder that appears whole.

    ``volumes.safetensors`` and ``blocks.safetensors`` hold the decoded cues (fp16, by level), ``table.json`` the
    clip ids, trial types and runs of their rows, ``crossval.json`` the summary. There is no truth to show: the film of
    such a study is not part of it.
    """
    from safetensors.numpy import save_file

    from pipeline.paths import atomic_folder, write_json

    table = {}
    with atomic_folder(folder) as temporary:
        for name, clipset in (("volumes", result.volumes), ("blocks", result.blocks)):
            cues = {level: np.ascontiguousarray(values, dtype=np.float16) for level, values in clipset.cues.items()}
            save_file(cues, temporary / f"{name}.safetensors")
            kinds = clipset.labels["trial_type"].tolist()
            table[name] = {"clip_ids": clipset.clip_ids.tolist(), "trial_type": kinds, "run": clipset.groups.tolist()}
        write_json(temporary / "table.json", table)
        write_json(temporary / "crossval.json", result.summary)
    return folder


def shown_blocks(result: Crossval, count: int) -> NDArray[np.int64]:
    """Return the first ``count`` blocks of the study, run by run: one of each trial type where a run has them all."""
    return np.arange(min(count, len(result.blocks)))


def render_blocks(
    result: Crossval, dataset: str, out: Path, count: int, seed: int = 0, progress: Progress | None = None
) -> Run:
    """Render blocks whose run was held out from their decoded cues: a real brain, the phantom's renderer.

    Nothing is picked: :func:`shown_blocks` takes them in the order of the recording.

    Parameters
    ----------
    result : Crossval
    dataset : str
    out : Path
        Run folder, which appears whole.
    count : int
    seed : int
    progress : callable(done, total, message), optional
    """
    from pipeline.reconstruct import render_cues
    from pipeline.runs import Score

    rows = shown_blocks(result, count)
    blocks = result.blocks.take(rows)
    levels = [level for level in ("anchor", "motion", "holi") if level in blocks.captions]
    known = {level: np.unique(result.blocks.captions[level]) for level in levels}
    right = result.block_right[rows].astype(np.float64)
    summary = result.summary
    score = Score(
        value=float(right.mean()), chance=summary["chance"], n=len(rows), label="trial type decoded",
        frames=f"blocks shown; all {summary['n_blocks']}: {summary['block_accuracy']:.3f}",
    )  # fmt: skip
    told = ("volume_accuracy", "block_accuracy", "permutation_p", "chance")
    config: dict[str, Any] = {"crossval": {name: round(summary[name], 4) for name in told}}
    return render_cues(
        blocks, dataset, out, known, seed=seed, scores={"trial_type": right}, summary={"trial_type": score},
        config=config, progress=progress,
    )  # fmt: skip
