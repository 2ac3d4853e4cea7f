"""The Evaluate tab's server side: what is kept, how it is scored in a child process, and what is told of it."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from neurovis import evaluations as module
from neurovis.evaluations import Choice, Evaluations
from neurovis.findings import Findings, commands, in_words
from neurovis.library import Library
from neurovis.scoring import Job, Scoring
from neurovis.scoring_child import heal, score
from pipeline.errors import ConfigError, DataError
from pipeline.evaluate.compare import PairedTest, compare
from pipeline.evaluate.engine import evaluate

ROOT = Path(__file__).resolve().parents[2]
ONE, TWO, REAL, BLIND = "one", "two", "other-brain", "blind"
BOTH = Choice((ONE, TWO), "corrected", (), controls=False, shuffle=False)


@pytest.fixture(scope="module")
def home_with_runs(tmp_path_factory) -> Path:
    """Two runs on one film, one of a real brain with a data set of its own, one without the truth."""
    spec = importlib.util.spec_from_file_location("sample_run", ROOT / "tests" / "browser" / "sample_run.py")
    sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sample)
    home = tmp_path_factory.mktemp("home")
    sample.make_run(home / "runs", ONE, n_clips=5, combos=((),))
    sample.make_run(home / "runs", TWO, n_clips=4, combos=((),), first=2, subject="sub-02")
    sample.make_run(home / "runs", REAL, n_clips=3, combos=((),), dataset="haxby2001", simulated=False)
    sample.make_run(home / "runs", BLIND, n_clips=2, combos=((),), truth=False)
    for name in (ONE, TWO, REAL):
        place = Evaluations(Library(home, home / "none")).place(name, BOTH)
        evaluate(place.source, place.settings, place.folder)
    return home


@pytest.fixture
def kept(home_with_runs, tmp_path) -> Evaluations:
    """The evaluations, in a working folder of the test's own."""
    shutil.copytree(home_with_runs, tmp_path / "own")
    return Evaluations(Library(tmp_path / "own", tmp_path / "none"))


def wait(scoring: Scoring) -> dict:
    deadline = time.monotonic() + 120
    while scoring.status()["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    return scoring.status()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"runs": []}, "at least one run"),
        ({"runs": [ONE], "convention": "mine"}, "convention"),
        ({"runs": [ONE], "judges": ["nobody"]}, "judges"),
    ],
)
def test_a_choice_that_is_none_is_refused_with_a_sentence(values, told):
    with pytest.raises(ConfigError, match=told):
        Choice.read(values)


def test_results_of_the_same_settings_are_found_again_and_of_others_are_not(kept):
    assert kept.state(ONE, BOTH)["state"] == "scored"
    assert kept.state(ONE, replace(BOTH, controls=True))["state"] == "none"
    assert kept.state(ONE, replace(BOTH, convention="paper"))["state"] == "none"


def test_results_of_both_conventions_serve_each_of_them(kept):
    both = replace(BOTH, convention="both")
    place = kept.place(TWO, both)
    evaluate(place.source, place.settings, place.folder)
    found = kept.state(TWO, replace(BOTH, convention="paper"))
    assert {score["convention"] for score in found["scores"]} == {"paper"}


def test_a_run_without_truth_is_told_of_and_the_others_still_come(kept):
    found = Findings(kept).overview(replace(BOTH, runs=(BLIND, ONE, "gone")))
    assert [one["state"] for one in found["runs"]] == ["impossible", "scored", "impossible"]
    assert "what was shown" in found["runs"][0]["reason"]
    assert {one["name"]: bool(one["reason"]) for one in kept.choices()["runs"]} == {
        BLIND: True, ONE: False, TWO: False, REAL: False,
    }  # fmt: skip


