"""SemMiner: what models say, the chain of questions, and real video-text models at tiny size."""

from __future__ import annotations

import json
import shutil

import pytest
import tiny_mllm

from pipeline.data.recaption import shown_clips
from pipeline.errors import ConfigError, WeightsError
from pipeline.semminer.chain import ChainCaptioner
from pipeline.semminer.contract import Failure, MinerSettings
from pipeline.semminer.local_model import LocalModel
from pipeline.semminer.mine import caption_dataset
from pipeline.semminer.parse import clean, cut_words
from pipeline.semminer.prompts import FOLDER, read_prompts
from tests.unit.semminer_parts import FAMILIES, SMALL, level_of, scripted
from tests.unit.shown_data import CLIP_IDS, make_shown


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    return {name: save(base / name) for name, save in FAMILIES.items()}


@pytest.fixture
def shown(home):
    return make_shown(home)


@pytest.fixture
def clips(shown):
    return shown_clips("shown", ["sub-01"])


# What models say


@pytest.mark.parametrize(
    ("answer", "caption"),
    [
        ("A dog runs.", "A dog runs."),
        ('"A dog runs."', "A dog runs."),
        ("\u201cA dog runs.\u201d", "A dog runs."),
        ("Caption: A dog runs.", "A dog runs."),
        ("**Caption:** A dog runs.", "A dog runs."),
        ("C_basic: 'A dog runs.'", "A dog runs."),
        ("C_{anchor}: A dog runs.", "A dog runs."),
        ("Motion description: A dog runs.", "A dog runs."),
        ("Holistic summary (one sentence): A dog runs.", "A dog runs."),
        ("Sure! Here is the caption:\n\n> A dog\nruns.", "A dog runs."),
        ("Here's a short summary: A dog runs.", "A dog runs."),
        ("### Summary\n- A *dog* runs.", "Summary A dog runs."),
        ("## Summary:\n1. A `dog` runs.", "A dog runs."),
        ("```text\nA dog runs.\n```", "A dog runs."),
        ('```json\n{"caption": "A dog runs."}\n```', "A dog runs."),
        ('[{"text": "A dog runs."}]', "A dog runs."),
        ("<think>a cat? no\n</think>\nA dog runs.<|im_end|>", "A dog runs."),
        ("it is a dog</think>A dog runs.</s>", "A dog runs."),
        ("<think>never ends", ""),
        ('"A dog runs', "A dog runs"),
        ('"Stop" says the sign', '"Stop" says the sign'),
        ("A sign says 'go' and 'stop'", "A sign says 'go' and 'stop'"),
        ("2 * 3 * 4 dogs_in_a_row run", "2 * 3 * 4 dogs_in_a_row run"),
        ("A clock shows 3: 20", "A clock shows 3: 20"),
        ("A\tdog\r\n\u2028runs\x00.", "A dog runs ."),
        ("{a dog", "{a dog"),
        ("  \n", ""),
    ],
)
def test_a_caption_is_found_in_what_a_model_says(answer, caption):
    assert clean(answer) == caption


def test_a_caption_that_is_cut_ends_with_a_word():
    assert cut_words("one, two, three", 2) == "one, two"
    assert cut_words("one, two", 2) == "one, two"


# Prompts


def test_every_level_s_prompt_is_conditioned_on_the_basic_caption():
    prompts = read_prompts()
    for level in ("anchor", "motion", "holi"):
        assert "a {max_words} dog" in prompts.fill(level, 6, 20, "a {max_words} dog")
    assert "at most 20 words" in prompts.fill("basic", 6, 20)
    assert "6 frames" in prompts.fill("basic", 6, 20)


@pytest.mark.parametrize("text", [None, "", "no slot", "{basic} and {other}"])
def test_a_template_that_cannot_be_filled_is_refused(tmp_path, text):
    shutil.copytree(FOLDER, tmp_path / "prompts")
    path = tmp_path / "prompts" / "motion.txt"
    path.unlink() if text is None else path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="motion.txt"):
        read_prompts(tmp_path / "prompts")


# The chain


def test_stage_two_asks_three_levels_about_what_stage_one_said(clips):
    captioner = scripted(lambda prompt: f"Caption: {level_of(prompt)} text")
    line = next(captioner.caption(clips[:1]))
    assert line.texts() == {level: f"{level} text" for level in ("basic", "anchor", "motion", "holi")}
    assert [level_of(prompt) for prompt in captioner.answerer.asked] == ["basic", "anchor", "motion", "holi"]
    assert all("basic text" in prompt for prompt in captioner.answerer.asked[1:])
    assert (line.model, line.prompts, line.notes) == ("scripted", read_prompts().digest, ())


