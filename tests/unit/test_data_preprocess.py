"""Trim, detrend, z-score, and choice of voxels by repeat reliability."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from pipeline.data.preprocess import clean_run, clean_run_nilearn, trim_window
from pipeline.data.selection import effective_samples, noise_ceiling, repeat_correlation, select_reliable
from pipeline.errors import DataError


@pytest.mark.parametrize(("n_volumes", "first"), [(245, 1), (246, 2)])
def test_trim_follows_the_published_rule(n_volumes, first):
    assert trim_window(n_volumes, 240, 0, "seg1_1") == slice(first, first + 240)


@pytest.mark.parametrize("n_volumes", [240, 244, 247])
def test_other_lengths_name_file_and_count(n_volumes):
    with pytest.raises(DataError, match=rf"seg1_1.*245 or 246.*got {n_volumes}"):
        trim_window(n_volumes, 240, 0, "seg1_1")


def test_a_lag_moves_the_window_and_loses_no_clip():
    assert trim_window(245, 240, 4, "x") == slice(5, 245)
    with pytest.raises(DataError, match="lag_tr"):
        trim_window(245, 240, 5, "x")


def test_clean_run_removes_a_quartic_drift_and_scales(rng):
    t = np.linspace(-1, 1, 60)[:, None]
    signal = rng.standard_normal((60, 5))
    drift = 10_000 + 300 * t - 200 * t**2 + 90 * t**3 + 70 * t**4
    with_drift, without = clean_run((signal + drift).astype(np.float32)), clean_run(signal.astype(np.float32))
    assert np.allclose(with_drift.data, without.data, atol=2e-2)
    assert np.allclose(with_drift.data.mean(0), 0, atol=1e-4)
    assert np.allclose(with_drift.data.std(0, ddof=1), 1, atol=1e-4)


@pytest.mark.parametrize("clean", [clean_run, lambda x: clean_run_nilearn(x, 2.5)])
def test_nan_and_constant_voxels_are_marked_and_zero(rng, clean):
    data = (1000 + rng.standard_normal((30, 4))).astype(np.float32)
    data[3, 1], data[:, 2] = np.nan, 7.0
    run = clean(data)
    assert run.bad.tolist() == [False, True, True, False]
    assert np.isfinite(run.data).all()
    assert not run.data[:, [1, 2]].any()


def test_cleaning_leaves_its_input_alone(rng):
    data = rng.standard_normal((30, 4)).astype(np.float32)
    before = data.copy()
    clean_run(data)
    assert np.array_equal(data, before)


def test_repeat_correlation_is_the_mean_over_pairs(rng):
    runs = [clean_run(rng.standard_normal((40, 6)).astype(np.float32)).data for _ in range(3)]
    pairs = [[np.corrcoef(a[:, v], b[:, v])[0, 1] for a, b in combinations(runs, 2)] for v in range(6)]
    assert np.allclose(repeat_correlation(runs), np.mean(pairs, axis=1), atol=1e-5)


def test_t_over_segments_agrees_with_scipy(rng):
    r = np.clip(0.2 + 0.1 * rng.standard_normal((18, 9)), -0.9, 0.9).astype(np.float32)
    found = select_reliable(r, np.full((18, 9), 200, np.float32), np.zeros(9, bool))
    expected = stats.ttest_1samp(np.arctanh(r.astype(np.float64)), 0)
    assert found.method == "t"
    assert np.allclose(found.statistic, expected.statistic, rtol=1e-4)
    assert np.array_equal(found.selected, (expected.pvalue * 9 < 0.05) & (expected.statistic > 0))


def test_noise_is_rejected_and_negative_correlations_never_chosen(rng):
    n_voxels = 2000
    r = np.tanh(rng.standard_normal((3, n_voxels)) / np.sqrt(237)).astype(np.float32)
    r[:, :50], r[:, 50:90] = 0.4, -0.4
    bad = np.zeros(n_voxels, bool)
    bad[0] = True
    found = select_reliable(r, np.full_like(r, 240), bad)
    assert found.method == "fisher"
    assert found.selected[1:50].all()
    assert not found.selected[0]
    assert not found.selected[50:].any()


def test_autocorrelation_lowers_the_effective_samples(rng):
    white = clean_run(rng.standard_normal((240, 3)).astype(np.float32)).data
    smooth = clean_run(np.cumsum(white, axis=0, dtype=np.float32)).data
    assert (effective_samples([smooth, smooth]) < 0.5 * effective_samples([white, white])).all()


def test_noise_ceiling_by_hand():
    assert noise_ceiling(np.array([0.25, -0.1], np.float32), 1) == pytest.approx([0.5, 0])
    assert noise_ceiling(np.array([0.5], np.float32), 2) == pytest.approx([np.sqrt(1 / 1.5)])