def test_a_run_that_knows_no_truth_is_told_of_too(kept):
    path = kept.library.home / "runs" / BLIND / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["streams"] = [stream for stream in manifest["streams"] if stream != "truth"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    (reason,) = [one["reason"] for one in kept.choices()["runs"] if one["name"] == BLIND]
    assert "what was shown" in reason


@pytest.mark.parametrize("file", ["summary.json", "scores.parquet"])
def test_damaged_results_are_told_of_and_scored_again(kept, file):
    (kept.place(ONE, BOTH).folder / file).write_bytes(b"{")
    found = Findings(kept).overview(BOTH)
    assert [one["state"] for one in found["runs"]] == ["damaged", "scored"]
    scoring = Scoring(kept)
    scoring.start(BOTH)
    assert wait(scoring)["runs"] == [ONE]
    assert kept.state(ONE, BOTH)["state"] == "scored"


def test_a_judge_whose_weights_are_gone_is_disabled_with_the_reason(kept, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "expand", lambda names: (str(tmp_path / "gone"), "nobody/nothing"))
    judges = kept.choices()["judges"]
    assert all("nobody/nothing is not on this machine" in judge["reason"] for judge in judges)


def test_scoring_in_a_child_process_tells_its_progress_and_can_be_stopped_and_gone_on_with(kept):
    scoring, choice = Scoring(kept), replace(BOTH, runs=(ONE,), controls=True, shuffle=True)
    assert scoring.estimate(choice)["seconds"] is None
    scoring.start(choice)
    assert scoring.start(replace(choice, runs=(TWO,)))["runs"] == [ONE]  # one at a time
    while scoring.status()["state"] == "running" and not scoring.status()["done"]:
        time.sleep(0.05)
    assert scoring.status()["conventions"] == ["corrected"]
    scoring.stop()
    stopped = wait(scoring)
    assert stopped["state"] == "stopped"
    done = kept.place(ONE, choice).n_done
    assert 1 <= done < 5
    assert scoring.estimate(choice)["seconds"] is None  # too few clips to tell a pace
    scoring.start(choice)
    assert scoring.status()["done"] >= done
    assert wait(scoring)["state"] == "done"
    assert kept.state(ONE, choice)["state"] == "scored"
    again = scoring.estimate(replace(choice, runs=(TWO,)))  # by the pace of the other run
    assert again["seconds"] > 0
    assert again["clips"] == 4
    with pytest.raises(ConfigError, match="scored already"):
        scoring.start(choice)


def test_a_trial_times_clips_and_keeps_no_result(kept):
    scoring, choice = Scoring(kept), replace(BOTH, runs=(TWO,), convention="paper")
    scoring.start(choice, trial=True)
    assert wait(scoring)["state"] == "done"
    assert kept.state(TWO, choice)["state"] == "none"
    assert scoring.estimate(choice)["told"] == f"2 clips of {TWO}"


def test_what_a_stopped_evaluation_took_tells_how_long_the_rest_takes(kept):
    scoring, choice = Scoring(kept), replace(BOTH, runs=(ONE,), controls=True)
    began = time.time() - 100.0
    job = Job({ONE: kept.place(ONE, choice)}, {ONE: 0}, current=ONE, done={ONE: 8}, started=began, ended=began + 26.0)
    job.paced = (began + 5.0, 1)
    scoring._keep_half(job)
    assert scoring.estimate(choice)["seconds"] == pytest.approx(5.0 + 5 * 3.0)  # seven clips in 21 s
    assert scoring.estimate(choice)["told"] == f"7 clips of {ONE}"


def test_judging_is_told_of_when_every_clip_is_measured(kept):
    told = []
    place = kept.place(TWO, replace(BOTH, runs=(TWO,), judges=("phantom",)))
    one = {"run": TWO, "path": str(place.source.path), "out": str(place.folder)}
    one["settings"] = place.settings.model_dump_json()
    score(one, {"workers": 1, "again": False}, lambda **facts: told.append(facts))
    judging = [facts for facts in told if "now judging" in facts.get("message", "")]
    assert judging and all(facts["done"] == facts["total"] == 4 for facts in judging)
    assert told[-1] == {"run": TWO, "finished": True}


def test_a_second_app_on_the_same_folder_waits_for_the_first(kept):
    from filelock import FileLock

    scoring = Scoring(kept)
    with FileLock(kept.folder / ".lock"):
        scoring.start(replace(BOTH, convention="paper"))
        found = wait(scoring)
    assert found["state"] == "failed"
    assert "another evaluation is at work" in found["message"]


def test_damaged_part_results_are_dropped_with_their_clips(tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    (tmp_path / "seen").mkdir()
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "seen" / "good.safetensors")
    (tmp_path / "seen" / "bad.safetensors").write_bytes(b"\0" * 9)
    (tmp_path / "part.jsonl").write_text("".join(json.dumps({"clip_id": c}) + "\n" for c in ("good", "bad", "blind")))
    assert heal(tmp_path) == 1
    left = [json.loads(line)["clip_id"] for line in (tmp_path / "part.jsonl").read_text().splitlines()]
    assert left == ["good", "blind"]


def test_paired_tests_are_of_shared_clips_and_of_one_data_set(kept):
    found = Findings(kept).paired(BOTH)
    assert {test["n"] for test in found["tests"]} == {3}  # the clips 2 to 4
    assert all("No difference established" in test["words"] for test in found["tests"])
    with pytest.raises(DataError, match="different data sets"):
        Findings(kept).paired(replace(BOTH, runs=(ONE, REAL)))
    assert "different data sets" in Findings(kept).overview(replace(BOTH, runs=(ONE, REAL)))["best_note"]


@pytest.mark.parametrize(
    ("difference", "higher", "p", "told"),
    [
        (0.2, True, 0.01, "one is higher than two by 0.2 [0.1, 0.3], which is better"),
        (-0.2, False, 0.01, "one is lower than two by 0.2 [0.1, 0.3], which is better"),
        (0.2, False, 0.01, "which is worse"),
        (0.2, True, 0.2, "No difference established"),
    ],
)
def test_a_test_in_words_says_which_run_is_better_or_that_none_is(difference, higher, p, told):
    interval = (0.1, 0.3) if difference > 0 else (-0.3, -0.1)
    test = PairedTest("full", "ssim", "corrected", "", difference, interval, p, 30, p_holm=p)
    assert told in in_words(test, ONE, TWO, higher_is_better=higher)


def test_the_best_is_marked_only_where_the_test_says_so(kept):
    found = [kept.load(name, BOTH) for name in BOTH.runs]
    rows = [row for row in found[0].rows if row.metric == "epe"]
    many = [replace(row, clip_id=f"c{i}", value=1 + i / 99) for i in range(30) for row in rows[:1]]
    better = replace(found[0], rows=[replace(row, value=row.value - 0.1) for row in many])
    worse = replace(found[1], rows=many)
    best, note = Findings(kept)._best([worse, better])
    assert best == {"epe|corrected|": ONE}  # the lower end-point error
    assert "Wilcoxon" in note
    assert Findings(kept)._best([better, replace(worse, rows=better.rows)])[0] == {}


def test_paired_tests_are_run_once_and_again_when_a_run_was_scored_again(kept, monkeypatch):
    calls = []
    monkeypatch.setattr("neurovis.findings.compare", lambda *given: calls.append(given) or compare(*given))
    findings = Findings(kept)
    first = findings.overview(BOTH)
    assert findings.overview(BOTH) == first
    tests = findings.paired(BOTH)["tests"]
    assert len(calls) == 1 and tests
    (kept.place(ONE, BOTH).folder / "summary.json").touch()
    assert findings.paired(BOTH)["tests"] == tests
    assert len(calls) == 2


def test_runs_of_unlike_judges_get_command_lines_of_their_own():
    choice = Choice((ONE, REAL), "both", ("phantom",), controls=True, shuffle=False)
    states = [{"run": ONE, "state": "none", "simulated": True}, {"run": REAL, "state": "none", "simulated": False}]
    assert commands(states, choice) == [
        f"python -m pipeline evaluate --run {ONE} --convention both --judges phantom --controls --no-shuffle "
        "--out evaluation-1",
        f"python -m pipeline evaluate --run {REAL} --convention both --judges none --controls --no-shuffle "
        "--out evaluation-2",
    ]


@pytest.mark.parametrize("kind", ["csv", "md", "tex", "parquet", "json"])
def test_exports_are_named_as_simulated_and_hold_both_runs(kept, kind):
    body, name = Findings(kept).export(BOTH, kind, True)
    assert name == f"evaluation_2-runs_corrected_simulated.{kind}"
    if kind == "parquet":
        table = pd.read_parquet(io.BytesIO(body))
        assert table.groupby("run")["clip_id"].nunique().to_dict() == {ONE: 5, TWO: 4}
        assert table["simulated"].all()
    else:
        assert body.decode().count(ONE) >= 1 and TWO in body.decode()
    assert Findings(kept).export(replace(BOTH, runs=(REAL,)), kind, True)[1] == f"evaluation_{REAL}_corrected.{kind}"


def test_the_routes_answer_with_figures_or_a_sentence(kept, tmp_path):
    from starlette.testclient import TestClient

    from neurovis.server import create_app

    app = create_app(kept.library.home, tmp_path / "scratch", shipped=tmp_path / "none")
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        query = f"run={ONE}&run={TWO}&shuffle=0&controls=0"
        found = client.get(f"/neurovis/evaluations?{query}").json()
        assert [one["state"] for one in found["runs"]] == ["scored", "scored"]
        values = client.get(f"/neurovis/evaluations/clips?{query}&metric=ssim&of=corrected").json()
        assert {run: len(clips) for run, clips in values.items()} == {ONE: 5, TWO: 4}
        both = [{(s["metric"], s["judge"]) for s in one["scores"] if s["variant"] == "full"} for one in found["runs"]]
        tests = client.get(f"/neurovis/evaluations/paired?{query}").json()["tests"]
        assert {(test["metric"], test["judge"]) for test in tests} == both[0] & both[1]
        assert {"ssim", "psnr", "hue_pcc", "epe"} <= {test["metric"] for test in tests}
        saved = client.get(f"/neurovis/evaluations/export.md?{query}")
        assert "_simulated.md" in saved.headers["content-disposition"]
        assert "at least one run" in client.get("/neurovis/evaluations").json()["error"]
        assert "different" not in client.get(f"/neurovis/evaluations/paired?run={ONE}").json()["reason"]
