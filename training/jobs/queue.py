"""Send, watch, cancel and resume jobs: what the commands and the Train tab do."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.paths import write_json
from training.config import TrainingConfig
from training.jobs import array, slurm
from training.jobs.checks import check_training
from training.jobs.plan import STAGES, check_device, chosen_subjects, out_folder, stage_list
from training.jobs.process import start_detached
from training.jobs.progress import read_lines
from training.jobs.renders import Wanted
from training.jobs.store import Job, Store
from training.jobs.supervisor import GRACE, finish, note, output_files

SILENCE = 15.0  # s without a sign of life after which a job's supervisor is looked for
FAR_SILENCE = 120.0  # s, for a job of another machine, whose processes cannot be looked at
EXECUTORS = ("local", "slurm")


def submit(
    home: Path,
    settings: TrainingConfig,
    *,
    executor: str = "local",
    device: str | None = None,
    options: dict[str, Any] | None = None,
) -> Job:
    """Queue a training, after checking what can be checked before.

    Parameters
    ----------
    home : Path
        Working folder.
    settings : TrainingConfig
    executor : {"local", "slurm"}
    device : str, optional
        In place of the config's own: ``cpu``, ``cuda`` or ``cuda:N``.
    options : dict, optional
        Of Slurm, as submitit names them, such as ``{"slurm_partition": "gpu"}``.

    Returns
    -------
    Job
        As it is in the queue; it starts when it comes first.

    Raises
    ------
    ConfigError, DataError, ResourceError
        One sentence about the first thing that stands against it.
    """
    from pipeline.data import describe

    if executor not in EXECUTORS:
        raise ConfigError(f"executor must be one of {', '.join(EXECUTORS)}, got {executor!r}")
    place = check_device(device or settings.device)
    # The supervisor shows a job its own card alone, so that the config names no number.
    changes = {"device": place.partition(":")[0], "out": str(out_folder(settings, home))}
    settings = settings.model_copy(update=changes)
    subjects = chosen_subjects(settings, describe(settings.dataset, home))
    stages = stage_list(settings, subjects)
    check_training(settings, subjects, home, resume=False, local=executor == "local", device=place)
    if executor == "slurm":
        slurm.check_available()
    store = Store(home)
    job = store.add(
        kind="train", title=Path(str(settings.out)).name, device=place, executor=executor,
        out=str(settings.out), command=[], config=settings.model_dump(mode="json"), stages=stages,
    )  # fmt: skip
    path = store.job_folder(job.id) / "config.json"
    write_json(path, job.config)
    command = ["-m", "training", "run", "--config", str(path), "--home", str(home), "--json"]
    store.update(job.id, command=command)
    note(store.job_folder(job.id), "state", f"queued for {place}")
    return _send(store, store.get(job.id), options)


def submit_render(home: Path, number: int, subject: str, clips: str = "0:4") -> Job:
    """Queue decoding and rendering some test clips with a finished training's decoders.

    Parameters
    ----------
    home : Path
    number : int
        The training job.
    subject : str
    clips : str
        Positions in the test set, such as ``0:4``.

    Raises
    ------
    ConfigError
        When the training is not finished, or the name of the run is taken by a job under way.
    """
    store = Store(home)
    parent = store.get(number)
    if parent.kind != "train" or parent.state != "done":
        raise ConfigError(f"job {number} is no finished training ({parent.kind}, {parent.state}); wait for its end")
    if not can_render(parent):
        raise ConfigError(f"job {number} did not train the stages anchor and holi, which a rendering needs; train all")
    known = sorted((parent.result.get("checkpoints") or {}).keys())
    if subject not in known:
        raise ConfigError(f"job {number}: no decoders of {subject!r}, expected one of {', '.join(known)}")
    name = f"{parent.title}-{subject}"
    out = home / "runs" / name
    command = ["-m", "pipeline", "reconstruct", "--dataset", str(parent.config["dataset"]), "--subject", subject]
    command += ["--clips", clips, "--checkpoint", parent.out, "--out", str(out), "--home", str(home), "--json"]
    job = store.add(
        kind="reconstruct", title=name, device="cpu", executor="local", out=str(out), command=command,
        config={"dataset": parent.config["dataset"], "subject": subject, "clips": clips}, parent=number,
    )  # fmt: skip
    note(store.job_folder(job.id), "state", "queued for cpu")
    return _send(store, job, None)


def submit_array(home: Path, wanted: Wanted, count: int, options: dict[str, Any] | None = None) -> Job:
    """Send a rendering to Slurm as one array.

    Parameters
    ----------
    home : Path
        Working folder, which the nodes must see too.
    wanted : Wanted
        What to render.
    count : int
        Tasks that share the clips.
    options : dict, optional
        Of Slurm, as submitit names them.

    Raises
    ------
    ConfigError
        When there is no Slurm, the number of tasks makes no sense, or a job that is under way writes into the folder.
    """
    array.check_count(count, wanted.n_clips)
    slurm.check_available()
    store = Store(home)
    config = {"dataset": wanted.dataset, "subject": wanted.subject, "array": count, "n_clips": wanted.n_clips}
    job = store.add(
        kind="render", title=wanted.out.name, device=wanted.device, executor="slurm", out=str(wanted.out),
        command=[*wanted.command, "--home", str(home), "--json"], config=config,
    )  # fmt: skip
    note(store.job_folder(job.id), "state", f"{count} tasks for {wanted.n_clips} clips, for {wanted.device}")
    return _send(store, job, options)


def can_render(job: Job) -> bool:
    """Tell whether a training has what a rendering needs: the first frame's words and the whole story's."""
    stages = job.config.get("stages") or STAGES
    return job.state == "done" and {"anchor", "holi"} <= set(stages)


def cancel(home: Path, number: int) -> Job:
    """Stop a job: one that waits leaves the queue, one that runs is asked to end, and ended after a grace.

    Returns within about 5 s; what a training had saved is kept.
    """
    store = Store(home)
    now = time.time()
    gone = {"state": "cancelled", "ended": now, "stop_asked": now, "message": "cancelled before it started"}
    job = store.get(number)
    if job.executor == "slurm" and job.active:
        slurm.cancel(store, job)
        store.update(number, ("queued", "running"), **{**gone, "message": "cancelled"})
    elif not store.update(number, ("queued",), **gone) and store.update(number, ("running",), stop_asked=now):
        note(store.job_folder(number), "state", "asked to stop")
        _wait_for_end(store, number)
    elif job.state == "queued":
        note(store.job_folder(number), "state", "cancelled before it started")
    else:
        raise ConfigError(f"job {number} is {job.state} already; there is nothing to cancel")
    return store.get(number)


def resume(home: Path, number: int, options: dict[str, Any] | None = None) -> Job:
    """Queue a job again that was cancelled, failed or lost; a training goes on from its last checkpoint.

    Raises
    ------
    ConfigError
        When it is under way or done, or another job writes into its folder.
    """
    store = Store(home)
    job = look(home, number)
    if job.state == "done":
        raise ConfigError(f"job {number} is done; submit its config with another `out` to train again")
    if job.active:
        raise ConfigError(f"job {number} is {job.state} already; wait for it, or cancel it first")
    command = [word for word in job.command if word != "--resume"]
    if job.kind == "train":
        settings = TrainingConfig.model_validate(job.config)
        from pipeline.data import describe

        subjects = chosen_subjects(settings, describe(settings.dataset, home))
        check_training(settings, subjects, home, resume=True, local=job.executor == "local", device=job.device)
        command.append("--resume")
    job = store.requeue(number, command)
    note(store.job_folder(number), "state", f"queued again for {job.device}, attempt {job.attempt}")
    return _send(store, job, options)


def look(home: Path, number: int) -> Job:
    """Return one job as it is now."""
    look_all(home)
    return Store(home).get(number)


def look_all(home: Path) -> list[Job]:
    """Return all jobs as they are now, the newest first.

    Whoever looks also mends: a job whose supervisor fell silent and whose process is gone is marked as lost, one whose
    process still runs gets a new supervisor, and so does a queue that nobody works off.
    """
    store = Store(home)
    for job in store.active():
        if job.executor == "slurm":
            (array if array.n_tasks(job) else slurm).look(store, job)
        elif job.process is not None and not job.process.here:
            _look_far(store, job)
    for device in {job.device for job in store.active() if job.executor == "local"}:
        _look_at_queue(store, device)
    return store.all()


def _look_at_queue(store: Store, device: str) -> None:
    """Mend what a supervisor that was killed left behind."""
    now = time.time()
    silent = [j for j in store.active(device) if now - (j.beat or j.queued) > SILENCE]
    who = store.supervisor(device)
    if not silent or (who is not None and who.alive()):
        return
    for job in silent:
        if job.state == "running" and (job.process is None or not job.process.alive()):
            finish(store, job, None)
    if store.active(device):
        start_supervisor(store, device)


def _look_far(store: Store, job: Job) -> None:
    """Mark a job of another machine as lost after a long silence."""
    if job.state == "running" and time.time() - (job.beat or job.queued) > FAR_SILENCE:
        told = f"no sign of life from {job.host} for {FAR_SILENCE:.0f} s; resume goes on from the last checkpoint"
        store.update(job.id, ("running",), state="lost", ended=time.time(), message=told)


def _send(store: Store, job: Job, options: dict[str, Any] | None) -> Job:
    if job.executor == "slurm":
        try:
            (array if array.n_tasks(job) else slurm).send(store, job, options or {})
        except ConfigError as error:
            store.update(job.id, state="failed", ended=time.time(), message=str(error))
            raise
    else:
        start_supervisor(store, job.device)
    return store.get(job.id)


def start_supervisor(store: Store, device: str) -> subprocess.Popen[bytes]:
    """Start a process that works off a device's queue; it leaves at once where there is one already."""
    log = store.folder / "supervisors.txt"
    command = [sys.executable, "-m", "training.jobs.supervisor", str(store.home), device]
    return start_detached(command, log, log)