@pytest.mark.parametrize(
    ("second", "basic", "notes"),
    [
        ("a b c", "a b c", ("basic: asked twice",)),
        ("a b c d e, f g", "a b c d e", ("basic: asked twice", "basic: cut from 7 to 5 words")),
        ("", "1 2 3 4 5", ("basic: asked twice", "basic: cut from 9 to 5 words")),
    ],
)
def test_a_basic_caption_that_is_too_long_is_asked_for_once_more_then_cut(clips, second, basic, notes):
    replies = {"basic": "1 2 3 4 5 6 7 8 9", "shorter": second}
    settings = MinerSettings(n_frames=2, max_basic_words=5)
    captioner = scripted(lambda prompt: replies.get(level_of(prompt), "fine"), settings)
    line = next(captioner.caption(clips[:1]))
    assert line.basic == basic
    assert line.notes == notes
    assert [level_of(p) for p in captioner.answerer.asked].count("shorter") == 1


def test_only_the_clips_that_need_it_are_asked_again(clips):
    long = iter(["word " * 30, "short one", "short two"])
    captioner = scripted(lambda prompt: next(long) if level_of(prompt) == "basic" else "fine", batch_size=3)
    lines = list(captioner.caption(clips[:3]))
    assert [line.basic for line in lines] == ["fine", "short one", "short two"]
    assert [line.notes for line in lines] == [("basic: asked twice",), (), ()]


def test_an_empty_level_is_filled_and_noted_and_an_empty_basic_fails(clips):
    mute = scripted(lambda prompt: "" if level_of(prompt) == "motion" else "a dog")
    line = next(mute.caption(clips[:1]))
    assert line.motion == "a dog"
    assert line.notes == ("motion: the model gave no text, C_basic stands in",)
    failure = next(scripted(lambda prompt: "\n").caption(clips[:1]))
    assert isinstance(failure, Failure)
    assert failure.clip_id == CLIP_IDS[0]


# Real models


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_each_family_captions_a_batch_as_it_does_each_clip_alone(folders, family, clips):
    model, prompts = LocalModel(str(folders[family]), SMALL, "cpu"), read_prompts()
    chosen = [clips[0], clips[3], clips[5]]  # of three films
    alone = list(ChainCaptioner(model, prompts, SMALL, 1).caption(chosen))
    batch = list(ChainCaptioner(model, prompts, SMALL, 3).caption(chosen))
    assert alone == batch
    assert [line.clip_id for line in batch] == [clip.clip_id for clip in chosen]
    assert all(set(line.basic.split()) <= set(tiny_mllm.WORDS) for line in batch)
    assert len({tuple(line.texts().values()) for line in batch}) > 1, "the frames change nothing"


def test_a_random_model_that_rambles_is_held_to_twenty_words(folders, clips):
    settings = MinerSettings(n_frames=2, max_new_tokens=40)
    model = LocalModel(str(folders["qwen2_5_vl"]), settings, "cpu")
    lines = list(ChainCaptioner(model, read_prompts(), settings, 3).caption(clips[:3]))
    assert all(len(line.basic.split()) <= 20 for line in lines)
    assert any("basic: cut from" in note for line in lines for note in line.notes)


def test_sampling_follows_the_seed_and_not_the_batch(folders, clips):
    def words(seed, batch_size):
        settings = MinerSettings(n_frames=2, max_new_tokens=8, temperature=1.5, seed=seed)
        model = LocalModel(str(folders["llava_onevision"]), settings, "cpu")
        return [line.texts() for line in ChainCaptioner(model, read_prompts(), settings, batch_size).caption(clips[:2])]

    assert words(0, 1) == words(0, 2)
    assert words(0, 2) != words(1, 2)


def test_weights_that_are_not_there_are_not_fetched(shown, tmp_path):
    with pytest.raises(WeightsError, match="NEUROVIS_DOWNLOAD=1"):
        caption_dataset("shown", "some-org/some-video-model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="empty: config.json could not be loaded"):
        caption_dataset("shown", str(tmp_path / "empty"))


def test_a_model_without_eyes_is_refused(shown, folders, tmp_path):
    blind = tmp_path / "blind"
    blind.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folders["qwen2_5_vl"] / name, blind)
    (blind / "config.json").write_text(json.dumps({"model_type": "gpt2"}), encoding="utf-8")
    with pytest.raises((ConfigError, WeightsError), match="blind: .*video-text model"):
        caption_dataset("shown", str(blind))


def test_damaged_weights_are_named(folders, tmp_path, clips):
    broken = shutil.copytree(folders["qwen2_5_vl"], tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\x00" * 40)
    captioner = ChainCaptioner(LocalModel(str(broken), SMALL, "cpu"), read_prompts(), SMALL)
    with pytest.raises(WeightsError, match="broken: the model could not be loaded"):
        next(captioner.caption(clips[:1]))
