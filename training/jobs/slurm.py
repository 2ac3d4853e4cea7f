"""Jobs on a Slurm cluster, through submitit: sent, looked at, cancelled; a job near its time limit is sent again.

The nodes write logs and checkpoints into the shared working folder; only the machine that submits writes the table.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.paths import ROOT
from training.jobs.progress import last_told, progress, stage_logs
from training.jobs.store import Job, Store
from training.jobs.supervisor import finish, note, output_files

WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "RESIZING", "SUSPENDED", "READY")
RUNNING = ("RUNNING", "COMPLETING")
TIMEOUT_MIN = 24 * 60
MEMORY_GB = 32
PACE = 10.0  # s between two questions to Slurm about a job


@dataclass
class Command:
    """A command line as submitit runs it on a node.

    Parameters
    ----------
    command : list of str
        Without the interpreter.
    out, err : str
        Files for its output.
    told : str
        File for its progress.
    """

    command: list[str]
    out: str
    err: str
    told: str

    def __call__(self) -> int:
        """Run the command to its end; raises where it fails, so that Slurm calls the job failed."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "NEUROVIS_PROGRESS": self.told}
        # Slurm itself starts a job again after a failed node or a preemption, and asks nobody for a checkpoint.
        again = int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0
        command = self.resumed() if again else self.command
        with open(self.out, "ab") as out, open(self.err, "ab") as err:
            done = subprocess.run(
                [sys.executable, *command], cwd=ROOT, stdout=out, stderr=err, env=environment, check=True
            )
        return done.returncode

    def resumed(self) -> list[str]:
        """Return the command that goes on from the last checkpoint; a rendering does so by itself."""
        words = [word for word in self.command if word != "--resume"]
        return [*words, "--resume"] if words[:3] == ["-m", "training", "run"] else words

    def checkpoint(self) -> Any:
        """Return what is to run after the time limit or a preemption: the same, from the last checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(Command(self.resumed(), self.out, self.err, self.told))


def check_available() -> None:
    """Raise ConfigError where this machine has no Slurm."""
    missing = [name for name in ("sbatch", "srun", "scancel", "sacct") if shutil.which(name) is None]
    if missing:
        raise ConfigError(
            f"executor slurm: {', '.join(missing)} not found; submit on a node of the cluster, or locally"
        )


def send(store: Store, job: Job, options: dict[str, Any]) -> None:
    """Hand a job to Slurm.

    Parameters
    ----------
    store : Store
    job : Job
    options : dict
        As submitit names them: ``timeout_min``, ``mem_gb``, ``cpus_per_task``, ``slurm_partition``, ...

    Raises
    ------
    ConfigError
        When Slurm, or submitit, refuses.
    """
    folder = store.job_folder(job.id)
    out, err = output_files(folder, job.attempt)
    told = folder / f"progress-{job.attempt}.jsonl"
    number = hand_over(store, job, [Command(list(job.command), str(out), str(err), str(told))], options)
    note(folder, "state", f"handed to Slurm as {number}")


def hand_over(store: Store, job: Job, commands: Sequence[Command], options: dict[str, Any]) -> str:
    """Give a job's commands to Slurm, several as one array, and return the number that Slurm gave it.

    Raises
    ------
    ConfigError
        When Slurm, or submitit, refuses.
    """
    import submitit

    values = {"timeout_min": TIMEOUT_MIN, "mem_gb": MEMORY_GB, "name": f"neurovis-{job.id}", **options}
    if job.device.startswith("cuda"):
        values.setdefault("gpus_per_node", 1)
    try:
        executor = submitit.AutoExecutor(store.job_folder(job.id) / "slurm", cluster="slurm")
        executor.update_parameters(**values)
        with executor.batch():
            sent = [executor.submit(command) for command in commands]
        number = str(sent[0].job_id).partition("_")[0]
    except (RuntimeError, ValueError, NameError, OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(f"job {job.id}: Slurm did not take it ({' '.join(str(error).split())[:300]})") from error
    store.update(job.id, slurm_id=number, message=f"Slurm job {number}")
    return number


def look(store: Store, job: Job) -> None:
    """Bring a job's row up to what Slurm and its logs say."""
    now = time.time()
    if job.slurm_id is None or now - (job.beat or 0.0) < PACE:
        return
    folder = store.job_folder(job.id)
    store.update(job.id, ("queued", "running"), beat=now)
    state = _state(job.slurm_id)
    if state in WAITING or not state:
        return
    store.update(job.id, ("queued",), state="running", started=now)
    told = last_told(folder / f"progress-{job.attempt}.jsonl")
    logs = stage_logs(Path(job.out)) if job.kind == "train" else {}
    store.update(job.id, ("running",), beat=now, progress=progress(job.stages, logs, told))
    if state not in RUNNING:
        finish(store, store.get(job.id), {"COMPLETED": 0, "FAILED": 1, "OUT_OF_MEMORY": 1}.get(state))


def _state(slurm_id: str) -> str:
    """Ask Slurm for the state of a job; empty where it does not know it yet."""
    ask = ["sacct", "-j", slurm_id, "-X", "-n", "-P", "-o", "State"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=False).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told[0].upper() if told else ""


def cancel(store: Store, job: Job) -> None:
    """Take a job back from Slurm, which sends SIGTERM and, after its own grace, SIGKILL."""
    if job.slurm_id is not None:
        subprocess.run(["scancel", job.slurm_id], check=False, capture_output=True, timeout=60)
        note(store.job_folder(job.id), "state", f"Slurm job {job.slurm_id} cancelled")
