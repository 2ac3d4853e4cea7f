"""Error budgets in the Evaluate tab: which run can have one, measuring in the background, and what is kept."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from neurovis.budgets import Budgets
from neurovis.library import Library
from pipeline.data import load
from pipeline.errors import ConfigError
from pipeline.evaluate.budget import DECODED, MEANING, ORACLE, Step, budget_rows, keep_budget, kept_budget
from pipeline.evaluate.oracle import true_frames
from pipeline.manifest import Score
from pipeline.runs import ClipRecord, Run, RunManifest, RunWriter

ROOT = Path(__file__).resolve().parents[2]
NAME, N_CLIPS = "tiny", 3


def make_tiny(home: Path, phantom_home: Path) -> Run:
    """Copy the tiny phantom's data into ``home``, with a run of its first clips that shows the truth, kept lossily."""
    shutil.copytree(phantom_home, home, dirs_exist_ok=True)
    clipset = load("phantom-tiny", "sub-01", "test", home).take(np.arange(N_CLIPS))
    truth, ids = true_frames(clipset, 6), tuple(str(clip_id) for clip_id in clipset.clip_ids)
    manifest = RunManifest(
        name=NAME, title=NAME, method="none", dataset="phantom-tiny", subject="sub-01", simulated=True, seed=0,
        config={}, versions={}, clip_ids=ids, streams=("truth", "reconstruction"), duration=2.0, fps=3.0,
        size=truth.shape[2:4], n_frames={"truth": 6, "reconstruction": 6}, layout="compact", created="today",
    )  # fmt: skip
    writer = RunWriter(home / "runs" / NAME, manifest)
    for clip_id, frames in zip(ids, truth, strict=True):
        writer.add_clip(ClipRecord(clip_id=clip_id), {"full": {"truth": frames, "reconstruction": frames}})
    return writer.finish()


@pytest.fixture
def budgets(tmp_path, phantom_home) -> Budgets:
    make_tiny(tmp_path / "own", phantom_home)
    return Budgets(Library(tmp_path / "own", tmp_path / "none"))


def wait(budgets: Budgets, *states: str) -> dict:
    deadline = time.monotonic() + 120
    while budgets.status()["state"] not in states and time.monotonic() < deadline:
        time.sleep(0.05)
    assert budgets.status()["state"] in states, budgets.status()
    return budgets.status()


def ended(budgets: Budgets) -> dict:
    deadline = time.monotonic() + 120
    while budgets.job.ended is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return budgets.status()


def steps_of(value: float = 0.5) -> list[Step]:
    one = Score(value=value, chance=0.1, n=7, interval=(value, value), label="SSIM")
    return [Step("truth", ORACLE["truth"], {"ssim": one}, "measured")]


def test_a_budget_waits_for_its_turn_is_measured_and_kept_with_intervals(budgets):
    found = budgets.found(NAME)
    assert (found["rows"], found["reason"], found["n_clips"]) == ([], None, N_CLIPS)
    assert f"--run {NAME} --budget" in found["command"]
    lock = budgets.folder.parent / ".lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):  # as scoring holds it
        assert budgets.start(NAME, 2)["state"] == "queued"
        time.sleep(1.0)
        assert budgets.status()["message"] == "waiting for the evaluation at work"
        assert budgets.start(NAME, 3)["n_clips"] == 2  # one at a time
    wait(budgets, "running", "done")
    assert ended(budgets)["state"] == "done"
    found = budgets.found(NAME)
    assert list(dict.fromkeys(row["step"] for row in found["rows"])) == ["truth", "round_trip", "true_cues", "full"]
    assert all(row["n"] <= 2 and len(row["interval"]) == 2 and row["chance"] is not None for row in found["rows"])
    assert all(row["meaning"] == MEANING[row["step"]] for row in found["rows"])
    assert "compressed" in found["note"]
    assert found["per_clip"] > 0
    assert {path.name for path in (budgets.folder / NAME).iterdir()} == {"budget.csv", "budget.json"}


