"""What `full_size.py` measures of training: the product's own loop on random data, and a plain loop beside it"""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.full_parts import SUBJECT, Shapes
from pipeline.clipset import ClipSet, VoxelSpace
from pipeline.methods.base import Batch, Sizes
from pipeline.methods.mad import MAD
from pipeline.methods.sad import SAD
from pipeline.methods.semvideo import SemVideoConfig, preset
from training.config import PLANS, LoopConfig, StagePlan
from training.decoders import train_semvideo
from training.loop import Task, fit, learning_rate
from training.objectives import mad_loss, sad_loss
from training.randomness import Randomness
from training.samples import Samples, Targets, sizes_of
from training.stopping import Stop, Stopped

SPREAD = 0.5  # standard deviation of the random latents and texts
N_REPEATS = 2
HELD_OUT = 0.05  # of the clips, beside the training clips, for the whole training's scores


@dataclass
class Job:
    """One decoder and random data of its shapes: ``stage`` is ``sad`` or ``mad``."""

    stage: str
    config: SemVideoConfig
    train: ClipSet
    held: ClipSet
    targets: Targets
    loop: LoopConfig
    warm: int = 5  # steps before the clock starts

    @property
    def sizes(self) -> Sizes:
        """What the decoder is built for."""
        return sizes_of({SUBJECT: self.train}, self.targets)

    def build(self, device: str = "cpu") -> SAD | MAD:
        """Return the untrained network, always the same."""
        torch.manual_seed(0)
        with torch.device(device):
            if self.stage == "mad":
                return MAD(self.config.mad, self.sizes, 1, self.config.n_frames)
            return SAD(self.config.sad, self.sizes, 1)

    @property
    def n_parameters(self) -> int:
        """Numbers in the network."""
        return sum(p.numel() for p in self.build("meta").parameters())


def make_job(stage: str, shapes: Shapes, n_clips: int | None = None) -> Job:
    """Return a decoder's job; texts and latents are kept in half precision, as stored targets are."""
    draw = np.random.default_rng(3)
    n_train = n_clips or shapes.n_clips
    n = n_train + max(2, round(HELD_OUT * n_train))
    config = preset(shapes.method)

    def normal(*shape: int) -> Any:
        return draw.standard_normal(shape, dtype=np.float32)

    text = (SPREAD * normal(n, shapes.n_tokens, shapes.d_text)).astype(np.float16)
    latents = (SPREAD * normal(n, config.n_frames, *shapes.latent)).astype(np.float16) if stage == "mad" else None
    ids = np.array([f"seg{1 + (i >= n_train)}_{i:05d}" for i in range(n)])
    clips = ClipSet(
        subject=SUBJECT,
        fmri=normal(n, N_REPEATS, shapes.n_voxels),
        voxel_ids=np.arange(shapes.n_voxels),
        space=VoxelSpace("fs_LR_32k"),
        clip_ids=ids,
        groups=np.array([name.split("_")[0] for name in ids]),
        tr=2.0,
        present=np.ones((n, N_REPEATS), bool),
        simulated=True,
    )
    plan = PLANS["semvideo"]
    loop = (plan.mad if stage == "mad" else plan.sad).pretrain
    batch = shapes.mad_batch if stage == "mad" else shapes.sad_batch
    return Job(
        stage, config, clips.take(np.arange(n_train)), clips.take(np.arange(n_train, n)),
        Targets(ids, dict.fromkeys(("anchor", "motion", "holi"), text), latents),
        loop.model_copy(update={"batch_size": batch}),
    )  # fmt: skip


class _Clock:
    """Seconds from the beginning of step ``warm`` to that of the last, the card's work included."""

    def __init__(self, device: str, warm: int, n_steps: int) -> None:
        self.device, self.warm, self.last, self.step = device, warm, n_steps - 1, 0
        self.began, self.seconds = 0.0, 0.0

    def __call__(self) -> None:
        """Be told that a step begins."""
        if self.step in (self.warm, self.last):
            sync(self.device)
            now = time.perf_counter()
            self.began, self.seconds = (now, 0.0) if self.step == self.warm else (self.began, now - self.began)
        self.step += 1

    @property
    def per_step(self) -> float:
        return self.seconds / (self.last - self.warm)


def sync(device: str) -> None:
    """Wait for the card."""
    if device != "cpu":
        torch.cuda.synchronize()


def fast(job: Job, n_steps: int, device: str, dtype: str, compiled: bool) -> dict[str, Any]:
    """Train by the product's own loop, samples and losses: :func:`training.loop.fit`."""
    samples = Samples({SUBJECT: job.train}, job.targets, 1, "separate").to(device)
    module = job.build().to(device)
    if job.stage == "mad":
        compute = mad_loss(job.targets, device, with_text=True, predicted={})(samples)
    else:
        compute = sad_loss(job.targets, device, "anchor")(samples)
    losses: list[Tensor] = []
    clock = _Clock(device, job.warm, n_steps)

    def draw(rows: Tensor, generator: torch.Generator) -> Any:
        fmri, own = samples.batch(rows % len(samples), generator)
        return {subject: x.to(device, non_blocking=True) for subject, x in fmri.items()}, own

    def loss(batch: Any, share: float, generator: torch.Generator) -> dict[str, Tensor]:
        clock()
        terms: dict[str, Tensor] = compute(module, *batch, share, generator)
        losses.append(terms["loss"].detach())
        return terms

    loop = job.loop.model_copy(
        update={
            "epochs": 1,
            "keep": "last",
            "checkpoint_minutes": None,
            "mixed_precision": {"bfloat16": "bf16", "float32": "no"}[dtype],
            "compile": compiled,
        }
    )
    task = Task(job.stage, module, n_steps * loop.batch_size, loss, draw=draw)
    with tempfile.TemporaryDirectory(prefix="neurovis-") as folder:
        fit(task, loop, Path(folder) / "stages" / job.stage, device=device)
    resident = all(values.device.type == torch.device(device).type for values in samples.values.values())
    return {
        "s_per_step": clock.per_step,
        "losses": torch.stack(losses).float().cpu().tolist(),
        "resident": resident,
    }


