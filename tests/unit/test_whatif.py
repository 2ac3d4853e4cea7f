"""What the words alone would give, on the real classes at tiny size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.backbones import World
from pipeline.errors import ConfigError, DataError
from pipeline.nearest import caption_ranks
from pipeline.render.cvr import CVR, CVRConfig
from pipeline.runs import ClipRecord, Run, RunManifest, RunWriter
from pipeline.whatif import Wording, editable_levels, render_wording, token_counts, token_room
from tests.tiny_world import D_TEXT, N_FRAMES, N_TOKENS, SIZE, save_tiny_world

IDS = ("c0", "c1", "c2")
TEXT = "a cat moves to the left"
CONFIG = CVRConfig(
    num_inference_steps=4, theta=0.5, guidance_scale=2.0, control_prompt="motion", start="animated"
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(save_tiny_world(tmp_path_factory.mktemp("world")))


@pytest.fixture(scope="module")
def models(world: World) -> tuple[World, CVR]:
    return world, CVR(world, CONFIG)


def make_run(folder: Path, mad: bool = True, truth: bool = True) -> Run:
    rng = np.random.default_rng(2)
    streams = ("truth",) * truth + ("reconstruction",)
    manifest = RunManifest(
        name="tiny", title="tiny", method="semvideo", dataset="phantom", subject="sub-01", simulated=True, seed=3,
        clip_ids=IDS, streams=streams, size=(SIZE, SIZE), n_frames=dict.fromkeys(streams, N_FRAMES),
    )  # fmt: skip
    writer = RunWriter(folder / "tiny", manifest)
    cues = {level: rng.standard_normal((3, N_TOKENS, D_TEXT)) for level in ("anchor", "motion", "holi")}
    if mad:
        cues |= {
            k: rng.standard_normal((3, 5, 4, SIZE // 8, SIZE // 8)) for k in ("motion_latents", "motion_latents_null")
        }
    writer.set_cues(cues)
    for clip_id in IDS:
        frames = {s: rng.integers(0, 255, (N_FRAMES, SIZE, SIZE, 3), dtype=np.uint8) for s in streams}
        captions = {"basic": "a cat", "anchor": f"a cat {clip_id}", "motion": TEXT, "holi": "a dog rises up"}
        writer.add_clip(ClipRecord(clip_id=clip_id, captions=captions), {"full": frames})
    return writer.finish()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize(
    ("words", "mad", "message"),
    [
        ({}, True, "edit a text"),
        ({"anchor": "  "}, True, "C_anchor: the text is empty"),
        ({"basic": "a cat"}, True, "words are for"),
        ({"holi": "a" * 2001}, True, "shorten"),
        ({"motion": "left"}, False, "says nothing without MAD"),
    ],
)
def test_words_that_cannot_be_rendered_are_refused(words, mad, message):
    with pytest.raises(ConfigError, match=message):
        Wording(words, mad)


def test_a_wording_says_what_was_used():
    assert Wording({"motion": "left"}, seed=3).told() == (
        "C_motion from the words; C_anchor and C_holi as decoded; MAD's latents as decoded; seed 3."
    )
    every = Wording({"anchor": "a", "motion": "b", "holi": "c"}, mad=False).told()
    assert every.startswith("C_anchor and C_holi from the words; no MAD")


def test_the_name_depends_on_all_that_matters():
    names = {
        Wording(words, mad, seed).name(run, clip)
        for words in ({"anchor": "a"}, {"holi": "a"})
        for mad in (True, False)
        for seed in (0, 1)
        for run, clip in (("r", "c"), ("r", "d"))
    }
    assert len(names) == 16
    assert Wording({"anchor": "a"}).name("r", "c") in names


def test_other_words_give_another_video_and_leave_the_decoded_scores_alone(run, models):
    left = render_wording(run, "c1", Wording({"motion": TEXT}, seed=3), models=models)
    up = render_wording(run, "c1", Wording({"motion": "a dog rises up"}, seed=3), models=models)
    assert left.streams["reconstruction"].shape == (N_FRAMES, SIZE, SIZE, 3)
    assert (left.streams["reconstruction"] != up.streams["reconstruction"]).any()
    assert (left.streams["anchor"] == up.streams["anchor"]).all()
    assert left.record["scores"]["decoded"] == up.record["scores"]["decoded"]
    assert set(left.record["scores"]["words"]) == {"ssim", "epe"}
    assert left.record["words"] == {"motion": TEXT}


def test_words_alone_do_not_depend_on_the_brain(models, tmp_path):
    alone = Wording({"anchor": TEXT, "motion": TEXT, "holi": TEXT}, mad=False)
    one, other = (
        render_wording(make_run(tmp_path / str(i), mad=i > 0), "c0", alone, models=models).streams for i in range(2)
    )
    assert "motion" not in one
    assert (one["reconstruction"] == other["reconstruction"]).all()


def test_progress_counts_up_to_its_end_and_a_stop_keeps_nothing(run, models):
    seen = []
    wording = Wording({"holi": TEXT})
    render_wording(run, "c0", wording, lambda *facts: seen.append(facts), models=models)
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)
    assert seen[-1][0] == seen[-1][1]
    calls = iter(range(99))
    assert render_wording(run, "c0", wording, should_stop=lambda: next(calls) > 2, models=models) is None


def test_a_text_that_is_cut_is_named(run, models, world):
    long = " ".join(["cat"] * 3 * N_TOKENS)
    assert token_room(world) == N_TOKENS - 2
    assert token_counts(world, [long, "a"])[0] > token_room(world)
    worded = render_wording(run, "c0", Wording({"anchor": long, "holi": "a cat"}), models=models)
    assert worded.record["truncated"] == ["anchor"]


def test_without_motion_latents_the_motion_text_is_not_read(models, tmp_path):
    run = make_run(tmp_path, mad=False, truth=False)
    assert editable_levels(run) == ("anchor", "holi")
    with pytest.raises(ConfigError, match="no motion latents"):
        render_wording(run, "c0", Wording({"anchor": TEXT}), models=models)
    worded = render_wording(run, "c0", Wording({"anchor": TEXT}, mad=False), models=models)
    assert worded.record["scores"] == {"words": {}, "decoded": {}}


def test_the_true_caption_ranks_first_where_it_was_decoded(world):
    from pipeline.backbones import encode_text

    texts = ["a cat", "a dog rises up", "to the left", "a cat"]
    codes = encode_text(world, texts)
    assert caption_ranks(world, {"anchor": codes}, {"anchor": texts}) == {"anchor": ([1, 1, 1, 1], 3)}
    ranks, _ = caption_ranks(world, {"anchor": codes[[1, 2, 0, 0]]}, {"anchor": texts})["anchor"]
    assert ranks[3] == 1
    assert min(ranks[:3]) > 1
    with pytest.raises(DataError, match="to rank captions"):
        caption_ranks(world, {"holi": codes[:, :2]}, {"holi": texts})
