"""Importance: statistics against cases worked out by hand, and their uncertainty."""

from dataclasses import replace

import decoder_samples
import numpy as np
import pytest

from pipeline.errors import ConfigError, DataError
from pipeline.importance import inference, truth
from pipeline.importance.permutation import _derangement, clip_scores, permutation
from pipeline.importance.statistics import STATISTICS, loadings, own_sources, pattern, pattern_alone, scaled
from pipeline.importance.study import Study

N_CLIPS, N_VOXELS = 601, 5


def study(volumes, layers, n_runs=3):
    runs = np.array([f"run-{i * n_runs // len(volumes)}" for i in range(len(volumes))])
    weights = {name: np.asarray(w, np.float32).reshape(len(w), 1, -1) for name, w in layers.items()}
    return Study("sub-07", weights, np.asarray(volumes, np.float32)[:, None], runs)


@pytest.fixture
def suppressed(rng):
    """Voxel 0 holds signal + noise, voxel 1 the noise alone: the best decoder reads x0 - x1. The rest is idle."""
    signal, noise = rng.standard_normal((2, N_CLIPS))
    idle = rng.standard_normal((N_CLIPS, N_VOXELS - 2))
    x = np.column_stack([signal + noise, noise, idle])
    return study(x, {"anchor": [[1, -1, 0, 0, 0]]})


def test_weights_mistake_a_suppressor_for_signal_and_the_pattern_does_not(suppressed):
    weight = STATISTICS["weight"].function(suppressed, "anchor")
    found = pattern(suppressed, "anchor")
    assert weight[0] == weight[1] == 1
    assert found[0] == pytest.approx(1 / np.sqrt(2), abs=0.05)  # corr(signal + noise, signal)
    assert found[1] < 0.1


def test_pattern_is_haufe_s_formula(rng):
    x = rng.standard_normal((N_CLIPS, N_VOXELS)) @ rng.standard_normal((N_VOXELS, N_VOXELS))
    w = rng.standard_normal((3, N_VOXELS))
    x -= x.mean(0)
    covariance = x.T @ x / N_CLIPS
    pattern_of = covariance @ w.T @ np.linalg.inv(w @ covariance @ w.T)  # eq. 6
    # Sources in units of their standard deviations, as the weights' scale is arbitrary.
    wanted = np.abs(pattern_of * np.sqrt(np.diag(w @ covariance @ w.T))).mean(1) / x.std(0)
    joint = STATISTICS["pattern_joint"].function(study(x, {"holi": w}), "holi")
    np.testing.assert_allclose(joint, wanted, rtol=1e-4)


def test_one_output_has_one_pattern_whatever_its_scale(suppressed):
    louder = replace(suppressed, layers={"anchor": -7 * suppressed.layers["anchor"]})
    for name in ("pattern", "pattern_alone", "pattern_joint"):
        np.testing.assert_allclose(
            STATISTICS[name].function(louder, "anchor"), STATISTICS[name].function(suppressed, "anchor"), rtol=1e-4
        )


def test_pattern_leaves_out_what_the_counterpart_sees_too(rng):
    shared, own = rng.standard_normal((2, N_CLIPS))
    x = np.column_stack([shared, own, rng.standard_normal(N_CLIPS)])
    case = study(x, {"anchor": [[1, 1, 0]], "motion": [[1, 0, 0]]})
    plain, found = pattern_alone(case, "anchor"), pattern(case, "anchor")
    assert plain[0] == pytest.approx(0.7, abs=0.06) and found[0] < 0.08
    assert found[1] > 0.95
    np.testing.assert_allclose(pattern(case, "anchor", given=()), plain)


def test_signed_weights_cancel():
    case = study(np.eye(4, 3), {"anchor": [[2, 1, 0], [-2, 1, 0]]}, n_runs=2)
    np.testing.assert_allclose(STATISTICS["weight"].function(case, "anchor"), [2, 1, 0])
    np.testing.assert_allclose(STATISTICS["weight_signed"].function(case, "anchor"), [0, 1, 0])


def test_voxels_of_two_volumes_are_averaged(rng):
    volumes = rng.standard_normal((N_CLIPS, 2, 3)).astype(np.float32)
    weights = np.zeros((1, 2, 3), np.float32)
    weights[0, 1, 2] = 1
    case = Study("sub-07", {"anchor": weights}, volumes, np.full(N_CLIPS, "run"))
    np.testing.assert_allclose(pattern(case, "anchor"), [0, 0, 0.5], atol=0.06)


def test_blocks_do_not_change_the_loadings(suppressed, monkeypatch):
    sources = own_sources(suppressed, "anchor")
    whole = loadings(suppressed, sources)
    monkeypatch.setattr("pipeline.importance.statistics.VOXEL_BLOCK", 2)
    np.testing.assert_allclose(loadings(suppressed, sources), whole, rtol=1e-5)


