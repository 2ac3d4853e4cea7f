"""The data sets by name: what there is, how to import another, how to load one.

``phantom``, ``phantom-tiny`` and ``phantom-full`` are built in: they are made and imported when first loaded.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.clipset import ClipSet
from pipeline.data import store
from pipeline.data.importing import (
    BUILT_IN,
    BUILT_IN_TITLES,
    CARD,
    built_in_subjects,
    ensure_built_in,
    import_folder,
    locked,
    sweep,
)
from pipeline.errors import ConfigError, DataError
from pipeline.paths import atomic_folder
from pipeline.paths import home as working_folder

if TYPE_CHECKING:
    from pipeline.data.options import Progress

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class DatasetCard:
    """What is known of a data set without reading its arrays.

    Parameters
    ----------
    name, title : str
    layout : {"cc2017", "cc2017-pt", "hcp7t", "bids"}
    simulated, built_in, ready : bool
        ``ready``: some subject is imported and can be loaded at once.
    source : str
        Folder it was imported from; empty for one that is made here.
    tr : float or None
        Seconds.
    space : str
        ``fs_LR_32k``, ``volume`` or ``unknown``; empty before the first import.
    subject_names : tuple of str
        Every subject that :func:`load` takes.
    subjects : tuple of dict
        Per imported subject: ``subject, n_voxels, n_voxels_seen, n_clips, n_repeats, splits, selection, captions,
        labels, has_stimulus, notes``.
    options : dict
        How it was imported.
    notes : tuple of str
    """

    name: str
    title: str
    layout: str
    simulated: bool
    built_in: bool = False
    ready: bool = True
    source: str = ""
    tr: float | None = None
    space: str = ""
    subject_names: tuple[str, ...] = ()
    subjects: tuple[dict[str, Any], ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the card as plain values."""
        return asdict(self)


def list_datasets(home: str | os.PathLike[str] | None = None) -> list[DatasetCard]:
    """List built-in and imported data sets, the built-in ones first. Damaged folders are listed with a note."""
    folder = working_folder(home) / "datasets"
    names = sorted(p.parent.name for p in folder.glob(f"*/{CARD}") if NAME.fullmatch(p.parent.name))
    cards = []
    for name in (*BUILT_IN, *(n for n in names if n not in BUILT_IN)):
        try:
            cards.append(describe(name, home))
        except DataError as error:
            broken = DatasetCard(name, name, "", simulated=name in BUILT_IN, ready=False, notes=(str(error),))
            cards.append(replace(broken, built_in=name in BUILT_IN))
    return cards


def describe(name: str, home: str | os.PathLike[str] | None = None) -> DatasetCard:
    """Return the card of one data set.

    Raises
    ------
    ConfigError
        Unknown name; the message lists the known ones.
    """
    folder = working_folder(home) / "datasets" / name
    known = bool(NAME.fullmatch(name)) and (folder / CARD).is_file()
    if not known:
        if name in BUILT_IN:
            card = DatasetCard(name, BUILT_IN_TITLES[name], "cc2017", simulated=True, built_in=True, ready=False)
            return replace(card, subject_names=built_in_subjects(name))
        there = sorted({*BUILT_IN, *(p.parent.name for p in folder.parent.glob(f"*/{CARD}"))})
        raise ConfigError(
            f"no data set is called {name!r}; known are {', '.join(there)}; "
            f"import one with python -m pipeline import PATH --as NAME"
        )
    record = store.read_record(folder / CARD)
    keys = ("subject", "n_voxels", "n_voxels_seen", "n_clips", "n_repeats", "splits", "selection", "captions", "labels")
    subjects, space = [], ""
    for subject in record.get("subjects", []):
        entry = store.read_record(folder / subject / "subject.json")
        subjects.append({k: entry[k] for k in (*keys, "has_stimulus", "notes")})
        space = entry["space"]["kind"]
    return DatasetCard(
        name=name,
        title=BUILT_IN_TITLES.get(name) or str(record.get("title", name)),
        layout=str(record["layout"]),
        simulated=bool(record["simulated"]),
        built_in=name in BUILT_IN,
        ready=bool(subjects),
        source=str(record.get("source", "")),
        tr=record.get("tr"),
        space=space,
        subjects=tuple(subjects),
        subject_names=built_in_subjects(name) if name in BUILT_IN else tuple(e["subject"] for e in subjects),
        options=record.get("options", {}),
        notes=tuple(record.get("notes", ())),
    )


