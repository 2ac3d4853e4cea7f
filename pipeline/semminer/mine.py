"""Caption a data set: choose the clips, ask a model, keep the lines, put them into the data set.

1. list the clips; 2. open the file and see what is done; 3. caption the rest, a line at a time; 4. put the file in
order; 5. where asked, take the captions up into the data set.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.clipset import CAPTION_LEVELS
from pipeline.errors import ConfigError, DataError
from pipeline.paths import home as working_folder
from pipeline.semminer.chain import ChainCaptioner
from pipeline.semminer.contract import Captioner, CaptionLine, Failure, MinerSettings
from pipeline.semminer.prompts import read_prompts
from pipeline.semminer.scene_record import NAME as PHANTOM
from pipeline.semminer.scene_record import SceneCaptioner
from pipeline.semminer.table import CaptionTable, open_table

if TYPE_CHECKING:
    from pipeline.data.options import Progress
    from pipeline.semminer.contract import ShownClip

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class CaptionRun:
    """What a run of :func:`caption_dataset` did.

    Parameters
    ----------
    dataset, model, file : str
    subjects : tuple of str
    n_clips, n_new : int
        Clips asked for, and those captioned by this run; the others were done before.
    mean_words : dict
        Level -> mean words of a caption.
    notes : dict
        What was mended -> number of clips.
    applied : dict
        Subject -> clips whose captions are now in the data set; empty without ``apply``.
    """

    dataset: str
    model: str
    file: str
    subjects: tuple[str, ...]
    n_clips: int
    n_new: int
    mean_words: dict[str, float]
    notes: dict[str, int]
    applied: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def caption_dataset(
    dataset: str,
    model: str,
    *,
    subjects: Sequence[str] | None = None,
    splits: Sequence[str] = SPLITS,
    server: str | None = None,
    batch_size: int = 4,
    settings: MinerSettings | None = None,
    out: Path | None = None,
    apply: bool = False,
    device: str = "auto",
    home: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> CaptionRun:
    """Caption a data set's clips into a JSONL file, going on where an earlier run stopped.

    Parameters
    ----------
    dataset : str
    model : str
        ``phantom`` (scene records), a local folder, a hub id, or with ``server`` the server's name for a model.
    subjects : sequence of str, optional
        All imported subjects by default; a clip that several saw is captioned once.
    splits : sequence of {"train", "val", "test"}
    server : str, optional
        Base URL of an OpenAI-compatible server that the user runs.
    batch_size : int
        Clips at a time; with a server, clips in flight.
    settings : MinerSettings, optional
    out : Path, optional
        The file; by default ``captions/DATASET/MODEL.jsonl`` in the working folder.
    apply : bool
        Put the captions into the data set when all are there.
    device : str
    home : path, optional
    progress : callable, optional
        Called with (done, total, clip id).

    Raises
    ------
    ConfigError, WeightsError, ResourceError
        See :class:`~pipeline.semminer.local_model.LocalModel`, :class:`~pipeline.semminer.server.ServerModel` and
        :func:`~pipeline.semminer.table.open_table`.
    DataError
        Some clips could not be captioned; the others are in the file.
    """
    from pipeline.data.recaption import apply_captions, shown_clips, subjects_of

    if batch_size < 1:
        raise ConfigError(f"--batch-size must be 1 or more, got {batch_size}")
    captioner = make_captioner(model, settings or MinerSettings(), server, batch_size, device)
    chosen = list(dict.fromkeys(subjects)) if subjects else subjects_of(dataset, home)
    clips = shown_clips(dataset, chosen, splits, home, progress)
    identity = {"dataset": dataset, **captioner.identity()}
    path = out or working_folder(home) / "captions" / dataset / f"{_slug(identity['model'])}.jsonl"
    lines, n_new = _captioned(path, identity, captioner, clips, progress)
    texts = {line.clip_id: line.texts() for line in lines}
    source = f"{identity['model']}, prompts {identity['prompts']}"
    applied = apply_captions(dataset, chosen, texts, source, home) if apply else {}
    mean_words = {k: round(sum(len(t[k].split()) for t in texts.values()) / len(texts), 1) for k in CAPTION_LEVELS}
    notes = dict(Counter(_kind(note) for line in lines for note in line.notes))
    facts = (dataset, identity["model"], str(path), tuple(chosen))
    return CaptionRun(*facts, len(clips), n_new, mean_words, notes, applied)


def make_captioner(
    model: str, settings: MinerSettings, server: str | None = None, batch_size: int = 4, device: str = "auto"
) -> Captioner:
    """Return the captioner that a model's name stands for; nothing is loaded yet.

    Raises
    ------
    ConfigError
        An empty name, or a URL that is none.
    """
    if not model.strip():
        raise ConfigError("--model must name a model: phantom, a folder, a hub id, or a server's model; got nothing")
    if server is not None:
        from pipeline.semminer.server import ServerModel

        return ChainCaptioner(ServerModel(server, model, settings), read_prompts(), settings, batch_size)
    if model == PHANTOM:
        return SceneCaptioner()
    from pipeline.semminer.local_model import LocalModel

    return ChainCaptioner(LocalModel(model, settings, device), read_prompts(), settings, batch_size)


def _captioned(
    path: Path,
    identity: dict[str, Any],
    captioner: Captioner,
    clips: Sequence[ShownClip],
    progress: Progress | None,
) -> tuple[list[CaptionLine], int]:
    """Bring the file up to date; return the lines of the clips and how many are new."""
    with open_table(path, identity) as table:
        n_before = sum(clip.clip_id in table.lines for clip in clips)
        failures = _fill(table, captioner, clips, progress)
        table.sort(clip.clip_id for clip in clips)
        lines = [table.lines[clip.clip_id] for clip in clips if clip.clip_id in table.lines]
    if failures:
        raise DataError(
            f"{path}: {len(failures)} of {len(clips)} clips have no caption, such as {failures[0].clip_id} "
            f"({failures[0].reason}); the others are in the file, try these with another model"
        )
    return lines, len(clips) - n_before


def _fill(
    table: CaptionTable, captioner: Captioner, clips: Sequence[ShownClip], progress: Progress | None
) -> list[Failure]:
    """Caption the clips that have no line yet; return those that could not be captioned."""
    waiting = [clip for clip in clips if clip.clip_id not in table.lines]
    done, failures = len(clips) - len(waiting), []
    if progress:
        progress(done, len(clips), "")
    for result in captioner.caption(waiting):
        if isinstance(result, CaptionLine):
            table.append(result)
        else:
            failures.append(result)
        done += 1
        if progress:
            progress(done, len(clips), result.clip_id)
    return failures


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def _kind(note: str) -> str:
    """A note without its numbers, so that notes can be counted."""
    return re.sub(r" from \d+ to \d+ words", "", note)
