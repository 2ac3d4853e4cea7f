"""Start a SAD at ridge regression, so that training only has to add what a line cannot do.

With few and noisy samples a network from random weights ends below ridge regression. A SAD with ``linear_path`` can be
set to it exactly: each subject's mapper becomes ridge regression from its voxels to the leading principal components
of the targets, the path leads from those components back to Z, and the MLP between them, a residual, starts at zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.errors import ConfigError
from pipeline.methods.sad import SAD

ALPHAS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True)
class Lines:
    """One subject's samples: fMRI (n, n_inputs), rows of the targets (n,), and the run of each sample (n,)."""

    fmri: Tensor
    rows: Tensor
    runs: NDArray[np.str_]


@torch.no_grad()
def ridge_start(part: SAD, samples: Mapping[str, Lines], text: Tensor, n_folds: int = 4) -> dict[str, float]:
    r"""Set mapper and path of ``part`` to ridge regression.

    .. math:: W = (X^\top X + \alpha \bar\lambda I)^{-1} X^\top Y P, \quad \bar\lambda = tr(X^\top X) / n_{inputs}

    P: leading principal components of the targets. Each subject's :math:`\alpha` is the one with the highest mean
    cosine between predicted and true targets on training runs left out, ``n_folds`` groups of runs in turn.

    Parameters
    ----------
    part : SAD
        Prepared (it knows the scale of Z), with ``linear_path``. Changed in place.
    samples : mapping of subject to Lines
    text : (n_clips, n_tokens, d_text) float
        Targets, indexed by ``Lines.rows``.
    n_folds : int

    Returns
    -------
    dict
        Subject to the chosen alpha.

    Raises
    ------
    ConfigError
        When the SAD has no linear path.
    """
    if part.path is None:
        raise ConfigError("a SAD without linear_path cannot start at ridge regression; set sad.linear_path to true")
    target = part.space.encode(text[:, 1:]).flatten(1)
    used = torch.cat([lines.rows for lines in samples.values()]).unique()
    components = _components(target[used], part.config.hidden)
    part.path.weight.zero_()
    chosen, weights = {}, {}
    for subject, lines in samples.items():
        y = target[lines.rows] @ components.T
        chosen[subject] = _choose(lines, y, n_folds)
        weights[subject] = _solve(lines.fmri, y, (chosen[subject],))[0]
    # Shared units of size one in the mean over subjects, as the MLP expects.
    size = torch.stack([(lines.fmri @ weights[s]).std(0) for s, lines in samples.items()]).mean(0).clamp_min(1e-6)
    count = len(components)
    for subject, weight in weights.items():
        layer = part.mapper.linear[subject]
        layer.weight[:count] = (weight / size).T
        layer.weight[count:] *= 0.1
        layer.bias.zero_()
    part.path.weight[:, :count] = (components * size[:, None]).T
    return chosen


def _components(target: Tensor, most: int) -> Tensor:
    """Return the leading principal directions (k, n_outputs), unit length, of centred targets (n, n_outputs)."""
    distinct = torch.unique(target, dim=0)
    _, values, directions = torch.linalg.svd(distinct, full_matrices=False)
    kept = values > 1e-4 * values[0]
    return directions[kept][:most]


def _solve(x: Tensor, y: Tensor, alphas: tuple[float, ...]) -> list[Tensor]:
    """Return ridge weights (n_inputs, k) for each alpha, by the smaller of the two normal equations."""
    n, n_inputs = x.shape
    mean = x.pow(2).sum() / n_inputs
    if n >= n_inputs:
        gram, right = x.T @ x, x.T @ y
        eye = torch.eye(n_inputs)
        return [torch.linalg.solve(gram + a * mean * eye, right) for a in alphas]
    gram, eye = x @ x.T, torch.eye(n)
    return [x.T @ torch.linalg.solve(gram + a * mean * eye, y) for a in alphas]


def _choose(lines: Lines, y: Tensor, n_folds: int) -> float:
    """Return the alpha that predicts left-out runs best."""
    runs = np.unique(lines.runs)
    n_folds = min(n_folds, len(runs))
    if n_folds < 2:
        return 1.0
    scores = np.zeros(len(ALPHAS))
    for fold in range(n_folds):
        away = torch.from_numpy(np.isin(lines.runs, runs[fold::n_folds]))
        found = _solve(lines.fmri[~away], y[~away], ALPHAS)
        scores += [float(F.cosine_similarity(lines.fmri[away] @ w, y[away]).mean()) for w in found]
    return ALPHAS[int(scores.argmax())]
