"""The stages of a run, in order, before any of them begins: what is trained on whom, how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clipset import ClipSet
from pipeline.errors import ConfigError, DataError
from pipeline.methods.semvideo import LEVELS, SemVideo, SemVideoConfig
from training.config import LoopConfig, Plan

ALL = "all"


@dataclass(frozen=True)
class Leg:
    """One run of the loop.

    Parameters
    ----------
    name : str
        Of its folder below ``stages/``.
    stage : str
        ``anchor``, ``motion``, ``holi`` or ``mad``.
    subjects : tuple of str
    loop : LoopConfig
    n_samples : int
    fold : int
        0, or the number of the fold whose runs are left out.
    """

    name: str
    stage: str
    subjects: tuple[str, ...]
    loop: LoopConfig
    n_samples: int
    fold: int = 0

    @property
    def n_steps(self) -> int:
        """Steps of the optimiser, unless patience ends it early."""
        return self.n_samples // min(self.loop.batch_size, max(1, self.n_samples)) * self.loop.epochs

    @property
    def subject(self) -> str:
        """The one subject, or ``all``."""
        return ALL if self.name.endswith(f"-{ALL}") or self.fold else self.subjects[0]

    @property
    def words(self) -> dict[str, str]:
        """What every line of progress says of this leg."""
        return {"name": self.name, "stage": self.stage, "subject": self.subject}


def check_stages(stages: tuple[str, ...]) -> tuple[str, ...]:
    """Return stages in the order in which they are trained.

    Raises
    ------
    ConfigError
        When one is not known, or there is none.
    """
    if not stages or set(stages) - set(SemVideo.STAGES):
        raise ConfigError(f"stages are some of {', '.join(SemVideo.STAGES)}, got {', '.join(stages) or 'none'}")
    return tuple(stage for stage in SemVideo.STAGES if stage in stages)


def folds(train: Mapping[str, ClipSet], plan: Plan) -> list[list[str]]:
    """Return the runs that each fold of the cross-fit leaves out."""
    groups = sorted({str(group) for clipset in train.values() for group in clipset.groups})
    n_folds = min(plan.crossfit_folds, len(groups))
    if n_folds < 2:
        raise DataError(f"cross-fitting needs at least 2 training runs, got {len(groups)}; take 'predicted'")
    return [groups[fold::n_folds] for fold in range(n_folds)]


def fold_loop(plan: Plan) -> LoopConfig:
    """Return the loop of a fold: the last weights, since the fold's own runs are no ground to choose on."""
    return plan.sad.pretrain.model_copy(update={"keep": "last", "patience": None})


def walk(train: Mapping[str, ClipSet], plan: Plan, config: SemVideoConfig, stages: tuple[str, ...]) -> list[Leg]:
    """List what a run goes through.

    Parameters
    ----------
    train : mapping of subject to ClipSet
    plan : Plan
    config : SemVideoConfig
    stages : tuple of str
    """
    subjects = tuple(train)
    legs: list[Leg] = []
    for stage in check_stages(stages):
        part = plan.sad if stage in LEVELS else plan.mad
        if stage == "mad" and "motion" in stages and config.mad.condition == "crossfit":
            away = folds(train, plan)
            for number, runs in enumerate(away, 1):
                n = sum(_count(c.present[~np.isin(c.groups, runs)], plan) for c in train.values())
                name = f"motion-without-{number}-of-{len(away)}"
                legs.append(Leg(name, "motion", subjects, fold_loop(plan), n, number))
        n = sum(_count(clipset.present, plan) for clipset in train.values())
        legs.append(Leg(f"{stage}-{ALL}", stage, subjects, part.pretrain, n))
        if part.finetune is not None and len(train) > 1:
            for subject, clipset in train.items():
                legs.append(Leg(f"{stage}-{subject}", stage, (subject,), part.finetune, _count(clipset.present, plan)))
    return legs


def _count(present: NDArray[np.bool_], plan: Plan) -> int:
    """Return the samples that :class:`training.samples.Samples` makes of (n_clips, n_repeats) recordings."""
    return int(present.any(1).sum() if plan.repeats == "average" else present.sum())
