"""Examine a recording without importing it: everything that is there, missing or wrong, not only the first fault."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.cc2017 import (
    PUBLISHED_REPEATS,
    PUBLISHED_SEGMENTS,
    PUBLISHED_VOXELS,
    Cc2017Layout,
    scan_cc2017,
)
from pipeline.data.examine_hcp7t import examine_hcp7t
from pipeline.data.examine_pt import examine_cc2017_pt
from pipeline.data.images import read_cifti, read_volume
from pipeline.data.options import ImportOptions, Progress, digest
from pipeline.data.preprocess import clean_run, trim_window
from pipeline.data.readers import find_layout
from pipeline.data.report import Copies, Report
from pipeline.errors import DataError, NeuroVisError
from pipeline.grayordinates import N_CORTEX


def examine(path: str | os.PathLike[str], progress: Progress | None = None) -> Report:
    """Examine a folder of a known layout (:data:`pipeline.data.readers.READERS`), or one image file.

    Reads every run, changes nothing. Faults become findings; nothing is raised for what a file holds.

    Raises
    ------
    DataError
        When there is nothing at ``path``.
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise DataError(f"{root}: expected a folder or an image, got nothing; check the path")
    if root.is_file():
        return _examine_file(root)
    report = Report(str(root), "unknown")
    try:
        report.layout = find_layout(root)
        EXAMINERS[report.layout](root, report, progress)
    except NeuroVisError as error:
        report.add("error", str(root), str(error))
    return report


def _examine_file(path: Path) -> Report:
    report = Report(str(path), "image")
    try:
        cifti = path.name.endswith(".dtseries.nii")
        data = read_cifti(path).data if cifti else read_volume(path).data
    except NeuroVisError as error:
        report.add("error", path.name, str(error))
        return report
    report.facts = {"shape": list(data.shape), "not finite": int((~np.isfinite(data)).sum())}
    if report.facts["not finite"]:
        report.add("warning", path.name, f"{report.facts['not finite']} values are NaN or infinite")
    return report


def _examine_cc2017(root: Path, report: Report, progress: Progress | None) -> None:
    layout = scan_cc2017(root)
    copies = Copies(report)
    report.facts |= {"title": layout.title, "simulated": layout.simulated, "clips per segment": layout.n_clips}
    report.facts["subjects"] = {}
    total = sum(len(runs) for segments in layout.subjects.values() for runs in segments.values())
    done = 0
    for subject, segments in layout.subjects.items():
        vertices: np.ndarray | None = None
        bad: np.ndarray | None = None
        lengths: Counter[int] = Counter()
        for segment, repeats in segments.items():
            for repeat, path in repeats.items():
                if progress:
                    progress(done, total, f"{subject} {segment} repeat {repeat}")
                done += 1
                where = f"{subject} {path.name}"
                if (subject, segment, repeat) in layout.bad_runs:
                    report.add("warning", where, "this run is known to be bad; the import leaves it out")
                    continue
                try:
                    gray = read_cifti(path)
                    run = clean_run(gray.data[trim_window(len(gray.data), layout.n_clips, 0, path.name)])
                except NeuroVisError as error:
                    report.add("error", where, str(error))
                    continue
                lengths[len(gray.data)] += 1
                copies.check(digest(gray.data), where, subject)
                if vertices is None:
                    vertices, bad = gray.voxel_ids, run.bad
                elif not np.array_equal(vertices, gray.voxel_ids):
                    report.add(
                        "error", where, f"expected {len(vertices)} vertices as before, got {len(gray.voxel_ids)}"
                    )
                    continue
                bad = run.bad if bad is None else bad | run.bad
                if run.bad.all():
                    report.add("error", where, "every vertex is NaN or constant")
        _cc2017_subject(layout, subject, report, vertices, bad, lengths)
    _films(layout, report)


