"""Renderings as one Slurm array through submitit: each task renders its share of the clips, one job holds them all.

A task runs ``python -m pipeline reconstruct ... --shard I/N`` and keeps its own output and progress beside those of
the others in the job's folder. Finished clips are kept, so a task that is sent again goes on where it stopped.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from training.jobs import slurm
from training.jobs.progress import last_result, last_told
from training.jobs.store import Job, Store
from training.jobs.supervisor import last_line, note, output_files

MOST_TASKS = 1000  # a cluster's own limit on an array (MaxArraySize) is 1001 unless it was raised
_ALIVE = (*slurm.WAITING, *slurm.RUNNING)


@dataclass(frozen=True)
class TaskFiles:
    """Where one task of an array writes: its result, its messages, its progress."""

    out: Path
    err: Path
    told: Path


def n_tasks(job: Job) -> int:
    """Return the tasks of a job that is an array; 0 for any other."""
    return int(job.config.get("array", 0)) if job.kind == "render" else 0


def task_files(folder: Path, attempt: int, task: int) -> TaskFiles:
    """Return the files of a task, counted from 1, in one attempt."""
    out, err = output_files(folder, attempt)
    told = folder / f"progress-{attempt}.{task}.jsonl"
    return TaskFiles(out.with_suffix(f".{task}.txt"), err.with_suffix(f".{task}.txt"), told)


def send(store: Store, job: Job, options: dict[str, Any]) -> None:
    """Hand a rendering to Slurm as one array.

    Parameters
    ----------
    store : Store
    job : Job
    options : dict
        As submitit names them; ``slurm_array_parallelism``: the most tasks at a time.

    Raises
    ------
    ConfigError
        When Slurm, or submitit, refuses.
    """
    folder, count = store.job_folder(job.id), n_tasks(job)
    commands = []
    for task in range(1, count + 1):
        files = task_files(folder, job.attempt, task)
        words = [*job.command, "--shard", f"{task}/{count}"]
        commands.append(slurm.Command(words, str(files.out), str(files.err), str(files.told)))
    number = slurm.hand_over(store, job, commands, options)
    note(folder, "state", f"handed to Slurm as {number}, an array of {count} tasks")


def look(store: Store, job: Job) -> None:
    """Bring a job's row up to what Slurm and the tasks' files say."""
    now = time.time()
    if job.slurm_id is None or now - (job.beat or 0.0) < slurm.PACE:
        return
    store.update(job.id, ("queued", "running"), beat=now)
    states = _states(job.slurm_id)
    over = states.total() - sum(states[name] for name in _ALIVE)
    if not over and not any(states[name] for name in slurm.RUNNING):
        return
    store.update(job.id, ("queued",), state="running", started=now)
    store.update(job.id, ("running",), beat=now, progress=_progress(store, job, states, over))
    # Slurm's accounting learns of the tasks one after the other: those it does not tell of are not over.
    if over >= n_tasks(job):
        _settle(store, job, states)


def log_files(store: Store, job: Job) -> list[tuple[str, Path]]:
    """Return what to write before each line of a task's messages, and their file."""
    folder, count = store.job_folder(job.id), n_tasks(job)
    return [(f"task {i}: ", task_files(folder, job.attempt, i).err) for i in range(1, count + 1)]


def _states(slurm_id: str) -> Counter[str]:
    """Ask Slurm how many tasks are in which state; none where it does not know the array yet."""
    ask = ["sacct", "-j", slurm_id, "-X", "-n", "-P", "-o", "JobID,State"]
    own = {**os.environ, "SLURM_BITSTR_LEN": "0"}  # else long lists of waiting tasks are cut short
    try:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=False, env=own).stdout
    except (OSError, subprocess.TimeoutExpired):
        return Counter()
    return count_states(told)


def count_states(told: str) -> Counter[str]:
    """Count the tasks in each state.

    Parameters
    ----------
    told : str
        Lines of sacct such as ``41_0|RUNNING`` and ``41_[1-3,7%2]|PENDING``.
    """
    found: Counter[str] = Counter()
    for line in told.splitlines():
        name, _, state = line.strip().partition("|")
        if name and state:
            found[state.split()[0].upper()] += _n_named(name)
    return found


def _n_named(name: str) -> int:
    """Return how many tasks ``41``, ``41_3`` or ``41_[1-3,7%2]`` names."""
    _, mark, inner = name.partition("_[")
    if not mark:
        return 1
    count = 0
    for piece in inner.rstrip("]").partition("%")[0].split(","):
        first, dash, last = piece.partition("-")
        whole = first.isdigit() and (last.isdigit() or not dash)
        count += int(last) - int(first) + 1 if whole and dash else 1
    return count


def _progress(store: Store, job: Job, states: Counter[str], over: int) -> dict[str, Any]:
    """Sum up how far the tasks are, in clips, from what each last told of its share."""
    folder, count = store.job_folder(job.id), n_tasks(job)
    total, done = int(job.config["n_clips"]), 0
    for task in range(1, count + 1):
        files = task_files(folder, job.attempt, task)
        share = len(range(task - 1, total, count))
        if last_result(files.out) is not None:
            done += share
        elif (told := last_told(files.told)) and told.get("total"):
            done += int(share * min(1.0, told["done"] / told["total"]))
    busy = sum(states[name] for name in slurm.RUNNING)
    what = f"{done} of {total} clips; {busy} of {count} tasks run, {over} ended"
    return {"what": what, "told_done": done, "told_total": total}


def _settle(store: Store, job: Job, states: Counter[str]) -> None:
    """Settle how an array ended: done where every task was, failed where one failed, else lost."""
    folder, count = store.job_folder(job.id), n_tasks(job)
    results = [last_result(task_files(folder, job.attempt, i).out) for i in range(1, count + 1)]
    left = [i for i, result in enumerate(results, 1) if result is None]
    others = ", ".join(f"{n} {name}" for name, n in sorted(states.items()) if name != "COMPLETED")
    whole = any(result is not None and "unfinished" not in result for result in results)
    last = [(i, last_line(task_files(folder, job.attempt, i).err)) for i in left]
    told = sorted((pair for pair in last if pair[1]), key=lambda pair: not pair[1].startswith("error: "))
    broken = states["FAILED"] + states["OUT_OF_MEMORY"] or any(line.startswith("error: ") for _, line in told)
    code: int | None = None
    if not others and not left and whole:
        state, message, code = "done", "", 0
    elif not others and not left:
        state, message = "failed", f"every task ended, but none found all clips in {job.out}; resume joins them"
    elif broken or not others:
        state, code = "failed", 1
        why = f"task {told[0][0]}: {told[0][1].removeprefix('error: ')}" if told else "they said nothing, see the logs"
        message = f"{len(left)} of {count} tasks did not finish{f' ({others})' if others else ''}; {why}"
    else:
        state, message = "lost", f"Slurm ended tasks ({others} of {count}); resume keeps finished clips"
    values = {"state": state, "ended": time.time(), "exit_code": code, "message": message}
    result = {"run": job.out, "tasks": count, "n_clips": job.config["n_clips"]} if state == "done" else {}
    if store.update(job.id, ("running",), **values, result=result):
        note(folder, "state", f"{state}{': ' if message else ''}{message}")


def check_count(count: int, n_clips: int) -> None:
    """Raise ConfigError for a number of tasks that makes no sense for that many clips."""
    if not 1 <= count <= MOST_TASKS:
        raise ConfigError(f"--array must be 1 to {MOST_TASKS} tasks, got {count}; choose how many render at once")
    if count > n_clips:
        raise ConfigError(f"--array {count}: there are {n_clips} clips to render; choose at most as many tasks")
