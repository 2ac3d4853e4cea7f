"""Examine the HCP's 7T movie runs without importing them."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.hcp7t import LAG_S, PUBLISHED_VOXELS, RUNS, VISUAL_AREAS, scan_hcp7t
from pipeline.data.hcp7t_reader import read_movie_run
from pipeline.data.options import ImportOptions, Progress, roi_ids
from pipeline.data.report import Copies, Report
from pipeline.data.video import index_film
from pipeline.errors import NeuroVisError


def examine_hcp7t(root: Path, report: Report, progress: Progress | None) -> None:
    """Read every run and the frame times of every film; faults become findings."""
    layout = scan_hcp7t(root, ImportOptions())
    ids = roi_ids(VISUAL_AREAS)
    report.facts |= {"title": layout.title, "files": f"*_Atlas{layout.variant}.dtseries.nii", "subjects": {}}
    copies = Copies(report)
    total = len(RUNS) * len(layout.subjects)
    last: dict[str, int] = {}
    for number, subject in enumerate(layout.subjects):
        lengths, n_clips, n_bad = {}, 0, 0
        for place, name in enumerate(RUNS):
            if progress:
                progress(number * len(RUNS) + place, total, f"{subject} {name}")
            try:
                run = read_movie_run(layout, subject, name, ids, LAG_S)
            except NeuroVisError as error:
                report.add("error", f"{subject} {name}", str(error))
                continue
            copies.check(run.digest, f"{subject} {name}", subject)
            lengths[name] = len(run.clean.data)
            n_clips += sum(e.stop - e.start for e in run.excerpts)
            last[name] = max((e.stop for e in run.excerpts), default=0)
            n_bad = max(n_bad, int(run.clean.bad.sum()))
        report.facts["subjects"][subject] = {
            "runs": len(layout.subjects[subject]),
            "run_lengths": lengths,
            "clips": n_clips,
            "grayordinates": len(ids),
            "bad_grayordinates": n_bad,
        }
        if n_bad:
            report.add("warning", subject, f"{n_bad} of {len(ids)} grayordinates are NaN or constant; left out")
    if len(ids) != PUBLISHED_VOXELS:
        report.add("warning", "parcellation", f"{len(ids):,} grayordinates; published are {PUBLISHED_VOXELS:,}")
    if not layout.films:
        report.add("warning", "stimuli", "there are no films; what needs pixels will have none")
    for name in RUNS if layout.films else ():
        if name not in layout.films:
            report.add("error", f"stimuli/{name}", "this run's film is missing; copy it there, or take the others out")
            continue
        try:
            index = index_film(layout.films[name])
        except NeuroVisError as error:
            report.add("error", layout.films[name].name, str(error))
            continue
        seconds = len(index.seconds) / index.fps
        if seconds < last.get(name, 0) - 0.5:
            report.add(
                "error", layout.films[name].name, f"expected {last[name]} s, got {seconds:.1f} s; fetch it again"
            )
