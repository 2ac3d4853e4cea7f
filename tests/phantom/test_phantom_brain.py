"""The simulated brains: reliability as planted, silence where nothing is, and the peak where the trim expects it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.preprocess import clean_run
from pipeline.data.selection import effective_samples, repeat_correlation, select_reliable
from pipeline.phantom import brain as brains
from pipeline.phantom import features as feat
from pipeline.phantom.scenes import film
from pipeline.phantom.sizes import SIZES, PhantomSize
from pipeline.phantom.tuning import areas_of, controls, planted

TINY = replace(SIZES["tiny"], clips_per_segment=90, stride=23)


def film_features(size: PhantomSize, number: int) -> NDArray[np.float32]:
    """Features of a film; its pixels are a stand-in that costs no rendering."""
    rng = np.random.default_rng(number)
    scenes = film(size.clips_per_segment, number, "train")
    return np.stack([feat.clip_features(rng.integers(0, 255, (3, 16, 16, 3), np.uint8), scene) for scene in scenes])


@pytest.fixture(scope="module")
def films() -> list[NDArray[np.float32]]:
    return [film_features(TINY, number) for number in range(3)]


@pytest.fixture(scope="module")
def brain(films: list[NDArray[np.float32]]) -> brains.Brain:
    return brains.make_brain(TINY, 0, films)


def clean(run: NDArray[np.float32], n_clips: int, extra: int = 5) -> NDArray[np.float64]:
    """Trim, detrend and z-score a run, written out once more so that the reader's own code is not its own judge."""
    kept = run[brains.kept_volumes(n_clips, extra)].astype(np.float64)
    basis = np.linalg.qr(np.vander(np.linspace(-1, 1, n_clips), 5))[0]
    kept -= basis @ (basis.T @ kept)
    return np.asarray((kept - kept.mean(0)) / kept.std(0))


def repeat_reliability(size: PhantomSize, brain: brains.Brain, film: NDArray[np.float32]) -> NDArray[np.float64]:
    runs = [
        clean(brains.record(brain, brains.response(brain, film, size), brains.stream(1, i)), len(film)) for i in (0, 1)
    ]
    return np.asarray((runs[0] * runs[1]).mean(0))


def lag_of_peak(size: PhantomSize, films: list[NDArray[np.float32]]) -> int:
    """The lag, in volumes, at which clip features and kept volumes go together best."""
    brain = brains.make_brain(size, 0, films)
    tuned = brain.reliability > 0
    scores = np.zeros(7)
    for number, one in enumerate(films):
        neural = (one - brain.mean) @ brain.weights[:, tuned]
        bold = clean(brains.record(brain, brains.response(brain, one, size), brains.stream(2, number)), len(one))
        for i, lag in enumerate(range(-3, 4)):
            x = neural[max(0, -lag) : len(one) - max(0, lag)]
            y = bold[max(0, lag) : len(one) + min(0, lag), tuned]
            x = (x - x.mean(0)) / x.std(0)
            scores[i] += (x * y).mean()
    return int(scores.argmax()) - 3


def test_measured_reliability_is_the_planted_one(brain: brains.Brain, films: list[NDArray[np.float32]]) -> None:
    measured = np.mean([repeat_reliability(TINY, brain, one) for one in films], axis=0)
    tuned = brain.reliability > 0
    assert measured[tuned].mean() == pytest.approx(brain.reliability[tuned].mean(), abs=0.05)
    assert np.corrcoef(measured[tuned], brain.reliability[tuned])[0, 1] > 0.7


def test_controls_answer_to_nothing(brain: brains.Brain, films: list[NDArray[np.float32]]) -> None:
    control = controls(brain.voxel_ids)
    assert control.sum() > 20
    assert not brain.weights[:, control].any()
    assert not brain.reliability[control].any()
    assert abs(repeat_reliability(TINY, brain, films[0])[control].mean()) < 0.05


def test_weights_lie_only_where_the_table_plants_them(brain: brains.Brain) -> None:
    areas = areas_of(brain.voxel_ids)
    for group, where in (("object", "anchor"), ("place", "anchor"), ("flow", "motion"), ("energy", "motion")):
        carried = brain.weights[feat.columns(group)].any(0)
        assert carried.any()
        assert not carried[~planted(brain.voxel_ids)[where]].any(), group
    assert not brain.weights[feat.columns("flow")][:, areas == "V1"].any()


def test_motion_is_coded_by_dense_weights(brain: brains.Brain) -> None:
    flow = brain.weights[feat.columns("flow")]
    used = flow[:, flow.any(0)]
    assert (used != 0).all()
    assert np.linalg.matrix_rank(used) == len(feat.FLOW)


def test_left_hemisphere_sees_the_right_half(brain: brains.Brain) -> None:
    v1 = areas_of(brain.voxel_ids) == "V1"
    maps = brain.weights[feat.columns("contrast")].reshape(8, 8, -1)
    left = v1 & (brain.voxel_ids < 29_696)
    assert maps[:, 4:, left].sum() > 3 * maps[:, :4, left].sum()
    right = v1 & ~left
    assert maps[:, :4, right].sum() > 3 * maps[:, 4:, right].sum()


