"""Scores of judges that embed frames: CLIP similarity and CLIP-pcc, the VIFI score, DTC, and retrieval."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.seer import Family
from pipeline.evaluate.settings import Convention, Settings
from pipeline.metrics import mispairings
from pipeline.nway import N_TRUE
from pipeline.vbench import temporal_consistency

Rows3 = Sequence[NDArray[np.float32]]
Values = NDArray[np.float64]
T = TypeVar("T")
Found = tuple[str, Convention, Values, float | None]  # metric, convention, values by clip, chance
TOP = (1, 10)
VIFI_THRESHOLD = 0.6  # at or below it the released code sets CLIP-pcc to 0
NO_VIFI = "CLIP-pcc (paper) is left out: its threshold needs ViFi-CLIP; name it with --judges vifi:FILE.pth."


def feature_scores(
    family: Family, truth: Rows3, made: Rows3, settings: Settings, vifi: Values | None, notes: list[str]
) -> list[Found]:
    """Return the scores that follow from embeddings of every frame.

    Parameters
    ----------
    family : {"clip", "vifi", "dino", "other"}
    truth, made : n_clips arrays (n_frames, d)
    settings : Settings
    vifi : (n_clips,), optional
        VIFI scores of the same clips, behind the threshold of CLIP-pcc under ``paper``.
    notes : list of str
        Gets a sentence for a figure that cannot be had.
    """
    found: list[Found] = []
    both: list[Convention] = [c for c in settings.conventions if c in N_TRUE]
    if family == "vifi":
        values, chance = vifi_scores(truth, made), _mispaired(truth, made, vifi_scores, settings.seed)
        found += [("vifi", c, values, chance) for c in both]
    else:
        name = f"{family}_similarity" if family in ("clip", "dino") else "feature_similarity"
        values, chance = _similar(truth, made), _mispaired(truth, made, _similar, settings.seed)
        found += [(name, c, values, chance) for c in both]
    if family == "dino" and "corrected" in settings.conventions:
        found.append(("dtc", "corrected", np.array([temporal_consistency(b) for b in made]), None))
    if family == "clip":
        found += _clip_pcc(made, settings, vifi, notes)
    return found


def vifi_scores(truth: Rows3, made: Rows3) -> Values:
    """Return the cosine of the two clips' mean-pooled embeddings: (n_clips,)."""
    one, other = (unit(np.stack([row.astype(np.float64).mean(axis=0) for row in rows])) for rows in (truth, made))
    return np.asarray((one * other).sum(axis=1))


def _clip_pcc(made: Rows3, settings: Settings, vifi: Values | None, notes: list[str]) -> list[Found]:
    """Mean cosine of a reconstruction's adjacent frames; under ``paper`` 0 where VIFI is low, ``neurons`` all pairs."""
    other = [unit(b) for b in made]
    adjacent = np.array([np.nan if len(b) < 2 else float((b[1:] * b[:-1]).sum(1).mean()) for b in other])
    found: list[Found] = []
    if "corrected" in settings.conventions:
        found.append(("clip_pcc", "corrected", adjacent, None))
    if "neurons" in settings.conventions:
        every = [np.nan if len(b) < 2 else float((b @ b.T)[np.triu_indices(len(b), 1)].mean()) for b in other]
        found.append(("clip_pcc", "neurons", np.array(every), None))
    if "paper" in settings.conventions:
        if vifi is None:
            notes.append(NO_VIFI)
        else:
            gated = np.where(vifi > VIFI_THRESHOLD, adjacent, 0.0)
            found.append(("clip_pcc", "paper", np.where(np.isnan(vifi), np.nan, gated), None))
    return found


def retrieval(truth: NDArray[np.float64], made: NDArray[np.float64], settings: Settings) -> list[Found]:
    """Top-1 and top-10 retrieval by the cosine of (n, d) rows of length one, in both directions.

    ``corrected``: the expectation over all draws of a pool of ``settings.pool`` clips that holds the true one. With A
    of the other n - 1 clips at least as like, the number of them drawn is hypergeometric, and top-k is the chance
    that fewer than k are. ``paper``: contiguous blocks; clips after the last whole block are not scored.
    """
    from scipy.stats import hypergeom

    n = len(truth)
    if n < 2:
        return []
    pool, alike = min(settings.pool, n), made @ truth.T
    found: list[Found] = []
    for direction, table in (("recon_to_truth", alike), ("truth_to_recon", alike.T)):
        above = (table >= np.diag(table)[:, None]).sum(axis=1) - 1
        for k in (k for k in TOP if k < pool):
            name = f"retrieval_top{k}_of_{pool}_{direction}"
            if "corrected" in settings.conventions:
                values = np.asarray(hypergeom.cdf(k - 1, n - 1, above, pool - 1), dtype=np.float64)
                found.append((name, "corrected", values, k / pool))
            if "paper" in settings.conventions:
                found.append((name, "paper", _in_blocks(table, pool, k), k / pool))
    return found


def unit(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the rows at length one."""
    rows = rows.astype(np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12))


def by_clip(ids: Sequence[str], known: Mapping[str, float] | None) -> Values | None:
    """Put values by clip id into the order of ``ids``; ``nan`` for a clip that has none."""
    return None if known is None else np.array([known.get(clip_id, np.nan) for clip_id in ids], dtype=np.float64)


def _similar(truth: Rows3, made: Rows3) -> Values:
    """Mean cosine of true and made frames, (n_clips,)."""
    pairs = [(unit(a), unit(b)) for a, b in zip(truth, made, strict=True)]
    counts = [min(len(a), len(b)) for a, b in pairs]
    return np.array([(a[:n] * b[:n]).sum(axis=1).mean() for n, (a, b) in zip(counts, pairs, strict=True)])


def mispaired(listed: Sequence[T], seed: int) -> list[list[T]]:
    """Return what belongs to the clips in a few orders in which none keeps its place; none for a single clip."""
    if len(listed) < 2:
        return []
    rows = mispairings(len(listed), np.random.default_rng([seed, zlib.crc32(b"mispaired")]))
    return [[listed[i] for i in row] for row in rows]


def _mispaired(truth: Rows3, made: Rows3, measure: Any, seed: int) -> float | None:
    """Mean of a measure over mispaired clips."""
    found = [measure(others, made).mean() for others in mispaired(truth, seed)]
    return float(np.mean(found)) if found else None


def _in_blocks(table: NDArray[np.float64], pool: int, k: int) -> NDArray[np.float64]:
    values = np.full(len(table), np.nan)
    for start in range(0, len(table) - pool + 1, pool):
        block = table[start : start + pool, start : start + pool]
        values[start : start + pool] = (block >= np.diag(block)[:, None]).sum(axis=1) - 1 < k
    return values
