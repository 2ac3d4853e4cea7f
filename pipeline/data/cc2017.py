"""Read CC2017's raw layout: films seen two or more times, CIFTI series on the fs_LR 32k cortex.

    subject1/fmri/seg1/cifti/seg1_1_Atlas.dtseries.nii     training segments, two repeats
    subject1/fmri/test1/cifti/test1_1_Atlas.dtseries.nii   test segments, up to ten repeats
    stimuli/seg1.mp4, test1.mp4                            the films
    stimuli/captions.jsonl, scenes.jsonl                   optional, a JSON object a clip
    dataset.json                                           optional: clips_per_segment, tr, simulated, bad_runs

Clip j of a segment is the film's [2j, 2j + 2) s and the j-th volume after the trim.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.bids import read_json
from pipeline.data.options import ImportOptions, Progress
from pipeline.data.store import SubjectData
from pipeline.errors import DataError

N_CLIPS, TR = 240, 2.0
RUN = re.compile(r"(?P<segment>(?:seg|test)\d+)_(?P<repeat>\d+)_Atlas\.dtseries\.nii")
# Known from the data set's users (data.md): subject 3, test2, repeat 9.
KNOWN_BAD = frozenset({("sub-03", "test2", 9)})
# Table of published counts of selected vertices, shown for orientation.
PUBLISHED_VOXELS = {"sub-01": 13_447, "sub-02": 14_828, "sub-03": 9_114}
PUBLISHED_REPEATS = {"seg": 2, "test": 10}
PUBLISHED_SEGMENTS = {"seg": 18, "test": 5}


@dataclass(frozen=True)
class Cc2017Layout:
    """What a CC2017 folder holds.

    Parameters
    ----------
    subjects : mapping of subject to segment to repeat to file
    films : mapping of segment to film
    bad_runs : set of (subject, segment, repeat)
        Recorded but known to be unusable.
    """

    root: Path
    title: str
    simulated: bool
    n_clips: int
    tr: float
    subjects: dict[str, dict[str, dict[int, Path]]]
    films: dict[str, Path]
    bad_runs: frozenset[tuple[str, str, int]]

    def segments(self, subject: str, kind: str) -> list[str]:
        """Segments of a subject: ``kind`` is ``"seg"`` (training) or ``"test"``, in the order of the film."""
        return [s for s in self.subjects[subject] if s.startswith(kind)]


def is_cc2017(root: Path) -> bool:
    """Whether ``root`` looks like CC2017's raw layout."""
    return any(root.glob("subject*/fmri"))


def scan_cc2017(root: Path) -> Cc2017Layout:
    """List subjects, segments, repeats and films; no image is read.

    Raises
    ------
    DataError
        No runs, a damaged dataset.json.
    """
    card = read_card(root)
    subjects: dict[str, dict[str, dict[int, Path]]] = {}
    for folder in sorted(root.glob("subject*/fmri")):
        number = re.fullmatch(r"subject(\d+)", folder.parent.name)
        if not number:
            continue
        runs: dict[str, dict[int, Path]] = {}
        for path in folder.glob("*/cifti/*_Atlas.dtseries.nii"):
            match = RUN.fullmatch(path.name)
            if match and match["segment"] == path.parent.parent.name:
                runs.setdefault(match["segment"], {})[int(match["repeat"])] = path
        if runs:
            subjects[f"sub-{int(number[1]):02d}"] = {
                s: dict(sorted(runs[s].items())) for s in sorted(runs, key=segment_order)
            }
    if not subjects:
        raise DataError(f"{root}: expected subject1/fmri/seg1/cifti/seg1_1_Atlas.dtseries.nii and the like, got no run")
    films = {p.stem: p for p in sorted((root / "stimuli").glob("*.mp4"))}
    return Cc2017Layout(
        root=root,
        title=str(card.get("title") or card.get("name") or "CC2017 (Wen et al. 2018), raw"),
        simulated=bool(card.get("simulated", False)),
        n_clips=int(card.get("clips_per_segment", N_CLIPS)),
        tr=float(card.get("tr", TR)),
        subjects=subjects,
        films=films,
        bad_runs=_bad_runs(card),
    )


def segment_order(segment: str) -> tuple[bool, int]:
    """Sort key: seg1, seg2, ..., seg10, ..., test1."""
    return segment.startswith("test"), int(re.sub(r"\D", "", segment))


def read_cc2017_subject(
    layout: Cc2017Layout,
    subject: str,
    options: ImportOptions,
    captions: Path | None = None,
    progress: Progress | None = None,
) -> SubjectData:
    """Read, trim, clean and select one subject; see :mod:`pipeline.data.cc2017_reader`."""
    from pipeline.data.cc2017_reader import SubjectReader

    return SubjectReader(layout, subject, options, captions, progress).read()


def read_card(root: Path) -> dict[str, Any]:
    """Read the optional ``dataset.json`` of a CC2017 folder; empty where there is none."""
    path = root / "dataset.json"
    if not path.is_file():
        return {}
    card = read_json(path)
    counts = isinstance(card, dict) and card.get("clips_per_segment", N_CLIPS)
    tr = isinstance(card, dict) and card.get("tr", TR)
    if not (isinstance(counts, int) and counts > 0 and isinstance(tr, int | float) and 0.05 <= tr <= 60):
        raise DataError(f"{path}: expected clips_per_segment (whole, positive) and tr (seconds); correct the file")
    return dict(card)


def _bad_runs(card: dict[str, Any]) -> frozenset[tuple[str, str, int]]:
    """Bad runs from dataset.json, else the published one where the recording is not said to be another."""
    if not card:
        return KNOWN_BAD
    try:
        return frozenset((str(s), str(g), int(r)) for s, g, r in card.get("bad_runs", ()))
    except (TypeError, ValueError) as error:
        raise DataError('dataset.json: bad_runs must be a list such as [["sub-03", "test2", 9]]') from error
