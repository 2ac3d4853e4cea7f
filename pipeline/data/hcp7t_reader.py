"""One subject of the HCP's 7T movie runs: z-scored, one clip a volume, showings of one excerpt as repeats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clipset import VoxelSpace
from pipeline.data.captions import captions_of_clips
from pipeline.data.hcp7t import (
    LAG_S,
    N_GRAYORDINATES,
    RUNS,
    TR,
    VISUAL_AREAS,
    Excerpt,
    HcpLayout,
    excerpts_of,
)
from pipeline.data.images import read_cifti, read_header
from pipeline.data.options import ImportOptions, Progress, digest, hold_out, refuse_copies, roi_ids
from pipeline.data.preprocess import CleanRun, clean_run
from pipeline.data.selection import noise_ceiling, repeat_correlation
from pipeline.data.store import Part, StimulusTable, SubjectData
from pipeline.data.video import index_film
from pipeline.errors import ConfigError, DataError

# The HCP's own pipeline has high-passed these runs; what is left to remove is a line.
DRIFT_ORDER = 1


@dataclass(frozen=True)
class MovieRun:
    """A cleaned run, its excerpts, and a hash of its raw values."""

    name: str
    clean: CleanRun
    excerpts: list[Excerpt]
    digest: str


def read_movie_run(layout: HcpLayout, subject: str, run: str, columns: NDArray[np.int64], lag_s: float) -> MovieRun:
    """Read and clean one run.

    Parameters
    ----------
    layout : HcpLayout
    subject, run : str
    columns : (n_voxels,) int64
        Cortical grayordinates to keep.
    lag_s : float
        Seconds between what is shown and the volume that answers to it.

    Raises
    ------
    DataError
        A damaged image, another mesh, repetition time or length.
    """
    path = layout.subjects[subject].get(run)
    if path is None:
        there = ", ".join(layout.subjects[subject])
        raise DataError(f"{subject}: expected {', '.join(RUNS)}, got {there}; fetch {run}, or leave the subject out")
    n_found = read_header(path).shape[-1]
    if n_found != N_GRAYORDINATES:
        raise DataError(
            f"{path}: expected the {N_GRAYORDINATES:,} grayordinates of the 32k mesh (2 mm), got {n_found:,}; fetch "
            "the 2 mm package, not the 1.6 mm one"
        )
    gray = read_cifti(path)
    if abs(gray.tr - TR) > 1e-3:
        raise DataError(f"{path}: expected a repetition time of {TR:g} s, got {gray.tr:g} s; fetch the run again")
    where = np.full(int(gray.voxel_ids.max()) + 1, -1, np.int64)
    where[gray.voxel_ids] = np.arange(len(gray.voxel_ids))
    kept = gray.data[:, where[columns]]
    excerpts = excerpts_of(layout, run, len(kept), round(lag_s / TR), str(path))
    return MovieRun(run, clean_run(kept, DRIFT_ORDER), excerpts, digest(kept))


class HcpSubjectReader:
    """Reads one subject; what was found on the way gathers in its fields.

    Parameters
    ----------
    layout : HcpLayout
    subject : str
    options : ImportOptions
    captions : Path, optional
        ``captions.jsonl``; default ``stimuli/captions.jsonl`` where it is.
    progress : callable, optional
    """

    def __init__(
        self, layout: HcpLayout, subject: str, options: ImportOptions, captions: Path | None, progress: Progress | None
    ) -> None:
        self.layout, self.subject, self.options, self.progress = layout, subject, options, progress
        default = layout.root / "stimuli" / "captions.jsonl"
        self.captions_path = captions or (default if default.is_file() else None)
        self.lag_s = options.lag(LAG_S)
        self.lag = round(self.lag_s / TR)
        self.notes = [f"runs are the files *_Atlas{layout.variant}.dtseries.nii"]
        if layout.excerpts is None:
            self.notes.append(
                "the excerpts' times are the built-in whole seconds; stimuli/segments.tsv would replace them"
            )

    def read(self) -> SubjectData:
        """Read the subject."""
        if self.options.select == "reliability":
            raise ConfigError(
                f"{self.subject}: only one excerpt is shown again, in the test set; choose --rois instead"
            )
        ids = roi_ids(self.options.rois or VISUAL_AREAS)
        runs = []
        for number, name in enumerate(RUNS):
            if self.progress:
                self.progress(number, len(RUNS), f"{self.subject} {name}")
            runs.append(read_movie_run(self.layout, self.subject, name, ids, self.lag_s))
        digests = {run.name: run.digest for run in runs}
        refuse_copies({self.subject: digests})
        bad = np.any([run.clean.bad for run in runs], axis=0)
        if bad.all():
            raise DataError(f"{self.subject}: every grayordinate is NaN or constant in some run; fetch the runs again")
        if bad.any():
            self.notes.append(f"{int(bad.sum())} grayordinates are NaN or constant in some run; they were left out")
        shown = _showings(runs)
        names = sorted(shown, key=lambda name: len(shown[name]) > 1)  # stable: excerpts that are shown again come last
        test = hold_out(names, self.options.test_runs, "test_runs", self.subject)
        val = hold_out([n for n in names if n not in test], self.options.val_runs, "val_runs", self.subject)
        splits = {"train": [n for n in names if n not in {*test, *val}], "val": val, "test": test}
        members = {"train": [n for n in names if n not in test], "test": test}
        tsnr = np.stack([run.clean.tsnr for run in runs]).mean(axis=0, dtype=np.float64).astype(np.float32)
        quality: dict[str, NDArray[np.generic]] = {"voxel_ids": ids, "selected": ~bad, "bad": bad, "tsnr": tsnr}
        quality |= self._reliability(shown, test, bad)
        return SubjectData(
            subject=self.subject,
            voxel_ids=ids[~bad],
            space=VoxelSpace("fs_LR_32k"),
            tr=TR,
            parts={part: self._part(wanted, shown, ~bad) for part, wanted in members.items() if wanted},
            splits=splits,
            quality=quality,
            selection={"method": "rois", "rois": list(self.options.rois or VISUAL_AREAS), "lag_s": self.lag_s},
            digests=digests,
            notes=self.notes,
        )

    def _part(
        self, names: list[str], shown: dict[str, list[tuple[MovieRun, Excerpt]]], keep: NDArray[np.bool_]
    ) -> Part:
        """Put the clips of some excerpts one after the other, showings of one excerpt side by side."""
        n_repeats = max(len(shown[name]) for name in names)
        clip_ids: list[str] = []
        groups: list[str] = []
        seconds: list[int] = []
        runs: list[str] = []
        blocks, present = [], []
        for name in names:
            run, excerpt = shown[name][0]
            n_clips = excerpt.stop - excerpt.start
            block = np.zeros((n_clips, n_repeats, int(keep.sum())), np.float32)
            for repeat, (other, place) in enumerate(shown[name]):
                rows = slice(place.start + self.lag, place.stop + self.lag)
                block[:, repeat] = other.clean.data[rows][:, keep]
            blocks.append(block)
            present.append(np.tile(np.arange(n_repeats) < len(shown[name]), (n_clips, 1)))
            clip_ids += [f"{name}_{j:04d}" for j in range(n_clips)]
            groups += [name] * n_clips
            seconds += range(excerpt.start, excerpt.stop)
            runs += [run.name] * n_clips
        texts = {} if self.captions_path is None else captions_of_clips(self.captions_path, clip_ids)
        labels: dict[str, list[Any]] = {"second": [float(s) for s in seconds], "run": runs}
        table = self._films(runs, seconds)
        return Part(clip_ids, groups, np.concatenate(blocks), np.concatenate(present), texts, labels, table)

    def _films(self, runs: list[str], seconds: list[int]) -> StimulusTable | None:
        """Where each clip is on film: a run's film starts with the run, rests included."""
        if not self.layout.films:
            note = "no films in stimuli/: what needs pixels will say that there are none"
            self.notes += [] if note in self.notes else [note]
            return None
        names = list(dict.fromkeys(runs))
        missing = [name for name in names if name not in self.layout.films]
        if missing:
            raise DataError(
                f"{self.layout.root}: expected a film for each run, {missing[0]} has none; copy 7T_{missing[0]}_*.mp4 "
                "into stimuli/, or take the others out"
            )
        for name in names:
            index = index_film(self.layout.films[name])
            needed = max(s for r, s in zip(runs, seconds, strict=True) if r == name) + TR
            if len(index.seconds) / index.fps < needed - 0.5:
                raise DataError(f"{self.layout.films[name]}: expected {needed:g} s or more, got less; fetch it again")
        files = [self.layout.films[name] for name in names]
        return StimulusTable(files, [names.index(r) for r in runs], [float(s) for s in seconds], TR)

    def _reliability(
        self, shown: dict[str, list[tuple[MovieRun, Excerpt]]], test: list[str], bad: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.generic]]:
        """How alike the showings of the excerpts of the test set are that were shown again; nothing without one."""
        again = [name for name in test if len(shown[name]) > 1]
        if not again:
            return {}
        z = []
        for name in again:
            windows = [run.clean.data[e.start + self.lag : e.stop + self.lag] for run, e in shown[name]]
            if len(windows[0]) > DRIFT_ORDER + 2:
                z.append(np.arctanh(repeat_correlation([clean_run(window, 0).data for window in windows])))
        if not z:
            return {}
        reliability = np.where(bad, 0, np.tanh(np.mean(z, axis=0))).astype(np.float32)
        n_repeats = min(len(shown[name]) for name in again)
        return {"test_reliability": reliability, "noise_ceiling": noise_ceiling(reliability, n_repeats)}


def _showings(runs: list[MovieRun]) -> dict[str, list[tuple[MovieRun, Excerpt]]]:
    """Every excerpt by name, and in which runs it was shown."""
    shown: dict[str, list[tuple[MovieRun, Excerpt]]] = {}
    for run in runs:
        for excerpt in run.excerpts:
            shown.setdefault(excerpt.name, []).append((run, excerpt))
    return shown
