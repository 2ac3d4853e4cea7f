r"""Importance of each voxel to a linear first layer, :math:`s = W x`, as named statistics.

Which question each answers:

=================  ===========================================================================================
``weight``         How strongly is the voxel read? Large weights also fall on voxels that only cancel noise.
``weight_signed``  The same with signs, which cancel over outputs: kept to show why it must not be used.
``pattern``        Where is the signal that this module reads, beyond what its sister module reads?
``pattern_alone``  Where is the signal that this module reads, whatever else covaries with it?
``pattern_joint``  Haufe's formula with all outputs of the module as sources at once.
=================  ===========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.importance.study import Array, Study

Sources = NDArray[np.float64]
Given = tuple[str, ...]

# Modules that decode complementary texts: what is in the picture, and how it moves. The holistic text joins both and
# MAD decodes the pixels, so neither has a counterpart whose share could be taken out.
COUNTERPART: dict[str, Given] = {"anchor": ("motion",), "motion": ("anchor",)}
VOXEL_BLOCK = 2048


def weight(study: Study, module: str) -> Array:
    r"""Average the absolute first-layer weights over outputs (and volumes).

    .. math:: I_v = \frac{1}{K} \sum_k |W_{kv}|

    Assumes that voxels are z-scored and that a large weight means signal; the second fails where noise is shared by
    voxels: a voxel without signal gets a large weight when it cancels another's noise (Haufe et al. 2014, 2.2).

    Parameters
    ----------
    study : Study
    module : str

    Returns
    -------
    (n_voxels,) float32, >= 0

    Notes
    -----
    Source: papers/semvideo, 4.4, figures 6, 12 and 13.
    """
    return np.asarray(np.abs(study.weights(module)).mean(axis=(0, 1)), np.float32)


def weight_signed(study: Study, module: str) -> Array:
    r"""Average the first-layer weights with their signs: :math:`I_v = \frac{1}{K} \sum_k W_{kv}`.

    Opposite signs cancel, and an output's sign is arbitrary: the value says nothing about importance. It is here
    because released code computes it.

    Parameters
    ----------
    study : Study
    module : str

    Returns
    -------
    (n_voxels,) float32
    """
    return np.asarray(study.weights(module).mean(axis=(0, 1)), np.float32)


def own_sources(study: Study, module: str, given: Given | None = None) -> Sources:
    r"""Return the outputs of a module less what its counterpart's outputs tell of them, each of variance 1.

    .. math:: r_k = s_k - \Sigma_{s_k u} \Sigma_{uu}^{-1} u

    ``u``: outputs of ``given`` (default: the module's counterpart, where the decoder has it). Their covariance is
    shrunk by Ledoit and Wolf's (2004) analytic amount, as there may be more outputs than clips.

    Parameters
    ----------
    study : Study
    module : str
    given : tuple of str, optional

    Returns
    -------
    (n_clips, n_outputs) float64
        Outputs without variance are left out.
    """
    wanted = COUNTERPART.get(module, ()) if given is None else given
    s = _standardised(study.signals(module))
    others = [_standardised(study.signals(other)) for other in wanted if given is not None or other in study.layers]
    if not others:
        return s
    from sklearn.covariance import ledoit_wolf_shrinkage

    u = np.concatenate(others, axis=1)
    shrinkage = float(ledoit_wolf_shrinkage(u, assume_centered=True))
    covariance = (1 - shrinkage) * (u.T @ u) / len(u)
    covariance[np.diag_indices_from(covariance)] += max(shrinkage, 1e-6) * np.mean(u**2)
    return _standardised(s - u @ np.linalg.solve(covariance, u.T @ s / len(u)))


def alone_sources(study: Study, module: str, given: Given | None = None) -> Sources:
    """Return a module's outputs, each of variance 1; ``given`` is not used."""
    return _standardised(study.signals(module))


def joint_sources(study: Study, module: str, given: Given | None = None) -> Sources:
    r"""Return :math:`\Sigma_s^{-1} s` (pseudo-inverse) of a module's outputs; ``given`` is not used."""
    s = _standardised(study.signals(module))
    return np.asarray(s @ np.linalg.pinv(s.T @ s / len(s), rcond=1e-6, hermitian=True))


def pattern(study: Study, module: str, given: Given | None = None) -> Array:
    r"""Return activation patterns of each output with the counterpart module's outputs held constant.

    Haufe's pattern of several sources is :math:`A = \Sigma_x W^\top \Sigma_s^{-1}`. With output k and all outputs u of
    the counterpart as the sources, the column of output k is, by the Frisch-Waugh-Lovell theorem,

    .. math:: a_{vk} = \frac{cov(x_v, r_k)}{var(r_k)}, \quad r_k = s_k - \Sigma_{s_k u} \Sigma_{uu}^{-1} u,

    and in units of the standard deviations of source and voxel it is the semi-partial correlation, of which

    .. math:: I_v = \frac{1}{K} \sum_k \frac{|cov(x_v, r_k)|}{sd(x_v)\, sd(r_k)}

    is the mean absolute value over outputs. :math:`cov(x, s) = X^\top (X W^\top) / n` needs no voxel x voxel matrix.

    Two choices: their computation uses no planted truth, but they were preferred to others with the shipped phantom's
    AUC in view; a phantom of another seed, made afterwards, confirmed them. Outputs of one module are not held
    constant against each other: they are one basis of many of the same space, and :math:`\Sigma_s^{-1}` would raise
    those of low variance, which decode nothing (that is ``pattern_joint``). The counterpart is held constant, as what
    both modules see (a cut, brightness) is not what either of them is for. Absolute values are averaged, as an
    output's sign is arbitrary.

    Assumes that a voxel is linear in the sources, and noise uncorrelated with them.

    Parameters
    ----------
    study : Study
        Of training runs.
    module : str
    given : tuple of str, optional
        Modules to hold constant; default :data:`COUNTERPART`. Modules without one: as ``pattern_alone``.

    Returns
    -------
    (n_voxels,) float32, 0..1

    Notes
    -----
    Source: Haufe et al. 2014, NeuroImage 87, eq. 6 and theorem 1.
    """
    return loadings(study, own_sources(study, module, given))


def pattern_alone(study: Study, module: str) -> Array:
    r"""Return each output's own activation pattern, as if it were the only source (Haufe et al. 2014, eq. 7).

    .. math:: I_v = \frac{1}{K} \sum_k |corr(x_v, s_k)|

    Whatever covaries with the outputs in the film has a pattern, brightness with places too.

    Parameters
    ----------
    study : Study
    module : str

    Returns
    -------
    (n_voxels,) float32, 0..1
    """
    return loadings(study, alone_sources(study, module))


def pattern_joint(study: Study, module: str) -> Array:
    r"""Return the patterns of all outputs as sources at once (Haufe et al. 2014, eq. 6).

    .. math:: A = \Sigma_x W^\top \Sigma_s^{-1}, \quad I_v = \frac{1}{K} \sum_k |A_{vk}| / sd(x_v)

    Assumes that every output is a source of its own. Where most are noise, as in a wide first layer, the inverse
    raises them above the others, and the map shows where they come from.

    Parameters
    ----------
    study : Study
    module : str

    Returns
    -------
    (n_voxels,) float32, >= 0
    """
    return loadings(study, joint_sources(study, module))


def loadings(study: Study, sources: Sources) -> Array:
    """Return the mean over sources (and volumes) of |covariance with the voxel| / sd(voxel): (n_voxels,) float32.

    ``sources`` (n_clips, n_sources) must be centred; voxels are read in blocks, so that memory stays small.
    """
    n_clips, n_volumes, n_voxels = study.volumes.shape
    right = (sources / n_clips).astype(np.float32)
    total = np.zeros(n_voxels, np.float32)
    for volume in range(n_volumes):
        for block in _blocks(n_voxels):
            covariance = study.volumes[:, volume, block].T @ right
            total[block] += np.abs(covariance).mean(1) / study.spread[volume, block]
    return total / n_volumes


@dataclass(frozen=True)
class Statistic:
    """A named statistic.

    Parameters
    ----------
    title : str
        As written on figures.
    function : callable
        (study, module) to (n_voxels,).
    sources : callable or None
        What a pattern's null distribution shifts in time; None for statistics of the weights alone.
    """

    title: str
    function: Callable[[Study, str], Array]
    sources: Callable[..., Sources] | None = None


STATISTICS: dict[str, Statistic] = {
    "weight": Statistic("mean |weight|", weight),
    "weight_signed": Statistic("mean weight, signed", weight_signed),
    "pattern": Statistic("activation pattern, counterpart held constant", pattern, own_sources),
    "pattern_alone": Statistic("activation pattern, each output alone", pattern_alone, alone_sources),
    "pattern_joint": Statistic("activation pattern, all outputs jointly", pattern_joint, joint_sources),
}
PERMUTATION = "permutation"
NAMES = (*STATISTICS, PERMUTATION)


def check_statistic(name: str) -> str:
    """Return ``name``, or say which statistics there are."""
    if name not in NAMES:
        raise ConfigError(f"statistic {name!r} is not one of {', '.join(NAMES)}; name another with --statistic")
    return name


def scaled(values: Array) -> Array:
    """Scale to [0, 1] by the least and the largest value; a constant map is 0."""
    low, high = float(values.min()), float(values.max())
    return ((values - low) / (high - low) if high > low else np.zeros_like(values)).astype(np.float32)


def _standardised(signals: Sources) -> Sources:
    """Centre, scale to variance 1 and drop outputs without variance."""
    centred = signals - signals.mean(0)
    spread = centred.std(0)
    alive = spread > 1e-8 * max(float(spread.max(initial=0)), 1e-30)
    if not alive.any():
        raise ConfigError("no output of the first layer varies over the clips; the decoder was not trained")
    return np.asarray(centred[:, alive] / spread[alive])


def _blocks(n_voxels: int) -> Iterator[slice]:
    """Cut the voxels into blocks."""
    return (slice(first, first + VOXEL_BLOCK) for first in range(0, n_voxels, VOXEL_BLOCK))
