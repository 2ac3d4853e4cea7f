from __future__ import annotations

import json
import subprocess
import sys

import decoder_samples as ds
import numpy as np
import pytest
import torch

from pipeline.checkpoints import load_checkpoint
from pipeline.errors import CheckpointError, ConfigError, DataError
from pipeline.methods.semvideo import CONFIGS, SAD, SADConfig
from training import processes
from training.config import LoopConfig, plan, read_config, replace
from training.decoders import train_semvideo
from training.held_out import noise_for, text_scores
from training.loop import Task, fit, learning_rate
from training.predict import fingerprint
from training.samples import Samples, Targets, averages, join_targets, sizes_of

LOOP = LoopConfig(epochs=5, batch_size=4, lr=0.05, ema=0.9)


def line_task(seed: int = 0) -> Task:
    """Fit a line with dropout, so that a resumed run must also repeat the noise."""
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(3, 2))
    x = torch.randn(17, 3, generator=torch.Generator().manual_seed(1))
    y = x @ torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]])

    def loss(rows, progress, generator):
        noisy = x[rows] + 0.1 * torch.randn(len(rows), 3, generator=generator)
        return {"loss": (module(noisy) - y[rows]).pow(2).mean()}

    return Task("line", module, 17, loss, lambda: {"score": -(module(x) - y).pow(2).mean().item()})


def weights(task: Task) -> list[torch.Tensor]:
    return [value.clone() for value in task.module.state_dict().values()]


def test_training_lowers_the_loss_and_keeps_the_best(tmp_path):
    state = fit(line_task(), LOOP, tmp_path)
    scores = [line["val_score"] for line in state.history]
    assert scores[-1] > scores[0]
    assert state.best == pytest.approx(max(scores), abs=1e-5)


def test_log_has_a_line_per_epoch_from_the_start(tmp_path):
    fit(line_task(), LOOP, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3, 4, 5]
    assert lines[-1]["step"] == 5 * 4


def test_stopped_and_resumed_run_repeats_the_curve(tmp_path):
    whole = line_task()
    straight = fit(whole, LOOP, tmp_path / "a")
    stops = iter([False] * 9 + [True])
    first = fit(line_task(), LOOP, tmp_path / "b", stop=lambda: next(stops))
    assert (first.epoch, first.batch, first.done) == (2, 2, False)
    taken = line_task(seed=9)
    resumed = fit(taken, LOOP, tmp_path / "b")
    drop = {"seconds", "data_wait"}
    curves = [[{k: v for k, v in line.items() if k not in drop} for line in s.history] for s in (straight, resumed)]
    assert curves[0] == curves[1]
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(taken), strict=True))


def test_finished_run_is_taken_up_without_training(tmp_path):
    first = line_task()
    fit(first, LOOP, tmp_path)
    again = line_task(seed=5)
    state = fit(again, LOOP, tmp_path)
    assert state.done
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(again), strict=True))


def test_state_of_another_run_is_refused(tmp_path):
    fit(line_task(), LOOP, tmp_path)
    with pytest.raises(CheckpointError, match="another seed"):
        fit(line_task(), LOOP, tmp_path, seed=3)
    with pytest.raises(CheckpointError, match="another loop"):
        fit(line_task(), LOOP.model_copy(update={"lr": 0.1}), tmp_path)


def test_damaged_state_is_refused(tmp_path):
    fit(line_task(), LOOP, tmp_path)
    (path,) = tmp_path.glob("state/*/state.safetensors")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CheckpointError, match=r"cannot be read .*, and no earlier state is whole"):
        fit(line_task(), LOOP, tmp_path)


def test_patience_stops_early(tmp_path):
    task = line_task()
    still = Task(task.name, task.module, task.n_samples, task.loss, lambda: {"score": 0.0})
    state = fit(still, LOOP.model_copy(update={"patience": 2}), tmp_path)
    assert (state.epoch, state.best_epoch, state.done) == (2, 0, True)


