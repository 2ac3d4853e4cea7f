"""Metrics against cases worked out by hand. Sizes are all unequal, so that swapped axes fail."""

import itertools

import numpy as np
import pytest

from pipeline import metrics
from pipeline.errors import ConfigError, DataError

N_CLIPS, N_FRAMES, HEIGHT, WIDTH = 3, 4, 24, 20


@pytest.fixture
def truth(rng):
    return rng.integers(0, 256, (N_CLIPS, N_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def moving():
    """Two clips of a smooth texture that drifts by two pixels a frame, to the right and down."""
    import cv2

    noise = np.random.default_rng(7).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    right = [texture[20:84, 40 - 2 * t : 104 - 2 * t] for t in range(5)]
    down = [texture[40 - 2 * t : 104 - 2 * t, 20:84] for t in range(5)]
    return np.stack([np.stack(right), np.stack(down)])


def test_six_frames_of_sixteen_are_those_shown_at_thirds_of_a_second():
    video = np.arange(16, dtype=np.uint8).reshape(1, 16, 1, 1, 1)
    assert metrics.sample_frames(video, 6).ravel().tolist() == [0, 2, 5, 8, 10, 13]


def test_sampling_more_frames_than_there_are_is_refused(truth):
    with pytest.raises(DataError, match="at least 5 frames a clip are needed, got 4"):
        metrics.sample_frames(truth, 5)


def test_psnr_of_a_constant_difference_is_the_textbook_value():
    a = np.full((1, 2, HEIGHT, WIDTH, 3), 100, np.uint8)
    b = a.copy()
    b[0, 0] += 10  # MSE 100: 28.13 dB
    b[0, 1] += 1  # MSE 1: 48.13 dB
    assert metrics.psnr(a, b) == pytest.approx([(28.1308 + 48.1308) / 2], abs=1e-4)


def test_psnr_of_identical_frames_is_capped(truth):
    assert metrics.psnr(truth, truth).tolist() == [metrics.PSNR_CAP] * N_CLIPS


@pytest.mark.parametrize("convention", ["corrected", "paper", "neurons"])
def test_ssim_of_a_video_with_itself_is_one(truth, convention):
    assert metrics.ssim(truth, truth, convention) == pytest.approx([1] * N_CLIPS)


@pytest.mark.parametrize("convention", ["corrected", "paper"])
def test_ssim_of_two_constant_frames_is_the_luminance_term(convention):
    a, b = (np.full((1, 1, HEIGHT, WIDTH, 3), level, np.uint8) for level in (100, 150))
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert metrics.ssim(a, b, convention) == pytest.approx([expected], abs=1e-6)


def test_column_wise_ssim_is_not_the_two_dimensional_one(moving):
    other = moving[::-1]
    assert metrics.ssim(moving, other, "neurons").mean() != pytest.approx(metrics.ssim(moving, other).mean(), abs=0.02)


def test_hue_correlation_follows_hues_and_ignores_brightness():
    hues = np.linspace(0, 300, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    bright, dark, turned = (_paint(h, v) for h, v in ((hues, 1.0), (hues, 0.6), (300 - hues, 1.0)))
    assert metrics.hue_pcc(bright, dark) == pytest.approx([1], abs=1e-3)
    assert metrics.hue_pcc(bright, turned) == pytest.approx([-1], abs=1e-3)


def test_hue_correlation_with_a_grey_frame_is_undefined_and_counted(truth, rng):
    grey = truth.copy()
    grey[1] = 128
    values = metrics.hue_pcc(truth, grey)
    assert np.isnan(values).tolist() == [False, True, False]
    summary = metrics.score("hue_pcc", truth, grey, fps=3, rng=rng).summary()
    assert (summary["n"], summary["n_undefined"]) == (2, 1)


def test_paper_hue_is_an_uncentred_cosine_with_red_and_blue_swapped():
    pixels = np.array([[[200, 40, 40], [40, 40, 200]]], np.uint8)  # red, blue: read swapped as 240 and 0 degrees
    other = np.array([[[200, 40, 40], [40, 200, 40]]], np.uint8)  # red, green: 240 and 120 degrees
    a, b = (x.reshape(1, 1, 1, 2, 3) for x in (pixels, other))
    expected = (240 * 240 + 0 * 120) / (np.hypot(240, 0) * np.hypot(240, 120))
    assert metrics.hue_pcc(a, b, "paper") == pytest.approx([expected], abs=1e-3)


def test_end_point_error_is_zero_for_the_truth_and_twice_the_speed_reversed(moving):
    assert metrics.epe(moving, moving, size=64) == pytest.approx([0, 0])
    assert metrics.epe(moving, moving[:, ::-1], size=64) == pytest.approx([4, 4], abs=0.6)


def test_paper_end_point_error_is_in_pixels_of_512_whatever_the_size_asked_for(rng):
    import cv2

    grain = cv2.GaussianBlur(rng.integers(0, 256, (256, 300), dtype=np.uint8), (0, 0), 2)
    texture = np.repeat(cv2.normalize(grain, None, 0, 255, cv2.NORM_MINMAX)[..., None], 3, axis=-1)
    moving = np.stack([texture[:, 20 - 2 * t : 276 - 2 * t] for t in range(3)])[None]
    still = np.repeat(moving[:, :1], 3, axis=1)
    assert metrics.epe(moving, moving, "paper", size=64) == pytest.approx([0])
    assert metrics.epe(moving, still, "paper", size=64) == pytest.approx([4], abs=0.5)


def test_end_point_error_of_a_still_copy_is_the_speed(moving):
    still = np.repeat(moving[:, :1], moving.shape[1], axis=1)
    assert metrics.epe(moving, still, size=64) == pytest.approx([2, 2], abs=0.3)


def test_end_point_error_scales_with_the_stated_size(moving):
    still = np.repeat(moving[:, :1], moving.shape[1], axis=1)
    assert metrics.epe(moving, still, size=128) == pytest.approx([4, 4], abs=0.6)


def test_end_point_error_of_a_single_frame_is_undefined(truth):
    assert np.isnan(metrics.epe(truth[:, :1], truth[:, :1], size=64)).all()


def test_reversing_time_keeps_ssim_of_a_still_clip_but_raises_end_point_error_of_a_moving_one(moving):
    still = np.repeat(moving[:, :1], 5, axis=1)
    assert metrics.ssim(still, still[:, ::-1]) == pytest.approx([1, 1])
    assert (metrics.epe(moving, moving[:, ::-1], size=64) > metrics.epe(moving, moving, size=64)).all()


def test_no_order_beats_the_true_one_but_some_beat_a_reversed_one(moving, rng):
    right = metrics.shuffle_test(moving, moving, rng, n_orders=30, size=64)
    wrong = metrics.shuffle_test(moving, moving[:, ::-1], rng, n_orders=30, size=64)
    assert right.share.tolist() == [0, 0]
    assert (wrong.share > 0.2).all()
    assert right.shuffled.shape == (2, 30)


def test_shuffle_test_reports_the_end_point_error_of_the_order_it_was_given(moving, rng):
    result = metrics.shuffle_test(moving, moving[::-1], rng, n_orders=7, size=64)
    assert result.epe == pytest.approx(metrics.epe(moving, moving[::-1], size=64))


def test_shuffle_test_of_two_frames_is_refused(truth, rng):
    with pytest.raises(DataError, match="at least 3 frames a clip are needed, got 2"):
        metrics.shuffle_test(truth[:, :2], truth[:, :2], rng)


def test_mispaired_clips_never_meet_themselves(rng):
    for n in (2, 3, 17):
        partner = metrics.shuffled_pairs(n, rng)
        assert sorted(partner) == list(range(n))
        assert (partner != np.arange(n)).all()


@pytest.mark.parametrize(("n", "rows"), [(2, 1), (4, 3), (17, 5)])
def test_mispairings_differ_and_none_meets_itself(n, rows, rng):
    partner = metrics.mispairings(n, rng)
    assert partner.shape == (rows, n)
    assert (partner != np.arange(n)).all()
    assert all(sorted(row) == list(range(n)) for row in partner)
    assert all(len(set(column)) == rows for column in partner.T)


def test_mispairings_hold_no_more_neighbours_in_a_film_than_all_pairs_do(rng):
    n = 240
    gaps = np.abs(np.concatenate([metrics.mispairings(n, rng) - np.arange(n) for _ in range(20)]))
    assert np.mean(gaps == 1) == pytest.approx(2 / n, abs=4 * np.sqrt(2 / n / gaps.size))


def test_a_wrong_video_that_moves_smoothly_beats_its_own_shuffles_too(moving, rng):
    mispaired = metrics.shuffle_test(moving, moving[::-1], rng, n_orders=40, size=64)
    drawn = np.stack([clip[[2, 0, 4, 1, 3]] for clip in moving])
    assert mispaired.share.mean() < 0.25 < metrics.shuffle_test(moving, drawn, rng, n_orders=40, size=64).share.mean()


def test_one_clip_cannot_be_mispaired(rng):
    with pytest.raises(DataError, match="at least two clips"):
        metrics.shuffled_pairs(1, rng)


def test_score_carries_its_convention_frames_count_and_chance(truth, rng):
    summary = metrics.score("epe", truth, truth, fps=3, rng=rng, size=64).summary()
    assert summary["value"] == 0
    assert summary["chance"] > 0
    assert summary["n"] == N_CLIPS
    assert summary["convention"] == "corrected"
    assert summary["frames"] == "4 frames at 3 fps, 20 x 24 brought to 64 x 64"


def test_score_of_one_clip_has_no_chance_level(truth, rng):
    assert metrics.score("psnr", truth[:1], truth[:1], fps=3, rng=rng).chance is None


def test_controls_bracket_the_scale(moving, rng):
    videos = metrics.controls(moving, rng)
    assert list(videos) == ["truth", "blurred", "grey", "reversed", "mispaired"]
    ssim = {name: metrics.ssim(moving, video).mean() for name, video in videos.items()}
    assert ssim["truth"] == pytest.approx(1)
    assert ssim["blurred"] > ssim["mispaired"]


def test_bootstrap_interval_covers_the_mean_and_skips_undefined_clips(rng):
    values = np.append(rng.normal(5, 1, 200), np.nan)
    low, high = metrics.bootstrap_interval(values, rng)
    assert low < np.nanmean(values) < high
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(200), rel=0.3)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_every_metric_refuses_videos_of_unequal_shape(name, truth):
    with pytest.raises(DataError, match=r"must be \(3, 4, 24, 20, 3\) like the truth"):
        metrics.METRICS[name](truth, truth[:, :3])


@pytest.mark.parametrize("name", metrics.METRICS)
def test_every_metric_refuses_frames_that_are_not_uint8(name, truth):
    with pytest.raises(DataError, match="uint8, got"):
        metrics.METRICS[name](truth, truth.astype(np.float32))


@pytest.mark.parametrize("name", metrics.METRICS)
def test_every_metric_names_the_conventions_it_knows(name, truth):
    with pytest.raises(ConfigError, match="must be one of corrected, paper"):
        metrics.METRICS[name](truth, truth, "wishful")


def test_an_unknown_metric_is_named(truth, rng):
    with pytest.raises(ConfigError, match="the metric must be one of psnr"):
        metrics.score("beauty", truth, truth, fps=3, rng=rng)


def test_n_way_accuracy_equals_the_count_over_all_draws(rng):
    scores = rng.random((4, 7))
    true_class = np.array([3, 0, 6, 2])
    for n_way in (2, 3, 5):
        expected = [_by_enumeration(row, [c], n_way) for row, c in zip(scores, true_class, strict=True)]
        assert metrics.n_way_accuracy_closed_form(scores, true_class, n_way) == pytest.approx(expected)


def test_paper_n_way_accuracy_equals_the_count_over_all_draws(rng):
    truth_scores, scores = rng.random((2, 5, 9))
    top3 = np.argsort(truth_scores, axis=1)[:, -3:]
    expected = [_by_enumeration(row, list(c), 4) for row, c in zip(scores, top3, strict=True)]
    assert metrics.n_way_accuracy(truth_scores, scores, 4, "paper") == pytest.approx(expected)


def test_n_way_accuracy_of_the_truth_is_one_and_of_a_flat_judge_zero(rng):
    scores = rng.random((5, 11))
    assert metrics.n_way_accuracy(scores, scores, 6).tolist() == [1] * 5
    assert metrics.n_way_accuracy(scores, np.ones_like(scores), 2).tolist() == [0] * 5


@pytest.mark.parametrize(
    ("convention", "n_way", "chance"),
    [("corrected", 2, 0.5), ("corrected", 50, 0.02), ("paper", 2, 0.75), ("paper", 50, 0.058)],
)
def test_n_way_chance_is_the_stated_one(convention, n_way, chance, rng):
    truth_scores, scores = rng.random((2, 300, 1000))
    assert metrics.n_way_chance(truth_scores, scores, n_way, convention) == pytest.approx(chance, rel=0.03)


@pytest.mark.parametrize("n_way", [1, 8])
def test_n_way_outside_the_number_of_classes_is_refused(n_way, rng):
    with pytest.raises(ConfigError, match=r"n_way must be in 2\.\.7 for 7 classes"):
        metrics.n_way_accuracy_closed_form(rng.random((2, 7)), np.array([0, 1]), n_way)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="must be finite"):
        metrics.n_way_accuracy_closed_form(np.full((2, 7), np.nan), np.array([0, 1]), 2)


def test_a_true_class_that_the_judge_does_not_know_is_refused(rng):
    with pytest.raises(DataError, match=r"true_class must be \(2,\) in 0\.\.6"):
        metrics.n_way_accuracy_closed_form(rng.random((2, 7)), np.array([0, 7]), 2)


def _by_enumeration(row, true_classes, n_way):
    """Share of all draws of n_way - 1 other classes in which a true class scores highest."""
    others = [c for c in range(len(row)) if c not in true_classes]
    best = max(row[c] for c in true_classes)
    draws = list(itertools.combinations(others, n_way - 1))
    return sum(best > max(row[c] for c in draw) for draw in draws) / len(draws)


def _paint(hue, value):
    """One clip of two equal frames with this hue (degrees) and brightness, fully saturated."""
    import cv2

    hsv = np.stack([hue, np.ones_like(hue), np.full_like(hue, value)], axis=-1).astype(np.float32)
    rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return np.repeat(np.rint(rgb * 255).astype(np.uint8)[None, None], 2, axis=1)
