"""One subject of CC2017, in two passes: find out which voxels are reliable, then keep only those.

Two passes read the training runs twice but never hold more than a segment of the whole cortex, so a full-size subject
fits into the memory of a laptop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clipset import VoxelSpace
from pipeline.data.captions import captions_of_clips, read_jsonl, read_split_captions
from pipeline.data.cc2017 import Cc2017Layout
from pipeline.data.images import read_cifti
from pipeline.data.options import ImportOptions, Progress, digest, hold_out, refuse_copies, roi_ids
from pipeline.data.preprocess import clean_run, trim_window
from pipeline.data.selection import (
    Selection,
    effective_samples,
    noise_ceiling,
    repeat_correlation,
    select_reliable,
)
from pipeline.data.store import Part, StimulusTable, SubjectData
from pipeline.data.video import index_film
from pipeline.errors import ConfigError, DataError


class SubjectReader:
    """Reads one subject; what was found on the way gathers in its fields.

    Parameters
    ----------
    layout : Cc2017Layout
    subject : str
    options : ImportOptions
    captions : Path, optional
        ``captions.jsonl``, or ``{"train": [...], "test": [...]}``; default ``stimuli/captions.jsonl`` where it is.
    progress : callable, optional
    """

    def __init__(
        self,
        layout: Cc2017Layout,
        subject: str,
        options: ImportOptions,
        captions: Path | None,
        progress: Progress | None,
    ) -> None:
        self.layout, self.subject, self.options, self.progress = layout, subject, options, progress
        self.captions_path = captions
        self.notes: list[str] = []
        self.digests: dict[str, str] = {}
        self.voxel_ids: NDArray[np.int64] | None = None
        self.bad: NDArray[np.bool_] = np.zeros(0, bool)
        self.tsnr: list[NDArray[np.float32]] = []
        self.runs = {
            segment: {r: p for r, p in repeats.items() if (subject, segment, r) not in layout.bad_runs}
            for segment, repeats in layout.subjects[subject].items()
        }
        for bad_subject, segment, repeat in sorted(layout.bad_runs):
            if bad_subject == subject and repeat in layout.subjects[subject].get(segment, {}):
                self.notes.append(f"{segment} repeat {repeat} is known to be bad and was left out")
        self.done, self.total = 0, 2 * sum(len(repeats) for repeats in self.runs.values())

    def read(self) -> SubjectData:
        """Read the subject."""
        train, test = (self.layout.segments(self.subject, kind) for kind in ("seg", "test"))
        stimuli = self._films([*train, *test])
        selection, test_reliability = self._select(train, test)
        assert self.voxel_ids is not None
        selected = selection.selected.copy()
        if self.options.rois:
            selected &= np.isin(self.voxel_ids, roi_ids(self.options.rois))
        if not selected.any():
            raise DataError(
                f"{self.subject}: no voxel answers alike to the repeats (corrected p < {self.options.alpha}); "
                "check that runs and films belong together, raise --alpha, or choose --select all"
            )
        if self.bad.any():
            self.notes.append(f"{int(self.bad.sum())} vertices are NaN or constant in some run; they were left out")
        parts = {}
        for name, segments in (("train", train), ("test", test)):
            if segments:
                parts[name] = self._part(segments, selected, stimuli)
        val = hold_out(train, self.options.val_runs, "val_runs", self.subject)
        quality: dict[str, NDArray[np.generic]] = {
            "voxel_ids": self.voxel_ids,
            "selected": selected,
            "bad": self.bad,
            "tsnr": np.stack(self.tsnr).mean(axis=0, dtype=np.float64).astype(np.float32),
        }
        if selection.method != "all":
            quality |= {"reliability": selection.reliability, "statistic": selection.statistic, "p": selection.p}
        if test_reliability is not None:
            quality["test_reliability"] = test_reliability
            n_repeats = min(len(self.runs[s]) for s in test)
            quality["noise_ceiling"] = noise_ceiling(test_reliability, n_repeats)
        return SubjectData(
            subject=self.subject,
            voxel_ids=self.voxel_ids[selected],
            space=VoxelSpace("fs_LR_32k"),
            tr=self.layout.tr,
            parts=parts,
            splits={"train": [s for s in train if s not in val], "val": val, "test": test},
            quality=quality,
            selection=self._selection_record(selection, selected, test_reliability),
            digests=self.digests,
            notes=self.notes,
            simulated=self.layout.simulated,
        )

    def _selects(self) -> bool:
        return self.options.select in ("auto", "reliability")

    def _select(self, train: list[str], test: list[str]) -> tuple[Selection, NDArray[np.float32] | None]:
        """First pass: reliability of every vertex on the training segments, and for the record on the test ones."""
        correlations, samples, tests = [], [], []
        for segment in (*train, *test):  # also without a choice to make, to learn what is bad in any run
            runs = list(self._segment(segment).values())
            if not self._selects() or len(runs) < 2:
                continue
            if segment in train:
                correlations.append(repeat_correlation(runs))
                samples.append(effective_samples(runs))
            else:
                tests.append(np.arctanh(repeat_correlation(runs)))
        test_reliability = np.where(self.bad, 0, np.tanh(np.mean(tests, axis=0))).astype(np.float32) if tests else None
        if correlations:
            chosen = select_reliable(np.stack(correlations), np.stack(samples), self.bad, self.options.alpha)
            return chosen, test_reliability
        if self.options.select != "all":
            raise ConfigError(
                f"{self.subject}: no training segment was recorded twice, reliability is unknown; choose --select all"
            )
        nothing = np.zeros(len(self.bad), np.float32)
        return Selection("all", nothing, nothing, np.ones(len(self.bad)), ~self.bad), None

    def _part(self, segments: list[str], selected: NDArray[np.bool_], stimuli: dict[str, Path] | None) -> Part:
        """Second pass: the chosen voxels of these segments."""
        n_clips = self.layout.n_clips
        n_repeats = max(max(self.runs[segment], default=0) for segment in segments)
        fmri = np.zeros((len(segments) * n_clips, n_repeats, int(selected.sum())), np.float32)
        present = np.zeros(fmri.shape[:2], bool)
        clip_ids, groups = [], []
        for i, segment in enumerate(segments):
            rows = slice(i * n_clips, (i + 1) * n_clips)
            for repeat, data in self._segment(segment, selected).items():
                fmri[rows, repeat - 1] = data
                present[rows, repeat - 1] = True
            clip_ids += [clip_id(segment, j) for j in range(n_clips)]
            groups += [segment] * n_clips
        recorded = present.any(axis=0)
        fmri, present = (fmri, present) if recorded.all() else (fmri[:, recorded], present[:, recorded])
        captions = self._captions(clip_ids, segments)
        labels = self._labels(clip_ids)
        labels["second"] = [self.layout.tr * j for _ in segments for j in range(n_clips)]
        table = None
        if stimuli is not None:
            files = [stimuli[s] for s in segments]
            which = [i for i in range(len(segments)) for _ in range(n_clips)]
            table = StimulusTable(files, which, [float(s) for s in labels["second"]], self.layout.tr)
        return Part(clip_ids, groups, fmri, present, captions, labels, table)

    def _segment(self, segment: str, keep: NDArray[np.bool_] | None = None) -> dict[int, NDArray[np.float32]]:
        """Clean repeats of one segment: (n_clips, n_voxels) each, all vertices or those to keep."""
        found = {}
        for repeat, path in self.runs[segment].items():
            if self.progress:
                self.progress(self.done, self.total, f"{self.subject} {segment} repeat {repeat}")
            self.done += 1
            gray = read_cifti(path)
            if self.voxel_ids is None:
                self.voxel_ids, self.bad = gray.voxel_ids, np.zeros(len(gray.voxel_ids), bool)
            if not np.array_equal(gray.voxel_ids, self.voxel_ids):
                raise DataError(
                    f"{path}: expected the {len(self.voxel_ids)} vertices of {self.subject}'s first run, "
                    f"got {len(gray.voxel_ids)}; the file belongs to another subject or was made otherwise"
                )
            window = trim_window(len(gray.data), self.layout.n_clips, self.options.lag_tr, str(path))
            run = clean_run(gray.data[window])
            if keep is None:
                self.digests[f"{segment}_{repeat}"] = digest(gray.data)
                refuse_copies({self.subject: self.digests})
                self.bad |= run.bad
                self.tsnr.append(run.tsnr)
            found[repeat] = run.data if keep is None else run.data[:, keep]
        return found

    def _films(self, segments: list[str]) -> dict[str, Path] | None:
        """Films of these segments, None where there is no film at all; each must be long enough."""
        films = self.layout.films
        if not films:
            self.notes.append("no films in stimuli/: what needs pixels will say that there are none")
            return None
        missing = [s for s in segments if s not in films]
        if missing:
            raise DataError(
                f"{self.layout.root}: expected stimuli/{missing[0]}.mp4 for {self.subject}'s runs, "
                f"{len(missing)} films are missing ({', '.join(missing[:5])}); copy them there"
            )
        needed = self.layout.n_clips * self.layout.tr
        for segment in segments:
            index = index_film(films[segment])
            found = len(index.seconds) / index.fps
            if found < needed - 0.5:
                raise DataError(
                    f"{films[segment]}: expected {needed:g} s for {self.layout.n_clips} clips, got {found:.1f} s; "
                    "fetch the film again"
                )
        return films

    def _captions(self, clip_ids: list[str], segments: list[str]) -> dict[str, list[str]]:
        """Captions of these clips by level; none where there is no table."""
        path = self.captions_path or self.layout.root / "stimuli" / "captions.jsonl"
        if not path.is_file():
            if self.captions_path is not None:
                raise DataError(f"{path}: expected captions, got nothing; check --captions")
            return {}
        if path.suffix == ".json":
            kind = "test" if segments[0].startswith("test") else "train"
            texts = read_split_captions(path)[kind]
            if len(texts) != len(clip_ids):
                raise DataError(
                    f"{path}: expected {len(clip_ids)} {kind} captions for {self.subject}, got {len(texts)}"
                )
            return {"basic": texts}
        return captions_of_clips(path, clip_ids)

    def _labels(self, clip_ids: list[str]) -> dict[str, list[Any]]:
        """Facts of ``scenes.jsonl``: every field that each clip has as one text, number or truth value."""
        path = self.layout.root / "stimuli" / "scenes.jsonl"
        if not path.is_file():
            return {}
        records = {record.get("clip_id"): record for _, record in read_jsonl(path)}
        missing = [c for c in clip_ids if c not in records]
        if missing:
            raise DataError(f"{path}: expected a line per clip, {len(missing)} are missing, such as {missing[0]}")
        first = records[clip_ids[0]]
        kept = [k for k, v in first.items() if k != "clip_id" and isinstance(v, str | bool | int | float)]
        return {
            k: [records[c][k] for c in clip_ids]
            for k in kept
            if all(type(records[c].get(k)) is type(first[k]) for c in clip_ids)
        }

    def _selection_record(
        self, selection: Selection, selected: NDArray[np.bool_], test_reliability: NDArray[np.float32] | None
    ) -> dict[str, Any]:
        record: dict[str, Any] = {
            "method": selection.method,
            "alpha": self.options.alpha,
            "rois": list(self.options.rois or ()),
            "lag_tr": self.options.lag_tr,
        }
        if selection.method != "all":
            record["mean_reliability"] = round(float(selection.reliability[selected].mean()), 4)
        if test_reliability is not None:
            record["mean_test_reliability"] = round(float(test_reliability[selected].mean()), 4)
        return record


def clip_id(segment: str, j: int) -> str:
    """Name of clip j of a segment, such as ``seg1_0007``."""
    return f"{segment}_{j:04d}"
