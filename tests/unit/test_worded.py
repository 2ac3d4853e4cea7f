"""Scores of words and of embeddings, worked out by hand; captions from files and from the shipped run."""

from __future__ import annotations

import json
import socket

import numpy as np
import pytest
from PIL import Image

from pipeline.caption_stats import similarity_by_clip
from pipeline.errors import ConfigError, DataError
from pipeline.evaluate.command import Request, sources_of
from pipeline.evaluate.embedded import NO_VIFI, feature_scores, unit, vifi_scores
from pipeline.evaluate.judged import _n_way as n_way_rows
from pipeline.evaluate.judging import load_judges
from pipeline.evaluate.seer import Identity, Seer
from pipeline.evaluate.settings import Settings, label_of
from pipeline.evaluate.sources import FolderSource, RunSource
from pipeline.evaluate.summary import summarise
from pipeline.evaluate.worded import caption_rows, shared_words
from pipeline.nway import n_way_accuracy
from pipeline.paths import PHANTOM_ASSETS
from pipeline.phantom.captions import named_in

ALL = Settings(conventions=("corrected", "paper", "neurons"))
TRUE = {"a": "a man is walking two dogs on the beach", "b": "flowers", "c": "a car is driving past houses"}
MADE = {"a": "the man walks a dog", "b": "a red flower", "c": "a dog sleeps"}


@pytest.mark.parametrize(
    ("kind", "share"),
    [("object", 2 / 3), ("motion", 1)],  # man, dog and not beach; walk, and not the auxiliary
)
def test_shared_words_are_a_share_of_the_truth_s_stems(kind, share):
    assert shared_words(MADE["a"], TRUE["a"], kind) == pytest.approx(share)


def test_a_truth_without_a_verb_says_nothing_of_verbs():
    assert np.isnan(shared_words("a dog runs", "two red flowers", "motion"))
    assert np.isnan(shared_words("a dog runs", "they are", "motion"))


def test_the_phantom_s_captions_name_one_object_and_one_motion():
    assert named_in("against the deep sea approaches the viewer and grows") == {"motion": "approach"}
    assert named_in("a large hat in front of white snow") == {"object": "hat"}
    assert named_in("a cat and a dog that stays still") == {"motion": "still"}
    table = PHANTOM_ASSETS / "runs" / "phantom-sub-01" / "clips.jsonl"
    for record in map(json.loads, table.read_text(encoding="utf-8").splitlines()):
        labels = {"object": record["labels"]["object"], "motion": record["labels"]["motion"]}
        assert named_in(record["captions"]["holi"]) == labels


@pytest.fixture
def folders(tmp_path):
    for role in ("truth", "recon"):
        for name in TRUE:
            (tmp_path / role / name).mkdir(parents=True)
            for i in range(2):
                Image.new("RGB", (20, 16)).save(tmp_path / role / name / f"{i}.png")
    for name, texts in (("true.json", TRUE), ("made.json", MADE)):
        (tmp_path / name).write_text(json.dumps(texts))
    return tmp_path


def asked(folder, **more):
    return Request(truth=folder / "truth", recon=folder / "recon", fps_truth=3.0, fps_recon=3.0, **more)