def test_loss_that_is_not_finite_stops_with_a_sentence(tmp_path):
    task = line_task()
    broken = Task(task.name, task.module, 17, lambda *a: {"loss": task.loss(*a)["loss"] * float("nan")})
    with pytest.raises(ConfigError, match="not finite in epoch 1"):
        fit(broken, LOOP.model_copy(update={"grad_clip": None}), tmp_path)


def test_losses_are_read_once_an_epoch_and_not_with_each_step(tmp_path, monkeypatch):
    readings = []
    read = processes.mean_of_all
    monkeypatch.setattr(processes, "mean_of_all", lambda *a: readings.append(1) or read(*a))
    state = fit(line_task(), LOOP, tmp_path)
    assert state.step > state.epoch == len(readings)


def test_random_state_of_the_caller_is_left_alone(tmp_path):
    torch.manual_seed(11)
    wanted = torch.rand(3)
    task = line_task()
    torch.manual_seed(11)
    fit(task, LOOP, tmp_path)
    assert torch.equal(torch.rand(3), wanted)


def test_schedules_reach_their_peak_and_end_low():
    cosine = [learning_rate(LoopConfig(lr=1.0), step, 11) for step in range(11)]
    assert (cosine[0], cosine[-1]) == pytest.approx((1.0, 0.0), abs=1e-9)
    one = [learning_rate(LoopConfig(lr=1.0, schedule="onecycle", warmup=0.3), step, 11) for step in range(11)]
    assert one.index(max(one)) == 3
    assert max(one) == pytest.approx(1.0)
    assert one[0] == pytest.approx(1 / 25)
    assert one[-1] < 1e-3


def test_repeats_are_separate_samples_without_the_missing_one():
    clips = {"sub-01": ds.clipset("sub-01", n_runs=2), "sub-02": ds.clipset("sub-02", n_runs=2)}
    samples = Samples(clips, ds.targets(n_runs=2), 1, "separate")
    assert len(samples) == 2 * (2 * 22 - 1)
    fmri, rows = samples.batch(torch.tensor([60, 2, 50, 7]))
    assert [x.shape for x in fmri.values()] == [(2, 31), (2, 37)]
    assert rows.tolist() == [2, 7, 60, 50]
    assert torch.equal(fmri["sub-01"][0], torch.from_numpy(clips["sub-01"].fmri[1, 0]))


def test_average_gives_one_sample_a_clip():
    clips = {"sub-01": ds.clipset(n_runs=1)}
    samples = Samples(clips, ds.targets(n_runs=1), 1, "average")
    assert len(samples) == 11
    assert torch.equal(samples.batch(torch.arange(11))[0]["sub-01"], torch.from_numpy(clips["sub-01"].mean_fmri()))


def test_mixed_repeats_lie_between_the_two():
    clips = ds.clipset(n_runs=1)
    samples = Samples({"sub-01": clips}, ds.targets(n_runs=1), 1, "mixed")
    rows = torch.arange(len(samples))
    found = samples.batch(rows, torch.Generator().manual_seed(0))[0]["sub-01"].numpy()
    own = clips.fmri[samples.clip, samples.repeat]
    other = clips.fmri[samples.clip, 1 - samples.repeat]
    lonely = samples.clip.numpy() == 3
    np.testing.assert_array_equal(found[lonely], own[lonely])
    share = ((found - own) * (other - own)).sum(1)[~lonely] / ((other - own) ** 2).sum(1)[~lonely]
    assert share.min() >= 0
    assert share.max() <= 0.5 + 1e-5
    np.testing.assert_allclose(found[~lonely], (own + (other - own) * _column(share, lonely))[~lonely], atol=1e-4)


def _column(share, lonely):
    column = np.zeros((len(lonely), 1))
    column[~lonely, 0] = share
    return column


def test_targets_without_a_clip_are_refused():
    with pytest.raises(DataError, match=r"no targets for 11 clips, the first seg3_0000"):
        Samples({"sub-01": ds.clipset()}, ds.targets(n_runs=2), 1, "separate")


def test_targets_of_another_length_are_refused():
    some = ds.targets(n_runs=1)
    with pytest.raises(DataError, match="latents must have n_clips=11 rows, got 10"):
        Targets(some.clip_ids, some.text, some.latents[:-1])


