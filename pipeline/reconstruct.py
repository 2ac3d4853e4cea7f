"""From a brain recording to videos: the walk that ``python -m pipeline reconstruct`` takes.

1. load the recording's test clips; 2. load the subject's decoders; 3. decode cues from the fMRI alone;
4. find the known captions nearest to what was decoded; 5. render; 6. write the run folder.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError
from pipeline.paths import PHANTOM_ASSETS, check_space
from pipeline.runs import FULL, ClipRecord, Nearest, Run, RunManifest, RunWriter, Space, variant_name

if TYPE_CHECKING:
    from pipeline.backbones import World
    from pipeline.clipset import ClipSet
    from pipeline.render.cvr import CVR

Progress = Callable[[int, int, str], None]
Cues = dict[str, NDArray[Any]]
BATCH = 4
LEVELS = ("anchor", "motion", "holi")
PACKAGES = ("torch", "diffusers", "transformers", "numpy")
DECODERS = PHANTOM_ASSETS / "decoders"


def reconstruct(
    dataset: str,
    subject: str,
    clips: Sequence[int],
    out: Path,
    without: frozenset[str] = frozenset(),
    seed: int = 0,
    home: Path | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Decode and render some test clips into a run folder.

    Parameters
    ----------
    dataset, subject : str
    clips : sequence of int
        Positions in the test set.
    out : Path
        The run folder; finished clips found there are kept.
    without : frozenset of {"anchor", "motion", "holi", "mad"}
    seed : int
    home : Path, optional
        Working folder.
    progress : callable(done, total, message), optional
    checkpoint : Path, optional
        Folder of trained decoders; by default the shipped ones of the phantom.

    Returns
    -------
    dict
        The run's manifest.

    Raises
    ------
    ConfigError, DataError, CheckpointError, WeightsError
    """
    from pipeline.data import load

    everything = load(dataset, subject, "test", home)
    bad = [i for i in clips if not 0 <= i < len(everything)]
    if bad or not clips:
        raise ConfigError(f"{dataset} {subject}: clips must lie in 0..{len(everything) - 1}, got {bad or 'none'}")
    world, cvr = renderer("phantom")
    clipset = decode(everything.take(np.asarray(clips)), _checkpoint(dataset, subject, checkpoint))
    known = load(dataset, subject, "train", home).captions
    size = world.backbones.size
    check_space(out, len(clips) * 24 * size * size * 3)
    manifest = new_manifest(clipset, dataset, out.name, seed, world, cvr, without)
    writer = RunWriter(out, manifest)
    writer.set_cues(clipset.cues)
    writer.set_patterns(clipset.voxel_ids, clipset.mean_fmri(), _space(clipset))
    nearest = nearest_captions(world, clipset.cues, known)
    todo = [i for i, c in enumerate(clipset.clip_ids) if str(c) not in writer.done]
    variant = variant_name(without)
    for start in range(0, len(todo), BATCH):
        rows = todo[start : start + BATCH]
        base = start

        def tell(done: int, total: int, message: str, base: int = base, n: int = len(rows)) -> None:
            if progress:
                progress(round(100 * (base + n * done / total)), 100 * len(todo), message)

        ids = [str(clipset.clip_ids[i]) for i in rows]
        rendered = cvr.render({k: v[rows] for k, v in clipset.cues.items()}, ids, without, seed, tell)
        for k, i in enumerate(rows):
            frames = {variant: rendered.streams(k)}
            if clipset.stimulus is not None:
                shown = clipset.stimulus.frames(i, world.backbones.n_frames)
                frames.setdefault(FULL, {})["truth"] = fit_frames(shown, size)
            writer.add_clip(record(clipset, i, nearest), frames)
    run = writer.finish()
    return run.manifest.model_dump(mode="json")


def decode(clipset: ClipSet, folder: Path) -> ClipSet:
    """Decode cues from the fMRI alone; the stimulus is taken away first and given back after."""
    from dataclasses import replace

    from pipeline.checkpoints import load_checkpoint

    checkpoint = load_checkpoint(folder, subject=clipset.subject)
    checkpoint.check(clipset)
    decoded = checkpoint.model.decode(clipset.without_stimulus())
    return replace(clipset, cues=decoded.cues)


def render_clip(
    run: Run,
    clip_id: str,
    without: frozenset[str],
    seed: int,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, NDArray[np.uint8]] | None:
    """Render one clip of a run again from its decoded cues, with parts left out or another seed.

    Returns
    -------
    dict of stream to (n_frames, size, size, 3) uint8, or None when it was stopped
    """
    from pipeline.render.cvr import Stopped

    if clip_id not in run.manifest.clip_ids:
        raise ConfigError(f"{run.manifest.name}: clip {clip_id!r} is not one of its {len(run.manifest.clip_ids)} clips")
    row = run.manifest.clip_ids.index(clip_id)
    cues = {k: v[row : row + 1] for k, v in run.cues().items()}
    try:
        return renderer("phantom")[1].render(cues, [clip_id], without, seed, progress, should_stop).streams(0)
    except Stopped:
        return None


