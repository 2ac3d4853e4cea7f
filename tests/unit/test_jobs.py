"""Jobs: real supervisors and real, tiny processes, some of which are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeline.errors import ConfigError
from training.jobs import queue
from training.jobs.process import Identity, identify
from training.jobs.store import Store
from training.jobs.supervisor import GRACE

ROOT = Path(__file__).resolve().parents[2]
# Writes down when it begins and ends, and says at the end that it is complete, as commands do with --json.
TELLS = """
import json, sys, time
from pathlib import Path
name, seconds, diary = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
def note(word):
    with open(diary, "a") as stream:
        stream.write(f"{word} {name}\\n")
note("begin")
time.sleep(seconds)
note("end")
print(json.dumps({"name": name}))
"""
# Ignores the request to stop, and so does its own child.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) > 1:
    child = subprocess.Popen([sys.executable, *sys.orig_argv[1:3]], stdin=subprocess.DEVNULL)
    open(sys.argv[1], "w").write(str(child.pid))
time.sleep(60)
"""


@pytest.fixture
def store(home, monkeypatch):
    monkeypatch.setattr(queue, "SILENCE", 0.5)
    found = Store(home)
    yield found
    for job in found.all():
        who, boss = job.process, found.supervisor(job.device)
        for one in (boss, who):
            if one is not None and one.alive():
                one.signal(signal.SIGKILL)


def add(store, tmp_path, name="one", seconds=0.1, *, script=TELLS, words=None, device="cpu"):
    words = [name, str(seconds), str(tmp_path / "diary")] if words is None else words
    command = ["-c", script, *words]
    return store.add(
        kind="train", title=name, device=device, executor="local", out=str(tmp_path / name), command=command,
        config={"dataset": "phantom-tiny"}, stages=[["anchor-all", 3]],
    )  # fmt: skip


def wait(store, number, *states, seconds=20.0):
    """Wait for a state as a page would: by looking again and again."""
    deadline = time.monotonic() + seconds
    while True:
        job = queue.look(store.home, number)
        if job.state in states:
            return job
        assert time.monotonic() < deadline, f"job {number} is {job.state}, not {states}: {job.message}"
        time.sleep(0.05)


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def diary(tmp_path):
    path = tmp_path / "diary"
    return path.read_text().splitlines() if path.is_file() else []


def test_jobs_of_a_device_run_one_at_a_time_in_the_order_they_were_sent_whoever_races(store, tmp_path):
    names = ["first", "second", "third"]
    jobs = [add(store, tmp_path, name) for name in names]
    for _ in range(3):
        queue.start_supervisor(store, "cpu")
    for job in jobs:
        assert wait(store, job.id, "done").result
    assert diary(tmp_path) == [f"{word} {name}" for name in names for word in ("begin", "end")]
    assert [store.get(job.id).result["name"] for job in jobs] == names


def test_two_devices_do_not_wait_for_each_other(store, tmp_path):
    jobs = [add(store, tmp_path, device, 1.5, device=device) for device in ("cpu", "cuda:0")]
    for job in jobs:
        queue.start_supervisor(store, job.device)
    for job in jobs:
        wait(store, job.id, "done")
    assert [line.split()[0] for line in diary(tmp_path)] == ["begin", "begin", "end", "end"]


def test_a_job_outlives_the_killed_process_that_sent_it_and_its_whole_group(store, tmp_path):
    job = add(store, tmp_path, "one", 0.8)
    script = (
        "import sys, time; from pathlib import Path\n"
        "from training.jobs import queue; from training.jobs.store import Store\n"
        "queue.start_supervisor(Store(Path(sys.argv[1])), 'cpu'); print('sent', flush=True); time.sleep(60)"
    )
    sender = subprocess.Popen(
        [sys.executable, "-c", script, str(store.home)], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
    )
    assert sender.stdout.readline() == b"sent\n"
    os.killpg(sender.pid, signal.SIGKILL)
    sender.communicate()
    assert wait(store, job.id, "done").attempt == 1


