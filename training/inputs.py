"""What a training config names, read: settings in full, clip sets, and the targets of their clips."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError, DataError
from training.config import Plan, TrainingConfig, plan, replace

if TYPE_CHECKING:
    from pipeline.backbones import World
    from pipeline.clipset import ClipSet
    from pipeline.methods.semvideo import SemVideoConfig
    from training.samples import Targets

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Settled:
    """A training config with its presets filled in.

    Parameters
    ----------
    settings : TrainingConfig
    plan : Plan
    method : SemVideoConfig
    stages, subjects : tuple of str
    out, home : Path
        The run's folder, the working folder.
    """

    settings: TrainingConfig
    plan: Plan
    method: SemVideoConfig
    stages: tuple[str, ...]
    subjects: tuple[str, ...]
    out: Path
    home: Path


def settled(settings: TrainingConfig, home: Path) -> Settled:
    """Fill a config's presets in and check its names.

    Raises
    ------
    ConfigError, DataError
    """
    from pipeline.methods.semvideo import SemVideo, preset
    from training.walk import check_stages

    out = Path(settings.out) if settings.out else home / "training" / f"{settings.dataset}-{settings.method}"
    return Settled(
        settings,
        plan(settings.method, settings.plan_overrides),
        replace(preset(settings.method), settings.method_overrides),
        check_stages(settings.stages or SemVideo.STAGES),
        tuple(_subjects(settings, home)),
        out,
        home,
    )


def split_of(found: Settled, split: str, progress: Progress) -> dict[str, ClipSet]:
    """Load a split of each subject; a held-out split that is empty is left out."""
    from pipeline.data import load

    dataset = found.settings.dataset
    loaded = {subject: load(dataset, subject, split, found.home, progress) for subject in found.subjects}
    return {subject: clipset for subject, clipset in loaded.items() if len(clipset) or split == "train"}


def read_inputs(found: Settled, progress: Progress) -> tuple[dict[str, ClipSet], dict[str, ClipSet], Targets]:
    """Read training and held-out runs of each subject, and encode what was shown: (train, val, targets)."""
    check_device(found.settings.device)
    train, val = (split_of(found, split, progress) for split in ("train", "val"))
    world = open_world(found.settings.world, found.settings.device)
    return train, val, _targets(world, [*train.values(), *val.values()], found, progress)


def check_device(device: str) -> None:
    """Raise ConfigError where a card is asked for and torch finds none, before anything is read.

    Where a launcher started several processes, each takes its own card for all that follows.
    """
    import torch

    if device == "cpu":
        return
    if not torch.cuda.is_available():
        raise ConfigError(f"device {device}: torch finds no CUDA card here; set device to cpu, or train where one is")
    if "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(card_of_this_process())


def card_of_this_process() -> int:
    """Return the number of the card that belongs to this process of a launcher."""
    import torch

    return int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count()


def _subjects(settings: TrainingConfig, home: Path) -> list[str]:
    """Return the chosen subjects, checked."""
    from pipeline.data import describe
    from pipeline.data.importing import built_in_subjects

    card = describe(settings.dataset, home)
    known = [str(entry["subject"]) for entry in card.subjects]
    if card.built_in:  # made when first loaded
        known = list(built_in_subjects(settings.dataset))
    unknown = [subject for subject in settings.subjects if subject not in known]
    if unknown:
        raise DataError(f"{settings.dataset}: no subject {unknown[0]}, expected some of {', '.join(known)}")
    return list(settings.subjects) or known


def _targets(world: World, clipsets: list[ClipSet], found: Settled, progress: Progress) -> Targets:
    """Encode captions and frames, once per clip id; with the paper's models once for all, kept in the home folder."""
    import numpy as np

    from training.decoders import make_targets
    from training.samples import join_targets
    from training.target_store import stored_targets

    n_frames, folder = found.method.n_frames, found.home / "cache" / "targets"
    parts: list[Targets] = []
    seen: set[str] = set()
    for done, clipset in enumerate(clipsets):
        progress(done, len(clipsets), "encode captions and frames")
        new = np.asarray([i for i, clip_id in enumerate(clipset.clip_ids) if str(clip_id) not in seen], dtype=np.int64)
        if len(new):
            chosen = clipset.take(new)
            if world.backbones.simulated:
                parts.append(make_targets(world, chosen, n_frames))
            else:
                parts.append(stored_targets(world, chosen, folder, n_frames))
            seen |= {str(clip_id) for clip_id in clipset.clip_ids}
    return join_targets(parts)


def open_world(spec: str | None, device: str = "cpu") -> World:
    """Return backbones by profile name or local folder; none means the phantom's.

    On a card they take the memory preset that fits what is free, each process of a launcher on its own card.
    """
    from pipeline.backbones import World, local, profile
    from pipeline.memory import place

    backbones = local(Path(spec), name=spec) if spec and Path(spec).is_dir() else profile(spec or "phantom")
    if device != "cpu" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{card_of_this_process()}"
    return World(backbones, *place(device))