def test_scaling_spans_zero_to_one():
    np.testing.assert_allclose(scaled(np.array([3, 5, 4], np.float32)), [0, 1, 0.5])
    np.testing.assert_allclose(scaled(np.full(3, 2, np.float32)), 0)


def test_halves_of_a_stable_map_agree(suppressed):
    assert inference.split_half(suppressed, "anchor", "pattern") > 0.95
    assert np.isnan(inference.split_half(suppressed, "anchor", "weight"))  # one output has no halves
    one_run = replace(suppressed, groups=np.full(N_CLIPS, "run"))
    assert np.isnan(inference.split_half(one_run, "anchor", "pattern"))


def test_corrections_are_those_of_the_textbook():
    p = np.array([0.01, 0.04, 0.03])
    np.testing.assert_allclose(inference.adjust(p, "holm"), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(inference.adjust(p, "benjamini-hochberg"), [0.03, 0.04, 0.04])
    with pytest.raises(ConfigError, match="sidak"):
        inference.adjust(p, "sidak")


def test_weights_test_regions_by_shuffled_labels(rng):
    values = np.r_[rng.random(40) + 2, rng.random(300)].astype(np.float32)
    regions = np.array(["high"] * 40 + ["low"] * 300)
    rows = inference.region_table(values, regions, ("s", "m", "weight"), n_bootstrap=150)
    assert rows[0].region == "high" and rows[0].p == pytest.approx(1 / 151) and rows[1].p == 1
    assert {row.interval for row in rows} == {"voxels"} and all(row.tested == row.mean for row in rows)


def test_tables_stand_side_by_side():
    row = inference.RegionRow("s", "m", "pattern", "V1", 3, 0.5, 0.4, 0.6, 0.1, 0.4, 0.2, 0.01, 0.02, "runs")
    both = inference.compare({"one": [row], "two": [replace(row, region="MT", mean=0.9), replace(row, mean=0.2)]})
    assert both == [{"region": "MT", "one": None, "two": 0.9}, {"region": "V1", "one": 0.5, "two": 0.2}]


def test_auc_is_one_for_the_truth_and_its_interval_is_over_regions():
    planted = np.array([True] * 6 + [False] * 5)
    regions = np.array(list("aabbccddeef"))[: len(planted)]
    assert truth.auc_with_interval(planted.astype(np.float32), planted, regions, 20) == (1, 1, 1)
    values = np.array([3, 3, 3, 3, 0, 0, 1, 1, 1, 1, 1], np.float32)
    auc, low, high = truth.auc_with_interval(values, planted, regions, 200)
    assert auc == pytest.approx(4 / 6) and low < auc < high
    with pytest.raises(DataError, match="planted"):
        truth.auc_with_interval(values, np.ones(11, bool), regions)


class Linear:
    """A decoder whose anchor text is the first voxels."""

    STAGES = ("anchor",)

    def decode(self, clipset, stages):
        assert clipset.captions == {} and clipset.stimulus is None
        return clipset.with_cues(anchor=clipset.mean_fmri()[:, :4])


def test_permutation_finds_the_region_that_matters():
    clips = decoder_samples.clipset()
    regions = np.array(["used"] * 4 + ["idle"] * 20 + [""] * 7)
    targets = {"anchor": clips.mean_fmri()[:, :4]}
    rows = permutation(Linear(), clips, targets, regions, n_shuffles=2, n_bootstrap=200)["anchor"][0]
    assert [row.region for row in rows] == ["used", "idle"]
    assert rows[0].low > 0.3 and rows[0].p_corrected < 0.02
    assert rows[1].mean == 0 and rows[1].p == 1 and rows[1].interval == "clips"


def test_halves_of_the_clips_agree_on_the_regions():
    clips = decoder_samples.clipset()
    regions = np.array(["much"] * 3 + ["little"] * 1 + ["idle"] * 27)
    targets = {"anchor": clips.mean_fmri()[:, :4]}
    _, half = permutation(Linear(), clips, targets, regions, n_shuffles=2, n_bootstrap=9)["anchor"]
    assert half > 0.9


def test_a_shuffled_region_keeps_no_clip_in_its_place(rng):
    for n in (2, 3, 17):
        order = _derangement(rng, n)
        assert sorted(order) == list(range(n)) and not (order == np.arange(n)).any()


def test_score_of_a_clip_is_the_centred_cosine():
    target = np.array([[1.0, 0], [-1, 0], [0, 2], [0, -2]])
    np.testing.assert_allclose(clip_scores(target * 3, target), 1)
    np.testing.assert_allclose(clip_scores(-target, target), -1)