def load(
    name: str,
    subject: str,
    split: str = "train",
    home: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> ClipSet:
    """Load one subject's clips.

    Parameters
    ----------
    name : str
        A data set of :func:`list_datasets`; a phantom is made first where it is not there yet.
    subject : str
        Such as ``"sub-01"``.
    split : {"train", "val", "test", "all"}
        ``val`` holds whole runs taken out of the training runs; ``all`` is everything, absent repeats marked.
    home : path, optional
        Working folder, see :func:`pipeline.paths.home`.
    progress : callable, optional
        Called with (done, total, what) while a phantom is made.

    Raises
    ------
    ConfigError
        Unknown data set, subject or split.
    DataError
        Damaged files.
    """
    if split not in store.SPLITS:
        raise ConfigError(f"{name}: split must be one of {', '.join(store.SPLITS)}, got {split!r}")
    return store.read_split(_ready(name, subject, home, progress), subject, split)


def quality(
    name: str, subject: str, home: str | os.PathLike[str] | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Load what was found out about every voxel that was looked at when choosing, selected or not.

    Returns
    -------
    dict of (n_all_voxels,) arrays
        ``voxel_ids``, ``selected``, ``bad``, ``tsnr`` and, where a film was seen twice, ``reliability``,
        ``statistic``, ``p``, ``test_reliability``, ``noise_ceiling``.
    """
    return store.read_quality(_ready(name, subject, home, progress), subject)


def import_dataset(
    path: str | os.PathLike[str],
    name: str,
    home: str | os.PathLike[str] | None = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> DatasetCard:
    """Read a recording into the working folder under a name; it appears there whole or not at all.

    Parameters
    ----------
    path : path
        Folder of CC2017 (raw or preprocessed), of the HCP's 7T movies, or in BIDS.
    name : str
        Lower-case letters, digits, dots, dashes.
    home : path, optional
    progress : callable, optional
        Called with (done, total, what).
    **options
        Fields of :class:`pipeline.data.options.ImportOptions`.

    Raises
    ------
    ConfigError
        Bad name or option, name taken.
    DataError
        Anything wrong with the recording.
    """
    from pipeline.data.options import make_options

    chosen = make_options(options)
    root = Path(path).expanduser().resolve()
    check_name(name)
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder with a recording, got {'a file' if root.exists() else 'nothing'}")
    folder = working_folder(home) / "datasets" / name
    if root.is_relative_to(folder):
        raise ConfigError(f"{root}: lies inside the data set {name} itself; import from another folder")
    with locked(folder):
        check_free(name, home, chosen.replace)
        sweep(folder)
        with atomic_folder(folder) as temporary:
            import_folder(root, name, temporary, folder, chosen, progress)
    return describe(name, home)


def check_name(name: str) -> None:
    """Raise ConfigError where a data set cannot be imported under ``name``."""
    if not NAME.fullmatch(name) or name in BUILT_IN:
        reason = "belongs to a built-in data set" if name in BUILT_IN else "must be of a-z, 0-9, dot and dash"
        raise ConfigError(f"--as {name!r}: the name {reason}; choose another")


def check_free(name: str, home: str | os.PathLike[str] | None = None, replace: bool = False) -> None:
    """Raise ConfigError where ``name`` is taken and is not to be replaced."""
    if (working_folder(home) / "datasets" / name).exists() and not replace:
        raise ConfigError(f"{name}: there is a data set of this name already; choose another or give --replace")


def _ready(name: str, subject: str, home: str | os.PathLike[str] | None, progress: Progress | None) -> Path:
    """Folder of a data set in which ``subject`` is imported; makes a built-in one first where needed."""
    folder = working_folder(home) / "datasets" / name
    if name in BUILT_IN:
        ensure_built_in(name, subject, folder, working_folder(home), progress)
    card = describe(name, home)
    names = [entry["subject"] for entry in card.subjects]
    if subject not in names:
        raise ConfigError(f"{name}: no subject is called {subject!r}; there are {', '.join(names) or 'none'}")
    return folder
