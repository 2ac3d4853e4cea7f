"""Evaluation of whole runs: chance, controls, resuming, tests between runs, and bad input."""

from __future__ import annotations

import json
import multiprocessing
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.__main__ import app
from pipeline.cli import run as run_command
from pipeline.errors import ConfigError, DataError
from pipeline.evaluate.budget import budget_rows, error_budget
from pipeline.evaluate.command import Request, sources_of
from pipeline.evaluate.compare import compare, holm
from pipeline.evaluate.embedded import retrieval
from pipeline.evaluate.engine import evaluate, lay_cycle
from pipeline.evaluate.judging import label_from, load_judges
from pipeline.evaluate.published import ROWS
from pipeline.evaluate.settings import Settings, parse_convention
from pipeline.evaluate.sources import FolderSource, RunSource
from pipeline.evaluate.summary import Row
from pipeline.evaluate.tables import make_table, to_csv, to_latex, to_markdown
from pipeline.evaluate.work import Worker
from pipeline.flow import shuffle_test
from pipeline.frames import write_gif
from pipeline.metrics import PSNR_CAP
from pipeline.paths import PHANTOM_ASSETS
from pipeline.ssim import gaussian_ssim, uniform_ssim

SIZE = (34, 46)  # height, width
IDS = ("7", "8", "12", "30")
BOTH = ("corrected", "paper")
QUICK = Settings(shuffle=False)


def moving(rng, n=6, size=SIZE):
    """A coarse coloured pattern that moves down by two pixels a frame."""
    cells = rng.integers(0, 255, (size[0] // 4 + 6, size[1] // 4 + 6, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    return np.stack([cells[2 * k : 2 * k + size[0], : size[1]] for k in range(n)])


def pictures(folder, frames):
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i:02d}.png")


@pytest.fixture
def folders(tmp_path, rng):
    """Four clips, and reconstructions that are noisy copies."""
    truth, recon = tmp_path / "shown", tmp_path / "made"
    for clip_id in IDS:
        frames = moving(rng)
        pictures(truth / clip_id, frames)
        noise = rng.integers(-60, 60, frames.shape)
        pictures(recon / clip_id, np.clip(frames.astype(int) + noise, 0, 255).astype(np.uint8))
    return truth, recon


def moving_of(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])


def source(truth, recon):
    return FolderSource(truth, recon, None, 3.0, 3.0)


def values_of(evaluation, variant="full", convention="corrected"):
    return {s.metric: s for s in evaluation.summary if (s.variant, s.convention) == (variant, convention)}


@pytest.mark.parametrize("shape", [(24, 31, 3), (40, 23, 3)])
def test_the_fast_ssim_is_scikit_image_s(rng, shape):
    from skimage.metrics import structural_similarity

    one, other = (rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(2))
    other[::2] = one[::2]
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    gaussian = structural_similarity(one / 255.0, other / 255.0, channel_axis=-1, **how)
    assert gaussian_ssim(one, other) == pytest.approx(gaussian, abs=1e-9)
    uniform = structural_similarity(one, other, channel_axis=-1, data_range=255)
    assert uniform_ssim(one, other) == pytest.approx(uniform, abs=1e-9)


@pytest.mark.parametrize("convention", BOTH)
def test_the_truth_scores_its_maximum_and_controls_lie_below(folders, tmp_path, convention):
    for clip_id in IDS[2:]:
        (folders[0] / clip_id).rename(tmp_path / clip_id)
    settings = Settings(conventions=(convention,), controls=True, shuffle=False)
    found = evaluate(source(folders[0], folders[0]), settings, tmp_path / "out")
    for variant in ("full", "control-truth"):
        own = values_of(found, variant, convention)
        best = {"ssim": 1, "psnr": PSNR_CAP, "hue_pcc": 1, "epe": 0}
        assert {k: s.value for k, s in own.items()} == pytest.approx(best, abs=1e-6)
        assert own["psnr"].chance < 20 < own["psnr"].value
    for name in ("blurred", "grey", "reversed", "mispaired"):
        own = values_of(found, f"control-{name}", convention)
        assert own["ssim"].value < 1
        assert own["psnr"].value < PSNR_CAP
    assert values_of(found, "control-reversed", convention)["epe"].value > 1
    assert values_of(found, "control-grey")["hue_pcc"].value is None if convention == "corrected" else True


