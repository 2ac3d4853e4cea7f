"""Write the phantom to disk in CC2017's raw layout, from where the CC2017 reader takes it like any other recording.

home/datasets/phantom/raw/
    dataset.json                                    what this is (simulated), counts, the planted table
    stimuli/seg1.mp4, test1.mp4                     the films, lossless
    stimuli/captions.jsonl, scenes.jsonl            a line per clip
    stimuli/features.safetensors                    what the simulated neurons responded to
    subject1/fmri/seg1/cifti/seg1_1_Atlas.dtseries.nii
    truth/subject1.safetensors                      ids, planted reliability and noise ceiling of each vertex
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError
from pipeline.grayordinates import N_LEFT, N_MESH, mesh_vertices
from pipeline.paths import atomic_file, check_space, write_json
from pipeline.phantom import brain as brains
from pipeline.phantom.film import FPS, write_films
from pipeline.phantom.sizes import VERSION, PhantomSize, phantom_size
from pipeline.phantom.tuning import CONTROLS, TUNING, simulated_ids

Progress = Callable[[int, int, str], None]
MARK = "dataset.json"
STARTED = "building.json"
# Every third run records a sixth extra volume, as some of CC2017's do, so that both trims are in use.
LONG_RUN_EVERY = 3


def ensure_phantom(
    home: Path,
    size: str | PhantomSize = "small",
    progress: Progress | None = None,
    subjects: Sequence[str] | None = None,
) -> Path:
    """Make sure that a phantom is on disk, whole, and return its raw folder.

    Does nothing where it is there already, and goes on where an earlier call was cut off: every file is written
    whole or not at all, and holds the same bytes whichever call wrote it.

    Parameters
    ----------
    home : Path
        Working folder; the data go to ``home/datasets/<name>/raw``.
    size : {"tiny", "small", "full"} or PhantomSize
    progress : callable, optional
        Called with (done, total, what) after every film and run.
    subjects : sequence of str, optional
        Such as ``["sub-01"]``; all subjects by default. Others can be added by a later call.

    Returns
    -------
    Path

    Raises
    ------
    ConfigError
        For an unknown size or subject.
    ResourceError
        When the disk has too little room.
    """
    size = phantom_size(size)
    wanted = _subject_indices(size, subjects)
    raw = Path(home) / "datasets" / size.name / "raw"
    card = _read_card(raw / MARK, size)
    present = set(card.get("subjects", {}))
    missing = [i for i in wanted if brains.subject_name(i) not in present or not _runs_complete(raw, size, i)]
    if card and not missing and (raw / "stimuli").is_dir():
        return raw
    check_space(raw, bytes_needed(size, missing))
    if not card and not _read_card(raw / STARTED, size):
        _clear(raw)
    write_json(raw / STARTED, {"fingerprint": fingerprint(size)})

    total = len(size.films) + size.n_runs * len(missing)
    tick = _Ticker(progress, total)
    films = write_films(raw / "stimuli", size, tick)
    known = dict(card.get("subjects", {}))
    for index in missing:
        known[brains.subject_name(index)] = _write_subject(raw, size, index, films, tick)
        write_json(raw / MARK, _card(size, known))
    (raw / STARTED).unlink(missing_ok=True)
    return raw


class _Ticker:
    """Counts finished pieces of work for a caller's progress bar."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, what: str) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total, what)


def _subject_indices(size: PhantomSize, subjects: Sequence[str] | None) -> list[int]:
    """Return zero-based indices of subject names."""
    names = [brains.subject_name(i) for i in range(len(size.subjects))]
    unknown = [name for name in subjects or () if name not in names]
    if unknown:
        raise ConfigError(
            f"{size.name}: the subjects are {', '.join(names)}, got {', '.join(unknown)}; choose of these"
        )
    return [i for i, name in enumerate(names) if subjects is None or name in subjects]


