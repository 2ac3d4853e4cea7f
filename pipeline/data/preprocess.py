"""Clean one run: trim, remove slow drifts, z-score. Every step is per run, so nothing leaks between runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError

# CC2017's own trim: 245 volumes -> drop the first 1 and last 4; 246 -> first 2 and last 4 (data.md).
N_LAST = 4


@dataclass(frozen=True)
class CleanRun:
    """A cleaned run.

    Parameters
    ----------
    data : (n_volumes, n_voxels) float32
        Mean 0 and standard deviation 1 per voxel; zeros where ``bad``.
    bad : (n_voxels,) bool
        NaN, infinite or constant voxels.
    tsnr : (n_voxels,) float32
        Mean over standard deviation after the drift is removed; zero where ``bad``.
    """

    data: NDArray[np.float32]
    bad: NDArray[np.bool_]
    tsnr: NDArray[np.float32]


def trim_window(n_volumes: int, n_clips: int, lag_tr: int, where: str) -> slice:
    """Return the volumes of a run that belong to clips 0..n_clips-1.

    ``n_clips + 5`` volumes lose the first 1 and the last 4, ``n_clips + 6`` the first 2 and the last 4. A lag moves
    the window within the recorded volumes, so that no clip is lost: volume ``first + j + lag_tr`` belongs to clip j.

    Parameters
    ----------
    n_volumes, n_clips : int
        Volumes in the file, clips in the film.
    lag_tr : int
        Volumes between a clip and its response, beyond what the trim already holds (CC2017: 0).
    where : str
        The file, for the message.
    """
    first = n_volumes - n_clips - N_LAST
    if first not in (1, 2):
        raise DataError(
            f"{where}: expected {n_clips + 5} or {n_clips + 6} volumes ({n_clips} after the trim), got {n_volumes}; "
            "fetch the run again or leave it out"
        )
    if not -first <= lag_tr <= N_LAST:
        raise DataError(f"{where}: lag_tr must lie in {-first}..{N_LAST} for {n_volumes} volumes, got {lag_tr}")
    return slice(first + lag_tr, first + lag_tr + n_clips)


def clean_run(data: NDArray[np.float32], order: int = 4) -> CleanRun:
    """Remove a polynomial drift and z-score every voxel of one run.

    ``z = (x - Q Q' x) / s`` with ``Q`` an orthonormal basis of the polynomials up to ``order`` and ``s`` the sample
    standard deviation of what is left.

    Parameters
    ----------
    data : (n_volumes, n_voxels) float32
        Raw signal of one run, any unit.
    order : int
        4 for CC2017 (data.md).
    """
    n_volumes = len(data)
    if n_volumes < order + 2:
        raise DataError(f"a run needs at least {order + 2} volumes to remove a drift of order {order}, got {n_volumes}")
    finite = np.isfinite(data).all(axis=0)
    # The mean goes first and in double precision: raw BOLD is 10,000 +- 100, which float32 sums would blur.
    mean = np.where(finite, data, 0).mean(axis=0, dtype=np.float64)
    x = np.where(finite, data - mean.astype(np.float32), 0).astype(np.float32)
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, n_volumes), order)
    q = np.linalg.qr(basis)[0].astype(np.float32)
    x -= q @ (q.T @ x)
    std = x.std(axis=0, ddof=1, dtype=np.float64)
    bad = ~finite | (std <= 1e-6 * np.abs(mean) + 1e-12)
    x *= np.where(bad, 0, 1 / np.where(bad, 1, std)).astype(np.float32)
    return CleanRun(x, bad, _tsnr(mean, std, bad))


def clean_run_nilearn(data: NDArray[np.float32], tr: float) -> CleanRun:
    """Remove the linear drift and z-score one run with nilearn, the convention of volume studies.

    ``nilearn.signal.clean(detrend=True, standardize="zscore_sample")``; ``data`` (n_volumes, n_voxels), ``tr`` in
    seconds (it matters only to filters, of which there are none here).
    """
    from nilearn.signal import clean

    finite = np.isfinite(data).all(axis=0)
    x = np.where(finite, data, 0)
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, ddof=1, dtype=np.float64)
    bad = ~finite | (std <= 1e-6 * np.abs(mean) + 1e-12)
    out = np.zeros_like(x, dtype=np.float32)
    if (~bad).any():
        out[:, ~bad] = clean(x[:, ~bad], detrend=True, standardize="zscore_sample", t_r=tr)
    return CleanRun(out, bad, _tsnr(mean, std, bad))


def _tsnr(mean: NDArray[np.float64], std: NDArray[np.float64], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(bad, 0, mean / np.where(bad, 1, std)).astype(np.float32)