def test_a_reversed_truth_has_the_same_frames_and_another_motion(tmp_path, rng):
    frames = moving(rng)
    for name, video in (("shown", frames), ("back", frames[::-1])):
        pictures(tmp_path / name / "1", video)
        pictures(tmp_path / name / "2", video[:, ::-1])
    same = evaluate(source(tmp_path / "shown", tmp_path / "shown"), QUICK, tmp_path / "a")
    back = evaluate(source(tmp_path / "back", tmp_path / "back"), QUICK, tmp_path / "b")
    other = evaluate(source(tmp_path / "shown", tmp_path / "back"), QUICK, tmp_path / "c")
    assert values_of(same)["ssim"].value == values_of(back)["ssim"].value == pytest.approx(1)
    matched = [max(gaussian_ssim(a, b) for b in frames[::-1]) for a in frames]
    assert np.mean(matched) == pytest.approx(1)  # as a set of frames nothing changed
    assert values_of(other)["epe"].value > values_of(same)["epe"].value + 1


def test_mispaired_clips_land_on_the_stated_chance(folders, tmp_path):
    found = evaluate(source(folders[0], folders[0]), Settings(shuffle=False, controls=True), tmp_path / "out")
    for metric in ("ssim", "psnr", "epe"):
        mispaired = values_of(found, "control-mispaired")[metric]
        assert mispaired.value == pytest.approx(values_of(found)[metric].chance, rel=0.15)
        assert mispaired.chance is None
    assert values_of(found)["ssim"].n_chance == len(IDS)


def test_the_chance_of_the_shuffle_test_is_measured_on_mispaired_clips(folders, tmp_path):
    settings = Settings(n_orders=40, controls=True, chance_clips=3)
    found = evaluate(source(folders[0], folders[0]), settings, tmp_path / "out")
    own = values_of(found)["shuffle_share"]
    assert own.value == 0
    assert own.n_chance == 3
    # Every clip here moves alike, so another clip's truth is beaten as surely: a fixed one half would hide it.
    assert own.chance < 0.25
    partners = {task.index: task.before for task in lay_cycle(len(IDS), settings) if task.before is not None}
    shown = np.stack([moving_of(folders[0] / clip_id) for clip_id in source(*folders).clip_ids])
    rows = {row.clip_id: row for row in found.rows if (row.variant, row.metric) == ("full", "shuffle_share")}
    for index, before in partners.items():
        clip_id = source(*folders).clip_ids[index]
        rng = np.random.default_rng([0, zlib.crc32(f"{clip_id}|full".encode())])
        test = shuffle_test(shown[[before]], shown[[index]], rng, n_orders=40)
        assert rows[clip_id].chance == pytest.approx(test.share[0])
    assert values_of(found, "control-grey")["shuffle_share"].chance == 0
    assert values_of(found, "control-mispaired")["shuffle_share"].chance is None
    assert any("no evidence by itself" in note for note in found.notes)
    assert " over 3 clips, 4 clips" in own.line()


def test_part_results_of_older_rules_are_not_gone_on_with(monkeypatch):
    now = Settings().fingerprint()
    monkeypatch.setattr("pipeline.evaluate.settings.RULES", 1)
    assert Settings().fingerprint() != now


def test_random_embeddings_land_on_the_stated_chance(rng):
    n, pool = 240, 60
    one, other = (rng.normal(size=(n, 8)) for _ in range(2))
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, other))
    found = retrieval(one, other, Settings(conventions=BOTH, pool=pool))
    assert {name.split("_of_")[0] for name, *_ in found} == {"retrieval_top1", "retrieval_top10"}
    for _, _, values, chance in found:
        assert np.mean(values) == pytest.approx(chance, abs=4 * np.sqrt(chance / n))


def test_retrieval_in_closed_form_is_the_mean_of_draws(rng):
    n, pool = 12, 5
    made, truth = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(2, n, 3)))
    closed = next(v for name, c, v, _ in retrieval(truth, made, Settings(pool=pool)) if "recon_to_truth" in name)
    alike = made @ truth.T
    for i in range(3):
        others = np.delete(np.arange(n), i)
        draws = [alike[i, i] > alike[i, rng.choice(others, pool - 1, replace=False)].max() for _ in range(4000)]
        assert closed[i] == pytest.approx(np.mean(draws), abs=0.03)


