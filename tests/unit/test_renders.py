"""Renderings on request: which seeds are taken, what a reloaded page is told, and one clip scored for itself."""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from neurovis.library import Library
from neurovis.renders import MAX_SEED, Renders
from pipeline.ablate import ScoreBook
from pipeline.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
NAME, VARIANT = "small", "anchor+holi"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Two clips of which two combinations are rendered and none is scored."""
    spec = importlib.util.spec_from_file_location("sample_run", ROOT / "tests" / "browser" / "sample_run.py")
    sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sample)
    home = tmp_path_factory.mktemp("renders")
    sample.make_renderable(home / "runs", NAME, 2, ("full", VARIANT))
    return home


@pytest.fixture
def renders(home) -> Renders:
    return Renders(Library(home, shipped=home / "none"))


def _end(renders: Renders, key: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while (found := renders.status(key))["state"] in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("seed", [-5, 3.7, 1e30, MAX_SEED + 1, 10**30, "7", True])
def test_a_seed_that_is_no_whole_number_in_range_is_refused_and_nothing_begins(renders, seed):
    clip = renders.library.run(NAME).manifest.clip_ids[0]
    with pytest.raises(ConfigError, match=f"whole number from 0 to {MAX_SEED}, got"):
        renders.start(NAME, clip, ["holi"], seed)
    assert renders.jobs == {}


def test_a_whole_set_under_a_seed_out_of_range_is_refused(renders):
    with pytest.raises(ConfigError, match="whole number from 0"):
        renders.start_set(NAME, [f"holi@{MAX_SEED + 1}"])


def test_a_rendering_is_told_to_a_page_that_asks_for_the_run_while_it_runs_and_when_it_ended(renders, monkeypatch):
    clip = renders.library.run(NAME).manifest.clip_ids[1]
    go = threading.Event()
    asked: list[int] = []

    def render(run: Any, job: Any, without: frozenset[str], seed: int) -> None:
        asked.append(seed)
        job.done, job.total = 2, 9
        go.wait(30)

    monkeypatch.setattr("neurovis.renders._render", render)
    key = renders.start(NAME, clip, ["holi"], MAX_SEED)
    while not asked:
        time.sleep(0.01)
    (found,) = renders.of_clips(NAME)
    facts = {"key": key, "clip_id": clip, "variant": f"holi@{MAX_SEED}", "state": "running", "done": 2, "total": 9}
    assert {name: found[name] for name in facts} == facts
    assert renders.of_clips("another") == []
    go.set()
    _end(renders, key)
    assert [job["state"] for job in renders.of_clips(NAME)] == ["stopped"]
    assert asked == [MAX_SEED]


def test_one_clip_is_scored_beside_the_full_model_and_not_summed_up_before_the_last(renders):
    run = renders.library.run(NAME)
    first, second = run.manifest.clip_ids
    assert _end(renders, renders.start_set(NAME, [VARIANT], second))["message"].startswith("Everything asked for")
    book = ScoreBook(run)
    assert {clip: set(rows) for clip, rows in book.clips.items()} == {second: {"full", VARIANT}}
    assert book.summary == {}
    with pytest.raises(ConfigError, match="x is not one of its 2 clips"):
        renders.start_set(NAME, [VARIANT], "x")
    _end(renders, renders.start_set(NAME, [VARIANT], first))
    assert {name: rows["ssim"].n for name, rows in ScoreBook(run).summary.items()} == {"full": 2, VARIANT: 2}


def test_one_clip_is_not_scored_while_another_job_holds_the_book(renders, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr("pipeline.ablate.Ablation.step", lambda work, should_stop: go.wait(30) and work.todo.clear())
    key = renders.start_set(NAME, ["holi"])
    with pytest.raises(ConfigError, match="being scored by another job"):
        renders.start_set(NAME, [VARIANT], renders.library.run(NAME).manifest.clip_ids[0])
    go.set()
    _end(renders, key)
