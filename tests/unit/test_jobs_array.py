"""A rendering as one Slurm array: real submitit and real, tiny tasks on a stand-in for Slurm's commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.data import load
from pipeline.errors import ConfigError, NeuroVisError
from training.jobs import array, queue, slurm
from training.jobs.renders import read_arguments
from training.jobs.store import Store

ROOT = Path(__file__).resolve().parents[2]
SBATCH = """#!{python}
import re, subprocess, sys
from pathlib import Path
here = Path(__file__).parent
text = Path(sys.argv[1]).read_text()
with open(here / "sent", "a") as stream:
    stream.write(text)
found = re.search(r"--array=0-(\\d+)", text)
count = int(found.group(1)) + 1 if found else 1
(here / "states").mkdir(exist_ok=True)
for i in range(count):
    (here / "states" / f"41_{i}" if found else here / "states" / "41").write_text("PENDING")
quiet = subprocess.DEVNULL
for i in range(count):
    command = [sys.executable, str(here / "node"), sys.argv[1], str(i) if found else ""]
    subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
print("Submitted batch job 41")
"""
NODE = """
import os, subprocess, sys
from pathlib import Path
here, task = Path(__file__).parent, sys.argv[2]
line = next(line for line in Path(sys.argv[1]).read_text().splitlines() if line.startswith("srun"))
command = sys.executable + " " + line[line.index("-u -m"):]
own = dict(os.environ, SLURM_JOB_ID=f"9{task}" if task else "41", SLURM_PROCID="0", SLURM_LOCALID="0",
           SLURM_NTASKS="1", SLURM_JOB_NUM_NODES="1", SLURM_NODEID="0", SUBMITIT_EXECUTOR="slurm")
if task:
    own |= {"SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": task}
state = here / "states" / (f"41_{task}" if task else "41")
state.write_text("RUNNING")
done = subprocess.run(command, shell=True, env=own, capture_output=True)
if state.read_text() == "RUNNING":
    state.write_text("FAILED" if done.returncode else "COMPLETED")
"""
SACCT = """#!{python}
import sys
from pathlib import Path
assert sys.argv[1:3] == ["-j", "41"] and sys.argv[-1] == "JobID,State", sys.argv
for path in sorted((Path(__file__).parent / "states").iterdir()):
    print(f"{path.name}|{path.read_text()}")
"""
SCANCEL = """#!{python}
import sys
from pathlib import Path
for path in (Path(__file__).parent / "states").glob(f"{sys.argv[1]}*"):
    path.write_text("CANCELLED by 1000")
"""
# A task of a rendering: tells its progress, waits for leave, breaks where it is told to; the last to end says so.
TASK = """
import json, os, sys, time
from pathlib import Path
here = Path(sys.argv[1]); mine, count = sys.argv[sys.argv.index("--shard") + 1].split("/")
Path(os.environ["NEUROVIS_PROGRESS"]).write_text(json.dumps({"done": 50, "total": 100, "what": "render"}) + chr(10))
print("note", mine, file=sys.stderr, flush=True)
while not (here / f"go-{mine}").exists():
    time.sleep(0.02)
if (here / f"break-{mine}").exists():
    sys.exit("error: the recording is cut short")
