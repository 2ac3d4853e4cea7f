"""What needs all clips at once: N-way accuracy, recognition of known labels, and what embeddings tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import NeuroVisError
from pipeline.evaluate.embedded import Found, by_clip, feature_scores, mispaired, retrieval, unit, vifi_scores
from pipeline.evaluate.judging import label_from
from pipeline.evaluate.parts import Parts
from pipeline.evaluate.seer import Seer
from pipeline.evaluate.settings import CONTROLS, Settings
from pipeline.evaluate.sources import Source
from pipeline.evaluate.summary import CONTROL, Row
from pipeline.nway import N_TRUE, n_way_accuracy

Progress = Callable[[int, int, str], None]
Rows3 = list[NDArray[np.float32]]


def judged_rows(
    source: Source, settings: Settings, judges: Sequence[Seer], parts: Parts, progress: Progress | None = None
) -> tuple[list[Row], list[str]]:
    """Return the rows that need a judge, and a sentence for each figure that cannot be had."""
    rows: list[Row] = []
    notes: list[str] = []
    variants = [*settings.variants, *(CONTROL + c for c in CONTROLS if settings.controls)]
    vifi = _vifi(source, judges, parts, variants)
    for judge in judges:
        for variant in variants:
            if progress:
                progress(1, 1, f"{judge.name}, {variant}")
            ids, indices, truth, made = _gather(source, parts, f"{judge.name}|{variant}")
            if not ids:
                continue
            found: list[Found] = []
            if judge.kind == "features":
                gate = by_clip(ids, None if vifi is None else vifi[variant])
                found += feature_scores(judge.family, truth, made, settings, gate, notes)
            else:
                found += _n_way(judge, truth, made, settings, notes)
                found += _recognised(judge, source, indices, made, settings, notes)
            found += retrieval(_pooled(judge, truth), _pooled(judge, made), settings)
            for metric, convention, values, chance in found:
                listed = zip(ids, values, strict=True)
                rows += [Row(i, variant, metric, convention, _plain(v), chance, judge.name) for i, v in listed]
    return rows, list(dict.fromkeys(notes))


def _gather(source: Source, parts: Parts, key: str) -> tuple[list[str], list[int], Rows3, Rows3]:
    """Collect what a judge saw in a variant, over the clips that have it."""
    ids, indices, truth, made = [], [], [], []
    for index, clip_id in enumerate(source.clip_ids):
        seen = parts.seen(clip_id)
        if f"{key}|made" in seen and f"{key}|truth" in seen:
            ids.append(clip_id)
            indices.append(index)
            truth.append(seen[f"{key}|truth"])
            made.append(seen[f"{key}|made"])
    return ids, indices, truth, made


def _n_way(judge: Seer, truth: Rows3, made: Rows3, settings: Settings, notes: list[str]) -> list[Found]:
    """N-way top-1 accuracy in closed form, image by image, the mean over a clip's; chance from mispaired clips."""
    found: list[Found] = []
    for convention in (c for c in settings.conventions if c in N_TRUE):
        for n_way in settings.n_way:
            try:
                values = _n_way_clips(truth, made, n_way, convention)
                others = mispaired(truth, settings.seed)
                guessed = [_n_way_clips(other, made, n_way, convention).mean() for other in others]
            except NeuroVisError as error:
                notes.append(f"{judge.name}: {n_way}-way accuracy ({convention}) is left out: {error}.")
                continue
            chance = float(np.mean(guessed)) if guessed else None
            found.append((f"{n_way}_way_{judge.kind}", convention, values, chance))
    return found


def _n_way_clips(truth: Rows3, made: Rows3, n_way: int, convention: str) -> NDArray[np.float64]:
    """(n_clips,): the images of a clip against those of its truth, as many as both have."""
    counts = [min(len(a), len(b)) for a, b in zip(truth, made, strict=True)]
    one = np.concatenate([a[:n] for a, n in zip(truth, counts, strict=True)])
    other = np.concatenate([b[:n] for b, n in zip(made, counts, strict=True)])
    values = n_way_accuracy(one, other, n_way, convention)
    return np.array([part.mean() for part in np.split(values, np.cumsum(counts)[:-1])])


def _recognised(
    judge: Seer, source: Source, indices: list[int], made: Rows3, settings: Settings, notes: list[str]
) -> list[Found]:
    """Concept (image judge) or verb (video judge) accuracy: the judge's first choice against the clip's known label.

    The label is the clip's own where the data set has one, else the one class that its caption names.
    """
    labels = []
    for index in indices:
        known = source.labels(index)
        own = [known[k] for k in ("object", "motion") if known.get(k) in judge.classes]
        labels.append(own[0] if own else label_from(known.get("captions", ""), judge.classes))
    if not any(labels):
        notes.append(f"{judge.name}: no clip has a label or caption that names one of its classes.")
        return []
    choice = [judge.classes[int(rows.mean(axis=0).argmax())] for rows in made]
    values = np.array([np.nan if a is None else float(a == b) for a, b in zip(labels, choice, strict=True)])
    named = [i for i, label in enumerate(labels) if label]
    # The same answers against every other clip's label: what guessing with these habits would give.
    pairs = [labels[i] == choice[j] for i in named for j in named if i != j]
    metric = "concept_top1" if judge.kind == "image" else "verb_top1"
    chance = float(np.mean(pairs)) if pairs else None
    return [(metric, c, values, chance) for c in settings.conventions if c in N_TRUE]


def _vifi(
    source: Source, judges: Sequence[Seer], parts: Parts, variants: Sequence[str]
) -> dict[str, dict[str, float]] | None:
    """Return variant -> clip id -> VIFI score, None where no judge is a ViFi-CLIP."""
    judge = next((j for j in judges if j.family == "vifi"), None)
    if judge is None:
        return None
    found = {}
    for variant in variants:
        ids, _, truth, made = _gather(source, parts, f"{judge.name}|{variant}")
        found[variant] = dict(zip(ids, vifi_scores(truth, made).tolist(), strict=True)) if ids else {}
    return found


def _pooled(judge: Seer, rows: Rows3) -> NDArray[np.float64]:
    """One vector of length one a clip: the mean embedding, or the root of the mean probabilities."""
    means = np.stack([row.astype(np.float64).mean(axis=0) for row in rows])
    return unit(means if judge.kind == "features" else np.sqrt(means))


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
