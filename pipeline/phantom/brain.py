"""The phantom's brains: features x planted weights -> haemodynamic response -> noise of a 3T scanner.

For vertex v and film time t, with x(t) the features of the clip on screen and w_v the planted weights,

    bold_v(t) = baseline_v (1 + c (sqrt(r_v) s_v(t) + sqrt(1 - r_v) n_v(t)) + drift_v(t)),
    s_v = hrf_{latency(v)} * (x . w_v),    var(s_v) = var(n_v) = 1,

where n_v is AR(1) noise with a component that all vertices share. The expected correlation of two repeats is then r_v,
which is how the noise level is set. Vertices differ in latency, as they do in real brains (Handwerker et al. 2004).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.grayordinates import N_LEFT
from pipeline.phantom import features as feat
from pipeline.phantom.sizes import PhantomSize
from pipeline.phantom.tuning import GROUPS, TUNING, areas_of, shares, simulated_ids

CLIP_SECONDS = 2.0
# Latency of a vertex's response against the canonical one, seconds, and how common each is.
LATENCIES = np.array([-1.2, -0.6, 0.0, 0.6, 1.2])
LATENCY_SD = 0.8
FINE_STEP = 0.1
HRF_SECONDS = 32.0
AR = 0.35
GLOBAL_SHARE = (0.02, 0.12)
DRIFT = 0.8
PERCENT = 0.012
BASELINE = (8_000.0, 14_000.0)
MOST_RELIABLE = 0.75
# Radius of a receptive field, frame widths; areas that are not named see the whole frame coarsely.
FIELD = {"V1": 0.09, "V2": 0.12, "V3": 0.16}
WIDE_FIELD = 0.30


@dataclass(frozen=True)
class Brain:
    """One simulated subject.

    Parameters
    ----------
    subject : str
        Such as ``"sub-01"``.
    voxel_ids : (n_voxels,) int64
        Its cortical grayordinates of fs_LR 32k, ascending.
    weights : (n_features, n_voxels) float32
        The planted weights, scaled so that the noise-free response has variance 1; zero in silent vertices.
    mean : (n_features,) float32
        Mean features of the training films; the response is to what differs from them.
    latency : (n_voxels,) int
        Index into ``LATENCIES``.
    reliability : (n_voxels,) float32
        Expected correlation of two repeats, 0..1; 0 where nothing is planted.
    baseline, global_loading : (n_voxels,) float32
        Mean signal in scanner units, and share of the noise variance that all vertices have in common.
    """

    subject: str
    voxel_ids: NDArray[np.int64]
    weights: NDArray[np.float32]
    mean: NDArray[np.float32]
    latency: NDArray[np.int64]
    reliability: NDArray[np.float32]
    baseline: NDArray[np.float32]
    global_loading: NDArray[np.float32]


def stream(*key: int | str) -> np.random.Generator:
    """Return a random stream of its own for a key, the same on every machine and in any order of work."""
    return np.random.default_rng([zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key])


def noise_ceiling(reliability: NDArray[np.floating], n_repeats: int) -> NDArray[np.float64]:
    """Return the highest correlation that a perfect model can reach with the mean of the repeats.

    sqrt(n r / (1 + (n - 1) r)): Spearman and Brown's reliability of the mean, and the square root as the model itself
    has no noise.

    Parameters
    ----------
    reliability : array of float
        Correlation of two single repeats, -1..1; negative ones count as 0.
    n_repeats : int
        Repeats averaged, 1 or more.

    Returns
    -------
    array of float, 0..1, shaped as ``reliability``
    """
    r = np.clip(np.asarray(reliability, np.float64), 0.0, 1.0)
    return np.asarray(np.sqrt(n_repeats * r / (1.0 + (n_repeats - 1) * r)))


def subject_name(index: int) -> str:
    """Return the name of the subject at a zero-based index: 0 -> ``sub-01``."""
    return f"sub-{index + 1:02d}"


def make_brain(size: PhantomSize, index: int, films: Sequence[NDArray[np.float32]]) -> Brain:
    """Draw a subject's vertices, weights and noise levels.

    Parameters
    ----------
    size : PhantomSize
    index : int
        Zero-based subject.
    films : sequence of (n_clips, n_features) float32
        Features of the training films, which set the scale of the weights.

    Returns
    -------
    Brain
    """
    who, name = size.subjects[index], subject_name(index)
    ids = simulated_ids(size.whole_cortex, size.stride)
    if not size.whole_cortex:
        chosen = stream(size.seed, name, "vertices").permutation(len(ids))[: round(who.fraction * len(ids))]
        ids = ids[np.sort(chosen)]
    rng = stream(size.seed, name, "tuning")
    tuned = np.isin(areas_of(ids), list(TUNING))
    common = np.exp(-0.5 * (LATENCIES / LATENCY_SD) ** 2)
    latency = rng.choice(len(LATENCIES), len(ids), p=common / common.sum())
    concentration = who.reliability * (1 - who.reliability) / who.spread**2 - 1
    reliability = rng.beta(who.reliability * concentration, (1 - who.reliability) * concentration, len(ids))
    mean = np.concatenate(films).mean(0)
    weights = _weights(rng, ids, np.concatenate(films) - mean)
    brain = Brain(
        subject=name,
        voxel_ids=ids,
        weights=weights,
        mean=mean,
        latency=latency,
        reliability=np.where(tuned, np.minimum(reliability, MOST_RELIABLE), 0.0).astype(np.float32),
        baseline=rng.uniform(*BASELINE, len(ids)).astype(np.float32),
        global_loading=rng.uniform(*GLOBAL_SHARE, len(ids)).astype(np.float32),
    )
    # Unit variance over the volumes of the training films that are kept.
    variances = [response(brain, film, size)[kept_volumes(len(film))].var(0) for film in films]
    deviation = np.sqrt(np.mean(variances, axis=0))
    weights *= np.where(tuned, 1.0 / np.maximum(deviation, 1e-6), 0.0).astype(np.float32)
    return brain


def _weights(rng: np.random.Generator, ids: NDArray[np.int64], centred: NDArray[np.float32]) -> NDArray[np.float32]:
    """Draw the weights of each group, give each the share of variance that the table plants: (n_features, n_voxels)."""
    planted = shares(ids)
    fields = _receptive_fields(rng, ids)
    weights = np.zeros((centred.shape[1], len(ids)), np.float32)
    for group in GROUPS:
        at = feat.columns(group)
        drawn = _group_weights(rng, group, fields)
        # Drawn for every vertex, used where the table says so: a change of the table moves no other vertex.
        used = np.flatnonzero(planted[group])
        if not used.size:
            continue
        spread = (centred[:, at] @ drawn[:, used]).std(0)
        weights[at, used] = drawn[:, used] * np.sqrt(planted[group][used]) / np.maximum(spread, 1e-6)
    return weights


def _group_weights(rng: np.random.Generator, group: str, fields: NDArray[np.float32]) -> NDArray[np.float32]:
    """Draw one group's weights for all vertices: (n_columns, n_voxels)."""
    n_voxels = fields.shape[1]
    if group == "contrast":
        return fields
    if group == "colour":
        preferred = rng.standard_normal((3, 1, n_voxels)).astype(np.float32)
        return (preferred * fields).reshape(-1, n_voxels)
    if group == "energy":
        # A preferred direction with half-wave rectified cosine tuning, and some response to any motion.
        angle = rng.uniform(0, 2 * np.pi, n_voxels)
        tuned = np.stack([np.cos(angle), -np.cos(angle), np.sin(angle), -np.sin(angle)])
        preferred = np.concatenate([np.maximum(tuned, 0), np.full((1, n_voxels), 0.3)]).astype(np.float32)
        return (preferred[:, None] * fields).reshape(-1, n_voxels)
    drawn = rng.standard_normal((feat.WIDTHS[group], n_voxels)).astype(np.float32)
    if group == "flow":
        # Cells tell kinds of motion apart first of all; speed and the camera come second.
        drawn[-3:] *= np.array([[0.5], [0.6], [0.6]], np.float32)
    if group == "drive":
        drawn = np.abs(drawn)
    return drawn


