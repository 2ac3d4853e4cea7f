"""Train SemVideo's decoders: on all subjects first, then on each; SADs first, then MAD on what they predict.

The walk of :func:`train_semvideo`:

1. for each level: pre-train a SAD on all subjects -> fine-tune it on each;
2. decode Z(C_motion) of the training samples (of runs that SAD never saw, with ``condition="crossfit"``);
3. pre-train MAD on all subjects -> fine-tune it on each;
4. join each subject's networks to one checkpoint folder.

Stages that are not asked for are not trained: an ablation of training. MAD without the stage ``motion`` never sees a
text. The run can be stopped at any step and goes on exactly (:mod:`training.progress` has the protocol).

Whatever is chosen (epoch, early stop) is chosen on held-out training runs; test data never comes here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pipeline.clipset import ClipSet
from pipeline.methods.semvideo import SemVideo, SemVideoConfig, preset
from training import processes
from training.config import PLANS, Plan
from training.loop import Progress
from training.progress import ProgressLog
from training.samples import Targets, make_targets
from training.semvideo import Training
from training.stopping import Stop, Stopped, sole_owner
from training.walk import check_stages, walk

__all__ = ["Targets", "make_targets", "train_semvideo"]

ClipSets = Mapping[str, ClipSet]


def train_semvideo(
    train: ClipSets,
    val: ClipSets,
    targets: Targets,
    out: Path,
    *,
    config: SemVideoConfig | str = "semvideo-phantom",
    plan: Plan | str | None = None,
    stages: tuple[str, ...] = SemVideo.STAGES,
    resume: bool = True,
    device: str = "cpu",
    provenance: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    trackers: tuple[str, ...] = (),
    stop: Stop | None = None,
) -> dict[str, Path]:
    """Train the decoders of one or several subjects.

    Parameters
    ----------
    train, val : mapping of subject to ClipSet
        Training runs, and training runs held out to choose by; ``val`` may be empty, then the last weights are kept.
    targets : Targets
        For every clip of both.
    out : Path
        Gets ``<subject>/`` (checkpoints), ``stages/`` (logs and states), ``progress.jsonl`` and ``report.json``.
    config : SemVideoConfig or str
        Or a preset's name.
    plan : Plan or str, optional
        By default the preset's own (for a config object, the published one).
    stages : tuple of str
        Those to train; a stage left out keeps its untrained weights, and the checkpoint says which were trained.
    resume : bool
        Take up finished and half-finished stages found in ``out``.
    device : str
    provenance : mapping, optional
        Put into the checkpoints, such as ``{"dataset": "phantom"}``.
    progress : callable, optional
        Called with (done, total, what).
    trackers : tuple of str
        By accelerate's names; they write to ``tracked/``.
    stop : Stop, optional
        What signals are sent to; without it none is answered.

    Returns
    -------
    dict
        Subject to checkpoint folder.

    Raises
    ------
    ConfigError, DataError, CheckpointError
    ResourceError
        When another process trains in ``out``, or the disk is full.
    Stopped
        After a signal, with a state on disk to go on from.
    """
    stages = check_stages(stages)
    if plan is None:
        plan = config if isinstance(config, str) else "semvideo"
    common: dict[str, Any] = {"resume": resume, "device": device, "progress": progress, "trackers": trackers}
    common |= {"config": preset(config) if isinstance(config, str) else config}
    common |= {"plan": PLANS[plan] if isinstance(plan, str) else plan}

    def start(log: ProgressLog, stop: Stop) -> Training:
        processes.prepare(device)
        return Training(train, val, targets, out, stop=stop, log=log, **common)

    return _told(start, out, stages, dict(provenance or {}), stop or Stop(), resume)


def _told(
    start: Callable[[ProgressLog, Stop], Training],
    out: Path,
    stages: tuple[str, ...],
    provenance: dict[str, Any],
    stop: Stop,
    resume: bool,
) -> dict[str, Path]:
    """Train alone in ``out``, and tell in ``progress.jsonl`` how it begins and ends."""
    first = processes.rank() == 0
    with sole_owner(out) if first else nullcontext():
        log = ProgressLog(out / "progress.jsonl" if first else None)
        stop.on_force = lambda number: log.write("end", status="stopped", signal=number, exit_code=128 + number)
        try:
            training = start(log, stop)
            legs = walk(training.clipsets, training.plan, training.config, stages)
            log.run_steps = sum(leg.n_steps for leg in legs)
            told = [{**leg.words, "steps": leg.n_steps, "samples": leg.n_samples} for leg in legs]
            resumed = resume and (out / "stages").exists()
            log.write("run", pid=os.getpid(), resumed=resumed, stages=told, run_steps=log.run_steps)
            found = training.save(training.train(legs), stages, provenance)
        except Stopped as stopped:
            log.write("end", status="stopped", signal=stopped.number, exit_code=stopped.exit_code)
            raise
        except Exception as error:
            log.write("end", status="failed", message=" ".join(str(error).split()) or type(error).__name__)
            raise
        log.write("end", status="done", exit_code=0)
    return found
