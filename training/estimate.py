"""What a training will take: memory and disk by arithmetic, time from a few measured steps of each stage."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.clipset import ClipSet
from pipeline.errors import ResourceError
from pipeline.methods.semvideo import MAD, SAD, Sizes
from pipeline.paths import check_space
from training.config import TrainingConfig
from training.inputs import Progress, Settled, check_device, open_world, settled, split_of
from training.objectives import mad_loss, sad_loss
from training.progress import ProgressLog
from training.resident import free_on_card
from training.samples import Targets, join_targets, make_targets, sizes_of
from training.semvideo import Training, alone
from training.stopping import Stop
from training.walk import ALL, Leg, walk

if TYPE_CHECKING:
    from pipeline.backbones import World

LIBRARIES = 1_000_000_000  # bytes that torch, diffusers and their friends take before anything is trained
TRIAL_STEPS = 3
_HELD_CLIPS = 32


@dataclass(frozen=True)
class LegEstimate:
    """One stage: name, steps, measured seconds per step, and seconds with scoring and states."""

    name: str
    steps: int
    seconds_per_step: float
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What a training will take.

    Parameters
    ----------
    legs : tuple of LegEstimate
    seconds : float
        Of all stages and of encoding captions and frames; without patience, which may end a stage early, and without
        the start at ridge regression.
    memory, disk : int
        Bytes at the highest.
    free_memory, free_disk : int
        Bytes now.
    parameters : int
        Numbers in the largest network.
    device : str
    """

    legs: tuple[LegEstimate, ...]
    seconds: float
    memory: int
    disk: int
    free_memory: int
    free_disk: int
    parameters: int
    device: str

    @property
    def sentence(self) -> str:
        """Say it in words."""
        hours = f"{self.seconds / 3600:.1f} hours" if self.seconds > 5400 else f"{self.seconds / 60:.1f} minutes"
        return (
            f"about {hours} on {self.device}, {self.memory / 1e9:.1f} GB of memory "
            f"({self.free_memory / 1e9:.1f} free), {self.disk / 1e9:.2f} GB of disk "
            f"({self.free_disk / 1e9:.1f} free); the largest network has {self.parameters / 1e6:.2f} million numbers"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "sentence": self.sentence}


@dataclass(frozen=True)
class Needs:
    """Bytes at the highest, by arithmetic, and numbers in the largest network.

    Where a card trains, ``memory`` is the card's and ``host`` main memory; else ``host`` is 0.
    """

    memory: int
    host: int
    disk: int
    parameters: int


def needs(found: Settled, train: Mapping[str, ClipSet], sizes: Sizes) -> Needs:
    """Reckon what a training takes.

    Where it trains, at once: a network with its gradient, both moments of AdamW, running mean, best weights and the two
    copies that scoring makes; the samples and one stage's targets. In main memory: every subject's finished networks,
    the data as read, all targets, the texts that MAD reads, a copy of the state that is being written. On disk: three
    states of the running stage (two kept, one being written), one of each finished stage, and the checkpoints.
    """
    kinds = {stage: _bytes(found, stage, sizes) for stage in found.stages}
    single = {(g, s): _bytes(found, g, alone(sizes, s)) for g in found.stages for s in train}
    memory, live, done = 0, 0, 0
    for leg in walk(train, found.plan, found.method, found.stages):
        own = kinds[leg.stage] if leg.subject == ALL else single[leg.stage, leg.subject]
        extra = (leg.loop.ema is not None) + (leg.loop.keep == "best")
        memory, live, done = max(memory, own * (6 + extra)), max(live, own * (3 + extra)), done + own
    n_clips = len({str(c) for clipset in train.values() for c in clipset.clip_ids})
    c, h, w = sizes.latent
    text, latents = 4 * n_clips * sizes.n_tokens * sizes.d_text, 4 * n_clips * found.method.n_frames * c * h * w
    read = sum(clipset.fmri.nbytes for clipset in train.values())
    samples, trained = found.method.n_volumes * read, sum(single.values())
    disk = 3 * live + done + trained // 2
    largest = max(kinds.values()) // 4
    n_samples = sum(int(clipset.present.sum()) for clipset in train.values())
    predicted = 2 * n_samples * sizes.n_tokens * sizes.d_text * 2 if "mad" in found.stages else 0  # half, and joined
    host = LIBRARIES + trained + read + 3 * text + latents + predicted
    if found.settings.device == "cpu":
        return Needs(host + memory + samples, 0, disk, largest)
    copies = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return Needs(LIBRARIES + memory + samples + text + latents, copies * (host + samples) + live, disk, largest)


