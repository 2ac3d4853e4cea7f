"""Several processes train as one: each takes a part of every batch."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import socket
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
import train_shared

from pipeline.errors import CheckpointError, ConfigError
from training import processes
from training.config import LoopConfig
from training.loop import Task, fit

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def train_in_two(out: Path) -> None:
    """Run the training in two processes, with the environment that `accelerate launch` and torchrun give them."""
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    command = [sys.executable, str(ROOT / "tests" / "train_shared.py"), str(out)]
    running = []
    for rank in ("0", "1"):
        env = {**common, "RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": "2"}
        running.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    try:
        told = [one.communicate(timeout=240) for one in running]
    finally:
        for one in running:
            one.kill()
    assert [one.returncode for one in running] == [0, 0], told[0][1][-2000:] + told[1][1][-2000:]


def test_two_processes_have_the_losses_of_one_with_the_same_batch(tmp_path):
    alone = train_shared.train(tmp_path / "one")
    train_in_two(tmp_path / "two")
    names = {key for lines in alone.values() for line in lines for key in line if key.startswith(("train_", "val_"))}
    assert {"train_contrast", "train_mse", "train_mae", "val_score"} <= names
    for leg, lines in alone.items():
        others = [json.loads(line) for line in (tmp_path / "two/stages" / leg / "log.jsonl").read_text().splitlines()]
        for mine, theirs in zip(lines, others, strict=True):
            assert mine["step"] == theirs["step"]
            for name in names & set(mine):
                # Sums over a batch are taken in another order: float32 rounding, which Adam carries on for six steps.
                assert theirs[name] == pytest.approx(mine[name], rel=1e-4, abs=2e-5), (leg, name)


def test_a_batch_that_cannot_be_cut_into_equal_parts_is_refused():
    with pytest.raises(ConfigError, match="batch_size 10 cannot be cut into 4 parts"):
        processes.batch_size("line", LoopConfig(batch_size=10, accumulate=4), 100)
    with pytest.raises(ConfigError, match="fewer than 2 samples a part"):
        processes.batch_size("line", LoopConfig(batch_size=8, accumulate=4), 7)
    assert processes.batch_size("line", LoopConfig(batch_size=12, accumulate=4), 11) == 8


def test_a_wrapper_for_several_cards_leaves_the_sample_numbers_where_they_are():
    from torch.distributed.utils import _recursive_to  # what torch's wrapper does to the inputs of each step

    rows = torch.tensor([3, 1, 2])
    (moved,) = _recursive_to(({"sub-01": torch.zeros(3, 4)}, rows), torch.device("meta"), False)
    assert moved[1].device.type == "meta", "an open batch is moved"
    (kept,) = _recursive_to(processes.Sealed((None, rows)), torch.device("meta"), False)
    assert kept.batch[1] is rows


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_finished_training_lets_go_of_its_network_and_data(tmp_path, precision):
    module = torch.nn.Linear(3, 2)
    x = torch.randn(12, 3)
    seen = weakref.ref(module), weakref.ref(x)

    def loss(rows, share, generator, module=module, x=x):
        return {"loss": module(x[rows]).pow(2).mean()}

    task = Task("line", module, 12, loss)
    del loss, module, x
    gc.collect()
    gc.disable()  # as rarely as it runs of itself in a training on a card
    try:
        fit(task, LoopConfig(epochs=1, batch_size=4, mixed_precision=precision), tmp_path / "a" / "b")
        del task
        assert [ref() for ref in seen] == [None, None]
    finally:
        gc.enable()


def test_another_number_of_processes_goes_on_at_the_end_of_an_epoch_alone(tmp_path, monkeypatch):
    def task():
        torch.manual_seed(0)
        module, x = torch.nn.Linear(3, 2), torch.randn(12, 3)
        return Task("line", module, 12, lambda rows, share, generator: {"loss": module(x[rows]).pow(2).mean()})

    loop = LoopConfig(epochs=3, batch_size=4)
    for folder, n_steps in (("whole", 3), ("within", 4)):
        answers = iter([False] * (n_steps - 1) + [True])
        assert not fit(task(), loop, tmp_path / folder / "b", stop=lambda answers=answers: next(answers)).done
        for path in (tmp_path / folder / "b" / "state").glob("step-*"):
            body = json.loads((path / "state.json").read_text())
            body["random"] *= 2  # as two processes leave it
            (path / "state.json").write_text(json.dumps(body))
            sums = (path / "SHA256SUMS").read_text().splitlines()[:1]
            digest = hashlib.sha256((path / "state.json").read_bytes()).hexdigest()
            (path / "SHA256SUMS").write_text("\n".join([*sums, f"{digest}  state.json", ""]))
    assert fit(task(), loop, tmp_path / "whole" / "b").done
    with pytest.raises(CheckpointError, match="2 processes stopped within epoch 2, 1 cannot take it up"):
        fit(task(), loop, tmp_path / "within" / "b")


def test_half_precision_on_a_processor_is_refused():
    with pytest.raises(ConfigError, match="fp16 needs a graphics card"):
        processes.accelerator(LoopConfig(mixed_precision="fp16"), "cpu")


def test_the_arithmetic_is_chosen_by_the_device(monkeypatch):
    assert processes.with_precision(LoopConfig(), "cpu").mixed_precision == "no"
    assert processes.with_precision(LoopConfig(mixed_precision="bf16"), "cpu").mixed_precision == "bf16"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for able, wanted in ((True, "bf16"), (False, "no")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, able=able: able)
        assert processes.with_precision(LoopConfig(), "cuda").mixed_precision == wanted
        assert processes.with_precision(LoopConfig(), "cpu").mixed_precision == "no"
