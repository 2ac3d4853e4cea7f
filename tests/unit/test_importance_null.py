"""The null of the patterns can be failed and passed: calibration, power, shifts, intervals over runs, enough draws."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, t

from pipeline.errors import ConfigError
from pipeline.importance import inference, jackknife
from pipeline.importance.shifts import lagged, lags, n_shifts, shift_test
from pipeline.importance.statistics import loadings, own_sources, pattern
from pipeline.importance.study import Study

PATTERNS = ("pattern", "pattern_alone", "pattern_joint")
SIZES = (2, 3, 4, 6, 7, 9)
AREAS = np.repeat([f"area-{n}" for n in range(len(SIZES))], SIZES)
N_CLIPS = 241


def noise_study(rng, common=0.0, areas=(), n_clips=N_CLIPS):
    """White noise that random weights read; ``areas`` share one signal of weight ``common``."""
    x = rng.standard_normal((n_clips, 1, len(AREAS)))
    x[:, 0, np.isin(AREAS, areas)] += common * rng.standard_normal((n_clips, 1))
    sizes = {"anchor": 5, "motion": 8, "holi": 11}
    layers = {m: rng.standard_normal((k, 1, len(AREAS))).astype(np.float32) for m, k in sizes.items()}
    runs = np.array([f"run-{i * 7 // n_clips}" for i in range(n_clips)])
    return Study("sub-07", layers, x.astype(np.float32), runs)


def p_of(test):
    return {
        name: (1 + (test.null[name] >= value).sum()) / (1 + len(test.null[name])) for name, value in test.tested.items()
    }


@pytest.mark.parametrize("module", ["anchor", "holi"])
@pytest.mark.parametrize("statistic", PATTERNS)
def test_noise_that_random_weights_read_passes_one_time_in_twenty(rng, statistic, module):
    tests = [shift_test(noise_study(rng), module, statistic, AREAS) for _ in range(40)]
    found = np.array([list(p_of(test).values()) for test in tests])
    low, high = binom.ppf((0.001, 0.999), found.size, 0.05)
    assert low <= (found <= 0.05).sum() <= high
    assert 0.42 < found.mean() < 0.58  # uniform, not merely rare
    assert 0.03 < np.mean([(test.voxel_p <= 0.05).mean() for test in tests]) < 0.07


@pytest.mark.parametrize("statistic", PATTERNS)
def test_areas_that_share_a_signal_are_found_and_the_others_are_not(rng, statistic):
    planted = ["area-1", "area-3", "area-4"]
    found = [p_of(shift_test(noise_study(rng, 0.6, planted), "holi", statistic, AREAS)) for _ in range(9)]
    assert np.mean([[p[name] <= 0.05 for name in planted] for p in found]) > 0.8
    assert np.mean([[p[name] <= 0.05 for name in p if name not in planted] for p in found]) < 0.2


def test_an_area_that_is_read_alone_shares_nothing(rng):
    study = noise_study(rng, 0.9, ["area-0", "area-5"])
    for module in ("anchor", "motion"):
        study.layers[module][:, :, AREAS != "area-5"] = 0
    test = shift_test(replace(study), "anchor", "pattern", AREAS)
    assert p_of(test)["area-5"] == 1 and p_of(test)["area-0"] < 0.05


def test_what_is_left_out_is_left_out_of_the_counterpart_too(rng):
    study = noise_study(rng)
    at = np.flatnonzero(AREAS == "area-4")
    study.signals("anchor")
    left = study.without(at, ("anchor", "motion"))
    other = replace(study, volumes=study.volumes.copy())
    other.volumes[:, :, at] = 7 * rng.standard_normal((N_CLIPS, 1, len(at)))
    np.testing.assert_allclose(
        own_sources(left, "anchor"), own_sources(other.without(at, ("anchor", "motion")), "anchor"), atol=1e-4
    )
    assert not np.allclose(own_sources(study, "anchor"), own_sources(left, "anchor"), atol=0.1)


def test_signals_follow_the_clips_and_the_weights(rng):
    study = noise_study(rng)
    first = study.signals("holi")
    rows = study.groups != "run-3"
    fresh = Study("sub-07", study.layers, study.volumes[rows], study.groups[rows])
    np.testing.assert_allclose(study.take(rows).signals("holi"), fresh.signals("holi"), atol=1e-5)
    louder = replace(study, layers={"holi": -3 * study.layers["holi"]})
    np.testing.assert_allclose(louder.signals("holi"), -3 * first, atol=1e-4)


@pytest.mark.parametrize("step", [1, 3, 4])
def test_transforms_give_what_rolling_the_sources_gives(rng, step):
    n_clips, voxels = 61, np.array([0, 3, 4])
    volumes = (3 + rng.standard_normal((n_clips, 2, 5))).astype(np.float32)
    study = Study("sub-07", {}, volumes, np.full(n_clips, "run"))
    sources = rng.standard_normal((n_clips, 7))
    kept = n_clips // step * step
    found = lagged(study, voxels, sources, step)
    assert found.shape == (3, n_clips // step)
    short = replace(study, volumes=volumes[:kept], groups=study.groups[:kept])
    short.__dict__["spread"] = study.spread
    centred = sources[:kept] - sources[:kept].mean(0)
    for column in (0, 2, 5):
        wanted = loadings(short, np.roll(centred, column * step, axis=0))[voxels]
        np.testing.assert_allclose(found[:, column], wanted, atol=1e-5)


@pytest.mark.parametrize(("n_clips", "wanted", "step"), [(1680, 640, 2), (4320, 640, 6), (1681, 640, 2), (241, 640, 1)])
def test_shifts_are_as_many_as_are_wanted_and_far_from_none(n_clips, wanted, step):
    found, at = lags(n_clips, wanted)
    assert found == step and (len(at) >= wanted or step == 1)
    clips = at * step
    assert clips.min() >= 10 and clips.max() <= n_clips // step * step - 10
    assert len(lags(n_clips, wanted + 200)[1]) >= len(at)


def test_weights_volumes_and_no_shifts_have_no_such_test(rng):
    study = noise_study(rng)
    assert shift_test(study, "holi", "weight", AREAS) is None
    assert shift_test(study, "holi", "pattern", np.full(len(AREAS), "")) is None
    assert shift_test(study, "holi", "pattern", AREAS, wanted=0) is None
    assert n_shifts("weight", N_CLIPS, 6, None) == n_shifts("pattern", N_CLIPS, 0, None) == 0
    some = np.where(AREAS == "area-2", "", AREAS)
    assert np.isnan(shift_test(study, "holi", "pattern", some, wanted=9).voxel_p[AREAS == "area-2"]).all()


def test_a_table_tests_what_it_says_it_tests(rng):
    study = noise_study(rng, 2, ["area-2", "area-5"])
    values, test = pattern(study, "holi"), shift_test(study, "holi", "pattern", AREAS)
    intervals = jackknife.region_intervals(study, "holi", "pattern", values, AREAS)
    rows = inference.region_table(values, AREAS, ("s", "holi", "pattern"), test, intervals)
    assert [row.mean for row in rows] == sorted((row.mean for row in rows), reverse=True)
    assert {row.region for row in rows if row.p_corrected < 0.05} >= {"area-2", "area-5"}
    for row in rows:
        assert row.low < row.mean < row.high and row.p <= row.p_corrected and row.interval == "runs"
        assert row.tested < row.mean and row.p == p_of(test)[row.region]
        unscaled = row.tested * np.ptp(values) + values.min()
        assert unscaled == pytest.approx(test.tested[row.region], rel=1e-5)


def test_intervals_are_the_jackknife_over_runs(rng):
    study = noise_study(rng, 1, ["area-1", "area-2"])
    values = pattern(study, "motion")
    found = jackknife.region_intervals(study, "motion", "pattern", values, AREAS)
    at, runs = AREAS == "area-2", np.unique(study.groups)
    without = []
    for run in runs:
        rows = study.groups != run
        part = Study("s", study.layers, study.volumes[rows], study.groups[rows])
        without.append(pattern(part, "motion")[at].mean())
    error = np.sqrt((len(runs) - 1) / len(runs) * ((without - np.mean(without)) ** 2).sum())
    half = t.ppf(0.975, len(runs) - 1) * error
    np.testing.assert_allclose(found["area-2"], values[at].mean() + np.array([-half, half]), rtol=1e-4)


def test_few_runs_are_cut_into_stretches_and_many_are_joined():
    one = jackknife.parts_of(np.full(37, "run"))
    assert len(one) == 10 and (np.sum(one, axis=0) == 1).all() and (np.diff(np.argmax(one, axis=0)) >= 0).all()
    many = jackknife.parts_of(np.repeat([f"run-{n}" for n in range(53)], 3))
    assert len(many) == 20 and (np.sum(many, axis=0) == 1).all()
    assert all(part.reshape(53, 3).all(1).sum() == part.sum() / 3 for part in many)  # no run is cut


def test_too_few_shifts_are_told_and_holm_is_refused():
    assert inference.floor_note(32, 640, "holm") == inference.floor_note(32, 831, "benjamini-hochberg") == ""
    assert inference.floor_note(32, 19, "none") == "" and "no area" in inference.floor_note(32, 18, "none")
    told = inference.floor_note(32, 100, "benjamini-hochberg")
    assert "fewer than 7 areas of 32" in told and "640 shifts" in told
    least = np.r_[np.full(7, 1 / 101), np.ones(25)]  # the sentence is true: seven pass, six do not
    assert (inference.adjust(least, "benjamini-hochberg") <= 0.05).sum() == 7
    assert not (inference.adjust(np.r_[least[1:], 1], "benjamini-hochberg") <= 0.05).any()
    with pytest.raises(ConfigError, match="holm needs 640 shifts for 32 areas, and there are 100"):
        inference.check_draws("sub-07", 32, 100, "holm")
    assert inference.check_draws("sub-07", 32, 640, "holm") == ""


def test_one_true_area_of_many_passes_every_correction_of_weights(rng):
    regions = np.array([f"r{n // 3}" for n in range(180)])
    values = rng.random(180).astype(np.float32)
    values[regions == "r7"] += 4
    for correction in ("holm", "benjamini-hochberg"):
        rows = inference.region_table(values, regions, ("s", "m", "weight"), n_bootstrap=9, correction=correction)
        assert [row.region for row in rows if row.p_corrected < 0.05] == ["r7"]
