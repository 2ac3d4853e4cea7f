"""Find what a folder of the HCP's 7T movie runs holds, and which excerpts of the films lie where.

    100610/MNINonLinear/Results/tfMRI_MOVIE1_7T_AP/tfMRI_MOVIE1_7T_AP_Atlas.dtseries.nii
    100610/tfMRI_MOVIE1_7T_AP_Atlas.dtseries.nii   the same anywhere else under the subject
    stimuli/7T_MOVIE1_CC1.mp4                      optional, under the HCP's names
    stimuli/segments.tsv                           optional: run, name, start, stop

What the papers leave open is decided here:

- *One clip is one volume*, 1 s of film, as in the released preparation of Mind-Animator, whose four films give 3,040
  clips of 1 s (728 + 792 + 745 + 775, its own table of times, which is not part of the data). The response to the clip
  at second t is the volume at t + 4 s.
- *Only the excerpts count*, not the 20 s rests before, between and after them. :data:`EXCERPTS` has their whole seconds
  for runs of the published lengths; ``stimuli/segments.tsv`` takes its place, and must for runs of another length.
  The HCP's own times, with fractions, are in its HCP_7T_Movie_Clip_Timing.csv.
- *The last excerpt is the same film in all four runs.* It is one run here, ``shared``, with four repeats: to split its
  showings over training and test would leak the stimulus.
- *The 9:1 split takes whole excerpts*, because volumes 1 s apart share their signal: the last tenth of them, rounded
  up, ``shared`` last, are the test set; the last tenth of the others is for validation.
- *Films come in two versions* (shown before and after 21 August 2014: 7T_MOVIE1_CC1.mp4 and 7T_MOVIE1_CC1_v2.mp4).
  Where both are there, ``--films '*_v2.mp4'`` says which; the HCP lists who saw which.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from pipeline.data.bids import read_text
from pipeline.data.options import ImportOptions
from pipeline.errors import DataError

TR, LAG_S = 1.0, 4.0
N_GRAYORDINATES = 91_282
RUNS = ("MOVIE1", "MOVIE2", "MOVIE3", "MOVIE4")
# Data.md: 5,820 grayordinates of both hemispheres.
VISUAL_AREAS = ("V1", "V2", "V3", "V4", "V3A", "V3B", "LO1", "LO2", "MT", "MST", "TPOJ1", "TPOJ2")
PUBLISHED_VOXELS = 5_820
PUBLISHED_VOLUMES = {"MOVIE1": 921, "MOVIE2": 918, "MOVIE3": 915, "MOVIE4": 901}
SHARED = "shared"
# Whole seconds inside each excerpt; the last of each run is the shared one.
EXCERPTS = {
    "MOVIE1": ((20, 264), (284, 505), (526, 714), (735, 797), (818, 901)),
    "MOVIE2": ((20, 246), (267, 525), (545, 795), (815, 898)),
    "MOVIE3": ((20, 200), (221, 405), (425, 629), (649, 792), (812, 895)),
    "MOVIE4": ((20, 252), (272, 502), (522, 777), (798, 881)),
}
RUN_FILE = re.compile(r"tfMRI_(MOVIE\d)_7T_(?:AP|PA)_Atlas(?P<variant>\w*(?:\.\d\w*)?)\.dtseries\.nii")
FILM_FILE = re.compile(r"(?:7T_)?(MOVIE\d)(?:_.*)?\.(?:mp4|mov|mkv|avi)", re.IGNORECASE)
FINE = "_1.6mm"


@dataclass(frozen=True)
class Excerpt:
    """An excerpt of a run's film: whole seconds [start, stop) of run and film alike."""

    run: str
    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class HcpLayout:
    """What a folder of 7T movie runs holds.

    Parameters
    ----------
    subjects : mapping of ``sub-100610`` to run to file
    films : mapping of run to film
    excerpts : list of Excerpt, or None
        From ``stimuli/segments.tsv``; None stands for the built-in table.
    variant : str
        What the runs' names carry after ``_Atlas``.
    """

    root: Path
    title: str
    subjects: dict[str, dict[str, Path]]
    films: dict[str, Path]
    excerpts: list[Excerpt] | None
    variant: str


def is_hcp7t(root: Path) -> bool:
    """Whether ``root`` looks like the HCP's 7T movie runs."""
    return any(_runs_of(folder) for folder in _subject_folders(root))


