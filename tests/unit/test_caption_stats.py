"""Lengths and likeness of captions: values worked out by hand, provenance, real captions at full size."""

from __future__ import annotations

import json
import math
import socket
import time

import numpy as np
import pytest
import tiny_world

from pipeline.backbones import World
from pipeline.caption_stats import (
    PAIRS,
    SIMILARITIES,
    SimilaritySettings,
    caption_lengths,
    caption_similarity,
    pooled_text_embedding,
)
from pipeline.errors import ConfigError, DataError

PAIR = (("anchor", "motion"),)


def value(first, second, key, **settings):
    captions = {"anchor": [first], "motion": [second]}
    found = caption_similarity(captions, pairs=PAIR, settings=SimilaritySettings(**settings))
    return {score.key: score.value for score in found}[key]


# "the cat sat on the mat" (6) against "the cat lay on a red mat" (7): shared the, cat, on, mat = 4
CANDIDATE, REFERENCE = "the cat sat on the mat", "the cat lay on a red mat"
BREVITY = math.exp(1 - 7 / 6)


@pytest.mark.parametrize(
    ("key", "by_hand"),
    [
        ("bleu1", BREVITY * 4 / 6),
        ("rouge1", 2 * (4 / 6) * (4 / 7) / (4 / 6 + 4 / 7)),
        ("rougeL", 2 * (4 / 6) * (4 / 7) / (4 / 6 + 4 / 7)),
    ],
)
def test_a_value_is_what_it_is_by_hand(key, by_hand):
    assert value(CANDIDATE, REFERENCE, key) == pytest.approx(by_hand, abs=1e-9)


def test_rouge_l_follows_the_order_and_rouge_1_does_not():
    # the longest common subsequence of "a b c d" and "c d a b" has 2 words
    assert value("red dog big cat", "big cat red dog", "rouge1") == pytest.approx(1)
    assert value("red dog big cat", "big cat red dog", "rougeL") == pytest.approx(0.5)


