"""Find what CC2017's preprocessed download (NeuroClips, NEURONS) holds: PyTorch tensors, one folder for all subjects.

    subj01_train_fmri.pt    (4320, 2, n_voxels), every repeat of every training clip
    subj01_test_fmri.pt     (1200, n_repeats, n_voxels)
    GT_train_3fps.pt        (4320, 6, 3, 224, 224) in [0, 1], what was shown; GT_test_3fps.pt alike
    GT_train_caption.pt     optional: a text a clip, as a numpy array
    GT_train_caption_emb.pt optional: embeddings of the texts; not used here
    stimuli/seg1.mp4 ...    optional: the films themselves, used instead of the tensors where all are there
    dataset.json            optional: title, simulated, clips_per_segment

The counts are the published ones; here every size comes from the files. Clip j of segment s has the index 240 s + j, so
that clips, runs and splits have the names that the raw layout gives them. The voxels' positions are not in the
download: see :mod:`pipeline.data.recover`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.cc2017 import N_CLIPS, TR, read_card
from pipeline.data.picklefree import open_tensor
from pipeline.errors import DataError

if TYPE_CHECKING:
    import torch

FMRI = re.compile(r"subj(\d+)_(train|test)_fmri\.pt")
PARTS = ("train", "test")
SEGMENT_NAMES = {"train": "seg", "test": "test"}
# A part that is no whole number of segments is cut into this many blocks, so that a tenth can be held out.
N_BLOCKS, MIN_BLOCK = 10, 6
PUBLISHED_SHAPES = {"train": (4320, 2), "test": (1200, 10)}


@dataclass(frozen=True)
class TensorLayout:
    """What a folder of preprocessed tensors holds.

    Parameters
    ----------
    subjects : mapping of subject to ``train`` / ``test`` to file
    frames, captions : mapping of ``train`` / ``test`` to file, where it is there
    films : mapping of segment to film
    n_clips : int
        Clips of a segment.
    """

    root: Path
    title: str
    simulated: bool
    n_clips: int
    tr: float
    subjects: dict[str, dict[str, Path]]
    frames: dict[str, Path]
    captions: dict[str, Path]
    films: dict[str, Path]


def is_cc2017_pt(root: Path) -> bool:
    """Whether ``root`` looks like the preprocessed download."""
    return any(FMRI.fullmatch(path.name) for path in root.glob("subj*_fmri.pt"))


def scan_cc2017_pt(root: Path) -> TensorLayout:
    """List the files; no tensor is read.

    Raises
    ------
    DataError
        No fMRI, or a damaged dataset.json.
    """
    card = read_card(root)
    subjects: dict[str, dict[str, Path]] = {}
    for path in sorted(root.glob("subj*_fmri.pt")):
        match = FMRI.fullmatch(path.name)
        if match:
            subjects.setdefault(f"sub-{int(match[1]):02d}", {})[match[2]] = path
    if not subjects:
        raise DataError(
            f"{root}: expected subj01_train_fmri.pt and the like, got none; name the folder that holds them"
        )
    return TensorLayout(
        root=root,
        title=str(card.get("title") or card.get("name") or "CC2017 (Wen et al. 2018), preprocessed"),
        simulated=bool(card.get("simulated", False)),
        n_clips=int(card.get("clips_per_segment", N_CLIPS)),
        tr=float(card.get("tr", TR)),
        subjects=subjects,
        frames=_there(root, "GT_{}_3fps.pt"),
        captions=_there(root, "GT_{}_caption.pt"),
        films={path.stem: path for path in sorted((root / "stimuli").glob("*.mp4"))},
    )


def open_fmri(layout: TensorLayout, subject: str) -> dict[str, torch.Tensor]:
    """Map a subject's tensors (n_clips, n_repeats, n_voxels), both parts, into memory and check their shapes.

    Raises
    ------
    DataError
        A part is missing, damaged, of another shape, or of other voxels than the other part.
    """
    files = layout.subjects[subject]
    missing = [part for part in PARTS if part not in files]
    if missing:
        there = next(iter(files.values()))
        wanted = there.with_name(there.name.replace("train" if missing[0] == "test" else "test", missing[0]))
        raise DataError(f"{subject}: expected {wanted.name} beside {there.name}, got nothing; fetch it too")
    found = {}
    for part in PARTS:
        tensor = open_tensor(files[part])
        if tensor.ndim != 3 or not all(tensor.shape):
            raise DataError(
                f"{files[part]}: expected fMRI (n_clips, n_repeats, n_voxels), got {tuple(tensor.shape)}; fetch the "
                "file again"
            )
        if not tensor.is_floating_point():
            raise DataError(f"{files[part]}: expected fMRI as real numbers, got {tensor.dtype}; fetch the file again")
        found[part] = tensor
    n_train, n_test = (found[part].shape[2] for part in PARTS)
    if n_train != n_test:
        raise DataError(
            f"{subject}: expected the {n_train} voxels of {files['train'].name} in {files['test'].name} too, got "
            f"{n_test}; the files belong to different subjects or versions"
        )
    return found


def block_names(n_clips: int, part: str, n_segment: int) -> list[str]:
    """Return the run of each clip: whole segments, else contiguous blocks (see :data:`N_BLOCKS`).

    Parameters
    ----------
    n_clips : int
        Clips of the part.
    part : {"train", "test"}
    n_segment : int
        Clips of a segment.

    Raises
    ------
    DataError
        Too few clips to make a run of.
    """
    if n_clips % n_segment == 0:
        return [f"{SEGMENT_NAMES[part]}{i // n_segment + 1}" for i in range(n_clips)]
    if n_clips < MIN_BLOCK:
        raise DataError(f"{part}: expected at least {MIN_BLOCK} clips, got {n_clips}; the file is cut short")
    n_blocks = min(N_BLOCKS, n_clips // MIN_BLOCK)
    return [f"{SEGMENT_NAMES[part]}block{i * n_blocks // n_clips + 1}" for i in range(n_clips)]


def _there(root: Path, template: str) -> dict[str, Path]:
    paths = {part: root / template.format(part) for part in PARTS}
    return {part: path for part, path in paths.items() if path.is_file()}