def test_joined_targets_keep_latents_only_when_all_have_them():
    first, second = ds.targets(n_runs=1), ds.targets(n_runs=2)
    assert join_targets([first, second]).latents.shape[0] == 33
    assert join_targets([first, Targets(second.clip_ids, second.text)]).latents is None


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    train, val = ds.split()
    out = tmp_path_factory.mktemp("trained")
    return out, train_semvideo(train, val, ds.targets(), out, config="semvideo-tiny", provenance={"dataset": "sample"})


def test_each_subject_gets_a_checkpoint_that_decodes(trained):
    _, paths = trained
    for subject, path in paths.items():
        checkpoint = load_checkpoint(path, method="semvideo", subject=subject)
        clips = ds.clipset(subject)
        checkpoint.check(clips)
        assert checkpoint.model.decode(clips.without_stimulus()).cues["motion_latents"].shape == (33, 6, 4, 8, 8)
        assert checkpoint.about["training"]["dataset"] == "sample"
        assert checkpoint.about["training"]["validation_runs"] == ["seg3"]


def test_every_stage_is_pretrained_and_fine_tuned(trained):
    out, _ = trained
    names = {f"{stage}-{who}" for stage in ("anchor", "motion", "holi", "mad") for who in ("all", "sub-01", "sub-02")}
    assert set(json.loads((out / "report.json").read_text())) == names


def test_trained_stages_are_not_trained_again(trained):
    out, paths = trained
    before = {p: p.stat().st_mtime_ns for p in out.glob("stages/*/state/*/state.json")}
    train, val = ds.split()
    train_semvideo(train, val, ds.targets(), out, config="semvideo-tiny")
    assert before == {p: p.stat().st_mtime_ns for p in out.glob("stages/*/state/*/state.json")}


def test_training_finds_what_the_fmri_tells(tmp_path):
    train, val = ds.split(("sub-01",), per_run=40)
    quick = LoopConfig(epochs=30, batch_size=16, lr=1e-2)
    config = replace(CONFIGS["semvideo-tiny"], {"sad": {"refiner_layers": 0, "dropout": 0.0, "lambda_softclip": 0.0}})
    chosen = replace(plan("semvideo-tiny"), {"sad": {"pretrain": quick.model_dump()}})
    train_semvideo(train, val, ds.targets(per_run=40), tmp_path, config=config, plan=chosen, stages=("anchor",))
    assert json.loads((tmp_path / "report.json").read_text())["anchor-all"]["best_score"] > 0.6


@pytest.mark.parametrize("condition", ["crossfit", "true"])
def test_mad_trains_on_other_conditions(tmp_path, condition):
    train, val = ds.split(("sub-02",))
    config = replace(CONFIGS["semvideo-tiny"], {"mad": {"condition": condition}})
    once = {"epochs": 1, "batch_size": 16}
    chosen = replace(plan("semvideo-tiny"), {"sad": {"pretrain": once}, "mad": {"pretrain": once}})
    train_semvideo(train, val, ds.targets(), tmp_path, config=config, plan=chosen, stages=("motion", "mad"))
    folds = [name for name in json.loads((tmp_path / "report.json").read_text()) if "without" in name]
    assert len(folds) == (2 if condition == "crossfit" else 0)


def test_held_out_runs_must_not_be_training_runs(tmp_path):
    train, _ = ds.split()
    with pytest.raises(DataError, match="held-out runs are also training runs"):
        train_semvideo(train, train, ds.targets(), tmp_path, config="semvideo-tiny")


def test_a_level_can_be_left_out_and_mad_trained_without_its_text(tmp_path):
    train, val = ds.split(("sub-01",))
    stages = ("mad", "anchor")
    paths = train_semvideo(train, val, ds.targets(), tmp_path, config="semvideo-tiny", stages=stages)
    assert set(json.loads((tmp_path / "report.json").read_text())) == {"anchor-all", "mad-all"}
    checkpoint = load_checkpoint(paths["sub-01"])
    assert checkpoint.about["training"]["stages"] == ["anchor", "mad"]
    cues = checkpoint.model.decode(ds.clipset(), stages=stages).cues
    np.testing.assert_array_equal(cues["motion_latents"], cues["motion_latents_null"])


