"""Render many clips: some at a time, over several processes, going on where an earlier call stopped.

A clip's noise follows from the seed and its id, so it renders alike in any batch and in any process. Each process of
several takes every n-th clip and keeps a table of its own in the run's folder; whoever finishes last writes the
manifest (:class:`pipeline.runs.RunWriter`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, ResourceError
from pipeline.paths import write_json

if TYPE_CHECKING:
    from pipeline.backbones import World
    from pipeline.render.cvr import CVR, Rendered

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Shard:
    """Which of several processes this one is: number ``rank``, from 0, of ``world_size``."""

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ConfigError(
                f"--shard must be I/N with 1 <= I <= N, got {self.rank + 1}/{self.world_size}; number shards from 1"
            )

    @property
    def name(self) -> str | None:
        """Of the table that this process keeps; none where it is alone."""
        return None if self.world_size == 1 else f"{self.rank + 1:04d}-of-{self.world_size:04d}"


def shard(given: str | None = None, environment: Mapping[str, str] | None = None) -> Shard:
    """Return the share of this process.

    Parameters
    ----------
    given : str, optional
        ``I/N``, from 1. By default ``RANK`` and ``WORLD_SIZE`` (``accelerate launch``, ``torchrun``), else
        ``SLURM_ARRAY_TASK_ID`` and its range (a Slurm array), else everything.
    environment : mapping, optional
        By default the process's own.

    Raises
    ------
    ConfigError
        When ``given`` or the variables are no such numbers.
    """
    found = os.environ if environment is None else environment
    if given is not None:
        if not re.fullmatch(r"\d{1,6}/\d{1,6}", given):
            raise ConfigError(f"--shard must be I/N such as 2/8, got {given!r}")
        first, of = given.split("/")
        return Shard(int(first) - 1, int(of))
    try:
        if "WORLD_SIZE" in found and "RANK" in found:
            return Shard(int(found["RANK"]), int(found["WORLD_SIZE"]))
        if "SLURM_ARRAY_TASK_ID" in found and "SLURM_ARRAY_TASK_MIN" in found:
            low, high = int(found["SLURM_ARRAY_TASK_MIN"]), int(found["SLURM_ARRAY_TASK_MAX"])
            step = int(found.get("SLURM_ARRAY_TASK_STEP", "1"))
            return Shard((int(found["SLURM_ARRAY_TASK_ID"]) - low) // step, (high - low) // step + 1)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"the launcher's variables are not numbers ({error}); name the share with --shard") from error
    return Shard()


def hold_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write down how a run is made, or refuse to go on with a run that was made otherwise.

    Raises
    ------
    ConfigError
        When the folder holds clips that were made with other settings.
    """
    path = folder / "settings.json"
    wanted = json.loads(json.dumps(settings))
    # Another card holds the same models otherwise: its preset is no setting, its precision is one.
    wanted.get("backbones", {}).pop("memory", None)
    if path.is_file():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(
                f"{path}: not valid JSON ({error}); delete the folder, or choose another --out"
            ) from error
        changed = [key for key in wanted if known.get(key) != wanted[key]]
        if changed:
            raise ConfigError(
                f"{folder}: holds clips made with another {', '.join(changed)}; choose another --out, or delete it"
            )
    else:
        write_json(path, wanted)


def batch_size(world: World, batch: int | None = None) -> int:
    """Return how many clips are rendered at a time: ``batch``, or what the memory preset allows."""
    return batch or world.preset.clips_at(world.backbones.size)


def render_batches(
    cvr: CVR,
    cues: Mapping[str, NDArray[Any]],
    clip_ids: list[str],
    rows: list[int],
    *,
    without: frozenset[str] = frozenset(),
    seed: int = 0,
    batch: int | None = None,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[tuple[int, Rendered, int]]:
    """Render some clips, several at a time.

    Parameters
    ----------
    cvr : CVR
    cues : mapping of name to (n_clips, ...)
    clip_ids : list of str, n_clips long
    rows : list of int
        Clips to render.
    without : frozenset of parts
    seed : int
    batch : int, optional
        Clips at a time; by default what the memory preset allows. Halved, for good, when a card runs out of memory.
    progress : callable(done, total, message), optional
    should_stop : callable() -> bool, optional
        Asked before each step.

    Yields
    ------
    (row, Rendered, place in it) for each of ``rows``

    Raises
    ------
    ResourceError
        When one clip alone does not fit.
    Stopped
        When ``should_stop`` said so.
    """
    import torch

    world = cvr.world
    batch = batch_size(world, batch)
    start = 0
    while start < len(rows):
        some = rows[start : start + batch]

        def tell(done: int, steps: int, message: str, at: int = start, n: int = len(some)) -> None:
            if progress:
                progress(round(100 * (at + n * done / steps)), 100 * len(rows), message)

        ids, some_cues = [clip_ids[i] for i in some], {k: np.asarray(v)[some] for k, v in cues.items()}
        try:
            rendered = cvr.render(some_cues, ids, without, seed, tell, should_stop)
        except torch.OutOfMemoryError as error:
            if len(some) == 1:
                raise ResourceError(
                    f"{ids[0]}: one clip does not fit into the memory of {world.device} with the preset "
                    f"{world.preset.name}; close other programs, or choose --memory 8gb or cpu"
                ) from error
            batch = len(some) // 2
            torch.cuda.empty_cache()
            continue
        for place, row in enumerate(some):
            yield row, rendered, place
        start += len(some)
