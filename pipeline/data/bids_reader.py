"""Read one subject of a BIDS folder: clean every run, label every volume, drop the rest.

A clip is one volume. Volume ``i`` was acquired at ``i * tr`` seconds and answers to what was shown ``lag_s`` before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clipset import VoxelSpace
from pipeline.data.bids import BidsLayout, BidsRun, Event, event_at, read_events, stimulus_path
from pipeline.data.captions import TrialCaptions
from pipeline.data.images import read_cifti, read_volume
from pipeline.data.options import BIDS_LAG_S, ImportOptions, Progress, digest, hold_out, roi_ids
from pipeline.data.preprocess import CleanRun, clean_run_nilearn
from pipeline.data.store import Part, StimulusTable, SubjectData
from pipeline.data.video import STILLS, index_film
from pipeline.errors import ConfigError, DataError


@dataclass
class RunData:
    """One run in memory: cleaned signal, its voxels' ids and space, and what was shown at each volume."""

    name: str
    clean: CleanRun
    voxel_ids: NDArray[np.int64]
    space: VoxelSpace
    tr: float
    shown: list[tuple[int, int, Event] | None]
    digest: str


def read_bids_subject(
    layout: BidsLayout,
    subject: str,
    options: ImportOptions,
    captions: TrialCaptions | None = None,
    progress: Progress | None = None,
) -> SubjectData:
    """Read, clean and label all runs of a subject.

    Raises
    ------
    DataError
        Damaged image, other shape or affine than the mask, no events, events past the end, missing stimuli.
    ConfigError
        A selection that needs repeats or a surface.
    """
    if options.select == "reliability":
        raise ConfigError(f"{subject}: a BIDS run is not seen twice, so reliability is unknown; choose --select all")
    runs: list[RunData] = []
    listed = layout.subjects[subject]
    for number, run in enumerate(listed):
        if progress:
            progress(number, len(listed), f"{subject} {run.name}")
        runs.append(read_run(run, subject, options))
        check_same_voxels(runs[0], runs[-1], run.bold)
    first = runs[0]
    bad = np.any([run.clean.bad for run in runs], axis=0)
    selected = ~bad
    if options.rois:
        if first.space.kind != "fs_LR_32k":
            raise ConfigError(f"{subject}: --rois needs fs_LR 32k data, this is a volume; give --mask FILE instead")
        selected &= np.isin(first.voxel_ids, roi_ids(options.rois))
    if not selected.any():
        raise DataError(f"{subject}: none of the {len(selected)} voxels has a finite, varying signal; check the mask")
    names = [run.name for run in runs]
    test = hold_out(names, options.test_runs, "test_runs", subject)
    val = hold_out([n for n in names if n not in test], options.val_runs, "val_runs", subject)
    splits = {"train": [n for n in names if n not in {*test, *val}], "val": val, "test": test}
    stimuli = _stimulus_files(layout.root, runs)
    parts = {"train": [r for r in runs if r.name not in test], "test": [r for r in runs if r.name in test]}
    tsnr = np.stack([run.clean.tsnr for run in runs]).mean(axis=0, dtype=np.float64).astype(np.float32)
    notes = [f"{int(bad.sum())} voxels are NaN or constant in some run; they were left out"] if bad.any() else []
    if not any(run.masks for run in listed) and first.space.kind == "volume":
        notes.append("no mask was found: every voxel of the grid with a signal was kept; give --mask FILE")
    return SubjectData(
        subject=subject,
        voxel_ids=first.voxel_ids[selected],
        space=first.space,
        tr=first.tr,
        parts={k: _part(v, selected, stimuli, captions, options.lag(BIDS_LAG_S)) for k, v in parts.items() if v},
        splits=splits,
        quality={"voxel_ids": first.voxel_ids, "selected": selected, "bad": bad, "tsnr": tsnr},
        selection={"method": "all", "rois": list(options.rois or ()), "lag_s": options.lag(BIDS_LAG_S)},
        digests={run.name: run.digest for run in runs},
        notes=notes,
    )


def read_run(run: BidsRun, subject: str, options: ImportOptions) -> RunData:
    """Read, clean and label one run."""
    if run.events is None:
        raise DataError(f"{subject}: {run.bold.name} has no events table; put it beside the image (*_events.tsv)")
    events = read_events(run.events)
    if run.bold.name.endswith(".dtseries.nii"):
        gray = read_cifti(run.bold)
        series, ids, space, header_tr = gray.data, gray.voxel_ids, VoxelSpace("fs_LR_32k"), gray.tr
    else:
        series, ids, space, found_tr = _masked_volume(run)
        header_tr = float("nan") if found_tr is None else found_tr
    tr = run.tr if run.tr is not None else header_tr
    if not np.isfinite(tr) or tr <= 0:
        raise DataError(f"{run.bold}: no repetition time in the sidecar or the header; add RepetitionTime to the .json")
    end = len(series) * tr
    late = [e for e in events if e.onset >= end]
    if late:
        raise DataError(
            f"{run.events}: expected events within the run's {end:g} s ({len(series)} volumes of {tr:g} s), "
            f"got an onset at {late[0].onset:g} s; the events or the image belong to another run"
        )
    numbers = {id(e): i for i, e in enumerate(events, start=1)}
    shown: list[tuple[int, int, Event] | None] = []
    for volume in range(len(series)):
        event = event_at(events, volume * tr - options.lag(BIDS_LAG_S))
        shown.append(None if event is None else (volume, numbers[id(event)], event))
    if not any(shown):
        raise DataError(f"{run.events}: no volume of {run.bold.name} answers to an event; check onset and --lag-s")
    return RunData(run.name, clean_run_nilearn(series, tr), ids, space, tr, shown, digest(series))


