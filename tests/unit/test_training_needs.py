"""What a training takes, by arithmetic: the published sizes fit a card of 24 GB, where finished networks leave it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pipeline.errors import ConfigError, ResourceError
from pipeline.methods.base import Sizes
from pipeline.methods.semvideo import SemVideo, preset
from training import estimate
from training.__main__ import app
from training.config import PLANS
from training.resident import free_on_card

GIB = 2**30
VOXELS = {"sub-01": 13_447, "sub-02": 14_828, "sub-03": 9_114}  # CC2017's, by SemVideo


class Recording:
    """A subject's training clips at the published counts, of which only sizes are asked."""

    def __init__(self, n_voxels: int) -> None:
        self.fmri = np.broadcast_to(np.float32(0), (4_320, 2, n_voxels))
        self.clip_ids = np.arange(4_320)
        self.groups = np.repeat(np.arange(18), 240)
        self.present = np.ones((4_320, 2), bool)

    def __len__(self) -> int:
        return 4_320


def needs_of(subjects: list[str], device: str) -> estimate.Needs:
    voxels = {subject: VOXELS[subject] for subject in subjects}
    found = SimpleNamespace(
        plan=PLANS["semvideo"], method=preset("semvideo"), stages=SemVideo.STAGES,
        settings=SimpleNamespace(device=device),
    )  # fmt: skip
    sizes = Sizes(n_voxels=voxels, n_tokens=77, d_text=768, latent=(4, 28, 28))
    return estimate.needs(found, {s: Recording(n) for s, n in voxels.items()}, sizes)


def test_the_published_sizes_of_all_subjects_fit_a_card_of_24_gb():
    three = needs_of(list(VOXELS), "cuda")
    assert 10 * GIB < three.memory < 24e9
    # The mappers of two more subjects, seven times over, and their data; their finished networks are elsewhere.
    more = 4 * 7 * 4096 * (VOXELS["sub-02"] + VOXELS["sub-03"]) + 4 * 8_640 * (VOXELS["sub-02"] + VOXELS["sub-03"])
    assert three.memory - needs_of(["sub-01"], "cuda").memory == pytest.approx(more, rel=0.01)
    assert three.host > 3 * 3 * 4 * 300e6, "three semantic decoders of three subjects"


def test_a_processor_holds_everything_at_once():
    card, processor = needs_of(["sub-01"], "cuda"), needs_of(["sub-01"], "cpu")
    assert processor.host == 0
    assert processor.memory > card.memory
    assert processor.disk == card.disk


@pytest.mark.parametrize(("small", "named"), [("cuda", "of cuda"), ("cpu", "of cpu")])
def test_too_small_a_card_or_main_memory_is_refused(monkeypatch, tmp_path, small, named):
    monkeypatch.setattr(estimate, "free_memory", lambda device: 10**9 if device == small else 10**12)
    monkeypatch.setattr(estimate, "check_space", lambda folder, n: None)
    settings = SimpleNamespace(dataset="cc2017", method="semvideo", device="cuda")
    with pytest.raises(ResourceError, match=f"{named}, 1.0 GB are free"):
        estimate._refuse(SimpleNamespace(out=tmp_path, settings=settings), needs_of(["sub-01"], "cuda"))


@pytest.mark.parametrize("command", ["run", "estimate"])
def test_a_card_that_is_not_there_is_one_sentence_before_anything_is_read(monkeypatch, tmp_path, command):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"dataset": "phantom-tiny", "method": "semvideo-tiny", "device": "cuda"}))
    found = CliRunner().invoke(app, [command, "--config", str(config), "--home", str(tmp_path / "home")])
    assert isinstance(found.exception, ConfigError)
    assert str(found.exception).startswith("device cuda: torch finds no CUDA card here; set device to cpu")
    assert not (tmp_path / "home" / "datasets").exists()


def test_what_torch_keeps_of_arrays_that_are_gone_counts_as_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 12)
    assert free_on_card("cuda") == 23
