"""SemMiner: real video-text models at tiny size, the chain, the file that goes on, captions into the data set."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny_mllm

from pipeline.__main__ import app
from pipeline.cli import run
from pipeline.data import load
from pipeline.data.captions import read_clip_captions
from pipeline.data.recaption import apply_captions, shown_clips
from pipeline.errors import ConfigError, DataError, ResourceError, WeightsError
from pipeline.phantom.captions import captions as scene_captions
from pipeline.phantom.scenes import Scene
from pipeline.semminer.chain import ChainCaptioner
from pipeline.semminer.contract import CaptionLine, Failure, MinerSettings
from pipeline.semminer.local_model import LocalModel
from pipeline.semminer.mine import caption_dataset
from pipeline.semminer.parse import clean, cut_words
from pipeline.semminer.prompts import FOLDER, read_prompts
from pipeline.semminer.table import open_table, read_table
from tests.unit.shown_data import CLIP_IDS, make_shown

SMALL = MinerSettings(n_frames=3, max_new_tokens=8)
FAMILIES = {
    "qwen2_5_vl": tiny_mllm.save_tiny_qwen,
    "llava_onevision": tiny_mllm.save_tiny_llava,
    "video_llama_3": tiny_mllm.save_tiny_video_llama,
}


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


class Scripted:
    """An answerer that says what it is told, and remembers what it was asked."""

    name, concurrent = "scripted", False

    def __init__(self, reply):
        self.reply, self.asked = reply, []

    def identity(self):
        return {"backend": "scripted", "model": self.name}

    def answer(self, questions):
        self.asked += [question.prompt for question in questions]
        return [self.reply(question.prompt) for question in questions]


def scripted(reply, settings=SMALL, batch_size=2):
    return ChainCaptioner(Scripted(reply), read_prompts(), settings, batch_size)


def level_of(prompt):
    """Which of the shipped templates a prompt was made from."""
    signs = {"Give the main event": "shorter", "Describe the first": "anchor", "only what changes": "motion"}
    found = [level for sign, level in signs.items() if sign in prompt]
    return found[0] if found else "holi" if "coherent story" in prompt else "basic"


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


# The file


def test_a_data_set_is_captioned_from_end_to_end(folders, shown, home):
    told = []
    result = caption_dataset(
        "shown", str(folders["qwen2_5_vl"]), settings=SMALL, batch_size=3, progress=lambda *a: told.append(a)
    )
    assert (result.n_clips, result.n_new, result.subjects) == (7, 7, ("sub-01", "sub-02"))
    path = home / "captions" / "shown" / "qwen2_5_vl.jsonl"
    assert [line.clip_id for line in read_table(path)] == CLIP_IDS
    texts = read_clip_captions(path)
    assert set(texts[CLIP_IDS[3]]) == {"basic", "anchor", "motion", "holi"}
    assert told[-1] == (7, 7, CLIP_IDS[-1])
    again = caption_dataset("shown", str(folders["qwen2_5_vl"]), settings=SMALL, splits=("test",))
    assert (again.n_clips, again.n_new) == (2, 0)


def test_a_restart_goes_on_and_survives_a_last_line_that_was_cut_off(shown, tmp_path):
    out = tmp_path / "out.jsonl"
    caption_dataset("shown", "phantom", out=out, splits=("train",))
    whole = out.read_bytes()
    out.write_bytes(whole[:-25])
    result = caption_dataset("shown", "phantom", out=out)
    assert (result.n_clips, result.n_new) == (7, 5)
    assert out.read_bytes().startswith(whole)
    assert [line.clip_id for line in read_table(out)] == CLIP_IDS


def test_lines_come_into_the_order_of_the_clips(shown, tmp_path):
    out = tmp_path / "out.jsonl"
    caption_dataset("shown", "phantom", out=out, splits=("test",))
    caption_dataset("shown", "phantom", out=out)
    assert [line.clip_id for line in read_table(out)] == CLIP_IDS


def test_a_line_that_fails_leaves_the_others_in_the_file(shown, tmp_path, monkeypatch):
    broken = scripted(lambda prompt: next(answers) if level_of(prompt) in ("basic", "shorter") else "fine")
    monkeypatch.setattr("pipeline.semminer.mine.make_captioner", lambda *_: broken)
    answers = iter(["a", "", "", *"bcdefgh"])
    with pytest.raises(DataError, match=f"1 of 7 clips have no caption, such as {CLIP_IDS[1]}"):
        caption_dataset("shown", "any", out=tmp_path / "out.jsonl")
    assert [line.clip_id for line in read_table(tmp_path / "out.jsonl")] == [CLIP_IDS[0], *CLIP_IDS[2:]]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"weights": "other"}, "weights"),
        ({"prompts": "other"}, "prompts"),
        ({"n_frames": 5}, "n_frames"),
        ({"dataset": "other"}, "dataset"),
    ],
)
def test_a_file_keeps_to_one_model_and_one_set_of_prompts(tmp_path, change, word):
    identity = {"dataset": "shown", "model": "m", "weights": "w", "prompts": "p", "n_frames": 6}
    line = CaptionLine(clip_id="a", basic="b", anchor="c", motion="d", holi="e", model="m", prompts="p")
    with open_table(tmp_path / "out.jsonl", identity) as table:
        table.append(line)
    with open_table(tmp_path / "out.jsonl", identity) as table:
        assert table.lines == {"a": line}
    with (
        pytest.raises(ConfigError, match=rf"{word} '?\w+'? \(now .*another --out"),
        open_table(tmp_path / "out.jsonl", {**identity, **change}),
    ):
        pass
    (tmp_path / "out.jsonl.meta.json").unlink()
    with pytest.raises(ConfigError, match="cannot be read"), open_table(tmp_path / "out.jsonl", identity):
        pass


def test_other_weights_in_the_same_folder_are_another_model(shown, tmp_path):
    folder = tiny_mllm.save_tiny_llava(tmp_path / "model")
    caption_dataset("shown", str(folder), settings=SMALL, splits=("test",))
    tiny_mllm.save_tiny_llava(folder, seed=1)
    with pytest.raises(ConfigError, match="was begun with weights"):
        caption_dataset("shown", str(folder), settings=SMALL)


@pytest.mark.parametrize("row", ["{}", "garbage", '{"clip_id": "a"}'])
def test_a_damaged_line_in_the_middle_is_named(shown, tmp_path, row):
    out = tmp_path / "out.jsonl"
    caption_dataset("shown", "phantom", out=out)
    rows = out.read_text(encoding="utf-8").splitlines()
    out.write_text("\n".join([rows[0], row, *rows[1:]]) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2 is damaged"):
        caption_dataset("shown", "phantom", out=out)


def test_two_runs_do_not_write_one_file(shown, tmp_path):
    out, identity = tmp_path / "out.jsonl", {"model": "m"}
    with (
        open_table(out, identity),
        pytest.raises(ResourceError, match="another process writes this file"),
        open_table(out, identity),
    ):
        pass


# The phantom, and captions into a data set


def test_the_phantom_s_captions_are_those_of_its_scene_records(shown, tmp_path):
    caption_dataset("shown", "phantom", out=tmp_path / "out.jsonl")
    records = [json.loads(row) for row in (shown / "scenes.jsonl").read_text(encoding="utf-8").splitlines()]
    for line, record in zip(read_table(tmp_path / "out.jsonl"), records, strict=True):
        assert record.pop("clip_id") == line.clip_id
        assert line.texts() == scene_captions(Scene(**record))
        assert (line.model, line.prompts) == ("phantom", "scene record")


def test_a_recorded_data_set_has_no_scene_records(home):
    make_shown(home, "recorded", records=False)
    with pytest.raises(ConfigError, match="needs the scene records of a phantom"):
        caption_dataset("recorded", "phantom")


def test_new_captions_go_into_every_subject_and_the_recording_stays(shown, home):
    before = {s: load("shown", s, "all") for s in ("sub-01", "sub-02")}
    result = caption_dataset("shown", "phantom", apply=True)
    assert result.applied == {"sub-01": 7, "sub-02": 7}
    texts = read_clip_captions(home / "captions" / "shown" / "phantom.jsonl")
    for subject, old in before.items():
        new = load("shown", subject, "all")
        np.testing.assert_array_equal(new.fmri, old.fmri)
        assert list(new.captions["holi"]) == [texts[c]["holi"] for c in new.clip_ids]
        record = json.loads((shown / subject / "subject.json").read_text(encoding="utf-8"))
        assert record["captions"] == ["anchor", "basic", "holi", "motion"]
        assert record["notes"] == ["an older note", "captions by phantom, prompts scene record (7 clips)"]
    caption_dataset("shown", "phantom", apply=True, subjects=["sub-02"])
    notes = json.loads((shown / "sub-02" / "subject.json").read_text(encoding="utf-8"))["notes"]
    assert len(notes) == 2, "the note of the earlier captions stays"
    assert not [p for p in shown.iterdir() if p.name.startswith(".")]


def test_without_apply_the_data_set_stays_as_it_was(shown):
    before = (shown / "sub-01" / "train.json").read_bytes()
    caption_dataset("shown", "phantom")
    assert (shown / "sub-01" / "train.json").read_bytes() == before


def test_half_a_part_is_not_applied_and_nothing_is_written(shown):
    before = {p: p.read_bytes() for p in shown.glob("sub-*/*.json")}
    with pytest.raises(DataError, match="train: 2 of 5 clips would have no anchor caption"):
        caption_dataset("shown", "phantom", splits=("train", "test"), apply=True)
    assert {p: p.read_bytes() for p in shown.glob("sub-*/*.json")} == before
    assert caption_dataset("shown", "phantom", splits=("test",), apply=True).applied == {"sub-01": 2, "sub-02": 2}
    assert list(load("shown", "sub-01", "train").captions["basic"]) == ["old seg1 0", "old seg1 1", "old seg1 2"]


def test_captions_of_another_data_set_are_refused(shown):
    with pytest.raises(DataError, match="none of the 1 captioned clips"):
        apply_captions("shown", ["sub-01"], {"elsewhere": {"basic": "a"}}, "me")
    with pytest.raises(ConfigError, match="sub-09"):
        apply_captions("shown", ["sub-09"], {}, "me")


def test_two_clips_of_one_name_are_not_taken_for_one(shown):
    path = shown / "sub-02" / "test.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["stimulus"]["start"] = record["stimulus"]["start"][::-1]
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DataError, match="one --subject at a time"):
        caption_dataset("shown", "phantom")
    assert caption_dataset("shown", "phantom", subjects=["sub-02"]).n_clips == 7


def test_a_data_set_without_films_has_nothing_to_caption(shown):
    for path in shown.glob("sub-*/t*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**record, "stimulus": None}), encoding="utf-8")
    with pytest.raises(DataError, match="import the data set with its stimuli"):
        caption_dataset("shown", "phantom")


# The command


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        run(app, ["captions", *map(str, arguments)])
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def test_the_command_writes_the_file_and_one_json_line(capsys, shown, tmp_path):
    out = tmp_path / "out.jsonl"
    options = ("--dataset", "shown", "--model", "phantom", "--out", out, "--split", "test", "--apply", "--json")
    status, stdout, _ = call(capsys, *options)
    assert status == 0
    result = json.loads(stdout)
    assert (result["n_clips"], result["applied"]) == (2, {"sub-01": 2, "sub-02": 2})
    assert len(read_table(out)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dataset", "none", "--model", "phantom"), "no data set is called 'none'"),
        (("--dataset", "shown", "--model", "phantom", "--subject", "sub-07"), "no subject is called 'sub-07'"),
        (("--dataset", "shown", "--model", "phantom", "--split", "tests"), "--split takes train, val, test"),
        (("--dataset", "shown", "--model", "phantom", "--batch-size", "0"), "--batch-size must be 1 or more"),
        (("--dataset", "shown", "--model", " "), "--model must name a model"),
        (("--dataset", "shown", "--model", "m", "--server", "file:///etc"), "--server must be an http"),
        (("--dataset", "shown", "--model", "no/model"), "NEUROVIS_DOWNLOAD=1"),
    ],
)
def test_a_user_s_mistake_is_one_line_and_status_2(capsys, shown, options, message):
    status, _, stderr = call(capsys, *options)
    assert status == 2
    assert message in stderr.splitlines()[-1]


def test_the_command_has_help(capsys):
    status, out, _ = call(capsys, "--help")
    assert status == 0
    assert "--server" in out