def _cc2017_subject(
    layout: Cc2017Layout, subject: str, report: Report, vertices: Any, bad: Any, lengths: Counter[int]
) -> None:
    """Facts of one subject, and its counts against the published ones."""
    segments = layout.subjects[subject]
    n_vertices, n_bad = (0, 0) if vertices is None else (len(vertices), int(bad.sum()))
    report.facts["subjects"][subject] = {
        "runs": sum(map(len, segments.values())),
        "training_segments": len(layout.segments(subject, "seg")),
        "test_segments": len(layout.segments(subject, "test")),
        "vertices": n_vertices,
        "bad_vertices": n_bad,
        "run_lengths": dict(sorted(lengths.items())),
    }
    if n_bad:
        report.add("warning", subject, f"{n_bad} of {n_vertices} vertices are NaN or constant in some run; left out")
    for kind, name in (("seg", "training"), ("test", "test")):
        found = layout.segments(subject, kind)
        repeats = {len(segments[s]) for s in found}
        if len(repeats) > 1:
            counts = ", ".join(f"{s} {len(segments[s])}" for s in found)
            report.add("warning", subject, f"{name} segments differ in their number of repeats: {counts}")
        if layout.simulated or not found:
            continue
        if len(found) != PUBLISHED_SEGMENTS[kind] or max(repeats) != PUBLISHED_REPEATS[kind]:
            report.add(
                "warning", subject,
                f"{len(found)} {name} segments of {max(repeats)} repeats; published are {PUBLISHED_SEGMENTS[kind]} "
                f"of {PUBLISHED_REPEATS[kind]}",
            )  # fmt: skip
    if not layout.simulated and n_vertices not in (0, N_CORTEX):
        report.add("warning", subject, f"{n_vertices} cortical grayordinates; published are {N_CORTEX}")
    if not layout.simulated and subject in PUBLISHED_VOXELS:
        report.add(
            "info", subject, f"the published selection has {PUBLISHED_VOXELS[subject]:,} voxels; compare after import"
        )


def _films(layout: Cc2017Layout, report: Report) -> None:
    from pipeline.data.video import index_film

    segments = sorted({s for runs in layout.subjects.values() for s in runs})
    if not layout.films:
        report.add("warning", "stimuli", "there are no films; what needs pixels will have none")
        return
    for segment in segments:
        if segment not in layout.films:
            report.add("error", f"stimuli/{segment}.mp4", "the film of a recorded segment is missing; copy it there")
            continue
        try:
            index = index_film(layout.films[segment])
        except NeuroVisError as error:
            report.add("error", f"stimuli/{segment}.mp4", str(error))
            continue
        seconds, needed = len(index.seconds) / index.fps, layout.n_clips * layout.tr
        if seconds < needed - 0.5:
            report.add("error", f"stimuli/{segment}.mp4", f"expected {needed:g} s, got {seconds:.1f} s; fetch it again")
    report.facts["films"] = len(layout.films)
    for name in ("captions.jsonl", "scenes.jsonl"):
        report.facts[name] = (layout.root / "stimuli" / name).is_file()


def _examine_bids(root: Path, report: Report, progress: Progress | None) -> None:
    from pipeline.data.bids import read_events, scan_bids, stimulus_path
    from pipeline.data.bids_reader import check_same_voxels, read_run

    options = ImportOptions()
    layout = scan_bids(root, options)
    copies = Copies(report)
    report.facts |= {"title": layout.name, "subjects": {}}
    trial_types: Counter[str] = Counter()
    missing: set[str] = set()
    total, done = sum(map(len, layout.subjects.values())), 0
    for subject, runs in layout.subjects.items():
        first, n_volumes, bad = None, 0, None
        for run in runs:
            if progress:
                progress(done, total, f"{subject} {run.name}")
            done += 1
            where = f"{subject} {run.name}"
            try:
                data = read_run(run, subject, options)
                first = first or data
                check_same_voxels(first, data, run.bold)
            except NeuroVisError as error:
                report.add("error", where, str(error))
                continue
            copies.check(data.digest, where, subject)
            n_volumes += len(data.shown)
            bad = data.clean.bad if bad is None else bad | data.clean.bad
            events = read_events(run.events) if run.events else []
            trial_types.update(e.trial_type for e in events if e.trial_type)
            for name in {e.stim_file for e in events if e.stim_file}:
                if not _there(stimulus_path, root, name, report):
                    missing.add(name)
        n_bad = 0 if bad is None else int(bad.sum())
        report.facts["subjects"][subject] = {
            "runs": len(runs),
            "volumes": n_volumes,
            "voxels": 0 if first is None else len(first.voxel_ids),
            "bad_voxels": n_bad,
            "tr": None if first is None else first.tr,
        }
        if n_bad:
            report.add("warning", subject, f"{n_bad} voxels are NaN or constant in some run; they are left out")
        if not any(run.masks for run in runs):
            report.add("warning", subject, "no mask was found; give --mask FILE, or every voxel of the grid is kept")
    report.facts["trial types"] = dict(trial_types)
    for name in sorted(missing):
        report.add("error", f"stimuli/{name}", "an event shows this file, which is missing; copy it there")


def _there(resolve: Any, root: Path, name: str, report: Report) -> bool:
    try:
        return bool(resolve(root, name).is_file())
    except NeuroVisError as error:
        report.add("error", name, str(error))
        return True


EXAMINERS = {
    "cc2017": _examine_cc2017,
    "cc2017-pt": examine_cc2017_pt,
    "hcp7t": examine_hcp7t,
    "bids": _examine_bids,
}