(here / f"done-{mine}").touch()
owed = int(count) - len(list(here.glob("done-*")))
print(json.dumps({"clip_ids": [], **({"unfinished": owed} if owed else {})}))
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Stand in for Slurm's four commands: all tasks of an array run at once, on this machine."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    scripts = {"sbatch": SBATCH, "sacct": SACCT, "scancel": SCANCEL, "srun": "#!{python}\n", "node": NODE}
    for name, text in scripts.items():
        (folder / name).write_text(text.replace("{python}", sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(slurm, "PACE", 0.0)
    yield folder
    for task in range(1, 4):  # whatever still waits for leave may go
        (tmp_path / f"go-{task}").touch()


def wanted(home, tmp_path, *words):
    found = read_arguments(["--clips", "0:7", "--out", str(tmp_path / "run"), *words], home)
    return replace(found, command=["-c", TASK, str(tmp_path)])


def until(home, number, condition):
    deadline = time.monotonic() + 30
    while not condition(job := queue.look(home, number)):
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
    return job


def go(tmp_path, *tasks):
    for task in tasks:
        (tmp_path / f"go-{task}").touch()


def test_the_tasks_are_one_array_and_one_job_that_runs_until_the_last_is_done(home, cluster, tmp_path):
    job = queue.submit_array(
        home, wanted(home, tmp_path), 3, {"slurm_partition": "brain", "slurm_array_parallelism": 2}
    )
    assert (job.kind, job.slurm_id, job.title) == ("render", "41", "run")
    sent = (cluster / "sent").read_text()
    assert sent.count("#SBATCH --array=0-2%2") == 1
    assert "--partition=brain" in sent
    assert "gpus" not in sent
    # 7 clips in three shares of 3, 2 and 2, each half done.
    half = until(home, job.id, lambda job: "3 of 3 tasks run" in job.progress.get("what", "") and "3 of 7" in str(job))
    assert (half.state, half.progress["told_done"], half.progress["told_total"]) == ("running", 3, 7)
    go(tmp_path, 1, 3)
    most = until(home, job.id, lambda job: "2 ended" in job.progress["what"])
    assert (most.state, most.progress["told_done"]) == ("running", 3 + 1 + 2)
    with pytest.raises(ConfigError, match="job 1, which is running, writes there"):
        queue.submit_array(home, wanted(home, tmp_path), 2)
    go(tmp_path, 2)
    done = until(home, job.id, lambda job: not job.active)
    assert (done.state, done.result) == ("done", {"run": str(tmp_path / "run"), "tasks": 3, "n_clips": 7})
    texts = [line["text"] for line in queue.log_lines(home, job.id)]
    assert {"task 1: note 1", "task 2: note 2", "task 3: note 3"} <= set(texts)


def test_an_array_fails_when_one_task_does_and_resume_sends_all_again(home, cluster, tmp_path):
    go(tmp_path, 1, 2, 3)
    (tmp_path / "break-2").touch()
    job = queue.submit_array(home, wanted(home, tmp_path), 3)
    failed = until(home, job.id, lambda job: not job.active)
    assert failed.state == "failed"
    assert failed.message == "1 of 3 tasks did not finish (1 FAILED); task 2: the recording is cut short"
    (tmp_path / "break-2").unlink()
    again = queue.resume(home, job.id)
    assert (again.state, again.attempt, again.command) == ("queued", 2, job.command)
    assert until(home, job.id, lambda job: not job.active).state == "done"
    assert (cluster / "sent").read_text().count("--array=0-2") == 2


def test_tasks_that_all_ended_without_one_that_saw_every_clip_are_no_finished_rendering(home, cluster, tmp_path):
    go(tmp_path, 1, 2)
    job = queue.submit_array(home, wanted(home, tmp_path), 2)
    until(home, job.id, lambda job: (tmp_path / "done-1").exists() and (tmp_path / "done-2").exists())
    job = until(home, job.id, lambda job: not job.active)
    owed = json.dumps({"clip_ids": [], "unfinished": 1})
    for task in (1, 2):
        array.task_files(Store(home).job_folder(job.id), 1, task).out.write_text(owed)
    Store(home).update(job.id, state="running")
    job = until(home, job.id, lambda job: not job.active)
    assert (job.state, "none found all clips" in job.message) == ("failed", True)


def test_cancelling_takes_the_whole_array_back_and_one_ended_by_slurm_is_lost(home, cluster, tmp_path):
    job = queue.submit_array(home, wanted(home, tmp_path), 3)
    until(home, job.id, lambda job: "3 of 3 tasks run" in job.progress.get("what", ""))
    for path in (cluster / "states").iterdir():
        path.write_text("TIMEOUT")
    lost = until(home, job.id, lambda job: not job.active)
    assert (lost.state, "3 TIMEOUT of 3" in lost.message) == ("lost", True)
    Store(home).update(job.id, state="running")
    assert queue.cancel(home, job.id).state == "cancelled"
    assert {path.read_text() for path in (cluster / "states").iterdir()} == {"CANCELLED by 1000"}
    assert queue.look(home, job.id).state == "cancelled"


def test_tasks_that_slurm_does_not_tell_of_yet_are_not_over(home, cluster, tmp_path):
    job = queue.submit_array(home, wanted(home, tmp_path), 3)
    until(home, job.id, lambda job: "3 of 3 tasks run" in job.progress.get("what", ""))
    for task, state in enumerate(("COMPLETED", None, None)):
        path = cluster / "states" / f"41_{task}"
        path.unlink() if state is None else path.write_text(state)
    found = until(home, job.id, lambda job: "1 ended" in job.progress["what"])
    assert found.state == "running"


def test_a_single_task_is_a_plain_job_with_a_card_where_the_paper_renders(home, cluster, tmp_path):
    folder = str(tmp_path)
    one = wanted(home, tmp_path, "--profile", "paper", "--checkpoint", folder, "--weights", folder)
    go(tmp_path, 1)
    job = queue.submit_array(home, one, 1)
    assert job.device == "cuda:0"
    assert "--gpus-per-node=1" in (cluster / "sent").read_text()
    assert until(home, job.id, lambda job: not job.active).state == "done"


def test_states_are_counted_over_the_ranges_that_slurm_names():
    told = "41_0|COMPLETED\n41_1|CANCELLED by 7\n41_[2-5,9%3]|PENDING\n41_[6-8]|CANCELLED by 7\n\n"
    assert array.count_states(told) == {"COMPLETED": 1, "CANCELLED": 4, "PENDING": 5}
    assert array.count_states("") == {}


@pytest.mark.parametrize(
    ("count", "words", "message"),
    [
        (3, [], "reconstruct: Missing option '--out'; see"),
        (3, ["--out", "x", "--shard", "1/3"], "--shard is given to each task by render"),
        (3, ["--out", "x", "--home", "y"], "--home is given to each task"),
        (3, ["--out", "x", "--clip", "0:3"], "No such option: --clip"),
        (3, ["--out", "x", "--batch-size", "none"], "--batch-size"),
        (3, ["--out", "x", "--clips", "some"], "--clips must be such as 0:8"),
        (3, ["--out", "x", "--without", "mud"], "--without takes"),
        (3, ["--out", "x", "--dataset", "nowhere"], "no data set is called 'nowhere'"),
        (3, ["--out", "x", "--subject", "sub-09"], "no subject sub-09, expected one of"),
        (3, ["--out", "x", "--dataset", "phantom-tiny"], "phantom-tiny, profile phantom: no decoders are shipped"),
        (3, ["--out", "x", "--checkpoint", "nowhere"], r"--checkpoint: .*nowhere is no folder"),
        (0, ["--out", "x"], "--array must be 1 to 1000 tasks, got 0"),
        (9, ["--out", "x"], "--array 9: there are 8 clips"),
        (3, ["--out", "x"], "sbatch, srun, scancel, sacct not found"),
    ],
)
def test_what_cannot_go_well_is_one_sentence_before_anything_is_sent(home, monkeypatch, count, words, message):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NeuroVisError, match=message):
        queue.submit_array(home, read_arguments(words, home), count)
    assert Store(home).all() == []


def test_clips_beyond_the_test_set_are_refused_where_the_card_tells_its_length(home, phantom_home):
    shutil.copytree(phantom_home, home)
    load("phantom-tiny", "sub-01", "test", home)
    with pytest.raises(ConfigError, match=r"clips must lie in 0\.\.\d+, got 999"):
        read_arguments(["--dataset", "phantom-tiny", "--clips", "0,999", "--out", "x"], home)


def test_paths_are_absolute_since_the_nodes_start_elsewhere(home, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    words = ["--run", "mine", "--out", "made", "--seed", "7", "--clips", "2:5"]
    found = read_arguments(words, home)
    assert found.command == [
        "-m", "pipeline", "reconstruct",
        "--out", str(tmp_path / "made"), "--clips", "2:5", "--seed", "7", "--checkpoint", str(tmp_path / "mine"),
    ]  # fmt: skip
    assert (found.out, found.n_clips, found.device) == (tmp_path / "made", 3, "cpu")


def test_the_command_ends_with_one_line_where_there_is_no_slurm(home):
    command = [sys.executable, "-m", "training", "render", "--array", "2", "--", "--out", "x"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PATH": ""})
    assert done.returncode == 2
    assert done.stderr == (
        "error: executor slurm: sbatch, srun, scancel, sacct not found; submit on a node of the cluster, or locally\n"
    )