def test_a_measurement_that_is_stopped_keeps_what_was_measured_before(budgets):
    keep_budget(steps_of(), budgets.library.run(NAME), budgets.folder / NAME, 3.5)
    before = budgets.found(NAME)
    assert before["per_clip"] == 0.5
    budgets.start(NAME)
    wait(budgets, "running")
    budgets.stop()
    assert ended(budgets)["state"] == "stopped"
    assert "nothing of it was kept" in budgets.status()["message"]
    assert budgets.found(NAME) == before
    assert budgets.start(NAME)["state"] == "queued"  # and it can be begun again
    budgets.job.process.kill()
    assert ended(budgets)["state"] == "failed"
    assert "ended from outside" in budgets.status()["message"]


def test_a_run_whose_clips_are_not_in_its_data_set_is_told_of(budgets):
    path = budgets.library.home / "runs" / NAME / "manifest.json"
    about = json.loads(path.read_text())
    about["subject"] = "sub-77"
    path.write_text(json.dumps(about))
    budgets.start(NAME)
    assert ended(budgets)["state"] == "failed"
    assert "sub-77" in budgets.status()["message"]


def test_a_budget_of_an_older_run_is_not_used_and_a_damaged_one_is_told_of(budgets):
    run, folder = budgets.library.run(NAME), budgets.folder / NAME
    keep_budget(steps_of(), run, folder)
    assert len(budgets.found(NAME)["rows"]) == 1
    path = run.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"created": "tomorrow"}))
    assert kept_budget(budgets.library.run(NAME), folder) is None
    assert budgets.found(NAME)["rows"] == []
    (folder / "budget.json").write_text('{"rows": [{}]}')
    assert "damaged" in budgets.found(NAME)["note"]


def test_a_figure_that_is_not_defined_is_kept_as_none(budgets):
    run = budgets.library.run(NAME)
    keep_budget(steps_of(float("nan")), run, budgets.folder / NAME)
    (row,) = budgets.found(NAME)["rows"]
    assert row["value"] is None and row["interval"] is None


@pytest.mark.parametrize("n_clips", [1, N_CLIPS + 1, 0, -2])
def test_too_few_or_too_many_clips_are_refused(budgets, n_clips):
    with pytest.raises(ConfigError, match=f"expected 2 to {N_CLIPS} clips, got {n_clips}"):
        budgets.start(NAME, n_clips)


def test_runs_that_can_have_none_say_why(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("sample_run", ROOT / "tests" / "browser" / "sample_run.py")
    sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sample)
    sample.make_run(tmp_path / "runs", "brain", n_clips=3, combos=((),), dataset="haxby2001", simulated=False)
    sample.make_run(tmp_path / "runs", "lone", n_clips=1, combos=((),))
    sample.make_run(tmp_path / "runs", "pair", n_clips=2, combos=((),))
    budgets = Budgets(Library(tmp_path, tmp_path / "none"))
    assert "a real brain's are not" in budgets.found("brain")["reason"]
    assert "two are needed" in budgets.found("lone")["reason"]
    assert budgets.found("pair")["reason"] is None
    monkeypatch.setattr("pipeline.weights.missing_parts", lambda backbones: ["unet"])
    assert "unet in assets/phantom" in budgets.found("pair")["reason"]
    with pytest.raises(ConfigError, match="brain: The steps before the decoder"):
        budgets.start("brain")
    with pytest.raises(ConfigError, match="gone"):
        budgets.found("gone")


def test_the_budget_of_the_shipped_phantom_is_known_and_every_step_is_explained(tmp_path):
    rows = Budgets(Library(tmp_path)).found("phantom-sub-01")["rows"]
    assert list(dict.fromkeys(row["step"] for row in rows))[:4] == ["truth", "round_trip", "true_cues", "full"]
    assert set(MEANING) == {*ORACLE, *DECODED}
    assert all(row["meaning"] for row in rows)
    assert budget_rows(steps_of())[0]["meaning"] == MEANING["truth"]
