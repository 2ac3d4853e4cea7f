"""Examine CC2017's preprocessed tensors without importing them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.data.cc2017 import PUBLISHED_VOXELS
from pipeline.data.cc2017_pt import PARTS, PUBLISHED_SHAPES, TensorLayout, block_names, open_fmri, scan_cc2017_pt
from pipeline.data.options import Progress, digest
from pipeline.data.picklefree import open_tensor, read_texts
from pipeline.data.preprocess import clean_run
from pipeline.data.report import Copies, Report
from pipeline.data.tensorfilm import tensor_shape
from pipeline.errors import NeuroVisError


def examine_cc2017_pt(root: Path, report: Report, progress: Progress | None) -> None:
    """Read every tensor of fMRI, the shapes of the frames, and the texts; faults become findings."""
    layout = scan_cc2017_pt(root)
    report.facts |= {"title": layout.title, "simulated": layout.simulated, "clips per segment": layout.n_clips}
    report.facts["subjects"] = {}
    copies = Copies(report)
    n_clips: dict[str, set[int]] = {part: set() for part in PARTS}
    for number, subject in enumerate(layout.subjects):
        if progress:
            progress(number, len(layout.subjects), subject)
        try:
            _examine_subject(layout, subject, report, copies, n_clips)
        except NeuroVisError as error:
            report.add("error", subject, str(error))
    for part in PARTS:
        _examine_shown(layout, part, n_clips[part], report)
    report.add(
        "info", str(root.name), "no positions of the voxels come with these files; python -m pipeline recover-index "
        "finds them again from the raw CIFTI files",
    )  # fmt: skip


def _examine_subject(
    layout: TensorLayout, subject: str, report: Report, copies: Copies, n_clips: dict[str, set[int]]
) -> None:
    tensors = open_fmri(layout, subject)
    n_voxels = tensors["train"].shape[2]
    bad = np.zeros(n_voxels, bool)
    facts: dict[str, object] = {"voxels": n_voxels}
    for part, tensor in tensors.items():
        count, repeats, _ = tensor.shape
        n_clips[part].add(count)
        facts |= {f"{part}_clips": count, f"{part}_repeats": repeats}
        block_names(count, part, layout.n_clips)
        if count % layout.n_clips:
            report.add(
                "warning", subject,
                f"{part}: {count} clips are no whole number of segments of {layout.n_clips}; contiguous blocks instead",
            )  # fmt: skip
        for repeat in range(repeats):
            values = np.ascontiguousarray(tensor[:, repeat].float().numpy())
            where = f"{subject} {part} repeat {repeat + 1}"
            found = clean_run(values, order=0).bad
            if found.all():
                report.add("warning", where, "every voxel is NaN or constant; it counts as not recorded")
                continue
            value = digest(values)
            other = copies.seen.get(value, ("", ""))
            if other[1] == subject and f" {part} " in other[0]:
                report.add("warning", where, f"holds the same values as {other[0]}; it counts as not recorded")
                continue
            copies.check(value, where, subject)
            bad |= found
        if not layout.simulated and (count, repeats) != PUBLISHED_SHAPES[part]:
            clips, times = PUBLISHED_SHAPES[part]
            report.add("warning", subject, f"{part}: {count} clips of {repeats}; published are {clips} of {times}")
    facts["bad_voxels"] = int(bad.sum())
    report.facts["subjects"][subject] = facts
    if bad.any():
        report.add("warning", subject, f"{int(bad.sum())} of {n_voxels} voxels are NaN or constant; left out")
    published = PUBLISHED_VOXELS.get(subject)
    if published and not layout.simulated:
        counts = f"{n_voxels:,} voxels; published are {published:,}"
        report.add("info" if published == n_voxels else "warning", subject, counts)


def _examine_shown(layout: TensorLayout, part: str, n_clips: set[int], report: Report) -> None:
    """Frames and texts of one part against the number of clips."""
    expected = " or ".join(map(str, sorted(n_clips))) or "no"
    frames, captions = layout.frames.get(part), layout.captions.get(part)
    if frames is None and not layout.films:
        report.add("warning", f"GT_{part}_3fps.pt", "neither frames nor films; what needs pixels will have none")
    if frames is not None:
        try:
            shape = tensor_shape(frames)
            report.facts[frames.name] = list(shape)
            if {shape[0]} != n_clips:
                report.add("error", frames.name, f"expected {expected} clips, got {shape[0]}; fetch the file again")
        except NeuroVisError as error:
            report.add("error", frames.name, str(error))
    if captions is not None:
        try:
            found = len(read_texts(captions))
            report.facts[captions.name] = found
            if {found} != n_clips:
                report.add("error", captions.name, f"expected {expected} texts, got {found}; fetch the file again")
        except NeuroVisError as error:
            report.add("error", captions.name, str(error))
    embedded = layout.root / f"GT_{part}_caption_emb.pt"
    if embedded.is_file():
        try:
            report.facts[embedded.name] = list(open_tensor(embedded).shape)
        except NeuroVisError as error:
            report.add("warning", embedded.name, f"{error} (it is not needed)")