def _receptive_fields(rng: np.random.Generator, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Draw a Gaussian receptive field on the grid of cells, contralateral: (n_cells, n_voxels), each sums to 1."""
    areas = areas_of(ids)
    radius = np.array([FIELD.get(area, WIDE_FIELD) for area in areas.tolist()])
    # The left hemisphere sees the right half of the frame, with a little of the other side of the midline.
    eccentricity, height = rng.uniform(-0.05, 0.5, len(ids)), rng.uniform(0.0, 1.0, len(ids))
    x = np.where(ids < N_LEFT, 0.5 + eccentricity, 0.5 - eccentricity)
    centre = (np.arange(feat.GRID) + 0.5) / feat.GRID
    down, across = (grid.reshape(-1, 1) for grid in np.meshgrid(centre, centre, indexing="ij"))
    field = np.exp(-((across - x) ** 2 + (down - height) ** 2) / (2 * radius**2))
    return np.asarray(field / field.sum(0), np.float32)


def kept_volumes(n_clips: int, extra: int = 5) -> slice:
    """Return the volumes that CC2017's trim keeps of a run with ``extra`` (5 or 6) volumes more than clips."""
    first = extra - 4
    return slice(first, first + n_clips)


@lru_cache(maxsize=1)
def _block_response() -> NDArray[np.float64]:
    """Return the response to one clip from its start, in steps of ``FINE_STEP``."""
    from nilearn.glm.first_level import glover_hrf

    kernel = glover_hrf(FINE_STEP, oversampling=1, time_length=HRF_SECONDS, onset=0.0)
    return np.convolve(kernel, np.ones(round(CLIP_SECONDS / FINE_STEP)))


def hrf_matrix(size: PhantomSize, n_clips: int, n_volumes: int, latency: float, extra: int = 5) -> NDArray[np.float32]:
    """Return how strongly each clip drives each volume: (n_volumes, n_clips).

    nilearn's Glover response, shifted by ``latency`` seconds, to a clip of 2 s. A run with a sixth extra volume started
    one TR earlier, so its film starts one TR later.
    """
    block = _block_response()
    onset = size.film_onset_s + (extra - 5) * size.tr + latency
    delay = np.arange(n_volumes)[:, None] * size.tr - onset - np.arange(n_clips)[None] * CLIP_SECONDS
    return np.interp(delay, np.arange(len(block)) * FINE_STEP, block, left=0.0, right=0.0).astype(np.float32)


def response(brain: Brain, film: NDArray[np.float32], size: PhantomSize, extra: int = 5) -> NDArray[np.float32]:
    """Return the noise-free response to a film: (n_clips + extra volumes, n_voxels), variance about 1."""
    n_clips = len(film)
    out = np.zeros((n_clips + extra, len(brain.voxel_ids)), np.float32)
    for i, latency in enumerate(LATENCIES):
        at = np.flatnonzero((brain.latency == i) & brain.weights.any(0))
        if at.size:
            neural = (film - brain.mean) @ brain.weights[:, at]
            out[:, at] = hrf_matrix(size, n_clips, n_clips + extra, float(latency), extra) @ neural
    return out


def record(brain: Brain, signal: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return one run as the scanner would give it.

    Parameters
    ----------
    brain : Brain
    signal : (n_volumes, n_voxels) float32
        From ``response``.
    rng : numpy.random.Generator
        A stream of its own for each run.

    Returns
    -------
    (n_volumes, n_voxels) float32, scanner units
    """
    n_volumes, n_voxels = signal.shape
    noise = _autoregressive(rng, n_volumes, n_voxels)
    shared = _autoregressive(rng, n_volumes, 1)
    noise *= np.sqrt(1 - brain.global_loading)
    noise += shared * np.sqrt(brain.global_loading)
    noise *= np.sqrt(1 - brain.reliability)
    noise += np.sqrt(brain.reliability) * signal
    # A slow drift of at most third order, which the reader's detrending takes out again.
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, n_volumes), 3)[:, 1:].astype(np.float32)
    noise += basis @ (DRIFT * rng.standard_normal((3, n_voxels), dtype=np.float32))
    return np.asarray(brain.baseline * (1.0 + PERCENT * noise), dtype=np.float32)


def _autoregressive(rng: np.random.Generator, n_volumes: int, n_voxels: int) -> NDArray[np.float32]:
    """Draw AR(1) noise of unit variance: (n_volumes, n_voxels)."""
    noise = rng.standard_normal((n_volumes, n_voxels), dtype=np.float32)
    noise[1:] *= np.float32(np.sqrt(1 - AR**2))
    for t in range(1, n_volumes):
        noise[t] += np.float32(AR) * noise[t - 1]
    return noise