def test_bleu_4_is_the_geometric_mean_of_four_precisions():
    # 1-grams 5/6, 2-grams 3/5, 3-grams 2/4, 4-grams 1/3; as long as the reference
    expected = (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert value("one two three four x six", "one two three four five six", "bleu4") == pytest.approx(expected)


def test_meteor_weighs_recall_and_pays_for_every_chunk():
    # 4 matches in 3 chunks (big cat | on | mat) of 5 and 6 words; F = PR / (0.9 P + 0.1 R)
    f_mean = (4 / 5) * (4 / 6) / (0.9 * 4 / 5 + 0.1 * 4 / 6)
    expected = f_mean * (1 - 0.5 * (3 / 4) ** 3)
    assert value("big cat sat on mat", "big cat lay on red mat", "meteor") == pytest.approx(expected)


def test_meteor_takes_stems_for_words_and_no_synonyms():
    assert value("dogs running", "dog runs", "meteor") == pytest.approx(1 - 0.5 * (1 / 2) ** 3)
    assert value("car", "automobile", "meteor") == 0


def test_equal_texts_are_wholly_alike_and_strangers_not_at_all():
    for key in ("bleu1", "rouge1", "rougeL"):
        assert value(CANDIDATE, CANDIDATE, key) == pytest.approx(1)
        assert value("one two", "three four five", key) == 0


def test_the_reference_is_the_second_level_unless_asked_otherwise():
    assert value("a red dog", "a dog", "bleu1") == pytest.approx(2 / 3)
    assert value("a red dog", "a dog", "bleu1", reference="first") == pytest.approx(math.exp(1 - 3 / 2))
    assert value("A Dog", "a dog", "bleu1") == pytest.approx(1)
    assert value("A Dog", "a dog", "bleu1", lowercase=False) == 0


def test_corpus_bleu_is_not_the_mean_of_sentences():
    captions = {"anchor": ["a b c d", "x"], "motion": ["a b c d", "y"]}
    corpus = caption_similarity(captions, pairs=PAIR)[0]
    sentence = caption_similarity(captions, pairs=PAIR, settings=SimilaritySettings(bleu="sentence"))[0]
    assert corpus.value == pytest.approx(4 / 5)
    assert (corpus.spread, corpus.n) == (None, 2)
    assert sentence.value == pytest.approx(1 / 2)
    assert sentence.spread == pytest.approx(1 / 2)


def test_clip_s_is_the_mean_cosine_of_the_callable_s_embeddings():
    codes = {"a": (1, 0), "b": (0, 2), "c": (3, 3)}

    def embed(texts):
        return np.array([codes[text] for text in texts], float)

    found = caption_similarity({"anchor": ["a", "a"], "holi": ["b", "c"]}, embed)
    score = found[-1]
    assert score.value == pytest.approx((0 + math.sqrt(0.5)) / 2)
    assert score.settings == {"embedding": "embed"}
    with pytest.raises(DataError, match=r"CLIP-S: embed must return \(2, d\)"):
        caption_similarity({"anchor": ["a", "a"], "holi": ["b", "c"]}, lambda texts: np.zeros((2, 3)))


def test_every_value_says_where_it_comes_from():
    found = caption_similarity({"anchor": ["a dog"], "motion": ["it runs"], "holi": ["a dog runs"]})
    assert [(score.levels, score.key) for score in found] == [(p, key) for p in PAIRS for key in SIMILARITIES[:-1]]
    for score in found:
        facts = json.loads(json.dumps(score.to_dict()))
        assert facts["n"] == 1
        assert facts["version"][0].isdigit()
        assert facts["settings"]["reference"] == "second"
    names = {score.key: score.name for score in found}
    assert names["meteor"] == "METEOR (exact and stem)"
    libraries = {score.key: score.library for score in found}
    assert libraries == {"bleu1": "sacrebleu", "bleu4": "sacrebleu", "meteor": "nltk", "rouge1": "rouge-score",
                         "rougeL": "rouge-score"}  # fmt: skip
    assert "tok:13a" in found[0].settings["signature"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tiny_world.save_tiny_world(tmp_path_factory.mktemp("world")))


def test_lengths_count_words_and_the_tokens_of_the_world(world):
    texts = ["a cat moves", "a dog rises up to the left"]
    words, tokens = caption_lengths({"anchor": texts}, world.tokenizer)
    assert (words.value, words.settings["longest"], words.n) == (5, 7, 2)
    counts = [len(world.tokenizer.tokenize(text)) for text in texts]
    assert tokens.value == pytest.approx(np.mean(counts))
    assert tokens.settings["room"] == tiny_world.N_TOKENS - 2
    assert tokens.settings["n_truncated"] == sum(n > tiny_world.N_TOKENS - 2 for n in counts)
    assert [s.key for s in caption_lengths({"holi": texts})] == ["words"]


def test_the_world_s_text_tower_gives_clip_s(world):
    embed = pooled_text_embedding(world, batch=2)
    captions = {"motion": ["a cat", "a dog rises", "up"], "holi": ["a cat", "a dog moves", "left"]}
    score = caption_similarity(captions, embed)[-1]
    assert score.settings == {"embedding": "pooled_text"}
    assert score.value < 1
    same = caption_similarity({"motion": captions["motion"], "holi": captions["motion"]}, embed)[-1]
    assert same.value == pytest.approx(1)


@pytest.mark.parametrize("captions", [{}, {"anchor": []}, {"anchor": ["a"], "motion": ["a", "b"]}])
def test_levels_of_unequal_length_are_refused(captions):
    with pytest.raises(DataError, match="a text for every clip"):
        caption_similarity(captions)


def test_one_level_alone_has_no_pair():
    with pytest.raises(ConfigError, match="give two levels"):
        caption_similarity({"anchor": ["a"], "basic": ["b"]})


def test_nothing_is_fetched(monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert len(caption_similarity({"anchor": ["a dog"], "motion": ["it runs"]})) == 5


@pytest.mark.real
def test_real_captions_at_full_size_take_seconds(real_data):
    path = real_data / "cc2017_captions.json"
    if not path.is_file():
        pytest.skip("the published captions (cc2017_captions.json) are not beside this checkout")
    texts = json.loads(path.read_text(encoding="utf-8"))["test"]
    caption_similarity({"anchor": texts[:1], "holi": texts[:1]})  # the libraries are loaded
    # One caption a clip is published: beside itself, its neighbour's and a far one's, in longer and shorter texts.
    near, far = texts[1:] + texts[:1], texts[600:] + texts[:600]
    captions = {"anchor": texts, "motion": [f"{a} and {b}" for a, b in zip(texts, near, strict=True)], "holi": far}
    started = time.process_time()
    scores = {(s.levels, s.key): s.value for s in caption_similarity(captions)}
    assert time.process_time() - started < 15
    assert scores[("anchor", "motion"), "rouge1"] > 2 * scores[("anchor", "holi"), "rouge1"]
    words = caption_lengths(captions)
    assert words[0].n == 1200
    assert 4 < words[0].value < 15
