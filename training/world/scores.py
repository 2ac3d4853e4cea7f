"""Stage ``scores``: what the shipped models reach on the phantom's test film, each figure with its chance level.

The test film was seen by nothing here: not by the generators (whose films are other draws of training triples), not
by the judges, not by the decoders. Clips are drawn by a seed, not picked.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.oracle import Judges, evaluate, oracle, render_all, stack, true_frames

__all__ = [
    "ABLATIONS", "Judges", "all_combinations", "evaluate", "oracle", "render_all", "scored_clips", "stack",
    "true_frames",
]  # fmt: skip
N_SCORED, N_SHOWN = 42, 6
ABLATIONS: tuple[frozenset[str], ...] = (
    frozenset(), frozenset({"anchor"}), frozenset({"motion"}), frozenset({"holi"}), frozenset({"mad"}),
)  # fmt: skip


def all_combinations() -> list[frozenset[str]]:
    """Return the twelve combinations of switches that differ (without MAD, C_motion has nothing to steer)."""
    parts = ("anchor", "motion", "holi", "mad")
    chosen = [frozenset(c) for n in range(5) for c in combinations(parts, n)]
    return [c for c in chosen if not {"mad", "motion"} <= c]


def scored_clips(n_clips: int, seed: int = 48) -> NDArray[np.int64]:
    """Draw the clips to score, unpicked; the first ``N_SHOWN`` of the draw get every combination."""
    order = np.random.default_rng(seed).permutation(n_clips)[:N_SCORED]
    return np.concatenate([np.sort(order[:N_SHOWN]), np.sort(order[N_SHOWN:])])
