"""What the command lines say to a mistyped name or number: one sentence that lists what there is."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.data import load
from pipeline.errors import ConfigError
from pipeline.reconstruct import reconstruct
from training.config import parse_config, plan

SHIPPED = "phantom-sub-01, phantom-sub-02, phantom-sub-03"


def test_clips_outside_the_test_set_are_counted_and_not_listed(phantom_home, tmp_path):
    n = len(load("phantom-tiny", "sub-01", "test", phantom_home))
    wanted = rf"test clips must lie in 0\.\.{n - 1}, got {9999 - n} of 9999 outside, the first {n}$"
    with pytest.raises(ConfigError, match=wanted):
        reconstruct("phantom-tiny", "sub-01", range(9999), tmp_path / "x", home=phantom_home, checkpoint=tmp_path)


def test_an_unknown_subject_is_answered_with_the_subjects(home):
    with pytest.raises(
        ConfigError, match=r"^phantom: no subject is called 'sub-09'; there are sub-01, sub-02, sub-03$"
    ):
        reconstruct("phantom", "sub-09", [0], home / "x", home=home)


def test_an_unknown_field_is_named_with_the_fields_where_it_stands():
    start = r"^mine\.yaml: no field is called `preset`; a preset is named by `method`; the fields are dataset, "
    with pytest.raises(ConfigError, match=start):
        parse_config({"dataset": "phantom", "preset": "semvideo-tiny"}, "mine.yaml")
    with pytest.raises(ConfigError, match=r"`sad\.finetune\.epoch`; the fields there are epochs, batch_size, "):
        plan("semvideo-tiny", {"sad": {"finetune": {"epoch": 3}}})


@pytest.mark.parametrize("words", [["ablate", "nope"], ["evaluate", "--run", "nope", "--out", "x"]])
def test_an_unknown_run_is_answered_with_the_runs(home, words):
    (home / "runs" / "own").mkdir(parents=True)
    (home / "runs" / "own" / "manifest.json").write_text("{}")
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, ConfigError)
    assert str(error).startswith("nope: no run of this name") and str(error).endswith(f"runs are own, {SHIPPED}")


def test_a_run_is_ablated_by_its_name(home):
    done = CliRunner().invoke(app, ["ablate", "phantom-sub-01", "--without", "holi", "--json"])
    assert json.loads(done.stdout.splitlines()[-1]) == {}  # it came with this score, so nothing is left to do


def test_the_logs_of_a_job_can_be_read_by_a_machine(home):
    from training.__main__ import app as training
    from training.jobs.store import Store

    fields = {"kind": "train", "title": "one", "device": "cpu", "executor": "local"}
    job = Store(home).add(out=str(home / "one"), command=["-m", "training"], config={}, **fields)
    done = CliRunner().invoke(training, ["logs", str(job.id), "--json"])
    assert set(json.loads(done.stdout.splitlines()[-1])) == {"id", "active", "lines"}
