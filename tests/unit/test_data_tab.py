"""The Data tab's server side: cards, plans, and work on data in a child process that leaves nothing half-written."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import typer

from neurovis.data_routes import data_router
from neurovis.datajobs import DataJobs
from neurovis.dataplans import LAYOUTS, Plan, blocking, fields, read_options, read_path
from neurovis.datasets import Datasets, lag_file, read_lag
from neurovis.library import Library
from pipeline.data import import_dataset
from pipeline.data.importing import built_in_bytes, sweep
from pipeline.data.options import ImportOptions
from pipeline.errors import ConfigError, DataError, NeuroVisError
from pipeline.paths import write_json
from tests.unit.data_makers import N_CLIPS, N_LEFT, N_RIGHT, N_RUNS, SHAPE, cc2017_run, make_bids, make_cc2017

CARDS = {"phantom-tiny", "phantom", "phantom-full"}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """A film study on the cortex, a study of volumes, and one of two subjects of which one has a broken file."""
    folder = tmp_path_factory.mktemp("recordings")
    make_cc2017(folder / "films", np.random.default_rng(3))
    make_bids(folder / "blocks", np.random.default_rng(4), subjects=("01", "02"))
    make_bids(folder / "broken", np.random.default_rng(5), subjects=("01", "02"))
    path = folder / "broken" / "sub-02" / "func" / "sub-02_task-look_run-03_bold.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])
    return folder


@pytest.fixture(scope="module")
def imported(recordings, tmp_path_factory) -> Path:
    """A working folder with both sound studies; read it, never write it."""
    home = tmp_path_factory.mktemp("imported")
    import_dataset(recordings / "films", "films", home)
    import_dataset(recordings / "blocks", "blocks", home, subjects=("sub-02",))
    return home


@pytest.fixture
def datasets(imported) -> Datasets:
    return Datasets(Library(imported, imported / "none"))


@pytest.fixture
def jobs(home) -> DataJobs:
    return DataJobs(Datasets(Library(home, home / "none")))


def card(datasets: Datasets, name: str) -> dict:
    return next(one for one in datasets.overview()["cards"] if one["name"] == name)


def wait(jobs: DataJobs) -> dict:
    deadline = time.monotonic() + 120
    while jobs.status()["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    return jobs.status()


def examined(jobs: DataJobs, path: Path) -> dict:
    jobs.start("doctor", {"path": str(path)})
    found = wait(jobs)
    assert found["state"] == "done", found
    return found["result"]


def test_a_card_counts_what_was_imported_and_says_where_it_lies(datasets, imported, recordings):
    found = card(datasets, "films")
    (who,) = found["subjects"]
    assert found["folder"] == str(imported / "datasets" / "films")
    assert found["source"] == str(recordings / "films")
    assert who["n_runs"] == 8
    assert who["n_clips"]["all"] == 8 * N_CLIPS
    assert who["worded"] == {"basic": 8 * N_CLIPS, "motion": 8 * N_CLIPS}
    assert found["simulated"]
    assert found["bytes"] == sum(p.stat().st_size for p in Path(found["folder"]).rglob("*") if p.is_file())


def test_what_is_missing_is_said_with_what_to_do(datasets):
    films, blocks = card(datasets, "films"), card(datasets, "blocks")
    (captions,) = films["needs"]
    assert "anchor, holi" in captions["told"]
    assert "--dataset films --model phantom --apply" in captions["command"]
    assert [need["what"] for need in blocks["needs"]] == ["films", "captions"]
    assert "stim_file" in blocks["needs"][0]["told"]


def test_films_that_were_moved_away_are_missed(recordings, home):
    root = shutil.copytree(recordings / "films", home / "copy")
    import_dataset(root, "moved", home)
    (root / "stimuli" / "seg5.mp4").unlink()
    told = card(Datasets(Library(home, home / "none")), "moved")["needs"][0]["told"]
    assert "seg5.mp4 is no longer there" in told


def test_a_phantom_that_is_not_made_tells_its_size_and_no_time_that_was_not_measured(home):
    datasets = Datasets(Library(home, home / "none"))
    found = card(datasets, "phantom")
    assert found["estimate"]["bytes"] == built_in_bytes("phantom") > built_in_bytes("phantom-tiny")
    assert found["estimate"]["seconds"] is None
    write_json(home / "cache" / "made.json", {"phantom": {"dataset": "phantom", "bytes": 100, "seconds": 7}})
    full = card(datasets, "phantom-full")["estimate"]
    assert full["seconds"] == pytest.approx(7 * built_in_bytes("phantom-full") / 100)
    assert "phantom took 7 s here" in full["told"]


def test_every_option_of_the_import_is_a_field_and_a_word_of_the_command(recordings, home):
    from pipeline.__main__ import app

    known = {field["key"]: field for field in fields()}
    assert list(known) == list(ImportOptions.model_fields)
    assert {one for field in known.values() for one in field["layouts"] or ()} <= {
        x for v in LAYOUTS.values() for x in v
    }
    assert known["mask"]["layouts"] == ["bids"]
    assert known["captions"]["layouts"] is None
    assert (known["lag_tr"]["low"], known["lag_tr"]["high"], known["lag_tr"]["kind"]) == (-2, 4, "number")
    given = {"select": "all", "rois": "V1, MT", "lag_s": "4.5", "replace": True, "mask": "/m.nii", "task": "look"}
    line = Plan.read({"path": str(recordings), "name": "a-study", "options": given}).command(home)
    words = line.split()
    assert line.startswith(f"python -m pipeline import {recordings} --as a-study")
    assert words[words.index("--rois") + 1] == "V1,MT"
    command = typer.main.get_command(app).commands["import"]
    takes = {option for parameter in command.params for option in parameter.opts}
    assert {f"--{key.replace('_', '-')}" for key in known} <= takes


@pytest.mark.parametrize("given", ["", "data/study", "/no/such/folder", "/tmp/\0", "~nobody-of-this-name/x"])
def test_a_path_that_cannot_be_is_answered_with_a_sentence(given):
    with pytest.raises(DataError, match=r"expected .* got .*; "):
        read_path(given)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"alpha": "2"}, "alpha"),
        ({"lag_tr": "x"}, "lag_tr"),
        ({"color": "red"}, "color"),
        ({"mask": "a/m.nii"}, "full path"),
    ],
)
def test_an_option_that_cannot_be_is_named(options, told):
    with pytest.raises(ConfigError, match=told):
        read_options(options)


def test_errors_of_subjects_that_are_left_out_do_not_block():
    findings = [
        {"level": "warning", "where": "sub-01", "message": "few"},
        {"level": "error", "where": "sub-02 run-03", "message": "cut"},
    ]
    report = {"facts": {"subjects": {"sub-01": {}, "sub-02": {}}}, "findings": findings}
    assert blocking(report, None) == findings[1:]
    assert blocking(report, ("sub-01",)) == []
    assert blocking(report, ("sub-02",)) == findings[1:]
    film = {"level": "error", "where": "stimuli/seg1.mp4", "message": "missing"}
    assert blocking({**report, "findings": [film]}, ("sub-01",)) == [film]


def test_a_folder_is_examined_and_then_imported(jobs, recordings, home):
    path = str(recordings / "blocks")
    asked = {"path": path, "name": "study", "options": {"subjects": "sub-01", "lag_s": "2.5"}}
    with pytest.raises(ConfigError, match="examine it first"):
        jobs.start("import", asked)
    assert examined(jobs, recordings / "blocks")["facts"]["subjects"]["sub-02"]["runs"] == N_RUNS
    assert jobs.plan(asked)["fault"] == ""
    jobs.start("import", asked)
    with pytest.raises(ConfigError, match="under way"):
        jobs.start("doctor", {"path": path})
    found = wait(jobs)
    assert (found["state"], found["result"]["dataset"], found["total"]) == ("done", "study", N_RUNS)
    assert card(jobs.datasets, "study")["options"]["lag_s"] == 2.5
    assert [who["subject"] for who in card(jobs.datasets, "study")["subjects"]] == ["sub-01"]
    assert "already" in jobs.plan(asked)["fault"]


def test_a_damaged_folder_is_refused_until_the_damaged_subject_is_left_out(jobs, recordings):
    report = examined(jobs, recordings / "broken")
    assert not report["ok"]
    asked = {"path": str(recordings / "broken"), "name": "part", "options": {}}
    with pytest.raises(ConfigError, match="sub-02 run-03"):
        jobs.start("import", asked)
    assert "run-03" in jobs.plan(asked)["fault"]
    assert jobs.plan({**asked, "options": {"subjects": "sub-01"}})["fault"] == ""


def test_a_server_that_others_can_reach_reads_no_folders(jobs, recordings):
    jobs.datasets.library.local = False
    with pytest.raises(ConfigError, match="without --host"):
        jobs.start("doctor", {"path": str(recordings / "blocks")})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe to hold the import up")
def test_an_import_that_is_stopped_leaves_nothing(jobs, recordings, home):
    pipe = home / "captions.json"
    home.mkdir(exist_ok=True)
    os.mkfifo(pipe)  # the import waits for words that never come, its folder begun
    examined(jobs, recordings / "blocks")
    jobs.start("import", {"path": str(recordings / "blocks"), "name": "never", "options": {"captions": str(pipe)}})
    deadline = time.monotonic() + 60
    while not list((home / "datasets").glob(".never.????????")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list((home / "datasets").glob(".never.????????"))
    jobs.stop()
    assert wait(jobs)["state"] == "stopped"
    assert [path.name for path in (home / "datasets").iterdir() if path.is_dir()] == []


def test_what_a_killed_import_left_is_swept_and_nothing_else(tmp_path):
    kept = (".a.old.abcd1234", ".a.b.abcd1234", "a", "a.b", ".b.abcd1234")
    for name in (".a.abcd_234", *kept):
        (tmp_path / name).mkdir()
    sweep(tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_quality_tells_counts_splits_and_what_was_not_measured(datasets):
    films, blocks = datasets.subject("films", "sub-01"), datasets.subject("blocks", "sub-02")
    assert films["n_seen"] == N_LEFT + N_RIGHT
    assert films["published"] is None
    assert {one["key"] for one in films["measures"]} == {"tsnr", "reliability", "test_reliability", "noise_ceiling"}
    for one in films["measures"]:
        assert sum(one["selected"]) == films["n_selected"]
        assert sum(one["selected"]) + sum(one["others"]) == films["n_seen"]
    runs = {split["split"]: [(run["run"], run["clips"]) for run in split["runs"]] for split in films["splits"]}
    assert runs["test"] == [("test1", N_CLIPS)]
    assert len(runs["train"]) + len(runs["val"]) == 7
    assert blocks["missing"]["noise_ceiling"] == "no test run was recorded twice"
    assert blocks["space"]["kind"] == "volume" and blocks["space"]["shape"] == list(SHAPE)
    assert np.asarray(blocks["space"]["affine"]).shape == (4, 4) and films["space"]["affine"] is None
    json.dumps([films, blocks], allow_nan=False)


def test_a_map_holds_every_voxel_that_was_looked_at(datasets):
    body = datasets.values("films", "sub-01", "reliability")
    n = N_LEFT + N_RIGHT
    ids, values = np.frombuffer(body[: 4 * n], "<i4"), np.frombuffer(body[4 * n :], "<f4")
    assert len(np.unique(ids)) == len(values) == n
    chosen = np.frombuffer(datasets.values("films", "sub-01", "selected"), "<i4")[
        : datasets.subject("films", "sub-01")["n_selected"]
    ]
    assert values[np.isin(ids, chosen)].min() > values[~np.isin(ids, chosen)].max()
    rows = list(csv.DictReader(io.StringIO(datasets.table("films", "sub-01"))))
    assert [int(row["voxel_id"]) for row in rows] == ids.tolist()
    assert {row["simulated"] for row in rows} == {"1"}
    with pytest.raises(DataError, match="was not measured"):
        datasets.values("films", "sub-01", "voxel_ids")


def test_a_lag_scan_is_kept_until_the_data_set_is_another(jobs, recordings, home):
    import_dataset(recordings / "films", "films", home)
    jobs.start("lag", {"dataset": "films", "subject": "sub-01"})
    assert wait(jobs)["state"] == "done"
    assert len(jobs.datasets.subject("films", "sub-01")["lag"]["scores"]) == 8
    assert lag_file(home, "films", "sub-01").is_file()
    import_dataset(recordings / "films", "films", home, replace=True)
    assert read_lag(home, "films", "sub-01") is None


def test_the_routes_answer_and_an_unknown_subject_is_a_sentence(datasets, imported):
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from neurovis.routes import _sentence

    app = FastAPI()
    app.add_exception_handler(NeuroVisError, _sentence)
    app.include_router(data_router(datasets.library))
    client = TestClient(app)
    found = client.get("/data").json()
    assert {one["name"] for one in found["cards"]} == {*CARDS, "films", "blocks"}
    assert client.get("/data/films/sub-01").json()["dataset"] == "films"
    assert "_simulated.csv" in client.get("/data/films/sub-01/voxels.csv").headers["content-disposition"]
    for address, told in (
        ("films/sub-09", "choose of sub-01"),
        ("phantom/sub-01", "make it first"),
        ("no/x", "known are"),
    ):
        answer = client.get(f"/data/{address}")
        assert answer.status_code == 404
        assert told in answer.json()["error"]


def test_the_doctor_of_a_film_study_names_a_bad_run(jobs, recordings, home):
    root = shutil.copytree(recordings / "films", home / "bad")
    shutil.copyfile(cc2017_run(root, 1, "seg2", 1), cc2017_run(root, 1, "seg6", 2))
    report = examined(jobs, root)
    assert jobs.report(str(root))["findings"] == report["findings"]
    (error,) = [finding for finding in report["findings"] if finding["level"] == "error"]
    assert "same values" in error["message"]


def test_positions_are_found_again_from_raw_files_or_refused(jobs, recordings, phantom_home, home, rng):
    from tests.unit.test_data_recover import tensors_of

    raw = phantom_home / "datasets" / "phantom-tiny" / "raw"
    ids = tensors_of(raw, home / "tensors", rng)
    import_dataset(home / "tensors", "clips", home)
    need = next(need for need in card(jobs.datasets, "clips")["needs"] if need["what"] == "positions")
    assert "recover-index clips --raw" in need["command"]
    assert jobs.datasets.subject("clips", "sub-01")["space"]["kind"] == "unknown"
    jobs.start("recover", {"dataset": "clips", "path": str(recordings / "blocks")})
    assert wait(jobs)["state"] == "failed"
    assert "recordings" in jobs.status()["message"]
    jobs.start("recover", {"dataset": "clips", "path": str(raw)})
    assert wait(jobs)["state"] == "done"
    assert jobs.datasets.subject("clips", "sub-01")["space"]["kind"] == "fs_LR_32k"
    found = np.frombuffer(jobs.datasets.values("clips", "sub-01", "selected"), "<i4")[: len(ids)]
    assert sorted(found.tolist()) == sorted(ids.tolist())
    assert "positions" not in [need["what"] for need in card(jobs.datasets, "clips")["needs"]]
