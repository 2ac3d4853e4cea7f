"""The steps of the error budget, measured on the phantom: truth, autoencoder round trip, rendered from true cues.

The same calls score the shipped runs in training; :mod:`pipeline.evaluate.budget` puts the steps side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones import World, decode_latents, encode_frames, encode_text
from pipeline.clipset import ClipSet
from pipeline.flow import shuffle_test
from pipeline.judges import Judge
from pipeline.metrics import METRICS, bootstrap_interval, sample_frames, score, shuffled_pairs
from pipeline.render.cvr import CVR
from pipeline.runs import FULL, Score, variant_name

Video = NDArray[np.uint8]
Values = NDArray[np.float64]
N_FRAMES, FPS = 6, 3.0
LABELS = {
    "object_top1": "object recognised",
    "motion_top1": "motion recognised",
    "epe": "end-point error",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "hue_pcc": "hue correlation",
    "shuffle_share": "shuffles with lower end-point error",
}


@dataclass(frozen=True)
class Judges:
    """The two judges of the phantom's world."""

    object: Judge
    motion: Judge

    def correct(self, kind: str, frames: Video, labels: NDArray[Any]) -> Values:
        """Return 1 where the judge's first choice is right, else 0."""
        judge: Judge = getattr(self, kind)
        return judge.top1_accuracy(frames, [str(label) for label in labels])


def true_frames(clipset: ClipSet, n_frames: int) -> Video:
    """Return what was on the screen: (n_clips, n_frames, size, size, 3)."""
    assert clipset.stimulus is not None
    return np.stack([clipset.stimulus.frames(i, n_frames) for i in range(len(clipset))])


def true_cues(world: World, clipset: ClipSet, truth: Video) -> dict[str, NDArray[Any]]:
    """Return the cues that a perfect decoder would give: true captions' Z and the true frames' latents."""
    cues: dict[str, NDArray[Any]] = {
        level: encode_text(world, [str(t) for t in clipset.captions[level]]) for level in ("anchor", "motion", "holi")
    }
    frames = sample_frames(truth, N_FRAMES)
    n, t = frames.shape[:2]
    latents = encode_frames(world, frames.reshape(n * t, *frames.shape[2:]))
    cues["motion_latents"] = latents.reshape(n, t, *latents.shape[1:])
    return cues


def round_trip(world: World, truth: Video) -> Video:
    """Return the frames after the autoencoder alone, the ceiling of everything that is rendered."""
    n, t = truth.shape[:2]
    latents = encode_frames(world, truth.reshape(n * t, *truth.shape[2:]))
    return decode_latents(world, latents).reshape(truth.shape)


def evaluate(
    truth: Video, video: Video, clipset: ClipSet, judges: Judges, *, shuffle: bool = False, seed: int = 5
) -> tuple[dict[str, Score], dict[str, Values]]:
    """Score rendered clips.

    Parameters
    ----------
    truth, video : (n_clips, n_frames, size, size, 3) uint8
    clipset : ClipSet
        With labels ``object`` and ``motion``.
    judges : Judges
    shuffle : bool
        Also run the shuffle test (100 orders), with its chance from mispaired clips.

    Returns
    -------
    summary : dict of name to Score
    per_clip : dict of name to (n_clips,) float64
    """
    rng = np.random.default_rng(seed)
    summary: dict[str, Score] = {}
    values: dict[str, Values] = {}

    def add(
        name: str,
        found: Values,
        chance: float,
        frames: str,
        judge: str | None,
        higher: bool = True,
        n_chance: int | None = None,
    ) -> None:
        low, high = bootstrap_interval(found, rng)
        values[name] = found
        mean = float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")
        summary[name] = Score(
            value=mean, chance=chance, n=int(np.isfinite(found).sum()), judge=judge,
            frames=frames, higher_is_better=higher, label=LABELS[name], interval=(low, high), n_chance=n_chance,
        )  # fmt: skip

    pairs = shuffled_pairs(len(clipset), rng)
    for kind in ("object", "motion"):
        labels = clipset.labels[kind]
        found = judges.correct(kind, video, labels)
        # The same answers against other clips' labels: what guessing with these habits would give.
        chance = float(judges.correct(kind, video, labels[pairs]).mean())
        add(f"{kind}_top1", found, chance, f"{N_FRAMES} frames, lossless", getattr(judges, kind).facts.name)
    shown, made = sample_frames(truth, N_FRAMES), sample_frames(video, N_FRAMES)
    for name in METRICS:
        one = score(name, shown, made, fps=FPS, rng=rng)
        add(name, one.values, one.chance or 0.0, one.frames, None, name != "epe")
    if shuffle:
        test = shuffle_test(shown, made, rng)
        # The same test against other clips' truths: any smooth video beats most orders of its own frames.
        other = shuffle_test(shown[pairs], made, np.random.default_rng([seed, 1])).share
        add("shuffle_share", test.share, float(other.mean()), summary["epe"].frames, None, False, len(other))
    return summary, values


def render_all(
    cvr: CVR,
    cues: dict[str, NDArray[Any]],
    clip_ids: list[str],
    without: Iterable[frozenset[str]],
    batch: int = 6,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, list[dict[str, Video]]]:
    """Render clips in several combinations: variant -> one dict of streams per clip."""
    chosen = list(without)
    done, total = 0, len(chosen) * len(clip_ids)
    found: dict[str, list[dict[str, Video]]] = {}
    for parts in chosen:
        name = variant_name(parts)
        found[name] = []
        for start in range(0, len(clip_ids), batch):
            rows = slice(start, start + batch)
            rendered = cvr.render({k: v[rows] for k, v in cues.items()}, clip_ids[rows], parts)
            found[name] += [rendered.streams(i) for i in range(len(rendered.anchor))]
            done += len(rendered.anchor)
            if progress:
                progress(done, total, f"rendering {name}")
    return found


def stack(clips: list[dict[str, Video]], stream: str = "reconstruction") -> Video:
    """Put one stream of all clips together."""
    return np.stack([clip[stream] for clip in clips])


def oracle(
    world: World, cvr: CVR, clipset: ClipSet, judges: Judges, progress: Callable[[int, int, str], None] | None = None
) -> dict[str, dict[str, Score]]:
    """Score the steps of the error budget that need no brain: truth, round trip, rendered from true cues."""
    truth = true_frames(clipset, world.backbones.n_frames)
    ids = [str(c) for c in clipset.clip_ids]
    made = render_all(cvr, true_cues(world, clipset, truth), ids, [frozenset()], progress=progress)
    videos = {"truth": truth, "round_trip": round_trip(world, truth), "true_cues": stack(made[FULL])}
    found = {}
    for name, video in videos.items():
        if progress:
            progress(len(ids), len(ids), f"scoring: {name.replace('_', ' ')}")
        found[name] = evaluate(truth, video, clipset, judges)[0]
    return found
