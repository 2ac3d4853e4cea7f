from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.methods import losses


def test_info_nce_of_orthogonal_matches_is_the_closed_form():
    eye = torch.eye(5).reshape(5, 1, 5)
    found = losses.info_nce_loss(eye, 3 * eye, temperature=0.5)
    assert float(found) == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 4)), abs=1e-6)


def test_info_nce_of_shuffled_pairs_is_higher():
    x = torch.randn(7, 3, 4, generator=torch.Generator().manual_seed(0))
    assert losses.info_nce_loss(x, x, 0.1) < losses.info_nce_loss(x.roll(1, 0), x, 0.1)


def test_soft_clip_equals_a_hand_computed_pair():
    predicted, target = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    tau = 0.5
    p, t = np.array([[1, 0], [0, 1.0]]), np.array([[1, 0], [0.6, 0.8]])

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(1, keepdims=True)

    soft = softmax(t @ t.T / tau)
    ways = [-(soft * np.log(softmax(logits / tau))).sum(1).mean() for logits in (p @ t.T, t @ p.T)]
    assert float(losses.soft_clip_loss(predicted, target, tau)) == pytest.approx(np.mean(ways), abs=1e-6)


def test_soft_clip_is_least_for_the_target_itself():
    target = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))
    worse = target + 0.5 * torch.randn(6, 9, generator=torch.Generator().manual_seed(2))
    assert losses.soft_clip_loss(target, target, 0.1) < losses.soft_clip_loss(worse, target, 0.1)


def test_mixco_shares_follow_the_beta_distribution():
    partner, share = losses.mixco_draw(20_000, 0.15, torch.Generator().manual_seed(0))
    assert sorted(partner.tolist()) == list(range(20_000))
    assert share.min() >= 0
    assert share.max() <= 1
    assert float(share.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(share.var()) == pytest.approx(0.25 / (2 * 0.15 + 1), abs=0.005)


def test_mix_with_share_one_changes_nothing():
    x = torch.randn(5, 3, 2)
    assert torch.equal(losses.mix(x, torch.arange(5).roll(1), torch.ones(5)), x)


def test_mixco_loss_of_unmixed_samples_is_info_nce():
    generator = torch.Generator().manual_seed(4)
    predicted, target = torch.randn(6, 8, generator=generator), torch.randn(6, 8, generator=generator)
    found = losses.mixco_loss(predicted, target, torch.arange(6).roll(1), torch.ones(6), 0.2)
    assert float(found) == pytest.approx(float(losses.info_nce_loss(predicted, target, 0.2)), abs=1e-6)


def test_mixco_loss_accepts_a_sample_mixed_with_itself():
    x = torch.randn(4, 5)
    assert torch.isfinite(losses.mixco_loss(x, x, torch.arange(4), torch.full((4,), 0.3), 0.1))


def test_anneal_runs_from_start_to_end():
    assert [losses.anneal(2.0, 4.0, p) for p in (0.0, 0.5, 1.0, 7.0)] == pytest.approx([2.0, 3.0, 4.0, 4.0])


@pytest.mark.parametrize("temperature", [0.004, 0.0075])
def test_a_contrast_keeps_its_precision_where_the_network_computes_in_half(temperature):
    draws = torch.Generator().manual_seed(4)
    # Texts of one film are alike: their cosines differ in the third place, where bfloat16 has none left.
    target = torch.randn(1, 7, 48, generator=draws) + 0.3 * torch.randn(9, 7, 48, generator=draws)
    predicted = (target + 0.3 * torch.randn(9, 7, 48, generator=draws)).bfloat16()
    wanted = losses.soft_clip_loss(predicted.float(), target, temperature)
    with torch.autocast("cpu", torch.bfloat16):
        found = losses.soft_clip_loss(predicted, target, temperature)
    assert found == pytest.approx(float(wanted), rel=1e-4)
