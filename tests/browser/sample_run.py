"""A run to look at in tests: true phantom clips, and degraded copies of them in place of a decoder's results.

Nothing here is a result; the run is made in a test's own folder and never shipped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.paths import PHANTOM_ASSETS
from pipeline.phantom.captions import captions
from pipeline.phantom.render import render_clip
from pipeline.phantom.scenes import Scene, film
from pipeline.runs import ClipRecord, Nearest, Run, RunManifest, RunWriter, Score, Space, variant_name

SINGLE = ((), ("anchor",), ("motion",), ("holi",), ("mad",))
HARM = {"anchor": 0.5, "motion": 0.15, "holi": 0.1, "mad": 0.3}
NAMES = {
    "object": ("Object judge, top-1", 1 / 24, True),
    "ssim": ("SSIM", 0.19, True),
    "epe": ("End-point error", 1.9, False),
    "shuffle": ("Shuffle test", 0.21, False),
}


def blur(frames: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Coarsen and tint frames: (n_frames, height, width, 3) uint8 in and out."""
    coarse = (
        frames[:, ::strength, ::strength]
        .repeat(strength, 1)
        .repeat(strength, 2)[:, : frames.shape[1], : frames.shape[2]]
    )
    mixed = 0.9 * coarse + 0.1 * rng.integers(0, 255, 3)
    return np.clip(mixed, 0, 255).astype(np.uint8)


def make_run(
    folder: Path,
    name: str = "sample-sub-01",
    n_clips: int = 14,
    subject: str = "sub-01",
    combos: tuple[tuple[str, ...], ...] = SINGLE,
    layout: str = "compact",
    truth: bool = True,
    simulated: bool = True,
    space: Space | None = None,
    dataset: str = "phantom",
    first: int = 0,
) -> Run:
    """Write the run into ``folder / name``: the clips ``first`` to ``first + n_clips`` of one film."""
    rng = np.random.default_rng(3)
    scenes = film(first + n_clips, 5, "test")[first:]
    ids = tuple(f"test1_{i:04d}" for i in range(first, first + n_clips))
    labels = () if truth else ("real brain, toy renderer",)
    manifest = _manifest(name, subject, dataset, simulated, labels, ids, layout)
    writer = RunWriter(folder / name, manifest)
    records = []
    for clip_id, scene in zip(ids, scenes, strict=True):
        scores = {variant_name(combo): _scores(combo, rng) for combo in combos}
        records.append(_record(clip_id, scene, scores, rng))
        writer.add_clip(records[-1], _streams(scene, combos, truth, rng))
    if space is None:
        space, voxels = Space(kind="fs_LR_32k"), _visual_vertices(rng)
    else:
        voxels = rng.permutation(int(np.prod(space.shape or (1,))))[:530]
    values = rng.normal(0, 0.5, (n_clips, len(voxels))) + 1.4 * np.sin(voxels / 900 + np.arange(n_clips)[:, None])
    writer.set_patterns(voxels, values, space)
    writer.set_cues({"anchor": rng.normal(size=(n_clips, 5, 7))})
    return writer.finish(summarise(records, [variant_name(combo) for combo in combos]))


def summarise(records: list[ClipRecord], variants: list[str]) -> dict[str, dict[str, Score]]:
    """Average the clips' scores."""
    return {
        variant: {
            name: Score(
                value=float(np.mean([record.scores[variant][name] for record in records])),
                chance=chance,
                n=len(records),
                n_chance=len(records),
                label=label,
                higher_is_better=up,
                judge="phantom object judge" if name == "object" else None,
                frames="16 at 8 fps, 64 x 64",
            )
            for name, (label, chance, up) in NAMES.items()
        }
        for variant in variants
    }


def _manifest(
    name: str,
    subject: str,
    dataset: str,
    simulated: bool,
    labels: tuple[str, ...],
    ids: tuple[str, ...],
    layout: str,
) -> RunManifest:
    return RunManifest(
        name=name,
        title=f"SemVideo, {subject}",
        method="semvideo",
        dataset=dataset,
        subject=subject,
        simulated=simulated,
        labels=labels,
        seed=0,
        config={
            "clips": "0:14",
            "render": {"strength": 0.75, "theta": 0.3, "num_inference_steps": 25, "guidance_scale": 5.0},
        },
        versions={"torch": "2.15", "diffusers": "0.42"},
        clip_ids=ids,
        n_frames={"truth": 16, "motion": 6, "anchor": 1, "reconstruction": 16},
        layout=layout,
        created="2026-01-02T03:04:05Z",
    )