def test_stages_that_are_not_known_are_refused(tmp_path):
    train, val = ds.split()
    with pytest.raises(ConfigError, match="stages are some of anchor, motion, holi, mad"):
        train_semvideo(train, val, ds.targets(), tmp_path, config="semvideo-tiny", stages=("mud",))


def test_mad_without_latents_is_refused(tmp_path):
    train, val = ds.split(("sub-01",))
    some = ds.targets()
    blind = Targets(some.clip_ids, some.text)
    with pytest.raises(DataError, match="MAD needs the latents"):
        train_semvideo(train, val, blind, tmp_path, config="semvideo-tiny", stages=("motion", "mad"))


def test_overrides_reach_nested_fields_and_are_checked():
    assert plan("semvideo", {"sad": {"pretrain": {"lr": 0.5}}}).sad.pretrain.lr == 0.5
    with pytest.raises(ConfigError, match=r"sad\.pretrain\.epochs"):
        plan("semvideo", {"sad": {"pretrain": {"epochs": 0}}})
    with pytest.raises(ConfigError, match="expected one of semvideo"):
        plan("nothing")


def test_published_plan_is_the_default():
    paper = plan("semvideo")
    assert (paper.sad.pretrain.epochs, paper.sad.pretrain.batch_size, paper.sad.pretrain.lr) == (100, 96, 1e-4)
    assert (paper.mad.pretrain.batch_size, paper.mad.pretrain.lr, paper.mad.pretrain.schedule) == (20, 3e-4, "onecycle")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset: [", "not valid YAML"),
        ("- phantom", "must hold fields"),
        ("dataset: phantom\nmehtod: x", "mehtod"),
        ("method: semvideo", "dataset"),
    ],
)
def test_bad_config_files_are_refused(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_config_reads_yaml_and_json_alike(tmp_path):
    (tmp_path / "a.yaml").write_text("dataset: phantom\nsubjects: [sub-01]\n")
    (tmp_path / "a.json").write_text('{"dataset": "phantom", "subjects": ["sub-01"]}')
    assert read_config(tmp_path / "a.yaml") == read_config(tmp_path / "a.json")


def test_command_line_says_what_is_wrong_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "training", "run", "--config", str(tmp_path / "none.yaml")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_epochs_are_chosen_by_what_is_decoded_not_by_the_guess_before_refining():
    torch.manual_seed(3)
    train, held = ds.split()
    targets = ds.targets()
    config = SADConfig(hidden=14, mlp_hidden=(18,), refiner_layers=1, refiner_heads=2, refiner_head_size=5)
    part = SAD(config, sizes_of(train, targets), 1).eval()
    part.prepare(targets.level("anchor"))
    torch.nn.init.normal_(part.refiner.outputs.weight)  # a refiner with a will of its own
    x, rows = averages(held, targets, 1)["sub-02"]
    text, noise = targets.level("anchor", rows), noise_for(part, len(x))
    with torch.inference_mode():
        found = text_scores(part, {"sub-02": x}, text, noise)
        decoded = part.space.encode(part.decode({"sub-02": x}, noise)[:, 1:]).flatten(1)
    wanted = part.space.encode(text[:, 1:]).flatten(1)
    assert found["score"] == pytest.approx(float(torch.cosine_similarity(decoded, wanted).mean()))
    assert abs(found["score"] - found["score_guess"]) > 0.01
    assert torch.equal(noise, noise_for(part, len(x)))
    plain = SAD(config.model_copy(update={"refine_steps": 0}), sizes_of(train, targets), 1)
    assert noise_for(plain, 3) is None
    assert "score_guess" not in text_scores(plain.eval(), {"sub-02": x}, text, None)


def test_other_latents_are_another_training_of_mad():
    train, _ = ds.split()
    known = ds.targets()
    other = Targets(known.clip_ids, known.text, known.latents + 1)
    assert fingerprint(train, known) == fingerprint(train, other)
    assert fingerprint(train, known, latents=True) != fingerprint(train, other, latents=True)
