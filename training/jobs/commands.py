"""The commands of jobs: ``python -m training submit``, ``render``, ``status``, ``logs``, ``cancel`` and ``resume``."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import Home, Json, finish, say
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from training.jobs.store import Job

Number = Annotated[int, typer.Argument(min=1, help="Number of the job")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of jobs to the command line of training."""
    for command in (submit, render, status, logs, cancel, resume):
        app.command()(command)


def submit(
    config: Annotated[Path, typer.Option("--config", help="YAML or JSON file with the fields of a training config")],
    executor: Annotated[str, typer.Option(help="local or slurm")] = "local",
    device: Annotated[str | None, typer.Option(help="In place of the config's: cpu, cuda or cuda:N")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="For Slurm, as submitit names it: slurm_partition=gpu; repeat it")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Queue a training in a process of its own; one trains per device, first come, first served."""
    from pipeline.paths import home as working_folder
    from training.config import read_config
    from training.jobs.queue import submit as send

    folder = working_folder(home)
    job = send(folder, read_config(config), executor=executor, device=device, options=_options(option))
    say(f"job {job.id} is {job.state} for {job.device}; see python -m training status {job.id}", quiet=as_json)
    finish(asdict(job), as_json)


def render(
    count: Annotated[int, typer.Option("--array", metavar="N", help="Tasks that share the clips")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="-- ARGUMENTS", help="Of python -m pipeline reconstruct, after --")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="For Slurm, as for submit; slurm_array_parallelism=4: tasks at a time")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Render clips as one Slurm array: render --array 8 -- --clips 0:1200 --out RUN; one job, resumable."""
    from pipeline.paths import home as working_folder
    from training.jobs.queue import submit_array
    from training.jobs.renders import read_arguments

    folder = working_folder(home)
    job = submit_array(folder, read_arguments(arguments or [], folder), count, _options(option))
    say(f"job {job.id}: {count} tasks are with Slurm as {job.slurm_id}", quiet=as_json)
    say(f"  see python -m training status {job.id}; whoever ends last writes manifest.json", quiet=as_json)
    finish(asdict(job), as_json)


def status(
    number: Annotated[int | None, typer.Argument(min=1, help="Number of a job; all by default")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Tell how far jobs are, the newest first."""
    from pipeline.paths import home as working_folder
    from training.jobs.queue import look, look_all

    folder = working_folder(home)
    jobs = look_all(folder) if number is None else [look(folder, number)]
    for job in jobs:
        say(f"{job.id:>4} {job.state:<9} {job.device:<7} {job.title:<32} {_told(job)}", quiet=as_json)
    if not jobs:
        say("no job was submitted yet; python -m training submit --config FILE", quiet=as_json)
    finish(asdict(jobs[0]) if number is not None else {"jobs": [asdict(job) for job in jobs]}, as_json)


def logs(
    number: Number,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show what a job did and wrote."""
    from pipeline.paths import home as working_folder
    from training.jobs.queue import log_lines, look

    folder = working_folder(home)
    shown = 0
    while True:
        active = look(folder, number).active
        lines = log_lines(folder, number)
        if active:
            # What the process writes stands at the end; it is shown once no other line can come before it.
            lines = [line for line in lines if line["kind"] != "output"]
        for line in lines[shown:]:
            stamp = time.strftime("%H:%M:%S", time.localtime(line["time"])) if line["time"] else " " * 8
            say(f"{stamp}  {line['text']}", quiet=as_json)
        shown = max(shown, len(lines))
        if not follow or not active:
            break
        time.sleep(0.5)
    finish({"id": number, "active": active, "lines": lines}, as_json)


def cancel(number: Number, home: Home = None, as_json: Json = False) -> None:
    """Stop a job; what a training has saved is kept, and resume goes on from there."""
    from pipeline.paths import home as working_folder
    from training.jobs.queue import cancel as stop

    job = stop(working_folder(home), number)
    say(f"job {job.id} is {job.state}", quiet=as_json)
    finish(asdict(job), as_json)


def resume(
    number: Number,
    option: Annotated[list[str] | None, typer.Option(help="For Slurm, as for submit")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Queue a job again that was cancelled, failed or lost; it goes on from its last checkpoint."""
    from pipeline.paths import home as working_folder
    from training.jobs.queue import resume as send

    job = send(working_folder(home), number, _options(option))
    say(f"job {job.id} is {job.state} for {job.device}, attempt {job.attempt}", quiet=as_json)
    finish(asdict(job), as_json)


def _told(job: Job) -> str:
    """Say in a few words how far a job is."""
    found = job.progress
    if job.state == "queued" or not found:
        return job.message or "waits for its turn"
    if "stage" in found:
        where = f"{found['stage']} ({found['number']} of {found['count']}): epoch {found['epoch']} of {found['total']}"
        loss = f", loss {found['loss']:.4g}" if "loss" in found else ""
        score = f", held-out score {found['score']:.4g}" if "score" in found else ""
        where += loss + score
    else:
        where = str(found.get("what", ""))
    return f"{where}; {job.message}" if job.message else where


def _options(words: list[str] | None) -> dict[str, Any]:
    """Read ``name=value`` pairs; whole numbers become numbers."""
    found: dict[str, Any] = {}
    for word in words or []:
        name, mark, value = word.partition("=")
        if not (name and mark):
            raise ConfigError(f"--option must be such as slurm_partition=gpu, got {word!r}")
        found[name] = int(value) if value.isdigit() else value
    return found
