"""Permutation importance: what held-out decoding loses when a region's voxels are shuffled across clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clipset import ClipSet
from pipeline.errors import DataError
from pipeline.importance.inference import RegionRow, corrected
from pipeline.importance.shifts import PER_REGION

if TYPE_CHECKING:
    from pipeline.backbones import World
    from pipeline.methods.semvideo import SemVideo

Array = NDArray[np.float32]
Progress = Callable[[int, int, str], None]
CUES = {"mad": "motion_latents"}
BLOCK = 8  # clips (16 s) that are resampled together: neighbours share a shot and a haemodynamic response


def targets_of(world: World, clipset: ClipSet, modules: Sequence[str], n_frames: int) -> dict[str, Array]:
    """Encode what the modules should have decoded: module to (n_clips, n_values) float32.

    Parameters
    ----------
    world : World
        Text encoder and VAE that the decoder was trained for.
    clipset : ClipSet
        Held-out runs, with captions (and a stimulus for ``mad``).
    modules : sequence of str
    n_frames : int

    Raises
    ------
    DataError
        When a module has neither captions nor a stimulus to be judged by.
    """
    from pipeline.backbones import encode_frames, encode_text

    found = {}
    for module in modules:
        if module in clipset.captions:
            texts, place = np.unique(clipset.captions[module], return_inverse=True)
            found[module] = np.asarray(encode_text(world, texts.tolist()))[place].reshape(len(clipset), -1)
        elif module in CUES and clipset.stimulus is not None:
            clips = [encode_frames(world, clipset.stimulus.frames(i, n_frames)).ravel() for i in range(len(clipset))]
            found[module] = np.stack(clips).astype(np.float32)
        else:
            raise DataError(
                f"{clipset.subject}: permutation importance of {module} needs captions or the stimulus of the "
                "validation runs; caption the data set, or use --statistic pattern"
            )
    return found


def clip_scores(decoded: Array, target: Array) -> NDArray[np.float64]:
    r"""Return each clip's score, :math:`cos(\hat z - \bar z, z - \bar z)`, with the mean over clips removed: -1..1.

    Parameters
    ----------
    decoded, target : (n_clips, n_values)
    """
    mean = target.mean(0)
    a, b = decoded.reshape(len(target), -1) - mean, target - mean
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(1) / np.maximum(size, 1e-12), np.float64)


def permutation(
    model: SemVideo,
    held_out: ClipSet,
    targets: Mapping[str, Array],
    regions: NDArray[np.str_],
    n_shuffles: int = 3,
    n_bootstrap: int = 1000,
    correction: str = "benjamini-hochberg",
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, tuple[list[RegionRow], float]]:
    r"""Return the loss of held-out decoding when a region's voxels are shuffled across clips together.

    .. math:: I_R = \frac{1}{n} \sum_i \left( score_i(X) - \overline{score_i(X_{\pi(R)})} \right)

    All voxels of R take the values of one other clip, so that their covariance stays and their tie to the clip goes.
    The interval resamples blocks of neighbouring clips; p is the share of these resamplings whose mean is not above
    zero. That is its null distribution: a region that is not read loses exactly nothing. What another region tells as
    well is not lost either: low importance does not mean that there is no signal.

    Parameters
    ----------
    model : SemVideo
        Any method whose ``decode`` takes a clip set and stages.
    held_out : ClipSet
        Validation runs; never the test.
    targets : mapping of module to (n_clips, n_values)
        From :func:`targets_of`.
    regions : (n_voxels,) str
        Empty: in no region, never shuffled.
    n_shuffles : int
    n_bootstrap : int
        Resamplings, at least: there are as many as one region needs to pass a correction over all.
    correction : str
        See :func:`pipeline.importance.inference.adjust`.
    seed : int
    progress : callable, optional

    Returns
    -------
    dict of module to (list of RegionRow, float)
        Rows, highest loss first, and the split-half reliability: the correlation over regions of the losses of odd
        and even blocks of clips, NaN for fewer than three regions.

    Raises
    ------
    DataError
        When no voxel lies in a region.

    Source: Breiman 2001, section 10; grouped as in Au et al. 2022.
    """
    names, whose = sorted({str(region) for region in regions if region}), held_out.subject
    if not names:
        raise DataError(f"{whose}: permutation importance needs voxels that lie in regions, got none")
    rng = np.random.default_rng([seed, 3])
    n_bootstrap = max(n_bootstrap, PER_REGION * len(names))
    clipset = replace(
        held_out.without_stimulus(), fmri=held_out.mean_fmri()[:, None], present=np.ones((len(held_out), 1), bool)
    )
    whole = _scores(model, clipset, targets)
    rows: dict[str, list[RegionRow]] = {module: [] for module in targets}
    losses: dict[str, list[NDArray[np.float64]]] = {module: [] for module in targets}
    for number, region in enumerate(names):
        at = np.flatnonzero(regions == region)
        lost = _lost(rng, model, clipset, targets, whole, at, n_shuffles)
        for module, loss in lost.items():
            losses[module].append(loss)
            rows[module].append(_row(rng, (whose, module, "permutation", region, len(at)), loss, n_bootstrap))
        if progress:
            progress(number + 1, len(names), f"shuffled {region}")
    return {module: (corrected(found, correction), _split_half(losses[module])) for module, found in rows.items()}


def _lost(
    rng: np.random.Generator,
    model: SemVideo,
    clipset: ClipSet,
    targets: Mapping[str, Array],
    whole: Mapping[str, NDArray[np.float64]],
    at: NDArray[np.int64],
    n_shuffles: int,
) -> dict[str, NDArray[np.float64]]:
    """Return each clip's mean loss of score over shuffles of the voxels ``at``, by module."""
    lost = {module: np.zeros(len(clipset)) for module in targets}
    for _ in range(n_shuffles):
        fmri = clipset.fmri.copy()
        fmri[:, :, at] = fmri[_derangement(rng, len(clipset))][:, :, at]
        for module, score in _scores(model, replace(clipset, fmri=fmri), targets).items():
            lost[module] += (whole[module] - score) / n_shuffles
    return lost


