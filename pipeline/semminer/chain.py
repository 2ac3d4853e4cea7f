"""The two-stage prompt chain (SemVideo, section 3.1 and A.1).

    C_basic = MLLM(P_basic, V)                      at most 20 words
    C_L     = MLLM(P_L, C_basic, V)                 L = anchor, motion, holi

1. ask for C_basic; 2. ask once more where it is too long or empty; 3. cut what is still too long, and say so;
4. ask for the three levels; 5. put the line together.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.semminer.contract import Answerer, CaptionLine, Failure, MinerSettings, Question, ShownClip
from pipeline.semminer.parse import clean, cut_words
from pipeline.semminer.prompts import Prompts

LEVELS = ("anchor", "motion", "holi")


@dataclass
class _Draft:
    """A clip on its way through the chain."""

    clip: ShownClip
    frames: NDArray[np.uint8]
    texts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ChainCaptioner:
    """Runs the chain over clips with any multimodal language model.

    Parameters
    ----------
    answerer : Answerer
    prompts : Prompts
    settings : MinerSettings
    batch_size : int
        Clips asked about at a time; with a server, clips in flight. Does not change the words.
    """

    answerer: Answerer
    prompts: Prompts
    settings: MinerSettings
    batch_size: int = 1

    def identity(self) -> dict[str, Any]:
        """Return the model, the prompts and the settings."""
        return {**self.answerer.identity(), "prompts": self.prompts.digest, **self.settings.model_dump()}

    def caption(self, clips: Sequence[ShownClip]) -> Iterator[CaptionLine | Failure]:
        """Yield a line or a failure for each clip, in order."""
        if self.answerer.concurrent:
            yield from self._in_flight(clips)
            return
        for start in range(0, len(clips), self.batch_size):
            yield from self.mine(clips[start : start + self.batch_size])

    def mine(self, clips: Sequence[ShownClip]) -> list[CaptionLine | Failure]:
        """Run the chain over one batch."""
        drafts = [_Draft(clip, clip.frames(self.settings.n_frames)) for clip in clips]
        limit = self.settings.max_basic_words
        self._ask(drafts, "basic", "basic")
        again = [draft for draft in drafts if not 0 < _n_words(draft.texts["basic"]) <= limit]
        first = {draft.clip.clip_id: draft.texts["basic"] for draft in again}
        self._ask(again, "shorter", "basic")
        for draft in again:
            # A second answer that is empty is no better than a first that is long.
            draft.texts["basic"] = draft.texts["basic"] or first[draft.clip.clip_id]
            draft.notes.append("basic: asked twice")
        for draft in drafts:
            _cut(draft, "basic", limit)
        spoken = [draft for draft in drafts if draft.texts["basic"]]
        for level in LEVELS:
            self._ask(spoken, level, level)
            for draft in spoken:
                if not draft.texts[level]:
                    draft.texts[level] = draft.texts["basic"]
                    draft.notes.append(f"{level}: the model gave no text, C_basic stands in")
                _cut(draft, level, self.settings.max_level_words)
        return [self._result(draft) for draft in drafts]

    def _ask(self, drafts: list[_Draft], template: str, slot: str) -> None:
        """Ask one prompt about each clip and put the cleaned answers into ``slot``."""
        if not drafts:
            return
        settings, questions = self.settings, []
        for draft in drafts:
            basic = draft.texts.get("basic", "")
            prompt = self.prompts.fill(template, settings.n_frames, settings.max_basic_words, basic)
            seed = _seed(settings.seed, draft.clip.clip_id, template)
            questions.append(Question(prompt, draft.frames, draft.clip.seconds, seed))
        for draft, answer in zip(drafts, self.answerer.answer(questions), strict=True):
            draft.texts[slot] = clean(answer)

    def _result(self, draft: _Draft) -> CaptionLine | Failure:
        clip_id = draft.clip.clip_id
        if not draft.texts["basic"]:
            return Failure(clip_id, "the model gave no text, twice")
        provenance = {"model": self.answerer.name, "prompts": self.prompts.digest, "notes": tuple(draft.notes)}
        return CaptionLine(clip_id=clip_id, **draft.texts, **provenance)  # type: ignore[arg-type]

    def _in_flight(self, clips: Sequence[ShownClip]) -> Iterator[CaptionLine | Failure]:
        """Keep ``batch_size`` clips in flight; give them back in order."""
        waiting: deque[Future[list[CaptionLine | Failure]]] = deque()
        pool = ThreadPoolExecutor(self.batch_size, thread_name_prefix="semminer")
        try:
            for clip in clips:
                waiting.append(pool.submit(self.mine, [clip]))
                if len(waiting) >= self.batch_size:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _n_words(text: str) -> int:
    return len(text.split())


def _cut(draft: _Draft, level: str, n_words: int) -> None:
    """Cut a caption, and note it."""
    text = draft.texts[level]
    if _n_words(text) > n_words:
        draft.texts[level] = cut_words(text, n_words)
        draft.notes.append(f"{level}: cut from {_n_words(text)} to {n_words} words")


def _seed(seed: int, clip_id: str, template: str) -> int:
    """Return a seed of each answer's own: the same whatever was asked before it."""
    digest = hashlib.sha256(f"{seed}/{clip_id}/{template}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