class Killed(Exception):
    pass


def test_a_stopped_evaluation_goes_on_and_ends_the_same(folders, tmp_path):
    settings = Settings(n_orders=10)
    whole = evaluate(source(*folders), settings, tmp_path / "whole")

    def kill(done, total, what):
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        evaluate(source(*folders), settings, tmp_path / "out", progress=kill)
    table = tmp_path / "out" / "parts" / "part.jsonl"
    assert len(table.read_text().splitlines()) == 2
    with open(table, "a") as stream:
        stream.write('{"clip_id": "30", "values": [["full", "ss')  # a line that a crash cut short
    scored = []
    again = evaluate(source(*folders), settings, tmp_path / "out", progress=lambda *told: scored.append(told))
    assert [done for done, _, _ in scored] == [3, 4]
    assert again.to_dict() == whole.to_dict()
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "out" / "scores.parquet"), pd.read_parquet(tmp_path / "whole" / "scores.parquet")
    )


def test_other_settings_are_refused_or_start_over(folders, tmp_path):
    evaluate(source(*folders), QUICK, tmp_path)
    with pytest.raises(ConfigError, match="other settings or of other clips"):
        evaluate(source(*folders), Settings(shuffle=False, seed=1), tmp_path)
    evaluate(source(*folders), Settings(shuffle=False, seed=1), tmp_path, restart=True)


def test_two_processes_give_what_one_does(folders, tmp_path):
    settings = Settings(n_orders=10)
    one = evaluate(source(*folders), settings, tmp_path / "one", workers=1)
    two = evaluate(source(*folders), settings, tmp_path / "two", workers=2)
    assert one.to_dict() == two.to_dict()
    assert multiprocessing.active_children() == []


def test_the_cycle_gives_every_clip_two_other_neighbours():
    tasks = lay_cycle(7, Settings(controls=True, chance_clips=3))
    assert sorted(t.index for t in tasks) == list(range(7))
    assert [t.before is not None for t in tasks] == [True] * 3 + [False] * 4
    assert all(t.index not in (t.before, t.after) for t in tasks)
    assert sorted(t.after for t in tasks) == list(range(7))


def test_trouble_with_one_clip_is_a_sentence_and_the_others_come(folders, tmp_path, rng):
    truth, recon = folders
    (recon / "8" / "03.png").write_bytes(b"not a picture")
    pictures(truth / "99", moving(rng, 3))
    pictures(recon / "7b", moving(rng, 3))
    found = evaluate(source(truth, recon), Settings(n_orders=5), tmp_path / "out")
    assert values_of(found)["ssim"].n == len(IDS) - 1
    notes = " ".join(found.notes)
    assert "8 as full was left out" in notes
    assert "99" in notes
    assert "7b" in notes


def test_one_frame_constant_hue_and_other_sizes_still_score(tmp_path, rng):
    truth, recon = tmp_path / "shown", tmp_path / "made"
    write_gif(truth / "1.gif", moving(rng, 6), 3)
    pictures(recon / "1", moving(rng, 2, (40, 50)))
    write_gif(truth / "2.gif", np.full((6, *SIZE, 3), 90, np.uint8), 3)
    pictures(recon / "2", moving(rng, 1))
    found = evaluate(FolderSource(truth, recon, None, None, 3.0), Settings(n_orders=5), tmp_path / "out")
    own = values_of(found)
    assert (own["ssim"].n, own["hue_pcc"].n, own["epe"].n, own["shuffle_share"].n) == (2, 1, 1, 0)
    assert any("three frames" in note for note in found.notes)
    json.loads((tmp_path / "out" / "summary.json").read_text(), parse_constant=pytest.fail)


def test_missing_judges_are_a_sentence_and_no_download(tmp_path):
    judges, notes = load_judges([str(tmp_path / "nothing"), "paper"])
    assert judges == []
    assert len(notes) == 4
    assert all(note.startswith("A judge was left out: ") for note in notes)


