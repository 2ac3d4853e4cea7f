"""One subject of CC2017's preprocessed tensors: z-scored per run, repeats kept, whole segments held out.

The published loaders average the test repeats when they read them. Here both parts keep their repeats, as from the raw
files, and ``ClipSet.mean_fmri`` averages the recorded ones where a decoder is tested; so the noise ceiling stays known.
No drift is removed: the download is preprocessed, and its authors do not say what is left to do.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clipset import VoxelSpace
from pipeline.data.captions import captions_of_clips, read_split_captions
from pipeline.data.cc2017_pt import PARTS, TensorLayout, block_names, open_fmri
from pipeline.data.options import ImportOptions, Progress, digest, hold_out, refuse_copies
from pipeline.data.picklefree import read_texts
from pipeline.data.preprocess import clean_run
from pipeline.data.selection import (
    Selection,
    effective_samples,
    noise_ceiling,
    repeat_correlation,
    select_reliable,
)
from pipeline.data.store import Part, StimulusTable, SubjectData
from pipeline.data.tensorfilm import CLIP_SECONDS, tensor_shape
from pipeline.data.video import index_film
from pipeline.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

NO_INDEX = (
    "the files hold no positions of the voxels, so nothing can be drawn on the cortex; with the raw CIFTI files, "
    "python -m pipeline recover-index finds them again"
)


class TensorSubjectReader:
    """Reads one subject; what was found on the way gathers in its fields.

    Parameters
    ----------
    layout : TensorLayout
    subject : str
    options : ImportOptions
    captions : Path, optional
        ``captions.jsonl``, or ``{"train": [...], "test": [...]}``; default ``GT_*_caption.pt`` where it is.
    progress : callable, optional
    """

    def __init__(
        self,
        layout: TensorLayout,
        subject: str,
        options: ImportOptions,
        captions: Path | None,
        progress: Progress | None,
    ) -> None:
        self.layout, self.subject, self.options, self.progress = layout, subject, options, progress
        self.captions_path = captions
        self.notes: list[str] = [NO_INDEX]
        self.digests: dict[str, str] = {}
        self.bad: NDArray[np.bool_] = np.zeros(0, bool)

    def read(self) -> SubjectData:
        """Read the subject."""
        if self.options.rois:
            raise ConfigError(
                f"{self.subject}: --rois needs voxels with positions, these files hold none; leave it out"
            )
        if self.options.lag_tr:
            raise ConfigError(f"{self.subject}: --lag-tr needs the raw runs, these are cut to clips; leave it out")
        tensors = open_fmri(self.layout, self.subject)
        self.bad = np.zeros(tensors["train"].shape[2], bool)
        parts = {name: self._part(name, tensors[name]) for name in PARTS}
        reliability = {name: _reliabilities(part, self.layout.n_clips) for name, part in parts.items()}
        selection = self._select(reliability["train"])
        selected = selection.selected
        if not selected.any():
            raise DataError(
                f"{self.subject}: none of the {len(selected)} voxels is left; they are NaN, constant or not reliable "
                f"(corrected p < {self.options.alpha}); choose --select all, or fetch the files again"
            )
        if self.bad.any():
            self.notes.append(f"{int(self.bad.sum())} voxels are NaN or constant in some run; they were left out")
        if not selected.all():
            for part in parts.values():
                part.fmri = part.fmri[:, :, selected]
        train, test = (list(dict.fromkeys(parts[name].groups)) for name in PARTS)
        val = hold_out(train, self.options.val_runs, "val_runs", self.subject)
        return SubjectData(
            subject=self.subject,
            voxel_ids=np.flatnonzero(selected).astype(np.int64),
            space=VoxelSpace("unknown"),
            tr=self.layout.tr,
            parts=parts,
            splits={"train": [s for s in train if s not in val], "val": val, "test": test},
            quality=self._quality(selection, parts["test"], reliability["test"]),
            selection=self._selection_record(selection),
            digests=self.digests,
            notes=self.notes,
            simulated=self.layout.simulated,
        )

    def _part(self, name: str, tensor: torch.Tensor) -> Part:
        """Clean one part and put its clips beside what was shown."""
        n_clips, n_repeats, _ = tensor.shape
        whole = n_clips % self.layout.n_clips == 0
        groups = block_names(n_clips, name, self.layout.n_clips)
        if not whole:
            self.notes.append(
                f"{name}: {n_clips} clips are no whole number of segments of {self.layout.n_clips}; they were cut into "
                f"{len(set(groups))} contiguous blocks, and z-scored as one run"
            )
        fmri = np.zeros(tensor.shape, np.float32)
        present = np.zeros((n_clips, n_repeats), bool)
        runs = list(dict.fromkeys(groups)) if whole else [name]
        for number, run in enumerate(runs):
            if self.progress:
                self.progress(number, len(runs), f"{self.subject} {run}")
            rows = slice(number * self.layout.n_clips, (number + 1) * self.layout.n_clips) if whole else slice(None)
            for repeat in range(n_repeats):
                values = np.ascontiguousarray(tensor[rows, repeat].float().numpy())
                present[rows, repeat] = self._clean(values, f"{run}_{repeat + 1}", fmri[rows, repeat])
        self._check_recorded(name, groups, present)
        counters = {group: count() for group in groups}
        order = [next(counters[group]) for group in groups]
        clip_ids = [f"{g}_{j:04d}" for g, j in zip(groups, order, strict=True)]
        labels: dict[str, list[Any]] = {"second": [self.layout.tr * j for j in order]}
        return Part(
            clip_ids, groups, fmri, present, self._captions(name, clip_ids), labels, self._shown(name, groups, order)
        )

    def _clean(self, values: NDArray[np.float32], run: str, into: NDArray[np.float32]) -> bool:
        """Z-score one repeat of one run into ``into``; return whether there was anything to keep."""
        cleaned = clean_run(values, order=0)
        if cleaned.bad.all():
            self.notes.append(f"{run}: every voxel is NaN or constant; the repeat counts as not recorded")
            return False
        value = digest(values)
        segment = run.rsplit("_", 1)[0]
        twin = next((r for r, d in self.digests.items() if d == value and r.rsplit("_", 1)[0] == segment), None)
        if twin is not None:
            self.notes.append(f"{run}: holds the same values as {twin}; the repeat counts as not recorded")
            return False
        self.digests[run] = value
        refuse_copies({self.subject: self.digests})
        self.bad |= cleaned.bad
        into[:] = cleaned.data
        return True

    def _check_recorded(self, name: str, groups: list[str], present: NDArray[np.bool_]) -> None:
        empty = [groups[i] for i in np.flatnonzero(~present.any(axis=1))]
        if empty:
            raise DataError(
                f"{self.layout.subjects[self.subject][name]}: expected a signal in every run, {empty[0]} has none; "
                "fetch the file again"
            )

    def _select(self, reliability: tuple[NDArray[np.float32], NDArray[np.float32]] | None) -> Selection:
        """Keep every voxel with a signal, which the authors chose already, unless asked to choose again."""
        if reliability is not None:
            chosen = select_reliable(*reliability, self.bad, self.options.alpha)
            if self.options.select == "reliability":
                return chosen
            return Selection("all", chosen.reliability, chosen.statistic, chosen.p, ~self.bad)
        if self.options.select == "reliability":
            raise ConfigError(
                f"{self.subject}: no training clip was recorded twice, reliability is unknown; choose --select all"
            )
        nothing = np.full(len(self.bad), np.nan, np.float32)
        return Selection("all", nothing, nothing, np.ones(len(self.bad)), ~self.bad)

    def _quality(
        self, selection: Selection, test: Part, reliability: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    ) -> dict[str, NDArray[np.generic]]:
        found: dict[str, NDArray[np.generic]] = {
            "voxel_ids": np.arange(len(self.bad), dtype=np.int64),
            "selected": selection.selected,
            "bad": self.bad,
        }
        if np.isfinite(selection.reliability).all():
            found |= {"reliability": selection.reliability, "statistic": selection.statistic, "p": selection.p}
        if reliability is not None:
            mean = np.tanh(np.arctanh(reliability[0]).mean(axis=0))
            alike = np.where(self.bad, 0, mean).astype(np.float32)
            n_repeats = int(test.present.sum(axis=1).min())
            found |= {"test_reliability": alike, "noise_ceiling": noise_ceiling(alike, n_repeats)}
        return found

    def _selection_record(self, selection: Selection) -> dict[str, Any]:
        record: dict[str, Any] = {"method": selection.method, "alpha": self.options.alpha, "rois": []}
        if np.isfinite(selection.reliability).all():
            record["mean_reliability"] = round(float(selection.reliability[selection.selected].mean()), 4)
        return record

    def _captions(self, name: str, clip_ids: list[str]) -> dict[str, list[str]]:
        """Captions of a part by level; none where there are none."""
        path = self.captions_path or self.layout.captions.get(name)
        if path is None:
            return {}
        if path.suffix == ".jsonl":
            return captions_of_clips(path, clip_ids)
        texts = read_texts(path) if path.suffix == ".pt" else read_split_captions(path)[name]
        if len(texts) != len(clip_ids):
            raise DataError(f"{path}: expected {len(clip_ids)} {name} captions, got {len(texts)}; fetch the file again")
        return {"basic": texts}

    def _shown(self, name: str, groups: list[str], order: list[int]) -> StimulusTable | None:
        """Where each clip is: in the films where all of them are there, else in the tensor of frames."""
        runs = list(dict.fromkeys(groups))
        if all(run in self.layout.films for run in runs):
            for run in runs:
                needed = self.layout.tr * groups.count(run)
                index = index_film(self.layout.films[run])
                if len(index.seconds) / index.fps < needed - 0.5:
                    raise DataError(f"{self.layout.films[run]}: expected {needed:g} s, it is shorter; fetch it again")
            starts = [self.layout.tr * j for j in order]
            return StimulusTable(
                [self.layout.films[r] for r in runs], [runs.index(g) for g in groups], starts, self.layout.tr
            )
        path = self.layout.frames.get(name)
        if path is None:
            self.notes.append(f"{name}: neither films nor GT_{name}_3fps.pt; what needs pixels will have none")
            return None
        shape = tensor_shape(path)
        if shape[0] != len(groups):
            raise DataError(f"{path}: expected the frames of {len(groups)} clips, got {shape[0]}; fetch the file again")
        return StimulusTable([path], [0] * len(groups), [CLIP_SECONDS * i for i in range(len(groups))], CLIP_SECONDS)


def _reliabilities(part: Part, n_segment: int) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Correlation of the repeats and effective samples of each run, (n_runs, n_voxels) each; None without repeats.

    A part that is no whole number of segments counts as one run, as it was z-scored.
    """
    correlations, samples = [], []
    groups = np.array(part.groups) if len(part.groups) % n_segment == 0 else np.full(len(part.groups), "all")
    for group in dict.fromkeys(groups.tolist()):
        rows = np.flatnonzero(groups == group)
        recorded = np.flatnonzero(part.present[rows].all(axis=0))
        if len(recorded) < 2:
            continue
        runs = [part.fmri[rows, r] for r in recorded]
        correlations.append(repeat_correlation(runs))
        samples.append(effective_samples(runs))
    return (np.stack(correlations), np.stack(samples)) if correlations else None
