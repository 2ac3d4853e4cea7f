"""Ablations over a run: what is missing, what is scored, what is kept, and the shuffle test of one clip."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.ablate import Ablation, ScoreBook, ablate, all_combinations, orders, partners, scored_frames
from pipeline.errors import ConfigError
from pipeline.runs import Run

ROOT = Path(__file__).resolve().parents[2]
NAME, VARIANT = "small", "anchor+holi"


def _sample_run():
    spec = importlib.util.spec_from_file_location("sample_run", ROOT / "tests" / "browser" / "sample_run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Three clips of which every wanted combination is rendered and none is scored."""
    home = tmp_path_factory.mktemp("ablate")
    _sample_run().make_renderable(home / "runs", NAME, 3, ("full", VARIANT))
    return home


@pytest.fixture
def run(home, tmp_path) -> Run:
    return Run.open(home / "runs" / NAME, extra=tmp_path / "renders" / NAME)


def _files(folder: Path) -> dict[str, float]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_a_combination_is_scored_with_chance_interval_and_number_of_clips(run, home):
    before = _files(home)
    found = ablate(run, [VARIANT])
    assert set(found) == {"full", VARIANT}
    for rows in found.values():
        assert set(rows) == {"ssim", "psnr", "hue_pcc", "epe", "shuffle_share", "object_top1", "motion_top1"}
        for score in rows.values():
            assert score.interval[0] <= score.value <= score.interval[1]
            assert score.n == 3
            assert score.chance is not None
            assert "as kept (WebP)" in score.frames
    assert found["full"]["object_top1"].judge == "phantom object judge"
    assert _files(home) == before, "the run itself must stay as it is"


def test_a_stopped_ablation_goes_on_where_it_was(run):
    work = Ablation(run, [VARIANT])
    assert work.total == 6
    work.step()
    work.close()
    again = Ablation(run, [VARIANT])
    assert again.total == 5
    assert again.book.summary == {}


def test_combinations_that_the_run_came_with_scores_for_need_nothing(run):
    from pipeline.runs import Score

    scored = run.manifest.model_copy(update={"scores": {v: {"ssim": Score(value=0.5, n=3)} for v in ("full", "mad")}})
    assert Ablation(Run(run.path, scored, run.extra), ["full", "mad"]).total == 0


def test_a_book_of_an_older_run_or_a_damaged_one_is_not_used(run):
    book = ScoreBook(run)
    book.add(run.manifest.clip_ids[0], "full", {"ssim": 0.5}, {})
    book.save()
    assert ScoreBook(run).clips
    book.path.write_text(json.dumps(json.loads(book.path.read_text()) | {"created": "earlier"}))
    assert not ScoreBook(run).clips
    book.path.write_text("{")
    assert not ScoreBook(run).clips


def test_a_run_without_its_truth_is_refused_in_a_sentence(run):
    blind = run.manifest.model_copy(update={"streams": ("motion", "anchor", "reconstruction")})
    with pytest.raises(ConfigError, match="there is no truth to score against"):
        Ablation(Run(run.path, blind), ["anchor"])


def test_the_orders_are_the_same_for_every_combination_and_every_time(run):
    clip = run.manifest.clip_ids[1]
    first, again, other = (orders(run, clip, v) for v in ("full", "full", VARIANT))
    assert first == again
    assert len(first["shuffled"]) == len(other["shuffled"]) == 100
    assert first["share"] == np.mean(np.array(first["shuffled"]) < first["epe"])
    assert first["mispaired"] is None


def test_the_chance_of_the_shuffle_test_is_that_of_other_clips_truths(run):
    scores = ablate(run, [VARIANT])["full"]["shuffle_share"]
    found = [orders(run, clip, "full", other) for clip, other in partners(run).items()]
    assert scores.chance == pytest.approx(np.mean([one["mispaired"] for one in found]))
    assert (scores.n, scores.n_chance) == (3, 3)
    alone = orders(run, run.manifest.clip_ids[0], "full", run.manifest.clip_ids[0])
    assert alone["mispaired"] == alone["share"]


def test_scores_compare_six_frames_of_one_size(run):
    truth, made = scored_frames(run, run.manifest.clip_ids[0], VARIANT)
    assert truth.shape == made.shape == (6, 64, 64, 3)


def test_twelve_combinations_differ():
    from pipeline.runs import variant_name

    assert len({variant_name(parts) for parts in all_combinations()}) == len(all_combinations()) == 12
