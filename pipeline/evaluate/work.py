"""One clip: its videos read once, aligned once, and put through every metric; what a worker process does."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.aligned import match
from pipeline.errors import DataError, NeuroVisError
from pipeline.evaluate.judging import check_seen, load_judges
from pipeline.evaluate.seer import Seer
from pipeline.evaluate.settings import CONTROLS, PIXEL, Convention, Settings
from pipeline.evaluate.sources import Frames, Shown, Source
from pipeline.flow import EPE_CONVENTIONS, shuffle_test
from pipeline.metrics import METRICS, controls
from pipeline.vbench import dynamic_degree, motion_smoothness

# A seen clip: "judge|variant|made" or "judge|variant|truth" -> rows.
Seen = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Task:
    """A clip to score, with its two neighbours on the random cycle through all clips.

    Parameters
    ----------
    index : int
    before : int or None
        The clip whose truth tells the chance level; None where this clip is not asked for it.
    after : int or None
        The clip that is the control ``mispaired``.
    """

    index: int
    before: int | None = None
    after: int | None = None


@dataclass
class Line:
    """What was found for one clip; a line of the part file.

    Parameters
    ----------
    values : list of [variant, metric, convention, value, chance]
        None where a value is not defined.
    facts : dict
        ``n`` frames compared, ``fps`` (None for one frame), ``height``, ``width``.
    notes : list of str
        Sentences; equal ones are counted in the end.
    """

    clip_id: str
    values: list[list[Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Worker:
    """Scores clips of one source; holds its judges, and the few true clips that neighbours share."""

    def __init__(self, source: Source, settings: Settings) -> None:
        import cv2

        cv2.setNumThreads(1)
        self.source, self.settings = source, settings
        self.judges: list[Seer] = []
        if settings.judges:
            import torch

            torch.set_num_threads(1)
            self.judges = load_judges(settings.judges)[0]
        self._truth = lru_cache(maxsize=3)(source.truth)

    def score(self, task: Task) -> tuple[Line, Seen]:
        """Score one clip in every variant and control; trouble becomes notes."""
        line, seen = Line(self.source.clip_ids[task.index]), Seen()
        try:
            truth = self._truth(task.index)
        except NeuroVisError as error:
            line.notes.append(f"{line.clip_id} was left out: {error}.")
            return line, seen
        before = self._other(task.before)
        for variant in self.settings.variants:
            try:
                made = self.source.made(task.index, variant)
                pair = match(truth, truth.frames, made, made.frames)
            except NeuroVisError as error:
                line.notes.append(f"{line.clip_id} as {variant} was left out: {error}.")
                continue
            if not line.facts:
                line.facts = _facts(truth, pair[0])
            chance = match(before, before.frames, made, made.frames) if before else None
            self._add(line, seen, variant, pair, chance)
        if self.settings.controls:
            self._add_controls(line, seen, truth, before, self._other(task.after))
        return line, seen

    def _other(self, index: int | None) -> Shown | None:
        """Another true clip, None where it cannot be read: its own line says so."""
        try:
            return None if index is None else self._truth(index)
        except NeuroVisError:
            return None

    def _add_controls(self, line: Line, seen: Seen, truth: Shown, before: Shown | None, after: Shown | None) -> None:
        """Score the five controls; they are made from the truth's own compared frames."""
        own, _ = match(truth, truth.frames, truth, truth.frames)
        other = own if after is None else match(truth, truth.frames, after, after.frames)[1]
        n = min(len(own), len(other))
        made = controls(np.stack([own[:n], other[:n]]), np.random.default_rng(0))
        if not line.facts:
            line.facts = _facts(truth, own)
        for name in CONTROLS:
            if name == "mispaired" and after is None:
                continue
            chance = None
            if before is not None and name != "mispaired":  # which is itself what chance is
                stand_in = Shown(made[name][0], truth.starts[:n], truth.seconds)
                aligned = match(before, before.frames, truth, truth.frames)[0]
                chance = _same_length(aligned, stand_in.frames)
            self._add(line, seen, f"control-{name}", (own[:n], made[name][0]), chance)

    def _add(
        self, line: Line, seen: Seen, variant: str, pair: tuple[Frames, Frames], chance: tuple[Frames, Frames] | None
    ) -> None:
        """Add the values of one variant, and what the judges see in it."""
        own = self._measure(pair, line, f"{line.clip_id}|{variant}")
        guessed = self._measure(chance, None, f"{line.clip_id}|{variant}") if chance else {}
        for (metric, convention), value in own.items():
            line.values.append(
                [variant, metric, convention, _or_none(value), _or_none(guessed.get((metric, convention)))]
            )
        if self.settings.vbench:
            self._add_vbench(line, variant, pair, chance)
        for judge in self.judges:
            try:
                for role, frames in zip(("truth", "made"), pair, strict=True):
                    seen[f"{judge.name}|{variant}|{role}"] = check_seen(judge, judge.see(frames))
            except DataError as error:
                line.notes.append(f"A judge could not see some clips: {error}.")

    def _add_vbench(
        self, line: Line, variant: str, pair: tuple[Frames, Frames], chance: tuple[Frames, Frames] | None
    ) -> None:
        """Add what the reconstruction's own motion is like, and whether it moves where the truth does."""
        fps = line.facts["fps"] or 1.0  # of one frame nothing is defined
        moves = dynamic_degree(pair[1], fps)
        other = abs(dynamic_degree(chance[0], fps) - moves) if chance else None
        found = {
            "motion_smoothness": (motion_smoothness(pair[1]), None),
            "dynamic_degree": (moves, None),
            "dynamic_degree_difference": (abs(dynamic_degree(pair[0], fps) - moves), other),
        }
        for metric, (value, expected) in found.items():
            line.values.append([variant, metric, "corrected", _or_none(value), _or_none(expected)])

    def _measure(
        self, pair: tuple[Frames, Frames], line: Line | None, key: str
    ) -> dict[tuple[str, Convention], float | None]:
        """Every metric that needs no judge, of a clip and its truth or of a mispaired one; with ``line``, notes too."""
        shown, made = (frames[None] for frames in pair)
        found: dict[tuple[str, Convention], float | None] = {}
        for metric, conventions in PIXEL.items():
            for convention in (c for c in conventions if c in self.settings.conventions):
                try:
                    if metric == "epe" and self.settings.shuffle and shown.shape[1] >= 3:
                        rng = np.random.default_rng([self.settings.seed, zlib.crc32(key.encode())])
                        n_orders = self.settings.n_orders
                        test = shuffle_test(shown, made, rng, n_orders=n_orders, convention=convention)
                        found["shuffle_share", convention] = float(test.share[0])
                        found["epe", convention] = float(test.epe[0])  # from the same flows
                        continue
                    found[metric, convention] = float(METRICS[metric](shown, made, convention)[0])
                except DataError as error:
                    found[metric, convention] = None
                    if line:
                        line.notes.append(f"{metric} ({convention}) is not defined for some clips: {error}.")
        if line and self.settings.shuffle and shown.shape[1] < 3:
            line.notes.append("The shuffle test needs three frames; some clips have fewer.")
            found |= {("shuffle_share", c): None for c in EPE_CONVENTIONS if c in self.settings.conventions}
        return found


def _same_length(one: Frames, other: Frames) -> tuple[Frames, Frames]:
    from pipeline.data.video import resize_frames

    n = min(len(one), len(other))
    size = (one.shape[1], one.shape[2])
    return one[:n], other[:n] if other.shape[1:3] == size else resize_frames(other[:n], size)


def _facts(truth: Shown, compared: Frames) -> dict[str, Any]:
    n, height, width = compared.shape[:3]
    chosen = truth.starts[np.arange(n) * truth.n // n] if n > 1 else truth.starts[:1]
    fps = float(1 / np.diff(chosen).mean()) if n > 1 else None
    return {"n": n, "fps": fps and round(fps, 4), "height": height, "width": width}


def _or_none(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