def test_noise_free_response_has_unit_variance(brain: brains.Brain, films: list[NDArray[np.float32]]) -> None:
    kept = brains.kept_volumes(TINY.clips_per_segment)
    variance = np.mean([brains.response(brain, one, TINY)[kept].var(0) for one in films], axis=0)
    tuned = brain.reliability > 0
    assert variance[tuned] == pytest.approx(1.0, abs=0.01)
    assert not variance[~tuned].any()


@pytest.mark.parametrize(("onset", "lag"), [(-4.0, 0), (-2.0, 1), (-6.0, -1)])
def test_lag_scan_peaks_at_zero_and_moves_with_the_onset(
    onset: float, lag: int, films: list[NDArray[np.float32]]
) -> None:
    assert lag_of_peak(replace(TINY, film_onset_s=onset), films) == lag


def test_long_and_short_runs_agree_after_the_trim(brain: brains.Brain, films: list[NDArray[np.float32]]) -> None:
    n_clips = len(films[0])
    short = brains.response(brain, films[0], TINY, 5)[brains.kept_volumes(n_clips, 5)]
    long = brains.response(brain, films[0], TINY, 6)[brains.kept_volumes(n_clips, 6)]
    assert np.allclose(short, long, atol=1e-4)


def test_subjects_differ_in_vertices_weights_and_noise(films: list[NDArray[np.float32]]) -> None:
    first, second = (brains.make_brain(TINY, i, films) for i in (0, 1))
    assert len(first.voxel_ids) != len(second.voxel_ids)
    assert first.reliability[first.reliability > 0].mean() > second.reliability[second.reliability > 0].mean()
    _, one, two = np.intersect1d(first.voxel_ids, second.voxel_ids, return_indices=True)
    assert not np.allclose(first.weights[:, one], second.weights[:, two])


@pytest.mark.parametrize(("index", "low", "high"), [(0, 0.40, 0.50), (1, 0.30, 0.42), (2, 0.30, 0.42)])
def test_selected_voxels_are_as_reliable_as_in_3t_data(index: int, low: float, high: float) -> None:
    stride = 31
    size = replace(SIZES["small"], stride=stride)
    films = [film_features(size, 100 + number) for number in range(size.n_train)]
    brain = brains.make_brain(size, index, films)
    correlations, effective = [], []
    for number, one in enumerate(films):
        signal = brains.response(brain, one, size)
        kept = brains.kept_volumes(len(one))
        runs = [clean_run(brains.record(brain, signal, brains.stream(number, i))[kept]).data for i in (0, 1)]
        correlations.append(repeat_correlation(runs))
        effective.append(effective_samples(runs))
    # A sample of the vertices, held to the threshold that Bonferroni's rule sets for all of them.
    bad = np.zeros(len(brain.voxel_ids), bool)
    found = select_reliable(np.array(correlations), np.array(effective), bad, alpha=0.05 / stride)
    assert found.selected.sum() > 40
    assert low <= found.reliability[found.selected].mean() <= high
    assert not (found.selected & controls(brain.voxel_ids)).any()


def test_same_seed_gives_the_same_run_and_another_seed_another(films: list[NDArray[np.float32]]) -> None:
    def run(seed: int) -> NDArray[np.float32]:
        size = replace(TINY, seed=seed)
        brain = brains.make_brain(size, 1, films)
        return brains.record(
            brain, brains.response(brain, films[0], size), brains.stream(seed, brain.subject, "seg1", 1)
        )

    assert np.array_equal(run(5), run(5))
    assert not np.array_equal(run(5), run(6))


def test_noise_is_autoregressive_and_shared(brain: brains.Brain) -> None:
    silent = replace(brain, reliability=np.zeros_like(brain.reliability))
    run = clean(brains.record(silent, np.zeros((905, len(brain.voxel_ids)), np.float32), brains.stream(4)), 900)
    assert (run[1:] * run[:-1]).mean() == pytest.approx(brains.AR, abs=0.05)
    shared = np.corrcoef(run.T)
    assert shared[np.triu_indices_from(shared, 1)].mean() == pytest.approx(np.mean(brains.GLOBAL_SHARE), abs=0.03)


@pytest.mark.parametrize(("r", "n", "expected"), [(0.36, 1, 0.6), (0.25, 3, 0.7071068), (1.0, 5, 1.0), (-0.2, 4, 0.0)])
def test_noise_ceiling_by_hand(r: float, n: int, expected: float) -> None:
    assert brains.noise_ceiling(np.array([r]), n)[0] == pytest.approx(expected)


def test_noise_ceiling_is_what_the_true_signal_reaches(brain: brains.Brain, films: list[NDArray[np.float32]]) -> None:
    signal = brains.response(brain, films[1], TINY)
    runs = [clean(brains.record(brain, signal, brains.stream(8, i)), len(films[1])) for i in range(4)]
    truth, tuned = clean(signal + np.random.default_rng(0).normal(0, 1e-6, signal.shape), 90), brain.reliability > 0
    mean = np.mean(runs, axis=0)
    reached = (truth * mean).mean(0) / mean.std(0)
    assert reached[tuned].mean() == pytest.approx(brains.noise_ceiling(brain.reliability[tuned], 4).mean(), abs=0.04)