def test_a_new_supervisor_takes_up_what_a_killed_one_left_running_before_it_starts_another(store, tmp_path):
    first, second = add(store, tmp_path, "first", 3.0), add(store, tmp_path, "second")
    queue.start_supervisor(store, "cpu")
    wait_for(lambda: store.get(first.id).pid)
    killed = store.supervisor("cpu")
    os.kill(killed.pid, signal.SIGKILL)
    wait_for(lambda: not killed.alive())
    assert store.get(first.id).process.alive()
    assert wait(store, first.id, "done").exit_code is None
    wait(store, second.id, "done")
    assert store.supervisor("cpu") != killed
    assert diary(tmp_path) == ["begin first", "end first", "begin second", "end second"]


def test_a_job_that_was_killed_with_its_supervisor_is_lost_and_can_be_resumed_once(store, tmp_path, monkeypatch):
    job = add(store, tmp_path, "one", 30.0)
    queue.start_supervisor(store, "cpu")
    wait_for(lambda: diary(tmp_path))
    for who in (store.supervisor("cpu"), store.get(job.id).process):
        os.kill(who.pid, signal.SIGKILL)
    lost = wait(store, job.id, "lost")
    assert "resume goes on from the last checkpoint" in lost.message
    quick = [word if word != "30.0" else "0.1" for word in lost.command]
    store.update(job.id, command=quick, kind="reconstruct")
    again = queue.resume(store.home, job.id)
    assert (again.state, again.attempt) == ("queued", 2)
    with pytest.raises(ConfigError, match="already"):
        queue.resume(store.home, job.id)
    assert wait(store, job.id, "done").attempt == 2
    with pytest.raises(ConfigError, match="is done"):
        queue.resume(store.home, job.id)


def test_a_killed_process_is_told_from_one_that_failed(store, tmp_path):
    killed = add(store, tmp_path, "killed", script="import os; os.kill(os.getpid(), 9)", words=[])
    failed = add(store, tmp_path, "failed", script="import sys; sys.exit('error: the film is missing')", words=[])
    queue.start_supervisor(store, "cpu")
    assert "signal 9" in wait(store, killed.id, "lost").message
    assert wait(store, failed.id, "failed").message == "the film is missing"


def test_cancelling_ends_a_stubborn_process_and_what_it_started_within_five_seconds(store, tmp_path):
    job = add(store, tmp_path, script=STUBBORN, words=[str(tmp_path / "child")])
    queue.start_supervisor(store, "cpu")
    wait_for(lambda: (tmp_path / "child").is_file() and (tmp_path / "child").read_text())
    time.sleep(0.3)  # until the child ignores the signal too
    child = identify(int((tmp_path / "child").read_text()))
    begun = time.monotonic()
    assert queue.cancel(store.home, job.id).state == "cancelled"
    assert GRACE < time.monotonic() - begun <= 5
    assert not store.get(job.id).process.alive()
    wait_for(lambda: not child.alive(), 1.0)


def test_cancelling_works_without_a_supervisor_and_before_the_turn_comes(store, tmp_path):
    running, waiting = add(store, tmp_path, "running", 30.0), add(store, tmp_path, "waiting")
    queue.start_supervisor(store, "cpu")
    wait_for(lambda: diary(tmp_path))
    assert queue.cancel(store.home, waiting.id).message == "cancelled before it started"
    os.kill(store.supervisor("cpu").pid, signal.SIGKILL)
    begun = time.monotonic()
    assert queue.cancel(store.home, running.id).state == "cancelled"
    assert time.monotonic() - begun < 2
    assert not store.get(running.id).process.alive()
    assert diary(tmp_path) == ["begin running"]
    with pytest.raises(ConfigError, match="cancelled already"):
        queue.cancel(store.home, running.id)


def test_a_number_that_the_system_gave_to_another_process_is_not_taken_for_the_job(store, tmp_path):
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        real = identify(stranger.pid)
        assert real.alive()
        earlier = replace(real, started=real.started - 100)
        assert not earlier.alive()
        assert not replace(real, host="elsewhere").alive()
        earlier.stop(0.1)
        job = add(store, tmp_path)
        values = {"pid": earlier.pid, "pid_started": earlier.started, "beat": time.time() - 60}
        store.update(job.id, state="running", **values)
        assert wait(store, job.id, "lost").attempt == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_zombie_counts_as_gone():
    child = subprocess.Popen([sys.executable, "-c", ""])
    who = identify(child.pid)
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert not who.alive()
    child.wait()


