"""Ablations over all clips of a run: render what is missing, score it, keep both beside the run.

1. list the clips without a score for the wanted combination; 2. render those that are not on disk, from the run's own
decoded cues; 3. score each against its truth and, for the chance level, against another clip's; 4. sum up.

Everything goes to the run's second folder (``Run.extra``), never into the run itself, clip by clip: what was stopped
goes on where it was.

Scores are of the pictures as the run keeps them. A compact run keeps lossy WebP, which moves the end-point error by
more than some parts are worth, so the full model is always scored from the same pictures beside the combinations: a
change compares like with like, and never with a figure that came from lossless frames.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.aligned import LABELS as METRIC_LABELS
from pipeline.errors import ConfigError, DataError
from pipeline.flow import EPE_SIZE, shuffle_test
from pipeline.metrics import METRICS, sample_frames, shuffled_pairs
from pipeline.neighbours import interval_over_clips
from pipeline.paths import PHANTOM_ASSETS, check_space, write_json
from pipeline.runs import FULL, PARTS, Run, Score, parse_variant, variant_name

N_FRAMES, N_ORDERS = 6, 100
SINGLE = (FULL, *PARTS)
LABELS = {
    "object_top1": "object recognised", "motion_top1": "motion recognised", **METRIC_LABELS,
    "shuffle_share": "shuffles with lower end-point error",
}  # fmt: skip
BOOK = "scores.json"
_SEED = 5
Frames = NDArray[np.uint8]
Values = dict[str, float | None]


def all_combinations() -> list[frozenset[str]]:
    """Return the twelve combinations of switches that differ (without MAD, C_motion has nothing to steer)."""
    chosen = [frozenset(c) for n in range(len(PARTS) + 1) for c in combinations(PARTS, n)]
    return [c for c in chosen if not {"mad", "motion"} <= c]


class ScoreBook:
    """What was scored later: per clip and combination the values and those of a mispaired truth, and the sums.

    Parameters
    ----------
    run : Run
        With ``extra``, where the book lies; a book of an older run of the same name is not used.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.path = (run.extra or run.path) / BOOK
        self.clips: dict[str, dict[str, dict[str, Values]]] = {}
        self.summary: dict[str, dict[str, Score]] = {}
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
            if held["created"] == run.manifest.created:
                self.clips = held["clips"]
                self.summary = {v: {k: Score(**s) for k, s in rows.items()} for v, rows in held["summary"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # none yet, or a damaged one: it is made again

    def missing(self, variant: str) -> list[str]:
        """List the clips that are not entered as ``variant``."""
        return [c for c in self.run.manifest.clip_ids if variant not in self.clips.get(c, {})]

    def add(self, clip_id: str, variant: str, values: Values, chance: Values) -> None:
        """Enter one clip."""
        self.clips.setdefault(clip_id, {})[variant] = {"values": values, "chance": chance}

    def save(self) -> None:
        """Write the book, whole or not at all."""
        rows = {v: {k: s.model_dump(mode="json") for k, s in scores.items()} for v, scores in self.summary.items()}
        write_json(self.path, {"created": self.run.manifest.created, "clips": self.clips, "summary": rows})

    def sum_up(self, variant: str) -> None:
        """Fill the summary of a combination from the clips that are entered."""
        rng = np.random.default_rng(_SEED)
        ids = [c for c in self.run.manifest.clip_ids if variant in self.clips.get(c, {})]
        rows = [self.clips[c][variant] for c in ids]
        self.summary[variant] = {}
        for name in dict.fromkeys(name for row in rows for name in row["values"]):
            values, chance = (_floats(row[side].get(name) for row in rows) for side in ("values", "chance"))
            if not np.isfinite(values).any():
                continue
            low, high, _ = interval_over_clips(ids, values, rng)
            n = int(np.isfinite(values).sum())
            self.summary[variant][name] = Score(
                value=float(np.nanmean(values)), chance=_mean(chance), n=n, interval=(low, high),
                n_chance=int(np.isfinite(chance).sum()),
                judge=_judge_name(self.run, name), frames=_frames_told(self.run, name), label=LABELS[name],
                higher_is_better=name not in ("epe", "shuffle_share"),
            )  # fmt: skip


class Ablation:
    """The clips and combinations that a run still lacks, worked off one at a time.

    Parameters
    ----------
    run : Run
    variants : sequence of str
        Combinations, such as ``("full", "anchor", "anchor+holi")``; those that the run came with scores for need
        nothing, and the full model is added to the others.
    clips : sequence of str, optional
        Work on these clips alone; a combination is summed up only when every clip of the run has been entered.

    Raises
    ------
    ConfigError
        When the run has no truth to score against, too few clips or not those asked for, or no cues to render from.
    """

    def __init__(self, run: Run, variants: Sequence[str], clips: Sequence[str] | None = None) -> None:
        refusal = cannot_score(run)
        if refusal:
            raise ConfigError(refusal)
        ids = run.manifest.clip_ids
        unknown = set(clips or ()) - set(ids)
        if unknown:
            raise ConfigError(f"{run.manifest.name}: {', '.join(sorted(unknown))} is not one of its {len(ids)} clips")
        self.run, self.book = run, ScoreBook(run)
        wanted = dict.fromkeys(variant_name(*parse_variant(v)) for v in variants)
        new = [v for v in wanted if v not in run.manifest.scores]
        self.variants = list(dict.fromkeys([FULL, *new])) if new else []
        missing = [(clip, v) for v in self.variants for clip in self.book.missing(v)]
        self.todo = [(clip, v) for clip, v in missing if clips is None or clip in clips]
        self.total = len(self.todo)
        check_space(self.book.path.parent, self.total * 200_000)
        self._partner = partners(run)

    def step(
        self, tell: Callable[[int, int, str], None] | None = None, should_stop: Callable[[], bool] | None = None
    ) -> bool:
        """Render and score the next clip; False when it was stopped in the middle, and nothing of it was kept."""
        from pipeline.reconstruct import render_clip

        clip_id, variant = self.todo[0]
        if not self.run.has(clip_id, "reconstruction", variant):
            parts, seed = parse_variant(variant)
            own = self.run.manifest.seed or 0
            made = render_clip(self.run, clip_id, parts, own if seed is None else seed, tell, should_stop)
            if made is None:
                return False
            self.run.store(clip_id, variant, made)
        self.book.add(clip_id, variant, *score_clip(self.run, clip_id, variant, self._partner[clip_id]))
        self.todo.pop(0)
        if not self.book.missing(variant):
            self.book.sum_up(variant)
        if not self.todo or len(self.todo) % 4 == 0:
            self.book.save()
        return True

    def close(self) -> None:
        """Keep what was reached; sums are made of whole sets only."""
        if self.total:
            self.book.save()


def ablate(
    run: Run, variants: Sequence[str], progress: Callable[[int, int, str], None] | None = None
) -> dict[str, dict[str, Score]]:
    """Complete the scores of ``run`` for some combinations; returns combination -> name -> score."""
    work = Ablation(run, variants)
    try:
        while work.todo:
            if progress:
                clip, variant = work.todo[0]
                progress(work.total - len(work.todo), work.total, f"{clip} {variant}")
            work.step()
    finally:
        work.close()
    return {v: dict(work.book.summary[v]) for v in work.variants}


def cannot_score(run: Run) -> str | None:
    """Say why the clips of a run cannot be scored here, or None where they can."""
    name = run.manifest.name
    clips = run.manifest.clip_ids
    if "truth" not in run.manifest.streams or (clips and not run.has(clips[0], "truth", FULL)):
        return f"{name}: there is no truth to score against, the data set comes without its pictures."
    if len(clips) < 2:
        return f"{name}: a chance level needs at least two clips, the run has {len(clips)}."
    return None


def partners(run: Run) -> dict[str, str]:
    """Return the other clip whose truth tells each clip's chance; empty for a run of one clip."""
    ids = run.manifest.clip_ids
    if len(ids) < 2:
        return {}
    return {clip: ids[i] for clip, i in zip(ids, shuffled_pairs(len(ids), np.random.default_rng(_SEED)), strict=True)}


def score_clip(run: Run, clip_id: str, variant: str, partner: str | None = None) -> tuple[Values, Values]:
    """Score one clip against its truth, and against the truth of the clip ``partner``.

    Returns
    -------
    values, chance : dict of name to float or None
        ``ssim``, ``psnr``, ``hue_pcc``, ``epe``, ``shuffle_share`` and, where the profile has judges and the clip its
        labels, ``object_top1`` and ``motion_top1``; None where a score is not defined.
    """
    truth, made = scored_frames(run, clip_id, variant)
    values: dict[str, float] = dict.fromkeys(LABELS, np.nan)
    chance: dict[str, float] = {}
    other = scored_frames(run, partner, variant, made)[0] if partner else None
    if len(made) >= 3:
        test = orders(run, clip_id, variant, partner)
        values |= {"shuffle_share": test["share"], "epe": test["epe"]}
        chance |= {} if test["mispaired"] is None else {"shuffle_share": test["mispaired"]}
    for name, metric in METRICS.items():
        if np.isnan(values[name]):
            values[name] = float(metric(truth[None], made[None])[0])
        if other is not None and len(other) == len(made):
            chance[name] = float(metric(other[None], made[None])[0])
    seen = run.frames(clip_id, "reconstruction", variant)
    for kind, judge in _judges(run).items():
        choice = judge.labels[int(judge.probabilities(seen[None])[0].argmax())]
        values[f"{kind}_top1"] = float(choice == run.clips[clip_id].labels.get(kind))
        if partner:
            chance[f"{kind}_top1"] = float(choice == run.clips[partner].labels.get(kind))
    kept = {k: v for k, v in values.items() if np.isfinite(v) or k in METRICS}
    return _plain(kept), _plain(chance)


def orders(run: Run, clip_id: str, variant: str, partner: str | None = None) -> dict[str, Any]:
    """Run the shuffle test on one clip; every combination of a clip meets the same orders.

    Parameters
    ----------
    partner : str, optional
        Another clip, against whose truth the same reconstruction is tested too: what its share is worth.

    Returns
    -------
    dict
        ``epe`` in the order as reconstructed, pixels; ``shuffled``, the errors of the shuffled orders; ``share`` of
        these below ``epe``; ``mispaired``, the share against the truth of ``partner``, None without one or where its
        frames are not as many; ``n_frames``.
    """
    truth, made = scored_frames(run, clip_id, variant)
    other = scored_frames(run, partner, variant, made)[0] if partner else None

    def tested(shown: Frames) -> tuple[float, Frames]:
        rng = np.random.default_rng([_SEED, zlib.crc32(clip_id.encode())])
        test = shuffle_test(shown[None], made[None], rng, n_orders=N_ORDERS)
        # Rounded, so that a draw of the true order is no lower than itself by the last bit.
        return float(test.epe.round(6)[0]), test.shuffled[0].round(6)

    epe, shuffled = tested(truth)
    mispaired = None
    if other is not None and len(other) == len(made):
        at_chance, by_chance = tested(other)
        mispaired = float(np.mean(by_chance < at_chance))
    return {
        "epe": epe,
        "shuffled": shuffled.tolist(),
        "share": float(np.mean(shuffled < epe)),
        "mispaired": mispaired,
        "n_frames": len(made),
    }


def scored_frames(run: Run, clip_id: str, variant: str, made: Frames | None = None) -> tuple[Frames, Frames]:
    """Return the frames of truth and reconstruction that a score compares: two times (n, height, width, 3).

    Those that the clip's record names, else six evenly in time of each; the reconstruction in the truth's size. With
    ``made`` the truth is brought to it instead: to its size, as another clip's reconstruction.
    """
    from pipeline.data.video import resize_frames

    truth = _chosen(run, clip_id, "truth", FULL)
    if made is not None:
        return (truth if truth.shape[1:] == made.shape[1:] else resize_frames(truth, made.shape[1:3])), made
    made = _chosen(run, clip_id, "reconstruction", variant)
    n = min(len(truth), len(made))
    truth, made = (x if len(x) == n else sample_frames(x, n) for x in (truth, made))
    return truth, (made if made.shape == truth.shape else resize_frames(made, truth.shape[1:3]))


def _chosen(run: Run, clip_id: str, stream: str, variant: str) -> Frames:
    frames = run.frames(clip_id, stream, variant)
    facts = run.clips[clip_id].streams.get(stream)
    if facts and facts.scored:
        return frames[list(facts.scored)]
    return sample_frames(frames, min(N_FRAMES, len(frames)))


def _judges(run: Run) -> Mapping[str, Any]:
    """Return the judges of the run's world; none where it has none, or the clips say nothing to judge by."""
    if run.manifest.config.get("backbones", {}).get("name") != "phantom":
        return {}
    first = run.clips[run.manifest.clip_ids[0]].labels
    return {k: _judge(k) for k in ("object", "motion") if k in first and (PHANTOM_ASSETS / f"judge_{k}").is_dir()}


@lru_cache(maxsize=2)
def _judge(kind: str) -> Any:
    from pipeline.judges import Judge

    return Judge.load(PHANTOM_ASSETS / f"judge_{kind}")


def _judge_name(run: Run, name: str) -> str | None:
    judge = _judges(run).get(name.removesuffix("_top1")) if name.endswith("_top1") else None
    return None if judge is None else str(judge.facts.name)


def _frames_told(run: Run, name: str) -> str:
    """Say what was scored: "6 frames at 3 fps, 64 x 64, as kept (WebP)"."""
    clip = run.manifest.clip_ids[0]
    path = run.stream_path(clip, "truth")
    if path is None:
        raise DataError(f"{run.manifest.name}: the truth of {clip} is not on disk; write the run again")
    truth = _chosen(run, clip, "truth", FULL)
    n, (height, width) = len(truth), truth.shape[1:3]
    brought = f" brought to {EPE_SIZE} x {EPE_SIZE}" if name in ("epe", "shuffle_share") else ""
    kept = "WebP" if path.suffix == ".webp" else "lossless"
    return f"{n} frames at {n / run.seconds(clip, 'truth'):g} fps, {width} x {height}{brought}, as kept ({kept})"


def _plain(values: Mapping[str, float]) -> Values:
    return {k: round(v, 5) if np.isfinite(v) else None for k, v in values.items()}


def _floats(values: Any) -> NDArray[np.float64]:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None