def _streams(
    scene: Scene, combos: tuple[tuple[str, ...], ...], truth: bool, rng: np.random.Generator
) -> dict[str, dict[str, np.ndarray]]:
    """Stand in for a renderer: the coarser, the more parts are left out."""
    shown = render_clip(scene)
    streams: dict[str, dict[str, np.ndarray]] = {}
    for combo in combos:
        made = blur(shown, 2 + int(4 * sum(HARM[part] for part in combo)), rng)
        six = blur(shown[[0, 3, 6, 9, 12, 15]], 4 + 2 * ("motion" in combo), rng)
        motion = {} if "mad" in combo else {"motion": six}
        streams[variant_name(combo)] = {"reconstruction": made, "anchor": made[:1]} | motion
    if truth:
        streams[variant_name(())]["truth"] = shown
    return streams


def _scores(combo: tuple[str, ...], rng: np.random.Generator) -> dict[str, float | None]:
    harm = sum(HARM[part] for part in combo)
    noise = rng.normal(0, 0.04, 4)
    return {
        "object": float(rng.random() > 0.3 + harm),
        "ssim": 0.62 - 0.3 * harm + noise[1],
        "epe": 0.8 + 1.2 * harm + noise[2],
        "shuffle": float(np.clip(0.03 + harm * 0.9 + noise[3], 0, 1)),
    }


def _record(
    clip_id: str, scene: Scene, scores: dict[str, dict[str, float | None]], rng: np.random.Generator
) -> ClipRecord:
    """Describe a clip: its own captions, and as decoded ones those of others, sometimes its own first."""
    told = captions(scene)
    others = [captions(s) for s in film(3, int(rng.integers(9999)), "train")]
    near = {
        level: [
            Nearest(text=told[level] if i == 0 and rng.random() > 0.4 else other[level], similarity=0.83 - 0.11 * i)
            for i, other in enumerate(others)
        ]
        for level in ("anchor", "motion", "holi")
    }
    labels = {"object": scene.object, "background": scene.background, "motion": scene.motion, "cut": scene.cut}
    return ClipRecord(clip_id=clip_id, captions=told, nearest=near, labels=labels, scores=scores)


def _visual_vertices(rng: np.random.Generator) -> np.ndarray:
    """Pick about half of the vertices of some visual areas from the shipped flat map."""
    import json

    from safetensors import safe_open

    from neurovis.flatmap import FLATMAP

    with safe_open(FLATMAP, framework="numpy") as file:
        region, names = file.get_tensor("region"), json.loads(file.metadata()["names"])
    wanted = ("V1", "V2", "V3", "V4", "LO1", "LO2", "MT", "MST", "FFC", "V3A", "V3B", "PIT", "VVC", "TPOJ1")
    areas = [
        i for i, name in enumerate(names) if name.removeprefix("L_").removeprefix("R_").removesuffix("_ROI") in wanted
    ]
    found = np.flatnonzero(np.isin(region, areas))
    return np.sort(rng.permutation(found)[: len(found) // 2])


def make_renderable(folder: Path, name: str, n_clips: int = 2, variants: tuple[str, ...] = ("full",)) -> Run:
    """Copy the first clips of a shipped run, with their cues and some combinations but none of the scores."""
    shipped = Run.open(PHANTOM_ASSETS / "runs" / "phantom-sub-01")
    ids = shipped.manifest.clip_ids[:n_clips]
    changes = {"name": name, "title": name, "clip_ids": ids, "scores": {}, "variants": variants}
    writer = RunWriter(folder / name, shipped.manifest.model_copy(update=changes))
    for clip_id in ids:
        frames = {
            variant: {s: shipped.frames(clip_id, s, variant) for s in shipped.manifest.streams} for variant in variants
        }
        writer.add_clip(shipped.clips[clip_id].model_copy(update={"scores": {}}), frames)
    writer.set_cues({key: value[:n_clips] for key, value in shipped.cues().items()})
    return writer.finish()