def check_room(found: Settled, train: Mapping[str, ClipSet], targets: Targets) -> None:
    """Refuse a training for which the memory or the disk is too small, before it begins.

    Raises
    ------
    ResourceError
    """
    _refuse(found, needs(found, train, sizes_of(train, targets)))


def _refuse(found: Settled, needed: Needs) -> None:
    check_space(found.out, needed.disk)
    for bytes_, device in ((needed.memory, found.settings.device), (needed.host, "cpu")):
        free = free_memory(device)
        if bytes_ > free:
            raise ResourceError(
                f"{found.settings.dataset}, {found.settings.method}: training takes about {bytes_ / 1e9:.1f} GB of "
                f"memory of {device}, {free / 1e9:.1f} GB are free; take fewer subjects, a smaller network, or another "
                "machine"
            )


def free_memory(device: str) -> int:
    """Return the bytes that are free on the device."""
    if device != "cpu" and torch.cuda.is_available():
        return free_on_card(device)
    import psutil

    return int(psutil.virtual_memory().available)


def estimate(settings: TrainingConfig, home: Path | None, progress: Progress) -> Estimate:
    """Measure a few steps of each stage on a part of the data, and reckon what all of it will take.

    Parameters
    ----------
    settings : TrainingConfig
    home : Path, optional
    progress : callable
        Called with (done, total, what).

    Raises
    ------
    ResourceError
        When the memory or the disk is too small; the sentence has the estimate.
    """
    from pipeline.paths import home as working_folder

    began = time.perf_counter()
    found = settled(settings, working_folder(home))
    check_device(settings.device)
    train, val = (split_of(found, split, progress) for split in ("train", "val"))
    reading = time.perf_counter() - began
    world = open_world(settings.world, settings.device)
    few = {subject: _part(clipset, found) for subject, clipset in train.items()}
    held = {subject: clipset.take(np.arange(min(len(clipset), _HELD_CLIPS))) for subject, clipset in val.items()}
    targets, per_clip = _encode(world, [*few.values(), *held.values()], found)
    n_clips = len({str(c) for part in (train, val) for clipset in part.values() for c in clipset.clip_ids})
    needed = needs(found, train, sizes_of(few, targets))
    _refuse(found, needed)
    scale = max([len(clipset) / max(1, len(held[s])) for s, clipset in val.items()], default=1.0)
    with tempfile.TemporaryDirectory(prefix="neurovis-") as folder:
        legs = _time_legs(found, train, _trial(found, few, held, targets, Path(folder)), scale, progress)
    seconds = reading + per_clip * n_clips + sum(leg.seconds for leg in legs)
    free_disk = shutil.disk_usage(next(p for p in (found.out, *found.out.parents) if p.exists())).free
    free = free_memory(settings.device)
    return Estimate(
        tuple(legs), round(seconds, 1), needed.memory, needed.disk, free, free_disk, needed.parameters, settings.device
    )


def _bytes(found: Settled, stage: str, sizes: Sizes) -> int:
    """Return the bytes of a network's weights without making it."""
    config = found.method
    with torch.device("meta"):
        if stage == "mad":
            part: torch.nn.Module = MAD(config.mad, sizes, config.n_volumes, config.n_frames)
        else:
            part = SAD(config.sad, sizes, config.n_volumes)
    return sum(value.nbytes for value in part.state_dict().values())