def scan_hcp7t(root: Path, options: ImportOptions) -> HcpLayout:
    """List subjects, runs and films; no image is read.

    Raises
    ------
    DataError
        No run, only runs on the finer mesh, two files or films for one run, a damaged table of excerpts.
    """
    found = {f"sub-{folder.name}": _runs_of(folder) for folder in _subject_folders(root)}
    variants = sorted({variant for runs in found.values() for variant, _, _ in runs}, key=lambda v: (len(v), v))
    wanted = options.variant if options.variant is not None else next((v for v in variants if FINE not in v), None)
    if wanted is None or wanted not in variants or FINE in wanted:
        raise DataError(
            f"{root}: expected tfMRI_MOVIE1_7T_AP_Atlas{wanted or ''}.dtseries.nii on the 32k mesh (2 mm, "
            f"{N_GRAYORDINATES:,} grayordinates), got {', '.join('_Atlas' + v for v in variants) or 'no run'}; fetch "
            "the 2 mm package, or choose another with --variant"
        )
    subjects: dict[str, dict[str, Path]] = {}
    for subject, runs in found.items():
        for variant, run, path in runs:
            if variant != wanted:
                continue
            known = subjects.setdefault(subject, {}).setdefault(run, path)
            if known != path:
                raise DataError(f"{subject}: expected one file for {run}, got {known} and {path}; remove one")
    return HcpLayout(root, "HCP 7T movies", subjects, _films(root, options.films), _table(root), wanted)


def excerpts_of(layout: HcpLayout, run: str, n_volumes: int, lag: int, where: str) -> list[Excerpt]:
    """Return a run's excerpts in order.

    Parameters
    ----------
    layout : HcpLayout
    run : str
    n_volumes, lag : int
        Volumes of the run, and between a clip and its response.
    where : str
        The file, for messages.

    Raises
    ------
    DataError
        No table and another length than the published one, or an excerpt whose response lies past the end.
    """
    if layout.excerpts is None:
        if n_volumes != PUBLISHED_VOLUMES[run]:
            raise DataError(
                f"{where}: expected {PUBLISHED_VOLUMES[run]} volumes, got {n_volumes}; fetch the run again, or say in "
                "stimuli/segments.tsv (run, name, start, stop) where its excerpts are"
            )
        found = [
            Excerpt(run, SHARED if i + 1 == len(EXCERPTS[run]) else f"{run}_{i + 1}", *seconds)
            for i, seconds in enumerate(EXCERPTS[run])
        ]
    else:
        found = [excerpt for excerpt in layout.excerpts if excerpt.run == run]
    late = [e for e in found if e.stop + lag > n_volumes]
    if late:
        raise DataError(
            f"{where}: expected {late[0].stop + lag} volumes or more for the excerpt {late[0].name}, got {n_volumes}; "
            "the run is cut short, or the table belongs to another"
        )
    return found


def _subject_folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and p.name.isdigit()) if root.is_dir() else []


def _runs_of(folder: Path) -> list[tuple[str, str, Path]]:
    """(variant, run, file) of each movie run under a subject's folder."""
    found = []
    for path in sorted(folder.rglob("tfMRI_MOVIE*_Atlas*.dtseries.nii")):
        match = RUN_FILE.fullmatch(path.name)
        if match and match[1] in RUNS:
            found.append((match["variant"], match[1], path))
    return found


def _films(root: Path, pattern: str | None) -> dict[str, Path]:
    """Film of each run under ``stimuli/``."""
    films: dict[str, Path] = {}
    folder = root / "stimuli"
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        match = FILM_FILE.fullmatch(path.name)
        if not match or (pattern is not None and not fnmatch(path.name, pattern)):
            continue
        other = films.setdefault(match[1].upper(), path)
        if other != path:
            raise DataError(
                f"{folder}: expected one film for {match[1]}, got {other.name} and {path.name}; say which version "
                "these subjects saw, such as --films '*_v2.mp4'"
            )
    return films


def _table(root: Path) -> list[Excerpt] | None:
    """Excerpts of ``stimuli/segments.tsv``, None where there is none."""
    path = root / "stimuli" / "segments.tsv"
    if not path.is_file():
        return None
    found = []
    for number, row in enumerate(csv.DictReader(read_text(path).splitlines(), delimiter="\t"), start=2):
        try:
            run, name, start, stop = row["run"], row["name"], float(row["start"]), float(row["stop"])
            if run not in RUNS or not re.fullmatch(r"[\w-]+", name) or not 0 <= start < stop < math.inf:
                raise ValueError
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: line {number}: expected run (MOVIE1 to MOVIE4), name, start and stop in seconds, got {row}"
            ) from error
        found.append(Excerpt(run, name, math.ceil(start), math.floor(stop)))
    lengths: dict[str, int] = {}
    for excerpt in found:
        length = excerpt.stop - excerpt.start
        if length < 1 or lengths.setdefault(excerpt.name, length) != length:
            raise DataError(
                f"{path}: expected {lengths.get(excerpt.name)} s for {excerpt.name} in every run, got {length}; an "
                "excerpt of one name is one film shown again"
            )
        if any(e is not excerpt and e.run == excerpt.run and e.name == excerpt.name for e in found):
            raise DataError(f"{path}: {excerpt.name} stands twice in {excerpt.run}; give each excerpt a name")
    if not found:
        raise DataError(f"{path}: expected a line per excerpt (run, name, start, stop), got none")
    return found
