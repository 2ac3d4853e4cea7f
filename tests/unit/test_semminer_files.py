"""SemMiner on disk: the file of captions that goes on, captions into the data set, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_mllm

from pipeline.__main__ import app
from pipeline.cli import run
from pipeline.data import load
from pipeline.data.captions import read_clip_captions
from pipeline.data.recaption import apply_captions
from pipeline.errors import ConfigError, DataError, ResourceError
from pipeline.phantom.captions import captions as scene_captions
from pipeline.phantom.scenes import Scene
from pipeline.semminer.contract import CaptionLine
from pipeline.semminer.mine import caption_dataset
from pipeline.semminer.table import open_table, read_table
from tests.unit.semminer_parts import FAMILIES, SMALL, level_of, scripted
from tests.unit.shown_data import CLIP_IDS, make_shown


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    name = "qwen2_5_vl"
    return {name: FAMILIES[name](tmp_path_factory.mktemp("models") / name)}


@pytest.fixture
def shown(home):
    return make_shown(home)


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
