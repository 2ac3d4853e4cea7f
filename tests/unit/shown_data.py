"""A data set of seven rendered clips and two subjects, imported, for whatever asks what was shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipeline.clipset import VoxelSpace
from pipeline.data import store
from pipeline.paths import write_json
from pipeline.phantom.film import write_film
from pipeline.phantom.render import render_clip
from pipeline.phantom.scenes import film

FILMS = {"seg1": 3, "seg2": 2, "test1": 2}  # clips; the second training film is the validation run
CLIP_IDS = [f"{name}_{j:04d}" for name, n in FILMS.items() for j in range(n)]


def make_shown(home: Path, name: str = "shown", records: bool = True, subjects: tuple[str, ...] = ("sub-01", "sub-02")):
    """Write the data set into the working folder; without ``records`` it looks like a recorded one."""
    folder = home / "datasets" / name
    folder.mkdir(parents=True)
    lines = []
    for number, (film_name, n_clips) in enumerate(FILMS.items()):
        scenes = film(n_clips, number, "train")
        write_film(folder / f"{film_name}.mp4", [render_clip(scene) for scene in scenes])
        lines += [{"clip_id": f"{film_name}_{j:04d}", **scene.to_dict()} for j, scene in enumerate(scenes)]
    if records:
        (folder / "scenes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for number, subject in enumerate(subjects):
        store.write_subject(_subject(subject, folder, n_voxels=4 + number), folder / subject, folder)
    card = {"format": 1, "title": name, "layout": "cc2017", "simulated": records, "tr": 2.0, "subjects": list(subjects)}
    write_json(folder / "dataset.json", card)
    return folder


def _subject(subject: str, folder: Path, n_voxels: int) -> store.SubjectData:
    rng = np.random.default_rng(n_voxels)
    ids = np.arange(n_voxels, dtype=np.int64)
    return store.SubjectData(
        subject=subject,
        voxel_ids=ids,
        space=VoxelSpace("unknown"),
        tr=2.0,
        parts={
            "train": _part(rng, folder, ("seg1", "seg2"), n_voxels, 2),
            "test": _part(rng, folder, ("test1",), n_voxels, 3),
        },
        splits={"train": ["seg1"], "val": ["seg2"], "test": ["test1"]},
        quality={"voxel_ids": ids, "selected": np.ones(n_voxels, bool)},
        selection={},
        digests={},
        notes=["an older note"],
    )


def _part(rng, folder: Path, films: tuple[str, ...], n_voxels: int, n_repeats: int) -> store.Part:
    groups = [name for name in films for _ in range(FILMS[name])]
    clips = [(name, j) for name in films for j in range(FILMS[name])]
    return store.Part(
        clip_ids=[f"{name}_{j:04d}" for name, j in clips],
        groups=groups,
        fmri=rng.standard_normal((len(clips), n_repeats, n_voxels)).astype(np.float32),
        present=np.ones((len(clips), n_repeats), bool),
        captions={"basic": [f"old {name} {j}" for name, j in clips]},
        stimulus=store.StimulusTable(
            [folder / f"{name}.mp4" for name in films],
            [films.index(name) for name, _ in clips],
            [2.0 * j for _, j in clips],
            2.0,
        ),
    )