def test_two_jobs_may_not_write_into_one_folder(store, tmp_path):
    add(store, tmp_path, "one")
    with pytest.raises(ConfigError, match=r"job 1, which is queued, writes there"):
        add(store, tmp_path, "one")
    store.update(1, state="cancelled")
    second = add(store, tmp_path, "one")
    with pytest.raises(ConfigError, match=r"job 2, which is queued"):
        store.requeue(1, [])
    assert second.turn == 2


def test_a_job_of_another_machine_is_judged_by_its_beat_alone(store, tmp_path):
    job = add(store, tmp_path)
    now = time.time()
    values = {"pid": os.getpid(), "pid_started": 0.0, "host": "elsewhere"}
    store.update(job.id, state="running", beat=now - 60, **values)
    assert queue.look(store.home, job.id).state == "running"
    store.update(job.id, beat=now - 600)
    assert "elsewhere" in queue.look(store.home, job.id).message


def test_the_job_gets_few_threads_a_low_priority_and_a_session_of_its_own(store, tmp_path, monkeypatch):
    script = (
        "import json, os, time; time.sleep(0.4)\n"
        "print(json.dumps({'threads': os.environ['OMP_NUM_THREADS'], 'nice': os.nice(0), "
        "'own': os.getsid(0) == os.getpid(), 'job': os.environ['NEUROVIS_JOB']}))"
    )
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    job = add(store, tmp_path, script=script, words=[])
    queue.start_supervisor(store, "cpu")
    found = wait(store, job.id, "done").result
    cores = len(os.sched_getaffinity(0))
    assert found["threads"] == str(max(1, cores - 1))
    assert found["nice"] >= 10
    assert found["own"]
    assert found["job"] == str(job.id)


def test_progress_and_epochs_are_copied_while_a_job_runs(store, tmp_path):
    script = (
        "import json, os, sys, time; from pathlib import Path\n"
        "log = Path(sys.argv[1]) / 'stages' / 'anchor-all' / 'log.jsonl'; log.parent.mkdir(parents=True)\n"
        "log.write_text(json.dumps({'epoch': 2, 'train_loss': 0.75, 'val_score': 0.5}) + chr(10) + '{\"epo')\n"
        "Path(os.environ['NEUROVIS_PROGRESS']).write_text(json.dumps({'what': 'fit', 'done': 2, 'total': 3}))\n"
        "time.sleep(2.5); print('{}')"
    )
    job = add(store, tmp_path, script=script, words=[str(tmp_path / "one")])
    queue.start_supervisor(store, "cpu")
    wait_for(lambda: store.get(job.id).progress.get("stage"))
    found = store.get(job.id)
    assert found.state == "running"
    told = {"stage": "anchor-all", "epoch": 2, "total": 3, "loss": 0.75, "score": 0.5, "what": "fit"}
    assert told.items() <= found.progress.items()
    wait(store, job.id, "done")
    texts = [line["text"] for line in queue.log_lines(store.home, job.id)]
    assert sum("anchor-all: epoch 2: train_loss 0.75, val_score 0.5" in text for text in texts) == 1
    assert texts[-1] == "done"


def test_a_table_that_is_no_database_is_answered_with_a_sentence(home):
    (home / "jobs").mkdir(parents=True)
    (home / "jobs" / "jobs.sqlite").write_text("not a database, but long enough to be read as a header" * 30)
    done = subprocess.run(
        [sys.executable, "-m", "training", "status", "--home", str(home)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "the table of jobs cannot be used" in done.stderr


def test_status_lists_jobs_for_people_and_for_scripts(store, tmp_path):
    add(store, tmp_path)
    store.update(1, state="cancelled")
    done = subprocess.run(
        [sys.executable, "-m", "training", "status", "--json"], cwd=ROOT, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["jobs"][0]["state"] == "cancelled"
    assert "cancelled cpu" in done.stderr


def test_identity_of_a_process_that_is_gone_matches_none():
    assert Identity(2**22 + 5, 1.0, "elsewhere").alive() is False
    assert identify(2**22 + 5).started == 0.0