def plain(job: Job, n_steps: int, device: str) -> dict[str, Any]:
    """Train as released code does: a ``DataLoader``, float32, AdamW as it comes, the loss read every step."""
    module, loop = job.build().to(device).train(), job.loop
    groups = [
        {"params": [p for p in module.parameters() if p.ndim >= 2], "weight_decay": loop.weight_decay},
        {"params": [p for p in module.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=loop.lr)
    random = Randomness(0)
    rows = _Rows(job, n_steps * loop.batch_size)
    order = _Order(random.begin(0, len(rows)))
    loader = DataLoader(
        rows, loop.batch_size, sampler=order, generator=torch.Generator(), pin_memory=device != "cpu", drop_last=True
    )
    losses, clock = [], _Clock(device, job.warm, n_steps)
    for step, values in enumerate(loader):
        fmri, text, *rest = (value.to(device).float() for value in values)
        clock()
        batch = Batch({SUBJECT: fmri}, text, rest[0] if rest else None)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(loop, step, n_steps)
        loss = module.training_step(batch, step / n_steps, random.generator)["loss"]
        optimiser.zero_grad()
        loss.backward()
        if loop.grad_clip is not None:
            nn.utils.clip_grad_norm_(module.parameters(), loop.grad_clip)
        optimiser.step()
        losses.append(loss.item())
    return {"s_per_step": clock.per_step, "losses": losses}


class _Rows(Dataset):
    """One sample at a time, as a loader of the field gives them; samples come round again."""

    def __init__(self, job: Job, n: int) -> None:
        self.job, self.n = job, n
        self.samples = Samples({SUBJECT: job.train}, job.targets, 1, "separate")

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        samples, targets = self.samples, self.job.targets
        row = index % len(samples)
        clip, repeat, target = (int(x[row]) for x in (samples.clip, samples.repeat, samples.target))
        level = "motion" if self.job.stage == "mad" else "anchor"
        rest = () if targets.latents is None else (targets.latents[target],)
        return (self.job.train.fmri[clip, repeat], targets.text[level][target], *rest)


class _Order(Sampler):
    """The order of the other loop."""

    def __init__(self, order: Tensor) -> None:
        self.order = order.tolist()

    def __iter__(self):  # noqa: ANN204
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)


def whole(job: Job, epochs: int, device: str, compiled: bool, work: Path, minutes: float) -> dict[str, Any]:
    """Train one decoder from the first epoch to its checkpoint, scores and states included, by the command's own walk.

    Where ``minutes`` do not suffice it stops with a state in ``work``; another call goes on, and the times add up.
    """
    if (work / "report.json").is_file():  # of a training that came to its end
        shutil.rmtree(work)
    loop = job.loop.model_copy(update={"epochs": epochs, "compile": compiled})
    part = {"mad" if job.stage == "mad" else "sad": StagePlan(pretrain=loop, finetune=None)}
    stop, wall = Stop(), work / "wall.json"
    before = json.loads(wall.read_text(encoding="utf-8"))["seconds"] if wall.is_file() else 0.0
    timer = threading.Timer(60 * minutes, lambda: setattr(stop, "number", signal.SIGTERM))
    timer.daemon = True
    timer.start()
    began, finished = time.perf_counter(), True
    try:
        train_semvideo(
            {SUBJECT: job.train}, {SUBJECT: job.held}, job.targets, work, config=job.config,
            plan=PLANS["semvideo"].model_copy(update=part), stages=("mad" if job.stage == "mad" else "anchor",),
            device=device, stop=stop,
        )  # fmt: skip
    except Stopped:
        finished = False
    timer.cancel()
    sync(device)
    seconds = before + time.perf_counter() - began
    work.mkdir(parents=True, exist_ok=True)
    wall.write_text(json.dumps({"seconds": seconds}), encoding="utf-8")
    if not finished:
        return {"unfinished": f"after {seconds:.0f} s; call again with the same --work"}
    (leg,) = json.loads((work / "report.json").read_text(encoding="utf-8")).values()
    told = [json.loads(line)["event"] for line in (work / "progress.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "parameters": job.n_parameters,
        "samples": leg["n_samples"],
        "batch": loop.batch_size,
        "epochs": leg["epochs"],
        "mixed_precision": leg["mixed_precision"],
        "compiled": compiled,
        "seconds": round(seconds, 1),
        "seconds_in_steps": leg["seconds"],
        "states_written": told.count("checkpoint"),
    }


def floor(job: Job, bandwidth: float) -> float:
    """Return the least seconds of a step, by the bytes that it must move at ``bandwidth`` bytes a second.

    A step reads the weights twice and writes gradients once; AdamW reads weights, gradients and two moments and writes
    weights and moments: ten times the weights.
    """
    return 10 * 4 * job.n_parameters / bandwidth