def test_a_paired_test_by_hand():
    a = [Row(str(i), "full", "ssim", "corrected", v) for i, v in enumerate((0.5, 0.7, 0.9, 0.6, None))]
    b = [Row(str(i), "full", "ssim", "corrected", v) for i, v in enumerate((0.4, 0.5, 0.6, 0.2, 0.3))]
    test = compare(a, b)[0]
    assert test.n == 4
    assert test.difference == pytest.approx(0.25)
    assert test.p == pytest.approx(2 / 2**4)  # all four ranks on one side, of 16 signings, both tails
    assert 0.1 <= test.interval[0] < 0.25 < test.interval[1] <= 0.4


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])


def test_runs_without_a_common_clip_are_refused():
    one = [Row("a", "full", "ssim", "corrected", 0.5)]
    with pytest.raises(DataError, match="share no clip"):
        compare(one, [Row("b", "full", "ssim", "corrected", 0.5)])


def test_a_phantom_run_is_seen_by_its_judges(tmp_path):
    run = RunSource(PHANTOM_ASSETS / "runs" / "phantom-sub-01")
    settings = Settings(judges=("phantom",), shuffle=False, n_way=(2,))
    line, seen = Worker(run, settings).score(lay_cycle(len(run.clip_ids), settings)[0])
    assert {row[1] for row in line.values} == {"ssim", "psnr", "hue_pcc", "epe"}
    assert {key: value.shape for key, value in seen.items() if key.endswith("made")} == {
        "phantom object judge|full|made": (6, 24),
        "phantom motion judge|full|made": (1, 9),
    }
    assert run.labels(0)["object"] == "scissors"


def test_the_budget_of_a_shipped_run_falls_step_by_step():
    steps = error_budget(RunSource(PHANTOM_ASSETS / "runs" / "phantom-sub-01").run)
    assert [step.key for step in steps] == [
        "truth",
        "round_trip",
        "true_cues",
        "full",
        "anchor",
        "motion",
        "holi",
        "mad",
    ]
    ssim = [step.scores["ssim"].value for step in steps[:4]]
    assert ssim == sorted(ssim, reverse=True)
    rows = {(row["step"], row["metric"]): row for row in budget_rows(steps)}
    lost = rows["anchor", "object_top1"]
    assert lost["change"] == pytest.approx(lost["value"] - rows["full", "object_top1"]["value"])


def test_tables_come_in_three_dresses_with_published_rows(folders, tmp_path):
    table = make_table([evaluate(source(*folders), QUICK, tmp_path / "out")], "corrected")
    markdown, latex, comma = to_markdown(table), to_latex(table), to_csv(table)
    assert markdown.count("another convention") == len(ROWS)
    assert "orientation only" in markdown
    assert r"C\_anchor" in latex
    assert comma.splitlines()[1].startswith("made,full,corrected,")


def test_a_caption_names_one_class_or_none():
    classes = ("sea snake", "great white shark, white shark", "cat")
    assert label_from("A white shark turns.", classes) == "great white shark, white shark"
    assert label_from("a cat and a sea snake", classes) is None
    assert label_from("a category", classes) is None


@pytest.mark.parametrize("request_", [Request(), Request(runs=("nothing-here",))])
def test_what_cannot_be_found_is_a_sentence(request_, home):
    with pytest.raises(ConfigError):
        sources_of(request_, home)


def test_an_unknown_convention_is_a_sentence():
    assert parse_convention("both") == BOTH
    with pytest.raises(ConfigError, match="--convention takes"):
        parse_convention("right")


def test_the_command_writes_scores_tables_and_one_json_line(folders, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--truth", str(folders[0]), "--recon", str(folders[1]), "--fps-truth", "3", "--fps-recon", "3"]
    with pytest.raises(SystemExit) as done:
        run_command(app, ["evaluate", *options, "--no-shuffle", "--convention", "both", "--out", str(out), "--json"])
    assert done.value.code == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["runs"][0]["source"]["n_clips"] == len(IDS)
    assert "no" in facts["budget_note"]
    names = {"scores.parquet", "summary.json", "parts", *(f"table_{c}.{s}" for c in BOTH for s in ("csv", "md", "tex"))}
    assert {path.name for path in out.iterdir()} == names
    frame = pd.read_parquet(out / "scores.parquet")
    assert len(frame) == len(IDS) * 4 * 2
    assert set(frame.convention) == set(BOTH)
