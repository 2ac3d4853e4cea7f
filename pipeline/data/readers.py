"""The two readers behind one face: which subjects a folder holds, and each subject's data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from pipeline.data.bids import is_bids, scan_bids
from pipeline.data.bids_reader import read_bids_subject
from pipeline.data.captions import read_trial_captions
from pipeline.data.cc2017 import is_cc2017, read_cc2017_subject, scan_cc2017
from pipeline.data.options import ImportOptions, Progress
from pipeline.data.store import SubjectData
from pipeline.errors import DataError


class Reader(Protocol):
    """What the registry asks of a reader."""

    layout_name: str
    title: str
    simulated: bool
    tr: float | None
    notes: list[str]
    subjects: list[str]

    def read(self, subject: str, progress: Progress | None = None) -> SubjectData:
        """Read one subject, whole."""
        ...


def find_layout(root: Path) -> Literal["cc2017", "bids"]:
    """Tell the layout of a folder by its first names."""
    if is_cc2017(root):
        return "cc2017"
    if is_bids(root):
        return "bids"
    entries = sorted(p.name for p in root.iterdir())[:6] if root.is_dir() else []
    raise DataError(
        f"{root}: expected CC2017's raw layout (subject1/fmri/seg1/cifti/*.dtseries.nii) or BIDS (sub-01/func), "
        f"got {', '.join(entries) or 'an empty folder'}; name the folder that holds the subjects"
    )


class Cc2017Reader:
    """CC2017's raw CIFTI layout."""

    layout_name = "cc2017"

    def __init__(self, root: Path, options: ImportOptions, captions: Path | None) -> None:
        self.layout = scan_cc2017(root)
        self.options, self.captions = options, captions
        self.title, self.simulated = self.layout.title, self.layout.simulated
        self.tr: float | None = self.layout.tr
        self.subjects = sorted(self.layout.subjects)
        self.notes: list[str] = []

    def read(self, subject: str, progress: Progress | None = None) -> SubjectData:
        """Read one subject, whole."""
        return read_cc2017_subject(self.layout, subject, self.options, self.captions, progress)


class BidsReader:
    """A BIDS folder."""

    layout_name = "bids"
    simulated = False

    def __init__(self, root: Path, options: ImportOptions, captions: Path | None) -> None:
        self.layout = scan_bids(root, options)
        self.options = options
        self.captions = None if captions is None else read_trial_captions(captions)
        self.title = self.layout.name
        self.tr = next((r.tr for runs in self.layout.subjects.values() for r in runs), None)
        self.subjects = sorted(self.layout.subjects)
        self.notes = [] if captions is None else [f"captions by trial_type from {captions.name}"]

    def read(self, subject: str, progress: Progress | None = None) -> SubjectData:
        """Read one subject, whole."""
        return read_bids_subject(self.layout, subject, self.options, self.captions, progress)