def _part(clipset: ClipSet, found: Settled) -> ClipSet:
    """Return clips for a few of the largest steps that any stage takes of one subject alone."""
    loops = [p for part in (found.plan.sad, found.plan.mad) for p in (part.pretrain, part.finetune) if p]
    per_clip = max(1, int(clipset.present.sum() / len(clipset))) if found.plan.repeats != "average" else 1
    wanted = -(-TRIAL_STEPS * max(loop.batch_size for loop in loops) // per_clip)
    return clipset.take(np.arange(max(2, min(len(clipset), wanted))))


def _encode(world: World, clipsets: list[ClipSet], found: Settled) -> tuple[Targets, float]:
    """Return the targets of the clips, each once, and seconds per clip."""
    parts: list[Targets] = []
    seen: set[str] = set()
    began, n_frames = time.perf_counter(), found.method.n_frames
    for clipset in clipsets:
        new = [i for i, clip_id in enumerate(clipset.clip_ids) if str(clip_id) not in seen]
        if new:
            parts.append(make_targets(world, clipset.take(np.asarray(new, dtype=np.int64)), n_frames))
            seen |= {str(clip_id) for clip_id in clipset.clip_ids}
    return join_targets(parts), (time.perf_counter() - began) / max(1, len(seen))


def _trial(
    found: Settled, train: dict[str, ClipSet], val: dict[str, ClipSet], targets: Targets, folder: Path
) -> Training:
    trial = Training(
        train,
        val,
        targets,
        folder,
        config=found.method,
        plan=found.plan,
        resume=False,
        device=found.settings.device,
        progress=None,
        trackers=(),
        stop=Stop(),
        log=ProgressLog(None),
    )
    if "mad" in found.stages:
        sets = trial.val_sets.items()
        trial.val_text = {s: targets.level("motion", rows).to(trial.device) for s, (_, rows) in sets}
    return trial


def _time_legs(
    found: Settled, train: Mapping[str, ClipSet], trial: Training, scale: float, progress: Progress
) -> tuple[LegEstimate, ...]:
    """Time each kind of stage once (the three SADs are one kind), then reckon all of them."""
    whole, legs = walk(train, found.plan, found.method, found.stages), []
    known: dict[tuple[bool, bool], tuple[float, float]] = {}
    for done, leg in enumerate(whole):
        progress(done, len(whole), leg.name)
        kind = (leg.stage == "mad", leg.subject == ALL)
        if kind not in known:
            known[kind] = _time_leg(found, trial, leg, scale)
        step, epoch = known[kind]
        seconds = step * leg.n_steps + epoch * leg.loop.epochs
        legs.append(LegEstimate(leg.name, leg.n_steps, round(step, 5), round(seconds, 2)))
    return tuple(legs)


def _time_leg(found: Settled, trial: Training, leg: Leg, scale: float) -> tuple[float, float]:
    """Return seconds per step, and seconds per epoch for scoring and writing a state."""
    clipsets = trial.clipsets if leg.subject == ALL else {leg.subject: trial.clipsets[leg.subject]}
    sizes = trial.sizes if leg.subject == ALL else alone(trial.sizes, leg.subject)
    part = trial.new(leg.stage, sizes, found.plan.seed)
    if leg.stage == "mad":
        loss_of = mad_loss(trial.targets, trial.device, with_text="motion" in found.stages, predicted={})
    else:
        loss_of = sad_loss(trial.targets, trial.device, leg.stage)
    loop = leg.loop.model_copy(update={"epochs": 1, "patience": None, "validate_every": 1})
    once = replace(leg, loop=loop)
    trial.fit_leg(once, part, clipsets, loss_of)  # the first steps also load libraries and warm caches
    began = time.perf_counter()
    state = trial.fit_leg(once, part, clipsets, loss_of)
    others = time.perf_counter() - began - state.seconds
    held = trial.held(leg.stage, part, clipsets)
    began = time.perf_counter()
    if held and not leg.fold:
        trial.score(leg.stage, part, held)
    score = time.perf_counter() - began
    writing = max(0.0, others - 2 * score)  # scored before the first step and after the epoch
    return state.seconds / max(1, state.step), scale * score / leg.loop.validate_every + writing
