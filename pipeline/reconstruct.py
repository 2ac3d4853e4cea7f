"""From a brain recording to videos: the walk that ``python -m pipeline reconstruct`` takes.

1. load the recording's test clips; 2. load the subject's decoders; 3. decode cues from the fMRI alone;
4. find the known captions nearest to what was decoded; 5. render; 6. write the run folder.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.background import Background
from pipeline.batches import batch_size, hold_settings, render_batches
from pipeline.errors import ConfigError, DataError
from pipeline.nearest import nearest_captions
from pipeline.paths import PHANTOM_ASSETS, atomic_folder, check_space
from pipeline.provenance import decoder_source
from pipeline.renderers import Rendering, facts, missing_weights, need_weights, renderer, renderer_of
from pipeline.runs import FULL, ClipRecord, Nearest, Run, RunManifest, RunWriter, Score, Space, variant_name

if TYPE_CHECKING:
    from pipeline.backbones import World
    from pipeline.clipset import ClipSet
    from pipeline.render.cvr import CVR

__all__ = [
    "Cues", "Progress", "Rendering", "decode", "fit_frames", "missing_weights", "new_manifest", "reconstruct", "record",
    "render_clip", "render_cues", "renderer", "renderer_of",
]  # fmt: skip
Progress = Callable[[int, int, str], None]
Cues = dict[str, NDArray[Any]]
Frames = NDArray[np.uint8]
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
    rendering: Rendering | None = None,
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
    rendering : Rendering, optional
        By default the phantom's renderer on the processor.

    Returns
    -------
    dict
        The run's manifest; while other processes still owe clips, the same with ``"unfinished"``, their number.

    Raises
    ------
    ConfigError, DataError, CheckpointError, ResourceError, WeightsError
    """
    from pipeline.data import load

    _check_subject(dataset, subject, home)
    rendering = (rendering or Rendering()).at(home)
    folder = _checkpoint(dataset, subject, checkpoint, rendering.profile)
    world, cvr = rendering.load()
    need_weights(world.backbones)
    clipset = decode(_test_clips(dataset, subject, clips, home), folder, world.device)
    cvr.check(clipset.cues, len(clipset), without)
    known = load(dataset, subject, "train", home).captions
    check_space(out, len(clips) * 40 * world.backbones.size**2 * 3)
    manifest = new_manifest(clipset, dataset, out.name, seed, world, cvr, without)
    config = {**manifest.config, "clips": [int(i) for i in clips]}
    manifest = manifest.model_copy(update={"config": config, "decoder": decoder_source(folder)})
    settings = {key: manifest.config[key] for key in ("render", "backbones", "without")}
    hold_settings(out, {"dataset": dataset, "subject": subject, "seed": seed, **settings})
    writer = RunWriter(out, manifest, rendering.shard.name)
    first = rendering.shard.rank == 0  # every process knows the cues, one writes them
    writer.set_cues(clipset.cues, write=first)
    writer.set_patterns(clipset.voxel_ids, clipset.mean_fmri(), _space(clipset), write=first)
    own = range(rendering.shard.rank, len(clipset), rendering.shard.world_size)
    done = writer.done
    todo = [i for i in own if str(clipset.clip_ids[i]) not in done]
    if todo:
        _render(clipset, todo, nearest_captions(world, clipset.cues, known), writer, rendering, without, seed, progress)
    if rendering.shard.world_size > 1 and (owed := writer.missing()):
        return {**writer.manifest.model_dump(mode="json"), "unfinished": len(owed)}
    return writer.finish().manifest.model_dump(mode="json")


def _check_subject(dataset: str, subject: str, home: Path | None) -> None:
    from pipeline.data import describe

    known = describe(dataset, home).subject_names
    if known and subject not in known:
        raise ConfigError(f"{dataset}: no subject is called {subject!r}; there are {', '.join(known)}")


def _test_clips(dataset: str, subject: str, clips: Sequence[int], home: Path | None) -> ClipSet:
    """Return some test clips by their positions, checked."""
    from pipeline.data import load

    everything = load(dataset, subject, "test", home)
    bad = [i for i in clips if not 0 <= i < len(everything)]
    if bad or not clips:
        got = f"{len(bad)} of {len(clips)} outside, the first {bad[0]}" if bad else "none"
        raise ConfigError(f"{dataset} {subject}: test clips must lie in 0..{len(everything) - 1}, got {got}")
    return everything.take(np.asarray(clips))


def _render(
    clipset: ClipSet,
    rows: list[int],
    nearest: dict[str, list[list[Nearest]]],
    writer: RunWriter,
    rendering: Rendering,
    without: frozenset[str],
    seed: int,
    progress: Progress | None,
) -> None:
    """Render these clips and write each while the next batch renders; the truth goes beside it where it is known."""
    world, cvr = rendering.load()
    ids = [str(c) for c in clipset.clip_ids]
    batch, backbones = batch_size(world, rendering.batch), world.backbones

    def complete(i: int, streams: dict[str, Frames]) -> tuple[ClipRecord, dict[str, dict[str, Frames]]]:
        frames = {variant_name(without): streams}
        if clipset.stimulus is not None:
            shown = clipset.stimulus.frames(i, backbones.n_frames)
            frames.setdefault(FULL, {})["truth"] = fit_frames(shown, backbones.size)
        return record(clipset, i, nearest), frames

    # One batch waits to be written while one renders: two in memory, however slow the disk is.
    with Background(batch) as background:
        made = render_batches(
            cvr, clipset.cues, ids, rows,
            without=without, seed=seed, batch=batch, progress=progress, should_stop=background.failed,
        )  # fmt: skip
        for i, rendered, place in made:
            background.put(complete, lambda clip: writer.add_clip(*clip), i, rendered.streams(place))


