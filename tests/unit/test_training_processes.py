"""Several processes train as one: each takes a part of every batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import train_shared

from pipeline.errors import ConfigError
from training import processes
from training.config import LoopConfig

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
