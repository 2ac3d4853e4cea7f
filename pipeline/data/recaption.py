"""What a data set's subjects were shown, and new captions for it.

A clip that several subjects saw is captioned once. Captions go into the records of an imported subject (see
:mod:`pipeline.data.store`); the recording itself is not touched.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.clipset import CAPTION_LEVELS
from pipeline.data import store
from pipeline.data.importing import locked
from pipeline.data.registry import describe, load
from pipeline.data.video import VideoStimulus
from pipeline.errors import ConfigError, DataError
from pipeline.paths import atomic_folder, write_json
from pipeline.paths import home as working_folder
from pipeline.semminer.contract import ShownClip

if TYPE_CHECKING:
    from pipeline.data.options import Progress

NOTE = "captions by "


def subjects_of(name: str, home: str | os.PathLike[str] | None = None) -> list[str]:
    """Names of the imported subjects; of a phantom that is not made yet, the first.

    Raises
    ------
    ConfigError
        Unknown data set.
    """
    card = describe(name, home)
    return [entry["subject"] for entry in card.subjects] or list(card.subject_names[:1])


def shown_clips(
    name: str,
    subjects: Sequence[str],
    splits: Sequence[str] = ("train", "val", "test"),
    home: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> list[ShownClip]:
    """List what these subjects saw, each clip once, in the order of the splits.

    Parameters
    ----------
    name : str
        Data set; a phantom is made first where it is not there yet.
    subjects : sequence of str
    splits : sequence of {"train", "val", "test"}
        A split that the data set does not have is passed over.
    home : path, optional
    progress : callable, optional
        Called with (done, total, what) while a phantom is made.

    Raises
    ------
    ConfigError
        Unknown data set, subject or split, or no clip in any of the splits.
    DataError
        No film is known, or two subjects saw different clips of one name.
    """
    found: dict[str, ShownClip] = {}
    for subject in subjects:
        for split in _splits_of(name, subject, splits, home, progress):
            clipset = load(name, subject, split, home, progress)
            stimulus = clipset.stimulus
            if not isinstance(stimulus, VideoStimulus):
                raise DataError(
                    f"{name} {subject}: no film is known for its {split} clips, so there is nothing to caption; import "
                    "the data set with its stimuli"
                )
            for index, clip_id in enumerate(map(str, clipset.clip_ids)):
                file, start = stimulus.files[int(stimulus.file[index])], float(stimulus.start[index])
                clip = ShownClip(clip_id, stimulus, index, file, start, stimulus.seconds)
                known = found.setdefault(clip_id, clip)
                if (known.file, known.start) != (file, start):
                    raise DataError(
                        f"{name}: {clip_id} of {subject} is another clip than that of an earlier subject; give one "
                        "--subject at a time"
                    )
    return list(found.values())


def apply_captions(
    name: str,
    subjects: Sequence[str],
    captions: Mapping[str, Mapping[str, str]],
    source: str,
    home: str | os.PathLike[str] | None = None,
) -> dict[str, int]:
    """Put captions into imported subjects; every subject is checked before the first is written.

    Parameters
    ----------
    name : str
        Data set.
    subjects : sequence of str
    captions : mapping of clip id to level to text
        As :func:`pipeline.data.captions.read_clip_captions` returns.
    source : str
        Who wrote them; noted with the subject.
    home : path, optional

    Returns
    -------
    dict
        Subject -> clips with new captions. Each subject's records change together or not at all.

    Raises
    ------
    ConfigError
        Unknown data set or subject.
    DataError
        Some clips of a part would be left without a level that others have, or no clip is of this data set.
    """
    folder = working_folder(home) / "datasets" / name
    unknown = [s for s in subjects if s not in subjects_of(name, home) or not (folder / s).is_dir()]
    if unknown:
        raise ConfigError(f"{name}: no subject is called {', '.join(unknown)}; import it first")
    with locked(folder):
        plans = {subject: _plan(folder / subject, captions, source) for subject in subjects}
        empty = [subject for subject, (_, n_clips) in plans.items() if not n_clips]
        if empty:
            raise DataError(
                f"{name} {empty[0]}: none of the {len(captions)} captioned clips is of this subject; "
                "give captions of this data set"
            )
        for subject, (records, _) in plans.items():
            _replace(folder / subject, records)
    return {subject: n_clips for subject, (_, n_clips) in plans.items()}


def _splits_of(
    name: str, subject: str, splits: Sequence[str], home: str | os.PathLike[str] | None, progress: Progress | None
) -> list[str]:
    """Those of ``splits`` that hold clips; makes a built-in subject that is not there yet."""
    entries = {entry["subject"]: entry for entry in describe(name, home).subjects}
    if subject not in entries:
        load(name, subject, "all", home, progress)
        entries = {entry["subject"]: entry for entry in describe(name, home).subjects}
    n_clips = entries[subject]["n_clips"]
    there = [split for split in splits if n_clips.get(split)]
    if not there:
        has = ", ".join(f"{split} {n}" for split, n in n_clips.items() if n)
        raise ConfigError(f"{name} {subject}: no clips in {', '.join(splits)}; it has {has}")
    return there


def _plan(folder: Path, captions: Mapping[str, Mapping[str, str]], source: str) -> tuple[dict[str, Any], int]:
    """Return the new records of a subject by file name, and how many clips get new captions."""
    subject = store.read_record(folder / "subject.json")
    records: dict[str, Any] = {}
    n_clips, levels = 0, set(subject["captions"])
    for part in subject["n_repeats"]:
        record = store.read_record(folder / f"{part}.json")
        new = [clip_id for clip_id in record["clip_ids"] if clip_id in captions]
        if not new:
            continue
        record["captions"] = _merged(record, captions, f"{folder.parent.name} {folder.name}: {part}")
        records[f"{part}.json"] = record
        n_clips += len(new)
        levels |= set(record["captions"])
    notes = [note for note in subject["notes"] if not note.startswith(NOTE)]
    subject["notes"] = [*notes, f"{NOTE}{source} ({n_clips} clips)"]
    subject["captions"] = sorted(levels)
    records["subject.json"] = subject
    return records, n_clips


def _merged(record: dict[str, Any], captions: Mapping[str, Mapping[str, str]], who: str) -> dict[str, list[str]]:
    """Old captions of a part with the new ones in their places."""
    merged: dict[str, list[str]] = {}
    for level in CAPTION_LEVELS:
        old = dict(zip(record["clip_ids"], record["captions"].get(level, ()), strict=False))
        texts = [captions.get(c, {}).get(level) or old.get(c) for c in record["clip_ids"]]
        missing = [c for c, text in zip(record["clip_ids"], texts, strict=True) if not text]
        if missing and len(missing) < len(texts):
            raise DataError(
                f"{who}: {len(missing)} of {len(texts)} clips would have no {level} caption, such as {missing[0]}; "
                "caption all splits of this part first (train and val are one)"
            )
        if not missing:
            merged[level] = [str(text) for text in texts]
    return merged


def _replace(folder: Path, records: dict[str, Any]) -> None:
    """Put records into a subject's folder, all at once; the other files are linked, not copied."""
    with atomic_folder(folder) as temporary:
        for path in folder.iterdir():
            try:
                os.link(path, temporary / path.name)
            except OSError:  # a disk without hard links
                shutil.copy2(path, temporary / path.name)
        for file, record in records.items():
            write_json(temporary / file, record)
