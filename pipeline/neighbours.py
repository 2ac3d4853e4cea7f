"""Clips that follow one another in a film: drawn together when an interval or a test is made from them.

Neighbours share a shot, and decoded neighbours a haemodynamic response, so their scores are alike. An interval that
takes them for independent is too narrow, and a test too sure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics import bootstrap_interval

BLOCK = 8  # clips (16 s of two seconds each) that are drawn together
LEAST = 10  # blocks; fewer say too little about how their means spread
_NUMBERED = re.compile(r"(.*?)(\d+)")

Values = NDArray[np.float64]
Blocks = tuple[Values, NDArray[np.int64]]  # sum and number of the defined clips of each block


def blocks_of(clip_ids: Sequence[str]) -> NDArray[np.int64] | None:
    """Return the block of each clip, (n_clips,) numbers from 0; None where no two clips share one.

    A clip's id tells its film and its place in it: ``test1_0080`` is clip 80 of ``test1``, ``452`` clip 452 of the
    only film. A block is the stretch of ``BLOCK`` places that a clip lies in. A clip without a number is its own block.
    """
    keys = []
    for clip_id in clip_ids:
        found = _NUMBERED.fullmatch(clip_id)
        keys.append((found[1], int(found[2]) // BLOCK) if found else (clip_id, -1))
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return None if len(number) == len(keys) else np.array([number[key] for key in keys], dtype=np.int64)


def blocks(clip_ids: Sequence[str], values: Values) -> Blocks | None:
    """Return the sum and the number of defined clips of each block; None where clips are to be taken one by one.

    That is where no two of them share a block, or where there are fewer than ``LEAST`` blocks.
    """
    known = np.isfinite(values)
    block = blocks_of([clip_id for clip_id, one in zip(clip_ids, known, strict=True) if one])
    if block is None or block.max() + 1 < LEAST:
        return None
    sums = np.bincount(block, weights=values[known]).astype(np.float64)
    return sums, np.bincount(block).astype(np.int64)


def interval_over_clips(
    clip_ids: Sequence[str], values: Values, rng: np.random.Generator, n_draws: int = 2000
) -> tuple[float, float, int | None]:
    """Return the 95 % bootstrap interval of the mean over clips, neighbours in a film drawn together.

    Parameters
    ----------
    clip_ids : sequence of str
        See :func:`blocks_of`.
    values : (n_clips,) float64
        ``nan`` where a score is not defined.
    rng : numpy.random.Generator
    n_draws : int

    Returns
    -------
    low, high : float
    n_blocks : int or None
        Blocks that were drawn; None where clips were drawn one by one (:func:`blocks`).
    """
    found = blocks(clip_ids, values)
    if found is None:
        return *bootstrap_interval(values, rng, n_draws=n_draws), None
    return *block_interval(found, rng, n_draws), len(found[0])


def block_interval(found: Blocks, rng: np.random.Generator, n_draws: int = 2000) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean over clips from the :func:`blocks` they lie in."""
    sums, counts = found
    drawn = rng.integers(len(sums), size=(n_draws, len(sums)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def told(clip_ids: Sequence[str]) -> str | None:
    """Say how the clips are drawn where some follow one another, None where none do."""
    block = blocks_of(clip_ids)
    if block is None:
        return None
    n, n_blocks = len(clip_ids), int(block.max()) + 1
    if n_blocks < LEAST:
        return (
            f"Some of the {n} clips follow one another in a film and are not independent; they lie in {n_blocks} "
            f"stretches of {BLOCK} clips, too few to draw from, so intervals are too narrow and tests too sure."
        )
    return (
        f"Some of the {n} clips follow one another in a film and are not independent: intervals and tests take the "
        f"{n_blocks} stretches of {BLOCK} clips that they lie in as what is drawn (convention paper: single clips, as "
        "published, so its intervals are too narrow)."
    )
