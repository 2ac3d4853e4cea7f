"""A training that is killed ten times ends with the very weights of one that never was."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
N_KILLS = 10

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which Windows cannot")


def write_config(folder: Path, name: str) -> Path:
    loop = {"epochs": 2, "batch_size": 16, "lr": 1e-2, "ema": 0.9, "checkpoint_steps": 1}
    stage = {"pretrain": loop, "finetune": {**loop, "epochs": 1}}
    config = {
        "dataset": "phantom-tiny",
        "method": "semvideo-tiny",
        "method_overrides": {"sad": {"refiner_layers": 0, "dropout": 0.2, "linear_path": True}},
        "plan_overrides": {"sad": stage, "repeats": "mixed", "start": "ridge", "seed": 3},
        "stages": ["anchor", "motion"],
        "out": str(folder / name),
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    return path


def weights(out: Path) -> dict[str, str]:
    """Return the hashes of all weights: the finished stages' float32 ones and the checkpoints."""
    paths = [*out.glob("*/model.safetensors"), *out.glob("stages/*/state/*/state.safetensors")]
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def test_ten_kills_at_random_steps_leave_no_trace_in_the_weights(tmp_path, phantom_home):
    whole, broken = write_config(tmp_path, "whole"), write_config(tmp_path, "broken")
    command = [sys.executable, str(ROOT / "tests" / "killed_training.py"), str(phantom_home), "5"]
    command += [f"{whole}=0", f"{broken}={N_KILLS}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    _, steps = json.loads(done.stdout.splitlines()[-1])
    assert len(steps) == N_KILLS and steps == sorted(steps) and len(set(steps)) > N_KILLS // 2
    assert len(weights(tmp_path / "whole")) == 2 + 6
    assert weights(tmp_path / "whole") == weights(tmp_path / "broken")