@lru_cache(maxsize=8)
def fingerprint(size: PhantomSize) -> str:
    """Return a short hash of everything that decides the data: version, size, tuning, and how scenes are worded.

    A change of the renderer alone does not show here (pixels may differ in the last bit between processors): raise
    ``sizes.VERSION`` with it.
    """
    from pipeline.phantom.captions import captions
    from pipeline.phantom.scenes import film

    probe = [[scene.to_dict(), captions(scene)] for scene in film(60, size.seed, "train") + film(60, size.seed, "test")]
    text = json.dumps([VERSION, asdict(size), TUNING, CONTROLS, probe], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _clear(raw: Path) -> None:
    """Remove another version's phantom, which cannot be continued; leave anything else alone."""
    if not raw.exists() or not any(raw.iterdir()):
        return
    try:
        card = json.loads((raw / MARK).read_text(encoding="utf-8")) if (raw / MARK).exists() else {}
    except (OSError, ValueError):
        card = {}
    if "fingerprint" not in card and not (raw / STARTED).exists():
        raise DataError(f"{raw}: expected an earlier phantom or nothing, got other files; move them away and run again")
    shutil.rmtree(raw)


def _read_card(path: Path, size: PhantomSize) -> dict[str, Any]:
    """Return the JSON of a finished or begun phantom of exactly this size and version, else an empty dict."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    same = isinstance(card, dict) and card.get("fingerprint") == fingerprint(size)
    return card if same else {}


def _runs(size: PhantomSize) -> Iterator[tuple[str, int, int]]:
    """Yield film, repeat (from 1) and extra volumes of each run of a subject, in the order of recording."""
    for film, repeats in size.films:
        for repeat in range(1, repeats + 1):
            number = int("".join(filter(str.isdigit, film)))
            yield film, repeat, 6 if (number + repeat) % LONG_RUN_EVERY == 0 else 5


def _run_path(raw: Path, index: int, film: str, repeat: int) -> Path:
    return raw / f"subject{index + 1}" / "fmri" / film / "cifti" / f"{film}_{repeat}_Atlas.dtseries.nii"


def _runs_complete(raw: Path, size: PhantomSize, index: int) -> bool:
    return all(_run_path(raw, index, film, repeat).is_file() for film, repeat, _ in _runs(size))


def bytes_needed(size: PhantomSize, missing: Sequence[int]) -> int:
    """Estimate the size on disk from above."""
    n_ids = len(simulated_ids(size.whole_cortex, size.stride))
    voxels = sum(n_ids if size.whole_cortex else round(size.subjects[i].fraction * n_ids) for i in missing)
    film_bytes = len(size.films) * size.clips_per_segment * 100_000
    return voxels * size.n_runs * (size.clips_per_segment + 6) * 4 + film_bytes


def _write_subject(
    raw: Path, size: PhantomSize, index: int, films: dict[str, NDArray[np.float32]], tick: _Ticker
) -> dict[str, Any]:
    """Record every run of a subject that is not there yet, and return the subject's entry of the card."""
    from safetensors.numpy import save_file

    brain = brains.make_brain(size, index, [films[film] for film, _ in size.films if film.startswith("seg")])
    signals: dict[tuple[str, int], NDArray[np.float32]] = {}
    for film, repeat, extra in _runs(size):
        path = _run_path(raw, index, film, repeat)
        if not path.is_file():
            if (film, extra) not in signals:
                signals = {key: value for key, value in signals.items() if key[0] == film}  # one film at a time
                signals[film, extra] = brains.response(brain, films[film], size, extra)
            rng = brains.stream(size.seed, brain.subject, film, repeat)
            _write_run(path, brains.record(brain, signals[film, extra], rng), brain.voxel_ids, size.tr)
        tick(f"{brain.subject} {film} repeat {repeat}")
    test_repeats = size.test_repeats
    truth: dict[str, NDArray[Any]] = {
        "voxel_ids": brain.voxel_ids,
        "reliability": brain.reliability,
        "noise_ceiling_single": brains.noise_ceiling(brain.reliability, 1).astype(np.float32),
        "noise_ceiling_test": brains.noise_ceiling(brain.reliability, test_repeats).astype(np.float32),
    }
    with atomic_file(raw / "truth" / f"subject{index + 1}.safetensors") as temporary:
        save_file(truth, temporary)
    tuned = brain.reliability > 0
    return {
        "folder": f"subject{index + 1}",
        "n_voxels": len(brain.voxel_ids),
        "n_tuned_voxels": int(tuned.sum()),
        "planted_reliability": round(float(brain.reliability[tuned].mean()), 4),
        "noise_ceiling_single": round(float(truth["noise_ceiling_single"][tuned].mean()), 4),
        "noise_ceiling_test": round(float(truth["noise_ceiling_test"][tuned].mean()), 4),
    }


def _write_run(path: Path, series: NDArray[np.float32], voxel_ids: NDArray[np.int64], tr: float) -> None:
    """Write one run as a CIFTI dense time series that holds these grayordinates only."""
    import nibabel as nib
    from nibabel.cifti2 import BrainModelAxis, Cifti2Image, SeriesAxis

    vertices, left = mesh_vertices()[voxel_ids], voxel_ids < N_LEFT
    axis = BrainModelAxis.from_surface(vertices[left], N_MESH, "CortexLeft")
    axis += BrainModelAxis.from_surface(vertices[~left], N_MESH, "CortexRight")
    image = Cifti2Image(series, header=(SeriesAxis(0.0, tr, len(series)), axis))
    image.nifti_header["descrip"] = b"simulated: NeuroVis phantom"
    image.update_headers()
    with atomic_file(path) as temporary:
        # nibabel reads the kind of file off its name.
        whole = temporary.with_name(temporary.name + ".dtseries.nii")
        nib.save(image, whole)
        os.replace(whole, temporary)


def _card(size: PhantomSize, subjects: dict[str, Any]) -> dict[str, Any]:
    """Return what dataset.json says."""
    return {
        "name": size.name,
        "simulated": True,
        "description": "Simulated: a phantom on the real cortical surface with known tuning; no person was measured.",
        "clips_per_segment": size.clips_per_segment,
        "fps": FPS,
        "tr": size.tr,
        "n_repeats": {"train": size.train_repeats, "test": size.test_repeats},
        "n_segments": {"train": size.n_train, "test": size.n_test},
        "film_onset_s": size.film_onset_s,
        "seed": size.seed,
        "version": VERSION,
        "fingerprint": fingerprint(size),
        "planted": {"tuning": TUNING, "controls": list(CONTROLS)},
        "subjects": dict(sorted(subjects.items())),
    }
