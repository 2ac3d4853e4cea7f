"""Recordings in miniature, written to disk in the layouts of real studies. All sizes differ."""

from __future__ import annotations

import json
from pathlib import Path

import av
import nibabel
import numpy as np
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, SeriesAxis

from pipeline.grayordinates import N_MESH, cortex_rows

N_CLIPS, N_SEGMENTS, N_TRAIN_REPEATS, N_TEST_REPEATS = 11, 7, 2, 3
N_LEFT, N_RIGHT, N_SIGNAL = 9, 8, 6
FPS, HEIGHT, WIDTH = 4, 16, 24


def write_cifti(path: Path, data: np.ndarray, n_left: int = N_LEFT, n_right: int = N_RIGHT, tr: float = 2.0) -> None:
    """Write (n_volumes, n_left + n_right) as a dense series on every 100th cortical vertex."""
    left, right = (np.flatnonzero(rows >= 0)[::100] for rows in cortex_rows())
    axis = BrainModelAxis.from_surface(left[:n_left], N_MESH, "CortexLeft")
    axis += BrainModelAxis.from_surface(right[:n_right], N_MESH, "CortexRight")
    image = Cifti2Image(data.astype(np.float32), header=(SeriesAxis(0, tr, len(data)), axis))
    image.update_headers()
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def write_film(path: Path, n_frames: int, fps: int = FPS, height: int = HEIGHT, width: int = WIDTH) -> None:
    """Write a lossless film whose frame i is grey of level i, with few key frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=fps, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        for i in range(n_frames):
            pixels = np.full((height, width, 3), i % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def make_cc2017(root: Path, rng: np.random.Generator, n_subjects: int = 1, films: bool = True) -> Path:
    """Write a tiny recording in CC2017's layout: the first ``N_SIGNAL`` vertices answer to the film, others do not."""
    n_vertices = N_LEFT + N_RIGHT
    segments = [(f"seg{i + 1}", N_TRAIN_REPEATS) for i in range(N_SEGMENTS)] + [("test1", N_TEST_REPEATS)]
    for subject in range(1, n_subjects + 1):
        for segment, n_repeats in segments:
            signal = np.zeros((N_CLIPS + 6, n_vertices))
            signal[:, :N_SIGNAL] = 8 * rng.standard_normal((N_CLIPS + 6, N_SIGNAL))
            for repeat in range(1, n_repeats + 1):
                first = 2 if repeat == 2 else 1
                noise = rng.standard_normal(signal.shape)
                data = (1000 + signal + noise)[2 - first :]
                write_cifti(cc2017_run(root, subject, segment, repeat), data)
    if films:
        for segment, _ in segments:
            write_film(root / "stimuli" / f"{segment}.mp4", 2 * N_CLIPS * FPS)
        ids = [f"{segment}_{j:04d}" for segment, _ in segments for j in range(N_CLIPS)]
        lines = [{"clip_id": c, "basic": f"basic {c}", "motion": f"motion {c}", "source": "test"} for c in ids]
        _write_lines(root / "stimuli" / "captions.jsonl", lines)
        _write_lines(root / "stimuli" / "scenes.jsonl", [{"clip_id": c, "object": "cat", "cut": True} for c in ids])
    (root / "dataset.json").write_text(json.dumps({"name": "test", "simulated": True, "clips_per_segment": N_CLIPS}))
    return root


def cc2017_run(root: Path, subject: int, segment: str, repeat: int) -> Path:
    """Path of a run in CC2017's layout."""
    return root / f"subject{subject}" / "fmri" / segment / "cifti" / f"{segment}_{repeat}_Atlas.dtseries.nii"


SHAPE, N_VOLUMES, N_RUNS, BIDS_TR = (5, 4, 3), 20, 4, 2.5


def make_bids(
    root: Path, rng: np.random.Generator, subjects: tuple[str, ...] = ("01",), stim_file: bool = False
) -> Path:
    """Write a tiny BIDS study of volumes: two blocks a run, a mask of a half, a sidecar with the repetition time."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "test study", "BIDSVersion": "1.8.0"}')
    (root / "task-look_bold.json").write_text(json.dumps({"RepetitionTime": BIDS_TR}))
    mask = np.zeros(SHAPE, np.uint8)
    mask[:3] = 1
    for subject in subjects:
        folder = root / f"sub-{subject}" / "func"
        folder.mkdir(parents=True)
        write_nifti(root / "derivatives" / "masks" / f"sub-{subject}" / f"sub-{subject}_mask.nii.gz", mask)
        for run in range(1, N_RUNS + 1):
            data = 500 + rng.standard_normal((*SHAPE, N_VOLUMES))
            stem = f"sub-{subject}_task-look_run-{run:02d}"
            write_nifti(folder / f"{stem}_bold.nii.gz", data.astype(np.float32))
            rows = ["onset\tduration\ttrial_type" + "\tstim_file" * stim_file]
            for onset, kind in ((5.0, "cat"), (22.5, "house")):
                rows.append(f"{onset}\t10.0\t{kind}" + f"\t{kind}.mp4" * stim_file)
            (folder / f"{stem}_events.tsv").write_text("\n".join(rows) + "\n")
    return root


def write_nifti(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> None:
    """Write a NIfTI-1 file with 2 mm voxels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([2.0, 2, 2, 1]) if affine is None else affine), path)


def _write_lines(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