def _masked_volume(run: BidsRun) -> tuple[NDArray[np.float32], NDArray[np.int64], VoxelSpace, float | None]:
    """Series (n_volumes, n_voxels) inside the mask, flat ids, the space, and the header's repetition time."""
    volume = read_volume(run.bold)
    if volume.data.ndim != 4:
        raise DataError(f"{run.bold}: expected a 4-D series, got shape {volume.data.shape}")
    shape = volume.data.shape[:3]
    inside = np.ones(shape, dtype=bool)
    for path in run.masks:
        mask = read_volume(path)
        if mask.data.shape != shape:
            raise DataError(f"{path}: expected a mask of {shape} as {run.bold.name}, got {mask.data.shape}")
        if not np.allclose(mask.affine, volume.affine, atol=1e-2):
            raise DataError(f"{path}: the mask has another affine than {run.bold.name}; resample it to the runs' grid")
        inside &= np.nan_to_num(mask.data) > 0.5
    ids = np.flatnonzero(inside)
    if not len(ids):
        raise DataError(f"{run.masks[0]}: the mask is empty")
    series = np.ascontiguousarray(volume.data.reshape(-1, volume.data.shape[3])[ids].T)
    affine = tuple(tuple(float(x) for x in row) for row in volume.affine)
    return series, ids.astype(np.int64), VoxelSpace("volume", tuple(map(int, shape)), affine), volume.tr


def check_same_voxels(first: RunData, run: RunData, path: Path) -> None:
    """Raise DataError unless both runs have the same grid, affine, voxels and repetition time."""
    if first.space.kind != run.space.kind or first.space.shape != run.space.shape:
        raise DataError(f"{path}: expected the grid {first.space.shape} of {first.name}, got {run.space.shape}")
    if first.space.affine is not None and not np.allclose(first.space.affine, run.space.affine or 0, atol=1e-2):
        raise DataError(f"{path}: has another affine than {first.name}; the runs must be aligned to one grid")
    if not np.array_equal(first.voxel_ids, run.voxel_ids):
        raise DataError(f"{path}: expected the {len(first.voxel_ids)} voxels of {first.name}, got {len(run.voxel_ids)}")
    if abs(first.tr - run.tr) > 1e-3:
        raise DataError(f"{path}: expected a repetition time of {first.tr:g} s as {first.name}, got {run.tr:g} s")


def _stimulus_files(root: Path, runs: list[RunData]) -> dict[str, Path] | None:
    """Path of every stim_file that is shown, None where some event has none."""
    events = [item[2] for run in runs for item in run.shown if item]
    if not all(event.stim_file for event in events):
        return None
    paths = {name: stimulus_path(root, name) for name in sorted({e.stim_file for e in events})}
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        raise DataError(
            f"{root}: expected {len(paths)} files in stimuli/, {len(missing)} are missing, such as {missing[0]}; "
            "copy them there or remove the column stim_file"
        )
    for path in paths.values():
        if path.suffix.lower() not in STILLS:
            index_film(path)
    return paths


def _part(
    runs: list[RunData],
    selected: NDArray[np.bool_],
    stimuli: dict[str, Path] | None,
    captions: TrialCaptions | None,
    lag_s: float,
) -> Part:
    """Put the labelled volumes of some runs one after the other."""
    clip_ids: list[str] = []
    groups: list[str] = []
    fmri: list[NDArray[np.float32]] = []
    events: list[Event] = []
    labels: dict[str, list[Any]] = {"trial_type": [], "block": [], "volume": []}
    starts: list[float] = []
    for run in runs:
        for volume, number, event in filter(None, run.shown):
            clip_ids.append(f"{run.name}_vol-{volume:04d}")
            groups.append(run.name)
            events.append(event)
            labels["trial_type"].append(event.trial_type or event.stim_file)
            labels["block"].append(f"{run.name}_block-{number:02d}")
            labels["volume"].append(volume)
            starts.append(volume * run.tr - lag_s - event.onset)
        keep = [item[0] for item in run.shown if item]
        fmri.append(run.clean.data[keep][:, selected])
    array = np.concatenate(fmri)[:, None]
    table = None
    if stimuli is not None:
        names = sorted(stimuli)
        which = [names.index(e.stim_file) for e in events]
        table = StimulusTable([stimuli[n] for n in names], which, starts, runs[0].tr)
    texts: dict[str, list[str]] = {} if captions is None else captions.of(labels["trial_type"])
    return Part(clip_ids, groups, array, np.ones(array.shape[:2], bool), texts, labels, table)
