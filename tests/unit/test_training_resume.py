"""States on disk, locks, signals, progress and trackers of a training."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import decoder_samples as ds
import numpy as np
import pytest
import torch

from pipeline.errors import CheckpointError, ConfigError, ResourceError
from training import tracking
from training.config import LoopConfig, Plan, TrainingConfig
from training.decoders import train_semvideo
from training.loop import Task, fit
from training.progress import ProgressLog, read_progress
from training.randomness import Randomness
from training.samples import Samples
from training.states import Pace
from training.stopping import Stop, Stopped, signals_answered, sole_owner
from training.walk import walk

LOOP = LoopConfig(epochs=3, batch_size=4, lr=0.05, ema=0.9, checkpoint_steps=1)


def noisy_task(seed: int = 0) -> Task:
    """Fit a line with noise of every kind of generator, so that a resumed run must repeat them all."""
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(3, 2))
    x = torch.randn(18, 3, generator=torch.Generator().manual_seed(1))

    def loss(rows, share, generator):
        noise = torch.randn(len(rows), 3, generator=generator) + random.random() + np.random.rand()  # noqa: NPY002
        return {"loss": (module(x[rows] + 0.1 * noise) - x[rows, :2]).pow(2).mean()}

    return Task("line", module, 18, loss, lambda: {"score": -(module(x) - x[:, :2]).pow(2).mean().item()})


def weights(task: Task) -> torch.Tensor:
    return torch.cat([value.flatten() for value in task.module.state_dict().values()])


def stopped_after(n_steps: int):
    answers = iter([False] * (n_steps - 1) + [True])
    return lambda: next(answers)


@pytest.mark.parametrize("n_steps", [1, 4, 6, 11])
def test_a_run_stopped_at_any_step_goes_on_to_the_same_weights(tmp_path, n_steps):
    whole, taken = noisy_task(), noisy_task(seed=8)
    fit(whole, LOOP, tmp_path / "a")
    assert fit(noisy_task(), LOOP, tmp_path / "b", stop=stopped_after(n_steps)).step == n_steps
    assert fit(taken, LOOP, tmp_path / "b").step == 12
    assert torch.equal(weights(whole), weights(taken))


def test_accumulated_parts_also_resume_exactly(tmp_path):
    loop = LOOP.model_copy(update={"accumulate": 2})
    whole, taken = noisy_task(), noisy_task(seed=8)
    fit(whole, loop, tmp_path / "a")
    fit(noisy_task(), loop, tmp_path / "b", stop=stopped_after(6))
    fit(taken, loop, tmp_path / "b")
    assert torch.equal(weights(whole), weights(taken))


def quiet_task() -> Task:
    """Fit a line without noise."""
    task = noisy_task()
    x = torch.arange(54.0).reshape(18, 3) / 20

    def loss(rows, share, generator):
        return {"loss": (task.module[1](x[rows]) - x[rows, :2]).pow(2).mean()}

    return Task("line", task.module[1], 18, loss)


def test_parts_of_a_step_add_up_to_the_step(tmp_path):
    whole, parts = quiet_task(), quiet_task()
    fit(whole, LOOP, tmp_path / "1")
    fit(parts, LOOP.model_copy(update={"accumulate": 2}), tmp_path / "2")
    torch.testing.assert_close(weights(whole), weights(parts))


def test_the_last_two_states_are_kept_and_one_of_a_finished_run(tmp_path):
    fit(noisy_task(), LOOP, tmp_path, stop=stopped_after(6))
    assert sorted(p.name for p in (tmp_path / "state").iterdir()) == ["step-000000005", "step-000000006"]
    fit(noisy_task(), LOOP, tmp_path)
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["step-000000012"]


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "SHA256SUMS"])
def test_a_damaged_last_state_is_passed_over_and_it_says_so(tmp_path, file):
    whole, taken = noisy_task(), noisy_task(seed=8)
    fit(whole, LOOP, tmp_path / "a")
    fit(noisy_task(), LOOP, tmp_path / "b", stop=stopped_after(6))
    path = tmp_path / "b/state/step-000000006" / file
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1  # one bit
    path.write_bytes(raw)
    log = ProgressLog(tmp_path / "progress.jsonl")
    fit(taken, LOOP, tmp_path / "b", log=log)
    notes = [line["message"] for line in read_progress(tmp_path / "progress.jsonl")[0] if line["event"] == "note"]
    assert len(notes) == 1 and "going on from step-000000005, the one before" in notes[0]
    assert torch.equal(weights(whole), weights(taken))


def test_half_written_states_are_cleared_away(tmp_path):
    fit(noisy_task(), LOOP, tmp_path, stop=stopped_after(2))
    (tmp_path / "state/.writing-x").mkdir()
    fit(noisy_task(), LOOP, tmp_path)
    assert not list((tmp_path / "state").glob(".writing*"))


def test_a_state_of_another_version_is_refused(tmp_path):
    fit(noisy_task(), LOOP, tmp_path, stop=stopped_after(1))
    path = tmp_path / "state/step-000000001"
    body = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**body, "format": 99}))
    names = ("state.safetensors", "state.json")
    sums = subprocess.run(["sha256sum", *names], cwd=path, capture_output=True, text=True, check=True).stdout
    (path / "SHA256SUMS").write_text(sums)
    with pytest.raises(CheckpointError, match="state of format 99, this version reads 2"):
        fit(noisy_task(), LOOP, tmp_path)


def test_how_often_states_are_written_may_change_what_is_trained_may_not(tmp_path):
    fit(noisy_task(), LOOP, tmp_path, stop=stopped_after(2))
    other = noisy_task()
    changed = Task(other.name, other.module, 18, other.loss, other.validate, about={"data": "others"})
    with pytest.raises(CheckpointError, match="another data"):
        fit(changed, LOOP, tmp_path)
    assert fit(noisy_task(), LOOP.model_copy(update={"checkpoint_steps": 5}), tmp_path).done


def test_states_are_written_by_the_clock(tmp_path):
    loop = LOOP.model_copy(update={"checkpoint_steps": None, "checkpoint_every": 3, "checkpoint_minutes": 1e-6})
    log = ProgressLog(tmp_path / "progress.jsonl")
    fit(noisy_task(), loop, tmp_path, log=log)
    told = [line["step"] for line in read_progress(tmp_path / "progress.jsonl")[0] if line["event"] == "checkpoint"]
    assert told == list(range(1, 13))


def test_slow_states_are_put_off_until_they_cost_little(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("training.states.time.monotonic", lambda: clock[0])
    assert Pace(10_000, 10.0).affordable(), "small ones are written after each epoch"
    pace = Pace(6_000_000_000, 10.0)  # 12 s, as long as none has been written
    assert not pace.affordable()
    clock[0] += 12 / 0.05
    assert pace.affordable()
    pace.wrote(clock[0] - 30)
    clock[0] += 599
    assert not pace.affordable()
    assert not pace.late()
    clock[0] += 2
    assert pace.affordable()
    assert pace.late()
    assert not Pace(1, None).late()


def test_a_training_with_slow_states_still_ends_with_one(tmp_path, monkeypatch):
    monkeypatch.setattr("training.loop.Pace.affordable", lambda self: False)
    log = ProgressLog(tmp_path / "progress.jsonl")
    fit(noisy_task(), LOOP.model_copy(update={"checkpoint_steps": None}), tmp_path, log=log)
    told = [line["step"] for line in read_progress(tmp_path / "progress.jsonl")[0] if line["event"] == "checkpoint"]
    assert told == [12]


def test_random_state_comes_back_from_json():
    one, other = Randomness(4), Randomness(5)
    one.begin(2, 7)
    saved = json.loads(json.dumps(one.state()))

    def draw(r):
        return [random.random(), np.random.rand(), float(torch.rand(())), float(torch.rand((), generator=r.generator))]  # noqa: NPY002

    wanted = draw(one)
    other.restore(saved)
    assert draw(other) == wanted


def test_processes_share_the_order_and_draw_apart():
    first, second = Randomness(4, 0), Randomness(4, 1)
    assert torch.equal(first.begin(1, 9), second.begin(1, 9))
    assert first.generator.initial_seed() != second.generator.initial_seed()


def test_a_second_training_in_one_folder_is_refused(tmp_path):
    code = "import sys; from training.stopping import sole_owner; from pathlib import Path\n"
    code += "with sole_owner(Path(sys.argv[1])): pass"
    with sole_owner(tmp_path):
        with sole_owner(tmp_path):
            pass
        second = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "another process is training in this folder" in second.stderr
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True).returncode == 0


def test_a_signal_outside_the_loop_stops_at_once_and_in_it_after_the_step():
    stop = Stop()
    with signals_answered(stop):
        with pytest.raises(Stopped) as caught:
            signal.raise_signal(signal.SIGTERM)
        assert caught.value.exit_code == 143
        stop.number = None
        with stop.asked():
            signal.raise_signal(signal.SIGINT)
            assert stop()
        assert stop.number == signal.SIGINT
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_step_that_does_not_end_is_cut_off():
    code = (
        "import time; from training import stopping as s; s.GRACE = 0.2\n"
        "stop = s.Stop(lambda n: print('forced', n, flush=True))\n"
        "with s.signals_answered(stop), stop.asked():\n"
        "    print('ready', flush=True); t = time.time()\n"
        "    while time.time() - t < 30: pass"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == "forced 15\n"
        assert child.wait(10) == 143


def test_the_walk_is_what_is_trained_and_progress_tells_it(tmp_path):
    train, val = ds.split()
    train_semvideo(train, val, ds.targets(), tmp_path, config="semvideo-tiny", stages=("motion",))
    lines, _ = read_progress(tmp_path / "progress.jsonl")
    names = [stage["name"] for stage in lines[0]["stages"]]
    assert (
        names
        == list(json.loads((tmp_path / "report.json").read_text()))
        == ["motion-all", "motion-sub-01", "motion-sub-02"]
    )
    assert (lines[-1]["event"], lines[-1]["status"]) == ("end", "done")
    last = [line for line in lines if line["event"] == "epoch"][-1]
    assert last["run_step"] == last["run_steps"] == lines[0]["run_steps"]
    assert last["losses"]["mse"] > 0 and 0 <= last["data_wait"] <= 1 and last["samples_per_s"] > 0
    assert last["subject"] == "sub-02" and -1 <= last["score"] <= 1


@pytest.mark.parametrize("repeats", ["separate", "average"])
def test_the_walk_counts_the_samples(repeats):
    train, _ = ds.split()
    from pipeline.methods.semvideo import CONFIGS

    plan = Plan(repeats=repeats)
    legs = {leg.name: leg for leg in walk(train, plan, CONFIGS["semvideo-tiny"], ("anchor",))}
    assert legs["anchor-all"].n_samples == len(Samples(train, ds.targets(), 1, repeats))
    assert legs["anchor-sub-02"].n_samples == len(Samples({"sub-02": train["sub-02"]}, ds.targets(), 1, repeats))


def test_a_stopped_training_says_so_and_goes_on_to_the_same_weights(tmp_path):
    train, val = ds.split(("sub-02",))
    common = {"config": "semvideo-tiny", "stages": ("anchor",)}
    train_semvideo(train, val, ds.targets(), tmp_path / "a", **common)
    stop = Stop()
    stop.number = signal.SIGTERM
    with pytest.raises(Stopped):
        train_semvideo(train, val, ds.targets(), tmp_path / "b", stop=stop, **common)
    lines, _ = read_progress(tmp_path / "b/progress.jsonl")
    assert (lines[-1]["status"], lines[-1]["exit_code"]) == ("stopped", 143)
    assert any(line["event"] == "checkpoint" and line["step"] == 1 for line in lines)
    train_semvideo(train, val, ds.targets(), tmp_path / "b", **common)
    both = [(tmp_path / x / "sub-02/model.safetensors").read_bytes() for x in "ab"]
    assert both[0] == both[1]


def test_a_torn_last_line_is_left_behind(tmp_path):
    path = tmp_path / "progress.jsonl"
    path.write_text('{"event": "run"}\n{"event": "st')
    ProgressLog(path).write("note", message="x")
    lines, offset = read_progress(path)
    assert [line["event"] for line in lines] == ["run", "note"]
    assert offset == path.stat().st_size


def test_tensorboard_gets_the_curves(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(noisy_task(), LOOP, tmp_path / "stages" / "line", trackers=tracking.trackers(None))
    events = EventAccumulator(str(tmp_path / "tracked" / "line"))
    events.Reload()
    assert [point.step for point in events.Scalars("train_loss")] == [4, 8, 12]


def test_a_tracker_that_is_not_installed_or_not_known_is_refused(monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="'wandb' is not installed"):
        tracking.trackers("wandb")
    with pytest.raises(ConfigError, match="expected one of trackio, wandb"):
        tracking.trackers("else")


@pytest.mark.parametrize("kind", [LoopConfig, Plan, TrainingConfig])
def test_every_field_of_a_config_says_what_it_is(kind):
    assert [name for name, field in kind.model_fields.items() if not field.description] == []


def test_a_disk_that_is_too_small_refuses_a_state_and_keeps_the_others(tmp_path, monkeypatch):
    fit(noisy_task(), LOOP, tmp_path, stop=stopped_after(2))
    before = sorted(p.name for p in (tmp_path / "state").iterdir())
    small = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr("pipeline.paths.shutil.disk_usage", lambda path: small)
    with pytest.raises(ResourceError, match="are needed"):
        fit(noisy_task(), LOOP, tmp_path)
    assert sorted(p.name for p in (tmp_path / "state").iterdir()) == before
    assert Path(tmp_path / "log.jsonl").is_file()
