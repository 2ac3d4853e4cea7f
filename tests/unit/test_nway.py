"""N-way accuracy against cases counted by hand, plain loops, and a hundred thousand draws."""

import numpy as np
import pytest

from pipeline.nway import n_way_accuracy, n_way_accuracy_closed_form, n_way_chance

N_DRAWS = 100_000


def test_corrected_n_way_by_hand():
    # Class 2 is the truth and beats 3 of 4 others: 2-way 3/4; 3-way C(3,2) / C(4,2) = 3/6; 5-way 0.
    scores = np.array([[0.9, 0.1, 0.5, 0.2, 0.3]])
    truth = np.array([[0.0, 0.0, 1.0, 0.0, 0.0]])
    assert [n_way_accuracy(truth, scores, n)[0] for n in (2, 3, 5)] == pytest.approx([3 / 4, 3 / 6, 0])


def test_paper_n_way_by_hand():
    # The truth's top three are 0, 1, 2; the best of them, 0.6, beats 2 of the 3 others: 2-way 2/3; 3-way 1/3; 4-way 0.
    truth = np.array([[0.5, 0.3, 0.1, 0.05, 0.03, 0.02]])
    scores = np.array([[0.1, 0.6, 0.2, 0.9, 0.4, 0.3]])
    assert [n_way_accuracy(truth, scores, n, "paper")[0] for n in (2, 3, 4)] == pytest.approx([2 / 3, 1 / 3, 0])


def test_a_tie_is_a_failure():
    scores = np.array([[0.4, 0.4, 0.2]])
    assert n_way_accuracy_closed_form(scores, np.array([0]), 2)[0] == pytest.approx(1 / 2)


@pytest.mark.parametrize(("convention", "n_way"), [("corrected", 7), ("paper", 7), ("paper", 2)])
def test_the_closed_form_is_the_mean_of_a_hundred_thousand_draws(convention, n_way):
    rng = np.random.default_rng(3)
    scores = rng.permutation(23)[None].astype(float)
    truth = np.isin(scores, [3, 5]) + 2.0 * (scores == 19)  # the first choice beats 19 of 22, or 17 of 20
    n_true = {"corrected": 1, "paper": 3}[convention]
    true_classes = np.argsort(truth[0])[-n_true:]
    others = np.setdiff1d(np.arange(23), true_classes)
    order = rng.random((N_DRAWS, len(others))).argsort(axis=1)[:, : n_way - 1]
    share = (scores[0, true_classes].max() > scores[0, others][order].max(axis=1)).mean()
    closed = n_way_accuracy(truth, scores, n_way, convention)[0]
    assert 0.02 < closed < 0.98
    assert abs(closed - share) < 3 * np.sqrt(closed * (1 - closed) / N_DRAWS)


@pytest.mark.parametrize("n_classes", [5, 8, 400, 2051])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_counting_by_words_is_counting_one_by_one(n_classes, dtype):
    """Also where 64-bit sums must be split: more than 8 x 255 classes, all below the level."""
    rng = np.random.default_rng(0)
    scores = rng.random((67, n_classes)).astype(dtype)  # more rows than one block
    scores[0, :-1], scores[0, -1] = 0, 1
    truth = rng.random((67, n_classes)).astype(dtype)
    truth[0, -1] = 2
    for convention, n_true in (("corrected", 1), ("paper", 3)):
        expected = []
        for one, other in zip(truth, scores, strict=True):
            best = sorted(range(n_classes), key=lambda c, row=one: row[c])[-n_true:]
            level = max(other[c] for c in best)
            below = sum(other[c] < level for c in range(n_classes) if c not in best)
            expected.append(below / (n_classes - n_true))  # 2-way: the share of the others below
        assert n_way_accuracy(truth, scores, 2, convention) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("convention", "n_way", "chance"), [("corrected", 2, 0.5), ("corrected", 50, 0.02), ("paper", 2, 0.75)]
)
def test_chance_from_mispaired_clips_is_the_stated_one(convention, n_way, chance):
    truth, scores = np.random.default_rng(1).random((2, 250, 400), dtype=np.float32)
    assert n_way_chance(truth, scores, n_way, convention) == pytest.approx(chance, rel=0.04)
