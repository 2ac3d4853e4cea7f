"""How guesses of a trial type are scored, and the reference classifiers that set the scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def accuracies(similarity: NDArray[Any], kind_of: NDArray[np.int64], block_of: NDArray[np.int64]) -> dict[str, float]:
    """Return the share of volumes, and of blocks (mean over their volumes), whose nearest trial type is their own."""
    blocks, kinds = block_means(similarity, kind_of, block_of)
    return {
        "volume_accuracy": float((similarity.argmax(1) == kind_of).mean()),
        "block_accuracy": float((blocks.argmax(1) == kinds).mean()),
    }


def block_means(
    similarity: NDArray[Any], kind_of: NDArray[np.int64], block_of: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the mean similarity of each block (n_blocks, n_types) and its trial type (n_blocks,)."""
    count = np.bincount(block_of)
    means = np.stack([np.bincount(block_of, column) / count for column in similarity.T], 1)
    first = np.unique(block_of, return_index=True)[1]
    return means, kind_of[first]


def permutation_p(
    similarity: NDArray[Any],
    kind_of: NDArray[np.int64],
    block_of: NDArray[np.int64],
    runs: NDArray[Any],
    n_permutations: int,
    seed: int,
) -> float:
    """Return (1 + permutations at least as accurate) / (1 + permutations), for the volume accuracy.

    Whole blocks exchange their trial types within a run, which keeps the dependence of a block's volumes.
    """
    rng = np.random.default_rng(seed)
    guess = similarity.argmax(1)
    observed = (guess == kind_of).mean()
    first = np.unique(block_of, return_index=True)[1]
    kinds, run_of = kind_of[first], runs[first]
    hits = 0
    for _ in range(n_permutations):
        shuffled = kinds.copy()
        for run in np.unique(run_of):
            own = np.flatnonzero(run_of == run)
            shuffled[own] = kinds[rng.permutation(own)]
        hits += bool((guess == shuffled[block_of]).mean() >= observed - 1e-12)
    return (1 + hits) / (1 + n_permutations)


def reference_classifiers(
    fmri: Array, kind_of: NDArray[np.int64], block_of: NDArray[np.int64], runs: NDArray[Any], seed: int
) -> dict[str, dict[str, float]]:
    """Score scikit-learn's references on the same folds.

    ``logistic``: LogisticRegression(C=0.01). ``ridge``: RidgeCV from voxels to a random 384-d code per trial type,
    nearest code by cosine. Blocks: mean of the volumes' probabilities, or codes.
    """
    from sklearn.linear_model import LogisticRegression, RidgeCV

    n_kinds = int(kind_of.max()) + 1
    random_codes = np.random.default_rng(seed).standard_normal((n_kinds, 384))
    unit = random_codes / np.linalg.norm(random_codes, axis=1, keepdims=True)
    found = {name: np.zeros((len(fmri), n_kinds)) for name in ("logistic", "ridge")}
    for run in np.unique(runs):
        test = runs == run
        logistic = LogisticRegression(C=0.01, max_iter=1000).fit(fmri[~test], kind_of[~test])
        found["logistic"][test] = logistic.predict_proba(fmri[test])
        ridge = RidgeCV(alphas=np.logspace(0, 5, 6)).fit(fmri[~test], random_codes[kind_of[~test]])
        found["ridge"][test] = ridge.predict(fmri[test]) @ unit.T
    return {name: accuracies(scores, kind_of, block_of) for name, scores in found.items()}
