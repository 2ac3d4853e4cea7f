"""What is refused before a job starts, how far a training is, who holds a device, and the way over Slurm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.data import describe, load
from pipeline.errors import ConfigError, DataError, ResourceError
from training.config import TrainingConfig, parse_config
from training.jobs import queue, slurm
from training.jobs.checks import data_bytes
from training.jobs.device import device_turn
from training.jobs.plan import check_device, stage_list
from training.jobs.progress import curves, progress, read_lines, stage_logs
from training.jobs.store import Store

ROOT = Path(__file__).resolve().parents[2]
TINY = {"dataset": "phantom-tiny", "method": "semvideo-tiny"}
SUBJECTS = ("sub-01", "sub-02")
FREE = namedtuple("FREE", "total used free")


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch):
    """What is accepted here is only queued: a supervisor would train for real."""
    monkeypatch.setattr(queue, "start_supervisor", lambda store, device: None)


@pytest.fixture(scope="module")
def imported(phantom_home, tmp_path_factory):
    """Return a working folder in which both subjects of the tiny phantom are imported."""
    folder = tmp_path_factory.mktemp("imported")
    shutil.copytree(phantom_home, folder, dirs_exist_ok=True)
    for subject in SUBJECTS:
        load("phantom-tiny", subject, "val", folder)
    return folder


def settings(**values):
    return parse_config(TINY | values, "the test")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dataset": "nowhere"}, "no data set is called 'nowhere'"),
        ({"subjects": ["sub-09"]}, "no subject sub-09, expected some of sub-01, sub-02"),
        ({"stages": ["anchor", "mad"]}, "mad needs motion"),
        ({"stages": ["mud"]}, r"stages.*mud"),
        ({"method": "semvideo-huge"}, "'semvideo-huge' is not known"),
        ({"plan_overrides": {"sad": {"pretrain": {"epochs": 0}}}}, r"sad\.pretrain\.epochs"),
        ({"method_overrides": {"sad": {"width": -1}}}, r"sad\.width"),
        ({"at": "tpu"}, "device must be cpu, cuda or cuda:N, got 'tpu'"),
        ({"at": "cuda:7"}, "device cuda:7 is not there"),
    ],
)
def test_what_cannot_go_well_is_refused_before_the_start(home, values, message):
    with pytest.raises((ConfigError, DataError, ResourceError), match=message):
        queue.submit(home, settings(**{k: v for k, v in values.items() if k != "at"}), device=values.get("at"))
    assert Store(home).all() == []


def test_an_accepted_training_waits_with_its_own_config_and_command(home):
    job = queue.submit(home, settings(stages=["motion"]))
    path = Path(job.command[job.command.index("--config") + 1])
    kept = TrainingConfig.model_validate(json.loads(path.read_text()))
    assert kept.out == str(home / "training" / "phantom-tiny-semvideo-tiny")
    assert job.command[:3] == ["-m", "training", "run"]
    assert (job.state, job.stages) == ("queued", [["motion-all", 2], ["motion-sub-01", 2], ["motion-sub-02", 2]])
    with pytest.raises(ConfigError, match="job 1, which is queued, writes there"):
        queue.submit(home, settings())


def test_a_folder_that_holds_an_earlier_run_is_kept(home, tmp_path):
    (tmp_path / "old" / "stages").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds an earlier run"):
        queue.submit(home, settings(out=str(tmp_path / "old")))


def test_too_little_disk_or_memory_is_said_before_the_start(home, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: FREE(10**9, 10**9 - 10**6, 10**6))
        with pytest.raises(ResourceError, match="1 MB are free"):
            queue.submit(home, settings())
    import psutil

    little = psutil.virtual_memory()._replace(available=10**8)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    with pytest.raises(ResourceError, match=r"0\.1 GB are free"):
        queue.submit(home, settings())


def test_a_data_set_that_vanished_is_named(home, imported):
    shutil.copytree(imported / "datasets" / "phantom-tiny", home / "datasets" / "mine", symlinks=True)
    card = home / "datasets" / "mine" / "dataset.json"
    card.write_text(card.read_text().replace("phantom-tiny", "mine"))
    (home / "datasets" / "mine" / "sub-01" / "train.safetensors").unlink()
    with pytest.raises(DataError, match=r"mine sub-01: .* holds no recordings any more"):
        queue.submit(home, settings(dataset="mine", subjects=["sub-01"]))
    assert queue.submit(home, settings(dataset="mine", subjects=["sub-02"])).state == "queued"


def test_memory_is_counted_from_voxels_clips_and_repeats(imported):
    card = describe("phantom-tiny", imported)
    voxels = {entry["subject"]: entry["n_voxels"] for entry in card.subjects}
    assert data_bytes(card, ["sub-02"]) == voxels["sub-02"] * 60 * 2 * 4
    assert data_bytes(card, SUBJECTS) == sum(voxels.values()) * 60 * 2 * 4


def test_fine_tuning_comes_once_a_subject_and_not_for_a_single_one():
    assert [name for name, _ in stage_list(settings(stages=["motion", "mad"]), SUBJECTS)] == [
        "motion-all", "motion-sub-01", "motion-sub-02", "mad-all", "mad-sub-01", "mad-sub-02",
    ]  # fmt: skip
    assert stage_list(settings(stages=["holi"]), ["sub-02"]) == [["holi-all", 2]]


def test_a_device_has_one_name():
    assert [check_device(name) for name in ("cpu", "cuda", "cuda:3")] == ["cpu", "cuda:0", "cuda:3"]


def test_progress_takes_an_early_stop_and_an_unplanned_stage_and_missing_keys():
    stages = [["anchor-all", 9], ["motion-all", 9], ["mad-all", 5]]
    logs = {
        "anchor-all": [{"epoch": 4, "train_loss": 0.5}],
        "motion-without-1-of-2": [{"epoch": 3}],
        "motion-all": [{"epoch": 1, "train_loss": 0.4, "val_score": 0.2, "step": 31}, {"epoch": 2, "note": "x"}],
    }
    found = progress(stages, logs, {"what": "fit", "done": 2, "total": 9})
    assert (found["stage"], found["number"], found["count"], found["epoch"], found["total"]) == (
        "motion-all",
        3,
        4,
        2,
        9,
    )
    assert (found["done"], found["all"]) == (9 + 3 + 2, 9 + 9 + 5 + 3)
    assert (found["loss"], found["score"], found["step"]) == (0.4, 0.2, 31)
    assert progress(stages, {}) == {"count": 3, "done": 0, "all": 23}


def test_curves_keep_every_term_and_leave_gaps_where_a_line_lacks_it():
    lines = [{"epoch": 0, "val_score": 0.1}, {"epoch": 1, "train_loss": 2.0, "seconds": 0.5}, {"no": "epoch"}]
    found = curves({"anchor-all": lines})["anchor-all"]
    assert found == {
        "epochs": [0, 1],
        "terms": {"val_score": [0.1, None], "train_loss": [None, 2.0]},
        "seconds": 0.5,
    }


def test_logs_are_read_in_the_order_they_were_written_and_a_cut_line_is_left_out(tmp_path):
    for age, name in ((20, "motion-all"), (10, "anchor-all")):
        path = tmp_path / "stages" / name / "log.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text('{"epoch": 1}\n[3]\n{"epoch": 2, "tr')
        os.utime(path, (time.time() - age, time.time() - age))
    assert list(stage_logs(tmp_path)) == ["motion-all", "anchor-all"]
    assert read_lines(path) == [{"epoch": 1}]
    assert read_lines(tmp_path / "none.jsonl") == []


def test_a_training_by_hand_is_refused_while_another_holds_the_device_and_a_job_waits(home, monkeypatch):
    told = []
    script = (
        "import sys, time; from pathlib import Path; from training.jobs.device import device_turn\n"
        "with device_turn('cuda', Path(sys.argv[1]), print): print('held', flush=True); time.sleep(1.2)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(home)], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(ResourceError, match="another training holds it"), device_turn("cuda:0", home, print):
        pass
    with device_turn("cpu", home, print):
        pass
    monkeypatch.setenv("NEUROVIS_JOB", "5")
    with device_turn("cuda:0", home, lambda *words: told.append(words)):
        assert holder.wait(5) == 0
    assert told[0] == (0, 0, "waiting: another training holds cuda:0")
    holder.stdout.close()


def test_cards_that_are_hidden_from_each_other_and_slurms_own_are_no_rivals(home, monkeypatch):
    told = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    with device_turn("cuda:0", home, print):
        locks = home / "jobs" / "locks"
        assert [p.name for p in locks.glob("*cuda-3-*")]
        script = (
            "import sys; from pathlib import Path; from training.jobs.device import device_turn\n"
            "with device_turn('cuda', Path(sys.argv[1]), print): print('held')"
        )
        for more, words in (({"CUDA_VISIBLE_DEVICES": "1"}, "held"), ({"SLURM_JOB_ID": "7"}, "held"), ({}, "")):
            found = subprocess.run(
                [sys.executable, "-c", script, str(home)], cwd=ROOT, capture_output=True, text=True,
                env={**os.environ, **more},
            )  # fmt: skip
            told.append(found.stdout.strip() == words)
    assert told == [True] * 3


def test_slurms_own_restart_goes_on_from_the_last_checkpoint(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(subprocess, "run", lambda words, **more: ran.append(words[1:]) or SimpleNamespace(returncode=0))
    training, rendering = ["-m", "training", "run", "--config", "c"], ["-m", "pipeline", "reconstruct"]
    for count in ("0", "2"):
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
        for words in (training, rendering):
            slurm.Command(words, str(tmp_path / "out"), str(tmp_path / "err"), "told")()
    assert ran == [training, rendering, [*training, "--resume"], rendering]


SBATCH = """#!{python}
import subprocess, sys
from pathlib import Path
from types import SimpleNamespace
here = Path(__file__).parent
(here / "sent").write_text(Path(sys.argv[1]).read_text())
(here / "state").write_text("PENDING")
quiet = subprocess.DEVNULL
subprocess.Popen([sys.executable, str(here / "node")], stdin=quiet, stdout=quiet, stderr=quiet)
print("Submitted batch job 41")
"""
NODE = """
import os, re, subprocess, sys
from pathlib import Path
from types import SimpleNamespace
here = Path(__file__).parent
line = next(line for line in (here / "sent").read_text().splitlines() if line.startswith("srun"))
command = sys.executable + " " + line[line.index("-u -m"):]
own = dict(os.environ, SLURM_JOB_ID="41", SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NTASKS="1",
           SLURM_JOB_NUM_NODES="1", SLURM_NODEID="0", SUBMITIT_EXECUTOR="slurm")