def _wait_for_end(store: Store, number: int) -> None:
    """Wait until a job that was asked to stop has stopped; end it oneself where its supervisor does not."""
    deadline = time.monotonic() + GRACE + 0.5
    while store.get(number).state == "running":
        job = store.get(number)
        boss = store.supervisor(job.device)
        alone = boss is None or not boss.alive()
        if time.monotonic() > deadline or alone:
            if job.process is not None and not job.process.stop(GRACE if alone else 0.0):
                return
            finish(store, job, None)
        time.sleep(0.05)


def log_lines(home: Path, number: int) -> list[dict[str, Any]]:
    """Return a job's log: what its supervisor noted, then what the last attempt wrote, oldest first.

    Returns
    -------
    list of dict
        ``time`` (seconds since 1970, or None), ``kind`` (``state``, ``epoch`` or ``output``) and ``text``.
    """
    store = Store(home)
    job = store.get(number)
    folder = store.job_folder(number)
    lines = [{**line, "text": line.get("text") or _epoch_text(line)} for line in read_lines(folder / "log.jsonl")]
    written = array.log_files(store, job) if array.n_tasks(job) else [("", output_files(folder, job.attempt)[1])]
    for who, err in written:
        texts = err.read_text(encoding="utf-8", errors="replace").splitlines() if err.is_file() else []
        lines += [{"time": None, "kind": "output", "text": f"{who}{text}"} for text in texts if text.strip()]
    return lines


def _epoch_text(line: dict[str, Any]) -> str:
    """Say what one epoch gave."""
    values = {k: v for k, v in line.items() if k.startswith(("train_", "val_", "lr")) and isinstance(v, int | float)}
    told = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
    return f"{line.get('stage', '')}: epoch {line.get('epoch', '?')}: {told}"
