"""CC2017's preprocessed tensors and the HCP's 7T movie runs in miniature, in their exact layouts. All sizes differ."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import torch
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, SeriesAxis

from pipeline.data.hcp7t import N_GRAYORDINATES
from pipeline.grayordinates import N_CORTEX, N_MESH, cortex_rows

SEGMENT, N_TRAIN_SEGMENTS, N_TEST_SEGMENTS = 9, 7, 2
N_TRAIN, N_TEST = SEGMENT * N_TRAIN_SEGMENTS, SEGMENT * N_TEST_SEGMENTS
TRAIN_REPEATS, TEST_REPEATS, N_VOXELS, N_FRAMES, HEIGHT, WIDTH = 2, 4, 13, 6, 5, 8


def pt_signal(rng: np.random.Generator, n_clips: int, n_repeats: int, n_voxels: int = N_VOXELS) -> np.ndarray:
    """(n_clips, n_repeats, n_voxels): one signal in all repeats, a little noise, an offset and a scale of its own."""
    signal = rng.standard_normal((n_clips, 1, n_voxels)) + 0.3 * rng.standard_normal((n_clips, n_repeats, n_voxels))
    return (5 * signal + rng.standard_normal(n_voxels)).astype(np.float32)


def make_pt(root: Path, rng: np.random.Generator, n_subjects: int = 1, n_train: int = N_TRAIN) -> Path:
    """Write the preprocessed download; frame k of clip j is of level (6 j + k) % 256 / 255."""
    root.mkdir(parents=True, exist_ok=True)
    for part, n_clips, n_repeats in (("train", n_train, TRAIN_REPEATS), ("test", N_TEST, TEST_REPEATS)):
        for subject in range(1, n_subjects + 1):
            data = torch.from_numpy(pt_signal(rng, n_clips, n_repeats))
            torch.save(data, root / f"subj{subject:02d}_{part}_fmri.pt")
        levels = torch.arange(n_clips * N_FRAMES).reshape(n_clips, N_FRAMES, 1, 1, 1) % 256 / 255
        torch.save(levels.repeat(1, 1, 3, HEIGHT, WIDTH), root / f"GT_{part}_3fps.pt")
        torch.save(np.array([f"{part} {i} café" for i in range(n_clips)]), root / f"GT_{part}_caption.pt")
        torch.save(torch.zeros(n_clips, 10), root / f"GT_{part}_caption_emb.pt")
    card = {"title": "test", "simulated": True, "clips_per_segment": SEGMENT}
    (root / "dataset.json").write_text(json.dumps(card))
    return root


# Seconds of film: two excerpts of its own and one that every run shows.
EXCERPTS = {"MOVIE1": (2, 11, 24), "MOVIE2": (3, 13, 25), "MOVIE3": (2, 12, 24), "MOVIE4": (4, 14, 26)}
LENGTHS, SHARED_LENGTH, N_VOLUMES, LAG = (7, 10), 8, 40, 4
DIRECTIONS = {"MOVIE1": "AP", "MOVIE2": "PA", "MOVIE3": "PA", "MOVIE4": "AP"}


def hcp_run(root: Path, subject: str, run: str, variant: str = "") -> Path:
    """Path of a run where the HCP puts it."""
    name = f"tfMRI_{run}_7T_{DIRECTIONS[run]}"
    return root / subject / "MNINonLinear" / "Results" / name / f"{name}_Atlas{variant}.dtseries.nii"


def write_gray(path: Path, data: np.ndarray, tr: float = 1.0) -> None:
    """Write (n_volumes, n) as a dense series: the whole cortex, the rest below it."""
    left, right = (np.flatnonzero(rows >= 0) for rows in cortex_rows())
    axis = BrainModelAxis.from_surface(left, N_MESH, "CortexLeft")
    axis += BrainModelAxis.from_surface(right, N_MESH, "CortexRight")
    n_below = data.shape[1] - N_CORTEX
    if n_below:
        mask = np.zeros(n_below + 5, bool).reshape(1, 1, -1)
        mask[..., :n_below] = True
        axis += BrainModelAxis.from_mask(mask, name="thalamus_left", affine=np.eye(4))
    image = Cifti2Image(data.astype(np.float32), header=(SeriesAxis(0, tr, len(data)), axis))
    image.update_headers()
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def make_hcp(root: Path, rng: np.random.Generator) -> Path:
    """Write one subject: noise around 1000, and a response of its own to the excerpt that every run shows."""
    shared = 10 * rng.standard_normal((SHARED_LENGTH, N_GRAYORDINATES)).astype(np.float32)
    lines = ["run\tname\tstart\tstop"]
    for run, starts in EXCERPTS.items():
        data = 1000 + 10 * rng.standard_normal((N_VOLUMES, N_GRAYORDINATES)).astype(np.float32)
        noise = data[starts[2] + LAG :][:SHARED_LENGTH] - 1000
        data[starts[2] + LAG :][:SHARED_LENGTH] = 1000 + shared + 0.1 * noise
        write_gray(hcp_run(root, "100610", run), data)
        for name, start, length in zip(
            (f"{run}_a", f"{run}_b", "again"), starts, (*LENGTHS, SHARED_LENGTH), strict=True
        ):
            lines.append(f"{run}\t{name}\t{start - 0.4}\t{start + length + 0.4}")
    (root / "stimuli").mkdir(parents=True, exist_ok=True)
    (root / "stimuli" / "segments.tsv").write_text("\n".join(lines) + "\n")
    return root
