"""The judges of an evaluation by name: groups, hub ids, folders, and what to say where one is not at hand.

``image`` judges give class probabilities frame by frame, ``video`` judges one row a clip, ``features`` judges an
embedding of every frame. How a name is read: ``phantom``, ``paper``, ``imagenet``, ``none``; ``vifi:FILE.pth``;
``timm:NAME_OR_FOLDER``; ``open_clip:FOLDER_OR_HUB_ID``; else a folder, or a hub id with an optional ``@revision``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, NeuroVisError
from pipeline.evaluate.seer import Seer, find
from pipeline.paths import PHANTOM_ASSETS

__all__ = ["GROUPS", "Seer", "check_seen", "expand", "label_from", "load_judge", "load_judges"]

GROUPS: dict[str, tuple[str, ...]] = {
    "none": (),
    "phantom": (str(PHANTOM_ASSETS / "judge_object"), str(PHANTOM_ASSETS / "judge_motion")),
    "paper": (
        "google/vit-base-patch16-224",
        "MCG-NJU/videomae-base-finetuned-kinetics",
        "openai/clip-vit-base-patch32",
    ),
}


def expand(names: Sequence[str]) -> tuple[str, ...]:
    """Replace the names of groups by their judges, each once."""
    return tuple(dict.fromkeys(one for name in names for one in GROUPS.get(name, (name,))))


def load_judges(names: Sequence[str]) -> tuple[list[Seer], list[str]]:
    """Load what is at hand; for each judge that is not, a sentence, so that the other metrics still come.

    Returns
    -------
    judges : list of Seer
    notes : list of str
    """
    judges, notes = [], []
    for name in expand(names):
        try:
            judges.append(load_judge(name))
        except NeuroVisError as error:
            notes.append(f"A judge was left out: {error}.")
    twice = {j.name for j in judges if [k.name for k in judges].count(j.name) > 1}
    judges = [replace(j, name=f"{j.name} ({i + 1})") if j.name in twice else j for i, j in enumerate(judges)]
    return judges, notes


def load_judge(source: str) -> Seer:
    """Load one judge by name, from this machine.

    Raises
    ------
    WeightsError
        It is not here; nothing is fetched unless the user set ``NEUROVIS_DOWNLOAD=1``.
    CheckpointError
        Its files are damaged, or its weights are not those of its model.
    """
    from pipeline.evaluate import loaders

    prefix, _, rest = source.partition(":")
    if source == "imagenet":
        return loaders.load_imagenet()
    if prefix == "vifi" and rest:
        from pipeline.evaluate.vifi import load_vifi

        return load_vifi(Path(rest).expanduser())
    if prefix == "timm" and rest:
        return loaders.load_timm(loaders.timm_place(rest))
    if prefix == "open_clip" and rest:
        return loaders.load_open_clip(find(rest))
    return loaders.load_folder(find(source))


def label_from(text: str, classes: Sequence[str]) -> str | None:
    """Return the one class that a caption names, None where it names none or several."""
    words = f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "
    named = [
        c for c in classes if any(f" {' '.join(re.findall(r'[a-z0-9]+', n.lower()))} " in words for n in _names(c))
    ]
    return named[0] if len(named) == 1 else None


def check_seen(seer: Seer, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Refuse what is not finite."""
    if not np.isfinite(rows).all():
        raise DataError(f"{seer.name}: expected finite scores, got NaN or Inf; check its weights")
    return rows


def _names(label: str) -> list[str]:
    """ImageNet's labels list synonyms: "tench, Tinca tinca"."""
    return [name for name in label.split(",") if name.strip()]
