"""Without weights and without a network: commands say what is missing and try to resolve no name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.no_names import blocked, loud

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run Python in this repository under a resolver that is blocked; returns also what it tried."""
    environment, log = blocked(folder)
    environment |= {"HF_HOME": str(folder / "hub"), "PYTHONPATH": f"{folder}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=loud(environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done, log.read_text()


def test_the_blocked_resolver_notes_what_is_tried(tmp_path):
    code = "import socket\ntry: socket.create_connection(('huggingface.co', 443))\nexcept OSError as e: print(e)"
    done, tried = run(tmp_path, "-c", code)
    assert "name resolution" in done.stdout
    assert tried == "getaddrinfo 'huggingface.co'\n"
    assert run(tmp_path, "-c", "import socket; socket.create_connection(('192.0.2.1', 9))")[1].endswith("'192.0.2.1'\n")


@pytest.mark.parametrize("more", [["--check"], []])
def test_weights_are_listed_as_missing_without_a_look_outside(tmp_path, more):
    done, tried = run(tmp_path, "-m", "pipeline", "weights", "--profile", "paper", *more)
    assert "7 of 7 parts are missing" in done.stdout, done.stderr
    assert tried == ""


def test_a_rendering_without_weights_is_refused_in_a_sentence_without_a_look_outside(tmp_path):
    line = "reconstruct --dataset phantom --subject sub-01 --clips 0:1 --profile paper --checkpoint"
    decoders = ROOT / "assets" / "phantom" / "decoders"
    done, tried = run(tmp_path, "-m", "pipeline", *line.split(), str(decoders), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "weights of" in done.stderr and "Traceback" not in done.stderr
    assert tried == ""
