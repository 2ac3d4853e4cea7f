"""The readers behind one face: which subjects a folder holds, and each subject's data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pipeline.data.bids import is_bids, scan_bids
from pipeline.data.bids_reader import read_bids_subject
from pipeline.data.captions import read_trial_captions
from pipeline.data.cc2017 import Cc2017Layout, is_cc2017, read_cc2017_subject, scan_cc2017
from pipeline.data.cc2017_pt import TensorLayout, is_cc2017_pt, scan_cc2017_pt
from pipeline.data.cc2017_pt_reader import TensorSubjectReader
from pipeline.data.hcp7t import TR as HCP_TR
from pipeline.data.hcp7t import HcpLayout, is_hcp7t, scan_hcp7t
from pipeline.data.hcp7t_reader import HcpSubjectReader
from pipeline.data.options import ImportOptions, Progress
from pipeline.data.store import SubjectData
from pipeline.errors import DataError

Layout = TypeVar("Layout", Cc2017Layout, TensorLayout, HcpLayout)


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


def find_layout(root: Path) -> str:
    """Tell the layout of a folder by its first names: a key of :data:`READERS`."""
    for name, belongs in LAYOUTS.items():
        if belongs(root):
            return name
    entries = sorted(p.name for p in root.iterdir())[:6] if root.is_dir() else []
    raise DataError(
        f"{root}: expected CC2017 raw (subject1/fmri/seg1/cifti/*.dtseries.nii) or preprocessed "
        "(subj01_train_fmri.pt), the HCP's 7T movies (100610/.../tfMRI_MOVIE1_7T_AP_Atlas.dtseries.nii) or BIDS "
        f"(sub-01/func), got {', '.join(entries) or 'an empty folder'}; name the folder that holds the subjects"
    )


class _Scanned(Generic[Layout]):
    """A scanned folder of films and runs, with the choices of its import."""

    simulated = False

    def __init__(self, layout: Layout, options: ImportOptions, captions: Path | None, tr: float) -> None:
        self.layout: Layout = layout
        self.options, self.captions = options, captions
        self.title, self.subjects = layout.title, sorted(layout.subjects)
        self.tr: float | None = tr
        self.notes: list[str] = []


class Cc2017Reader(_Scanned[Cc2017Layout]):
    """CC2017's raw CIFTI layout."""

    layout_name = "cc2017"

    def __init__(self, root: Path, options: ImportOptions, captions: Path | None) -> None:
        layout = scan_cc2017(root)
        super().__init__(layout, options, captions, layout.tr)
        self.simulated = layout.simulated

    def read(self, subject: str, progress: Progress | None = None) -> SubjectData:
        """Read one subject, whole."""
        return read_cc2017_subject(self.layout, subject, self.options, self.captions, progress)


class Cc2017TensorReader(_Scanned[TensorLayout]):
    """CC2017's preprocessed tensors."""

    layout_name = "cc2017-pt"

    def __init__(self, root: Path, options: ImportOptions, captions: Path | None) -> None:
        layout = scan_cc2017_pt(root)
        super().__init__(layout, options, captions, layout.tr)
        self.simulated = layout.simulated

    def read(self, subject: str, progress: Progress | None = None) -> SubjectData:
        """Read one subject, whole."""
        return TensorSubjectReader(self.layout, subject, self.options, self.captions, progress).read()


class HcpReader(_Scanned[HcpLayout]):
    """The HCP's 7T movie runs."""

    layout_name = "hcp7t"

    def __init__(self, root: Path, options: ImportOptions, captions: Path | None) -> None:
        super().__init__(scan_hcp7t(root, options), options, captions, HCP_TR)

    def read(self, subject: str, progress: Progress | None = None) -> SubjectData:
        """Read one subject, whole."""
        return HcpSubjectReader(self.layout, subject, self.options, self.captions, progress).read()


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


# In the order in which a folder is asked whether it is one.
LAYOUTS: dict[str, Callable[[Path], bool]] = {
    "cc2017": is_cc2017,
    "cc2017-pt": is_cc2017_pt,
    "hcp7t": is_hcp7t,
    "bids": is_bids,
}
READERS: dict[str, Callable[[Path, ImportOptions, Path | None], Reader]] = {
    "cc2017": Cc2017Reader,
    "cc2017-pt": Cc2017TensorReader,
    "hcp7t": HcpReader,
    "bids": BidsReader,
}