def test_two_files_of_captions_are_scored_with_their_chance(folders, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    files = {"captions": folders / "true.json", "decoded_captions": folders / "made.json"}
    (source,) = sources_of(asked(folders, **files))
    assert isinstance(source, FolderSource)
    rows, notes = caption_rows(source, Settings(), [])
    found = {s.metric: s for s in summarise(rows, Settings(), "")}
    assert set(found) == {
        f"caption_{key}_basic" for key in ("bleu1", "bleu4", "meteor", "rouge1", "rougeL", "concepts", "verbs")
    }
    concepts = {row.clip_id: row.value for row in rows if row.metric == "caption_concepts_basic"}
    assert concepts == pytest.approx({"a": 2 / 3, "b": 1, "c": 0})
    # Mispaired, the dog of clip c is among the three nouns of clip a: (1/3 + five zeros) / 6.
    assert found["caption_concepts_basic"].chance == pytest.approx(1 / 18)
    assert found["caption_verbs_basic"].n == 2
    assert found["caption_bleu1_basic"].frames == "decoded captions against true ones"
    assert label_of("caption_rougeL_basic") == "ROUGE-L, C_basic"
    assert any("TextBlob" in note for note in notes)
    assert any("CLIP-S of captions is left out" in note for note in notes)


def test_without_decoded_captions_there_are_no_scores_of_words(folders):
    (source,) = sources_of(asked(folders, captions=folders / "true.json"))
    assert source.labels(0)["captions"] == TRUE["a"]
    assert caption_rows(source, Settings(), []) == ([], [])


def test_captions_of_other_clips_and_captions_beside_a_run_are_refused(folders):
    (folders / "true.json").write_text(json.dumps({"x": "a cat"}))
    with pytest.raises(DataError, match="expected captions of clips such as a, got x"):
        sources_of(asked(folders, captions=folders / "true.json"))
    with pytest.raises(ConfigError, match="a run holds its own captions"):
        sources_of(Request(runs=("phantom-sub-01",), captions=folders / "true.json"))


def test_a_shipped_run_names_more_than_chance_and_its_own_tower_gives_clip_s():
    source = RunSource(PHANTOM_ASSETS / "runs" / "phantom-sub-01")
    rows, notes = caption_rows(source, Settings(), [])
    found = {s.metric: s for s in summarise(rows, Settings(), "")}
    assert found["caption_concepts_anchor"].value > found["caption_concepts_anchor"].chance + 0.3
    assert found["caption_verbs_motion"].value > found["caption_verbs_motion"].chance + 0.3
    assert "caption_concepts_motion" not in found  # C_motion names no object
    clip_s = found["caption_clip_s_anchor"]
    assert clip_s.judge == "phantom text tower, pooled"
    assert clip_s.chance < clip_s.value <= 1
    assert any("simulated" in note for note in notes)


def rows_of(*clips):
    return [np.array(clip, dtype=np.float32) for clip in clips]


TRUTH = rows_of([[1, 0], [1, 0], [1, 0]], [[0, 2], [0, 2]])
RECON = rows_of([[1, 0], [0, 1], [0, 3]], [[0, 1], [0, 5]])


def test_the_vifi_score_is_the_cosine_of_mean_embeddings():
    # clip 1: (1, 0) against (1/3, 4/3); clip 2: the same direction
    assert vifi_scores(TRUTH, RECON) == pytest.approx([1 / np.sqrt(17), 1])
    ((metric, convention, values, chance),) = feature_scores("vifi", TRUTH, RECON, Settings(), None, [])
    assert (metric, convention) == ("vifi", "corrected")
    assert chance == pytest.approx((4 / np.sqrt(17) + 0) / 2)  # each against the other clip's truth
    assert values == pytest.approx([1 / np.sqrt(17), 1])


def test_clip_pcc_by_hand_and_its_threshold_under_paper():
    notes = []
    vifi = np.array([0.6, 0.61])
    found = {(m, c): v for m, c, v, _ in feature_scores("clip", TRUTH, RECON, ALL, vifi, notes)}
    assert found["clip_pcc", "corrected"] == pytest.approx([0.5, 1])  # cosines 0 and 1; 1
    assert found["clip_pcc", "neurons"] == pytest.approx([1 / 3, 1])  # cosines 0, 0, 1; 1
    assert found["clip_pcc", "paper"] == pytest.approx([0, 1])  # at .6 the first is set to 0
    assert found["clip_similarity", "corrected"] == pytest.approx([1 / 3, 1])
    assert notes == []
    without = {(m, c) for m, c, *_ in feature_scores("clip", TRUTH, RECON, ALL, None, notes)}
    assert ("clip_pcc", "paper") not in without
    assert notes == [NO_VIFI]


def test_a_dino_judge_gives_dtc_of_the_reconstruction_labelled_as_vbench_style():
    found = {m: (v, chance) for m, c, v, chance in feature_scores("dino", TRUTH, RECON, Settings(), None, [])}
    # frames 2 and 3 of clip 1: (0 + 0) / 2 and (1 + 0) / 2
    assert found["dtc"][0] == pytest.approx([0.25, 1])
    assert found["dtc"][1] is None
    assert "VBench-style, not VBench" in label_of("dtc")


N_SHOTS, SHOT = 30, 4  # a film of shots of four clips each: neighbours are alike


def by_all_pairs(alike):
    """Mean over all pairs of two clips, and four times the error of a mean over five mispairings."""
    n = len(alike)
    others = alike[~np.eye(n, dtype=bool)]
    return pytest.approx(others.mean(), abs=4 * others.std() / np.sqrt(5 * n))


def test_the_chance_of_embeddings_is_that_of_all_pairs_where_neighbours_are_alike(rng):
    shots = rng.normal(size=(N_SHOTS, 7)).repeat(SHOT, axis=0)
    rows = [np.stack([one, one]).astype(np.float32) for one in shots]
    expected = by_all_pairs(unit(shots) @ unit(shots).T)
    for family in ("vifi", "dino"):
        assert feature_scores(family, rows, rows, Settings(), None, [])[0][3] == expected


def test_the_chance_of_n_way_accuracy_is_that_of_all_pairs_where_neighbours_are_alike(rng):
    shots = rng.random((N_SHOTS, 11)).repeat(SHOT, axis=0)
    rows = list(shots[:, None].astype(np.float32))
    identity = Identity("here", None, "0", "none", "none")
    judge = Seer("judge", "image", tuple("abcdefghijk"), lambda frames: frames, identity)
    found = n_way_rows(judge, rows, rows, Settings(n_way=(10,)), [])
    alike = np.stack([n_way_accuracy(np.roll(shots, s, axis=0), shots, 10) for s in range(len(shots))])
    table = np.stack([np.roll(alike[:, i], i) for i in range(len(shots))])  # clip i against the truth of each other
    assert found[0][3] == by_all_pairs(table)


def test_the_chance_of_captions_is_that_of_all_pairs_where_neighbours_are_alike(tmp_path, rng):
    words = [f"w{i}" for i in range(40)]
    said = [" ".join(rng.choice(words, 9)) for _ in range(N_SHOTS)]
    texts = {f"{i:03d}": said[i // SHOT] for i in range(N_SHOTS * SHOT)}
    for role in ("truth", "recon"):
        (tmp_path / role).mkdir()
        for name in texts:
            (tmp_path / role / name).mkdir()
            Image.new("RGB", (8, 6)).save(tmp_path / role / name / "0.png")
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    files = {"captions": tmp_path / "texts.json", "decoded_captions": tmp_path / "texts.json"}
    rows, _ = caption_rows(sources_of(asked(tmp_path, **files))[0], Settings(), [])
    chance = {row.metric: row.chance for row in rows}
    true = list(texts.values())
    table = np.stack([similarity_by_clip([one] * len(true), true)["bleu1"] for one in true])
    assert chance["caption_bleu1_basic"] == by_all_pairs(table)


@pytest.mark.real
def test_real_frames_have_real_imagenet_classes(real_data):
    clips = real_data / "cc2017_neuroclips"
    if not clips.is_dir():
        pytest.skip("the eight real clips (cc2017_neuroclips) are not beside this checkout")
    judges, notes = load_judges(["imagenet"])
    if not judges:
        pytest.skip(notes[0])
    source, judge = FolderSource(clips / "truth", clips / "recon"), judges[0]
    best = {}
    for clip_id, word in (("108", "turtle"), ("24", "plane"), ("94", "jellyfish")):
        index = source.clip_ids.index(clip_id)
        for role, shown in (("truth", source.truth(index)), ("recon", source.made(index, "full"))):
            best[clip_id, role] = judge.classes[int(judge.see(shown.frames).mean(axis=0).argmax())]
            assert word in best[clip_id, role]
