"""What a training job will go through, stage by stage, known before it starts and without loading networks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError, DataError
from training.config import Plan, TrainingConfig, plan

if TYPE_CHECKING:
    from pipeline.data import DatasetCard

LEVELS = ("anchor", "motion", "holi")
STAGES = (*LEVELS, "mad")
DEVICE = re.compile(r"cpu|cuda(:\d+)?")


def check_device(name: str) -> str:
    """Return a device's name in the one form that its queue has: ``cpu`` or ``cuda:N``.

    Raises
    ------
    ConfigError
        Anything else.
    """
    if not DEVICE.fullmatch(name):
        raise ConfigError(f"device must be cpu, cuda or cuda:N, got {name!r}; name one that this machine has")
    return "cuda:0" if name == "cuda" else name


def out_folder(settings: TrainingConfig, home: Path) -> Path:
    """Return the folder of a training: its own, else ``HOME/training/<dataset>-<method>``."""
    if settings.out:
        return Path(settings.out).expanduser().resolve()
    return home / "training" / f"{settings.dataset}-{settings.method}"


def chosen_subjects(settings: TrainingConfig, card: DatasetCard) -> list[str]:
    """Return the subjects to train on.

    Raises
    ------
    DataError
        When the data set has none, or not one that is asked for.
    """
    known = list(card.subject_names)
    if not known:
        raise DataError(f"{settings.dataset}: no subject is imported; import the data set again")
    unknown = [subject for subject in settings.subjects if subject not in known]
    if unknown:
        raise DataError(f"{settings.dataset}: no subject {unknown[0]}, expected some of {', '.join(known)}")
    return list(settings.subjects) or known


def stage_list(settings: TrainingConfig, subjects: Sequence[str]) -> list[list[str | int]]:
    """Return ``[name, epochs]`` of every stage in the order of the walk in ``training/decoders.py``.

    A method that cross-fits adds stages of its own, which are found when they appear.

    Raises
    ------
    ConfigError
        When the preset, a stage or a field is not known, or mad is asked for without motion.
    """
    settled = plan(settings.method, settings.plan_overrides)
    chosen = check_stages(settings.stages)
    return [entry for stage in chosen for entry in _of_stage(stage, settled, subjects)]


def check_stages(stages: Sequence[str]) -> tuple[str, ...]:
    """Return the stages in the order they are trained; none means all."""
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown:
        raise ConfigError(f"stages: expected some of {', '.join(STAGES)}, got {unknown[0]!r}")
    if stages and "mad" in stages and "motion" not in stages:
        raise ConfigError("stages: mad needs motion, whose text it is trained on; add motion or leave out mad")
    return tuple(stage for stage in STAGES if not stages or stage in stages)


def _of_stage(stage: str, settled: Plan, subjects: Sequence[str]) -> list[list[str | int]]:
    own = settled.mad if stage == "mad" else settled.sad
    found: list[list[str | int]] = [[f"{stage}-all", own.pretrain.epochs]]
    if own.finetune is not None and len(subjects) > 1:
        found += [[f"{stage}-{subject}", own.finetune.epochs] for subject in subjects]
    return found
