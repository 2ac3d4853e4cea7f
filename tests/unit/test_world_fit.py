"""The loop under the stages of the phantom's world."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.world.fit import FitOptions, fit


def regression(stop_at: int | None = None) -> tuple[torch.nn.Module, object]:
    torch.manual_seed(3)
    model = torch.nn.Linear(5, 2)

    def loss(step: int) -> dict[str, torch.Tensor]:
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(7, 5)
        return {"squared": (model(x) - x[:, :2]).square().mean()}

    return model, loss


OPTIONS = FitOptions(steps=40, lr=0.05, ema=0.9, save_every=0.0)


def test_it_learns(tmp_path: Path) -> None:
    model, loss = regression()
    fit("a", model, loss, OPTIONS, tmp_path)  # type: ignore[arg-type]
    x = torch.randn(50, 5)
    assert (model(x) - x[:, :2]).square().mean() < 0.5 * x[:, :2].square().mean()


@pytest.mark.parametrize("stop_at", [1, 17, 39])
def test_a_stopped_stage_ends_with_the_very_same_weights(tmp_path: Path, stop_at: int) -> None:
    whole, loss = regression()
    fit("a", whole, loss, OPTIONS, tmp_path / "whole")  # type: ignore[arg-type]
    cut, loss = regression(stop_at)
    with pytest.raises(KeyboardInterrupt):
        fit("a", cut, loss, OPTIONS, tmp_path / "cut")  # type: ignore[arg-type]
    again, loss = regression()
    fit("a", again, loss, OPTIONS, tmp_path / "cut")  # type: ignore[arg-type]
    assert torch.equal(whole.weight, again.weight)


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    model, loss = regression()
    model.bias.requires_grad_(False)
    before = model.bias.clone()
    fit("a", model, loss, OPTIONS, tmp_path)  # type: ignore[arg-type]
    assert torch.equal(model.bias, before)