def decode(clipset: ClipSet, folder: Path, device: str = "cpu") -> ClipSet:
    """Decode cues from the fMRI alone; the stimulus is taken away first and given back after."""
    from dataclasses import replace

    from pipeline.checkpoints import load_checkpoint

    checkpoint = load_checkpoint(folder, subject=clipset.subject)
    checkpoint.check(clipset)
    # A part that an ablation of training left out holds untrained weights: it has nothing to say.
    trained = tuple(checkpoint.about.get("training", {}).get("stages", ())) or checkpoint.model.STAGES
    decoded = checkpoint.model.decode(clipset.without_stimulus(), stages=trained, device=device)
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
    from pipeline.render.steps import Stopped

    if clip_id not in run.manifest.clip_ids:
        raise ConfigError(f"{run.manifest.name}: clip {clip_id!r} is not one of its {len(run.manifest.clip_ids)} clips")
    row = run.manifest.clip_ids.index(clip_id)
    cues = {k: v[row : row + 1] for k, v in run.cues().items()}
    if "motion_latents" not in cues:
        without = without | {"mad"}
    try:
        return renderer_of(run)[1].render(cues, [clip_id], without, seed, progress, should_stop).streams(0)
    except Stopped:
        return None


def render_cues(
    clipset: ClipSet,
    dataset: str,
    out: Path,
    known: Mapping[str, NDArray[Any]],
    *,
    seed: int = 0,
    scores: Mapping[str, NDArray[Any]] | None = None,
    summary: Mapping[str, Score] | None = None,
    config: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Run:
    """Render cues that were decoded elsewhere, where there is no film and so no motion decoder.

    Every clip is rendered with MAD switched off: the anchor frame and the video start from noise.

    Parameters
    ----------
    clipset : ClipSet
        With cues ``anchor`` and ``holi``.
    dataset : str
    out : Path
        The run folder, which appears whole.
    known : mapping of level to captions
        Among which the nearest are shown.
    seed : int
    scores : mapping of name to (n_clips,) values, optional
        Per clip.
    summary : mapping of name to Score, optional
    config : mapping, optional
        Added to the run's config.
    progress : callable(done, total, message), optional
    """
    world, cvr = renderer("phantom")
    manifest = new_manifest(clipset, dataset, out.name, seed, world, cvr, frozenset({"mad"}))
    changes: dict[str, Any] = {
        "streams": ("anchor", "reconstruction"),
        "depends": {"anchor": ("anchor",), "reconstruction": ("anchor", "holi")},
        "n_frames": {k: v for k, v in manifest.n_frames.items() if k in ("anchor", "reconstruction")},
        "config": {**manifest.config, **(config or {})},
    }
    nearest = nearest_captions(world, clipset.cues, known)
    with atomic_folder(out) as folder:
        writer = RunWriter(folder, manifest.model_copy(update=changes))
        writer.set_cues(clipset.cues)
        writer.set_patterns(clipset.voxel_ids, clipset.mean_fmri(), _space(clipset))
        for i, clip_id in enumerate(str(c) for c in clipset.clip_ids):
            if progress:
                progress(i, len(clipset), "rendering")
            cues = {k: v[i : i + 1] for k, v in clipset.cues.items()}
            streams = cvr.render(cues, [clip_id], frozenset({"mad"}), seed).streams(0)
            one = record(clipset, i, nearest)
            table = {FULL: {k: float(v[i]) for k, v in (scores or {}).items()}}
            writer.add_clip(one.model_copy(update={"scores": table}), {FULL: streams})
        writer.finish({FULL: dict(summary or {})})
    return Run.open(out)


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
            "backbones": facts(world),
            "without": sorted(without),
        },
        "versions": {package: version(package) for package in PACKAGES},
        "clip_ids": tuple(str(c) for c in clipset.clip_ids),
        "streams": ("motion", "anchor", "reconstruction"),
        "size": (world.backbones.size,) * 2,
        "fps": world.backbones.n_frames / 2.0,
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


def _checkpoint(dataset: str, subject: str, folder: Path | None, profile: str) -> Path:
    """Return the folder of the decoders: the one given, its subject's own, or the shipped ones."""
    if folder is not None:
        return folder / subject if (folder / subject).is_dir() else folder
    if profile != "phantom":
        raise ConfigError(
            f"profile {profile}: no decoders are shipped for it; train them (world: {profile}) and name their folder "
            "with --checkpoint"
        )
    if dataset != "phantom":
        raise ConfigError(
            f"{dataset}: no decoders are shipped for it; train them and name their folder with --checkpoint"
        )
    if not (DECODERS / subject).is_dir():
        raise DataError(f"{subject}: no decoders in {DECODERS}; restore assets/ or run python -m training phantom")
    return DECODERS / subject


def _space(clipset: ClipSet) -> Space:
    return Space(kind=clipset.space.kind, shape=clipset.space.shape, affine=clipset.space.affine)