def missing_weights(run: Run) -> str | None:
    """Say which of the renderer's folders are missing, without loading any; None when all are there."""
    parts = ("vae", "text_encoder", "tokenizer", "unet", "motion_adapter", "controlnet", "scheduler")
    missing = [part for part in parts if not (PHANTOM_ASSETS / part).is_dir()]
    return f"{', '.join(missing)} in assets/phantom" if missing else None


@lru_cache(maxsize=2)
def renderer(name: str) -> tuple[World, CVR]:
    """Return the loaded world and renderer of a profile, kept for the next call."""
    from pipeline.backbones import World, profile
    from pipeline.render.cvr import CONFIGS, CVR

    world = World(profile(name))
    return world, CVR(world, CONFIGS[name])


def nearest_captions(world: World, cues: Any, known: Any, count: int = 3) -> dict[str, list[list[Nearest]]]:
    """Find the known captions whose Z is most like the decoded one.

    Similarity is the cosine of Z minus the mean Z of the known captions: what all captions share tells nothing.

    Returns
    -------
    dict of level to n_clips lists of ``count`` captions, best first
    """
    from pipeline.backbones import encode_text

    found: dict[str, list[list[Nearest]]] = {}
    for level in LEVELS:
        if level not in cues or level not in known:
            continue
        texts = sorted({str(t) for t in known[level]})
        codes = encode_text(world, texts).reshape(len(texts), -1)
        decoded = np.asarray(cues[level], np.float32).reshape(len(cues[level]), -1)
        likeness = centred_cosine(decoded, codes)
        best = np.argsort(-likeness, axis=1)[:, :count]
        found[level] = [
            [Nearest(text=texts[j], similarity=round(float(row[j]), 4)) for j in order]
            for row, order in zip(likeness, best, strict=True)
        ]
    return found


def centred_cosine(decoded: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine (n, m) of (n, d) and (m, d) after the known rows' mean is removed from both."""
    mean = known.mean(0)
    a, b = decoded - mean, known - mean
    a /= np.linalg.norm(a, axis=1, keepdims=True) + 1e-8
    b /= np.linalg.norm(b, axis=1, keepdims=True) + 1e-8
    return np.asarray(a @ b.T)


def new_manifest(
    clipset: ClipSet,
    dataset: str,
    name: str,
    seed: int,
    world: World,
    cvr: CVR,
    without: frozenset[str] = frozenset(),
    **changes: Any,
) -> RunManifest:
    """Describe a run of SemVideo over a decoded clip set."""
    n_decoded = int(clipset.cues["motion_latents"].shape[1]) if "motion_latents" in clipset.cues else 6
    toy = world.backbones.simulated and not clipset.simulated
    values: dict[str, Any] = {
        "name": name,
        "title": f"SemVideo, {dataset} {clipset.subject}",
        "method": "semvideo",
        "dataset": dataset,
        "subject": clipset.subject,
        "simulated": clipset.simulated,
        "labels": ("simulated data",) if clipset.simulated else ("real brain, toy renderer",) if toy else (),
        "seed": seed,
        "config": {
            "render": cvr.config.model_dump(),
            "backbones": {"name": world.backbones.name, "size": world.backbones.size},
            "without": sorted(without),
        },
        "versions": {package: version(package) for package in PACKAGES},
        "clip_ids": tuple(str(c) for c in clipset.clip_ids),
        "streams": ("motion", "anchor", "reconstruction"),
        "size": (world.backbones.size,) * 2,
        "n_frames": {"motion": n_decoded, "anchor": 1, "reconstruction": world.backbones.n_frames},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    if clipset.stimulus is not None:
        values["streams"] = ("truth", *values["streams"])
        values["n_frames"] = {"truth": world.backbones.n_frames, **values["n_frames"]}
    return RunManifest(**(values | changes))


def record(clipset: ClipSet, index: int, nearest: dict[str, list[list[Nearest]]]) -> ClipRecord:
    """Write down what is known of one clip."""
    return ClipRecord(
        clip_id=str(clipset.clip_ids[index]),
        captions={k: str(v[index]) for k, v in clipset.captions.items()},
        nearest={k: v[index] for k, v in nearest.items()},
        labels={k: v[index].item() for k, v in clipset.labels.items()},
    )


def fit_frames(frames: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Bring frames (n, h, w, 3) to a square: centre crop, then area resampling."""
    import cv2

    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frames[:, top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    return np.stack([cv2.resize(f, (size, size), interpolation=cv2.INTER_AREA) for f in square])


def _checkpoint(dataset: str, subject: str, folder: Path | None) -> Path:
    """Return the folder of the decoders: the one given, its subject's own, or the shipped ones."""
    if folder is not None:
        return folder / subject if (folder / subject).is_dir() else folder
    if dataset != "phantom":
        raise ConfigError(
            f"{dataset}: no decoders are shipped for it; train them and name their folder with --checkpoint"
        )
    if not (DECODERS / subject).is_dir():
        raise DataError(f"{subject}: no decoders in {DECODERS}; restore assets/ or run python -m training phantom")
    return DECODERS / subject


def _space(clipset: ClipSet) -> Space:
    return Space(kind=clipset.space.kind, shape=clipset.space.shape, affine=clipset.space.affine)