(here / "state").write_text("RUNNING")
done = subprocess.run(command, shell=True, env=own, capture_output=True)
(here / "log").write_bytes(done.stdout + done.stderr)
(here / "state").write_text("FAILED" if done.returncode else "COMPLETED")
"""
SACCT = """#!{python}
from pathlib import Path
from types import SimpleNamespace
print((Path(__file__).parent / "state").read_text())
"""
SCANCEL = """#!{python}
from pathlib import Path
from types import SimpleNamespace
(Path(__file__).parent / "state").write_text("CANCELLED")
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Stand in for Slurm's four commands: a batch is run at once, on this machine."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    scripts = {"sbatch": SBATCH, "sacct": SACCT, "scancel": SCANCEL, "srun": "#!{python}\n", "node": NODE}
    for name, text in scripts.items():
        (folder / name).write_text(text.replace("{python}", sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(slurm, "PACE", 0.0)
    return folder


def ended(home, number):
    deadline = time.monotonic() + 20
    while (job := queue.look(home, number)).active:
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
    return job


def test_a_job_goes_over_slurm_and_its_result_and_options_are_kept(home, cluster):
    script = "import json, os, time; print(json.dumps({'told': os.environ['NEUROVIS_PROGRESS'][-16:]}))"
    store = Store(home)
    job = store.add(
        kind="reconstruct", title="far", device="cuda:0", executor="slurm", out=str(home / "far"),
        command=["-c", script], config={},
    )  # fmt: skip
    sent = queue._send(store, job, {"slurm_partition": "brain", "timeout_min": 7})
    assert sent.slurm_id == "41"
    text = (cluster / "sent").read_text()
    assert "--partition=brain" in text
    assert "--time=7" in text
    assert "--gpus-per-node=1" in text
    done = ended(home, job.id)
    assert (done.state, done.result) == ("done", {"told": "progress-1.jsonl"})


def test_a_job_that_failed_or_was_cancelled_on_slurm_says_so(home, cluster):
    store = Store(home)
    base = {"kind": "train", "device": "cpu", "executor": "slurm", "config": {}, "stages": []}
    bad = store.add(title="bad", out="bad", command=["-c", "raise SystemExit('error: no such film')"], **base)
    queue._send(store, bad, None)
    assert ended(home, bad.id).message == "no such film"
    slow = store.add(title="slow", out="slow", command=["-c", ""], **base)
    store.update(slow.id, slurm_id="41", state="running")
    assert queue.cancel(home, slow.id).state == "cancelled"
    assert (cluster / "state").read_text() == "CANCELLED"


def test_without_slurm_the_sentence_names_what_is_missing(home, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="sbatch, srun, scancel, sacct not found"):
        queue.submit(home, settings(), executor="slurm")
    with pytest.raises(ConfigError, match="executor must be one of local, slurm"):
        queue.submit(home, settings(), executor="cloud")