def _scores(model: SemVideo, clipset: ClipSet, targets: Mapping[str, Array]) -> dict[str, NDArray[np.float64]]:
    """Decode the modules that are judged, and what they need, and score each clip."""
    # MAD is conditioned on the decoded motion text.
    needed = {*targets, *(("motion",) if "mad" in targets else ())}
    stages: Any = tuple(stage for stage in model.STAGES if stage in needed)
    cues = model.decode(clipset, stages=stages).cues
    return {
        module: clip_scores(np.asarray(cues[CUES.get(module, module)], np.float32), target)
        for module, target in targets.items()
    }


def _derangement(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """Draw an order in which no clip keeps its place: a random cycle."""
    order = rng.permutation(n)
    found = np.empty(n, np.int64)
    found[order] = np.roll(order, 1)
    return found


def _row(
    rng: np.random.Generator, facts: tuple[str, str, str, str, int], loss: NDArray[np.float64], n_bootstrap: int
) -> RegionRow:
    """Return a region's mean loss with its interval and p-value, from each clip's loss."""
    means = _block_means(rng, loss, n_bootstrap)
    low, high = np.quantile(means, (0.025, 0.975))
    p = (1 + int((means <= 0).sum())) / (1 + n_bootstrap)
    mean = float(loss.mean())
    return RegionRow(*facts, mean, float(low), float(high), mean, mean, 0.0, p, p, "clips")


def _split_half(losses: list[NDArray[np.float64]]) -> float:
    """Correlate the regions' losses of odd and even blocks of clips."""
    odd = np.arange(len(losses[0])) // BLOCK % 2 == 1
    if len(losses) < 3 or not odd.any():
        return float("nan")
    first, second = (np.array([loss[part].mean() for loss in losses]) for part in (odd, ~odd))
    return float(np.corrcoef(first, second)[0, 1]) if first.std() and second.std() else float("nan")


def _block_means(rng: np.random.Generator, values: NDArray[np.float64], n_bootstrap: int) -> NDArray[np.float64]:
    """Return bootstrap means, blocks of neighbouring clips drawn together, in a circle."""
    n, length = len(values), min(BLOCK, len(values))
    starts = rng.integers(n, size=(n_bootstrap, -(-n // length)))
    at = (starts[:, :, None] + np.arange(length)).reshape(n_bootstrap, -1)[:, :n] % n
    return np.asarray(values[at].mean(1))
