"""Stored targets and resident data: the same numbers as fresh ones, and a fast loop that agrees with a plain one."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from decoder_samples import clipset, targets

from benchmarks.full_parts import SIZES
from benchmarks.full_size import TOLERANCE
from benchmarks.full_train import fast, make_job, plain, whole
from pipeline.backbones import World
from pipeline.errors import DataError
from tests.tiny_world import save_tiny_world
from training import target_store
from training.resident import pick, place


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(save_tiny_world(tmp_path_factory.mktemp("world")))


def captioned(word: str = "cat"):
    shown = clipset(n_runs=2, per_run=5)
    texts = np.array([f"a {word} moves {i}" for i in range(10)])
    return replace(shown, captions={"anchor": texts, "motion": texts[::-1].copy(), "holi": texts})


def test_targets_are_encoded_once_and_read_through_a_map(world, tmp_path, monkeypatch) -> None:
    first = target_store.stored_targets(world, captioned(), tmp_path)
    monkeypatch.setattr(target_store, "make_targets", lambda *rest: pytest.fail("encoded again"))
    again = target_store.stored_targets(world, captioned(), tmp_path)
    assert isinstance(again.text["motion"], np.memmap)
    assert again.latents is None
    assert torch.equal(first.level("motion"), again.level("motion"))
    assert again.level("anchor").shape == (10, 11, 24)


def test_processes_that_ask_together_encode_once(world, tmp_path, monkeypatch) -> None:
    made, first = [], threading.Event()
    real = target_store.make_targets

    def slow(*arguments):
        made.append(threading.current_thread())
        first.set()
        time.sleep(0.3)
        return real(*arguments)

    monkeypatch.setattr(target_store, "make_targets", slow)
    shown = captioned()
    other = threading.Thread(target=target_store.stored_targets, args=(world, shown, tmp_path))
    other.start()
    assert first.wait(20)
    assert len(target_store.stored_targets(world, shown, tmp_path).clip_ids) == 10
    other.join()
    assert len(made) == 1


def test_other_captions_are_other_targets(world, tmp_path) -> None:
    target_store.stored_targets(world, captioned(), tmp_path)
    target_store.stored_targets(world, captioned("dog"), tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_half_precision_is_all_that_is_lost(tmp_path: Path) -> None:
    known = targets(n_runs=2, per_run=7)
    target_store.save(known, tmp_path / "t.safetensors")
    found = target_store.load(tmp_path / "t.safetensors", known.clip_ids)
    for level in known.text:
        assert torch.equal(found.level(level), known.level(level).half().float())
    assert torch.equal(found.video(), known.video().half().float())


def test_a_value_too_large_for_half_precision_is_refused(tmp_path: Path) -> None:
    known = targets(n_runs=1, per_run=4)
    known.text["holi"][2, 1, 3] = 70_000
    with pytest.raises(DataError, match="text.holi holds values"):
        target_store.save(known, tmp_path / "t.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_file_is_one_sentence(tmp_path: Path) -> None:
    known = targets(n_runs=1, per_run=4)
    path = tmp_path / "t.safetensors"
    target_store.save(known, path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="damaged .*; delete the file, it is made again"):
        target_store.load(path, known.clip_ids)


def test_rows_of_half_precision_data_come_as_float32() -> None:
    text = torch.randn(3, 4, 2).half()
    found = pick(place(text, "cpu"), torch.tensor([2, 0]), "cpu")
    assert found.dtype == torch.float32
    assert torch.equal(found, text[[2, 0]].float())


SHAPES = replace(SIZES["small"], n_voxels=37, sad_batch=7, mad_batch=3)


@pytest.mark.parametrize("stage", ["sad", "mad"])
def test_the_products_loop_trains_as_a_plain_one(stage: str) -> None:
    """Eight steps here, MixCo and its successor; the benchmark compares two hundred."""
    job = make_job(stage, SHAPES, n_clips=11)
    job.warm = 1
    quick, slow = fast(job, 8, "cpu", "float32", False)["losses"], plain(job, 8, "cpu")["losses"]
    assert len(set(slow)) == 8
    assert np.allclose(quick, slow, rtol=TOLERANCE, atol=0)


def test_a_benchmarked_training_goes_on_where_its_time_was_up(tmp_path: Path) -> None:
    job, work = make_job("sad", SHAPES, n_clips=11), tmp_path / "sad"
    first = whole(job, 2, "cpu", False, work, minutes=0.0)
    assert "call again" in first["unfinished"]
    second = whole(job, 2, "cpu", False, work, minutes=9.0)
    assert (second["epochs"], second["samples"], second["mixed_precision"]) == (2, 22, "no")
    assert second["seconds"] > 0
    assert second["states_written"] >= 2
    assert (work / "sub-01" / "model.safetensors").is_file()
