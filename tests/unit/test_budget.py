"""The error budget, measured: a run of the tiny phantom, step by step."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.data import load
from pipeline.errors import DataError
from pipeline.evaluate.budget import budget_rows, measure_budget
from pipeline.evaluate.oracle import Judges, evaluate, true_frames
from pipeline.flow import shuffle_test
from pipeline.judges import Judge
from pipeline.metrics import shuffled_pairs
from pipeline.paths import PHANTOM_ASSETS
from pipeline.runs import ClipRecord, RunManifest, RunWriter


def test_the_shuffle_test_of_a_scored_run_carries_its_chance_from_mispaired_clips(phantom_home):
    clipset = load("phantom-tiny", "sub-01", "test", phantom_home).take(np.arange(3))
    truth = true_frames(clipset, 6)
    judges = Judges(Judge.load(PHANTOM_ASSETS / "judge_object"), Judge.load(PHANTOM_ASSETS / "judge_motion"))
    score = evaluate(truth, truth, clipset, judges, shuffle=True, seed=7)[0]["shuffle_share"]
    pairs = shuffled_pairs(3, np.random.default_rng(7))
    by_hand = shuffle_test(truth[pairs], truth, np.random.default_rng([7, 1])).share
    assert (score.value, score.n_chance) == (0, 3)
    assert score.chance == pytest.approx(by_hand.mean())


def test_the_budget_is_measured_on_a_tiny_phantom_run(phantom_home, tmp_path):
    clipset = load("phantom-tiny", "sub-01", "test", phantom_home).take(np.arange(2))
    truth, ids = true_frames(clipset, 6), tuple(str(clip_id) for clip_id in clipset.clip_ids)
    manifest = RunManifest(
        name="tiny", title="tiny", method="none", dataset="phantom-tiny", subject="sub-01", simulated=True, seed=0,
        config={}, versions={}, clip_ids=ids, streams=("truth", "reconstruction"), duration=2.0, fps=3.0,
        size=truth.shape[2:4], n_frames={"truth": 6, "reconstruction": 6}, layout="lossless",
    )  # fmt: skip
    writer = RunWriter(tmp_path / "tiny", manifest)
    for clip_id, frames in zip(ids, truth, strict=True):
        grey = np.full_like(frames, 128)
        streams = {"full": {"truth": frames, "reconstruction": frames}, "anchor": {"reconstruction": grey}}
        writer.add_clip(ClipRecord(clip_id=clip_id), streams)
    run = writer.finish()
    steps = {step.key: step for step in measure_budget(run, phantom_home, n_clips=2)}
    assert list(steps) == ["truth", "round_trip", "true_cues", "full", "anchor"]
    ssim = {key: step.scores["ssim"].value for key, step in steps.items()}
    assert ssim["truth"] == ssim["full"] == pytest.approx(1)  # this run shows the truth itself
    assert max(ssim["true_cues"], ssim["anchor"]) < ssim["round_trip"] < 1
    change = {row["step"]: row["change"] for row in budget_rows(list(steps.values())) if row["metric"] == "ssim"}
    assert change["anchor"] == pytest.approx(ssim["anchor"] - ssim["full"])
    assert all(score.n == 2 for step in steps.values() for score in step.scores.values() if score.label == "SSIM")
    with pytest.raises(DataError, match="two clips or more"):
        measure_budget(run, phantom_home, n_clips=1)
