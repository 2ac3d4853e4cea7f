"""Facts about a run's captions: token counts, ranks, lengths and similarity; computed when asked for, kept per run."""

from __future__ import annotations

import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from neurovis.library import Library
from pipeline.clipset import CAPTION_LEVELS
from pipeline.errors import DataError, WeightsError
from pipeline.renderers import profile_of
from pipeline.runs import Run

if TYPE_CHECKING:
    from pipeline.backbones import World

MODELS = threading.RLock()  # one thread loads and uses the text models at a time


class CaptionFacts:
    """Compute and keep what the Captions tab tells over a run's clips.

    Parameters
    ----------
    library : Library
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self._kept: dict[tuple[str, str], tuple[Run, dict[str, Any]]] = {}

    def clips(self, name: str) -> dict[str, Any]:
        """Return each clip's token counts, and how many tokens the text encoder reads, or why they are not known."""
        try:
            return {**self._once(name, "clips", _clips), "trouble": None}
        except WeightsError as error:
            return {"room": None, "tokens": {}, "trouble": str(error)}

    def ranks(self, name: str) -> dict[str, Any]:
        """Return the rank of each clip's own caption among those of the run's clips, or why there is none."""
        return self._once(name, "ranks", _ranks)

    def tables(self, name: str) -> dict[str, Any]:
        """Return lengths and pairwise similarity over the run's clips, beside the published values."""
        return self._once(name, "tables", _tables)

    def has_tables(self, name: str) -> bool:
        """Tell whether the tables are at hand."""
        held = self._kept.get((name, "tables"))
        return held is not None and held[0] is self.library.run(name)

    def _once(self, name: str, what: str, compute: Any) -> dict[str, Any]:
        """Compute once per run; a run that was written again is another one."""
        run = self.library.run(name)
        with MODELS:
            held = self._kept.get((name, what))
            if held is None or held[0] is not run:
                started = time.perf_counter()
                found = compute(run)
                held = run, {**found, "seconds": round(time.perf_counter() - started, 3)}
                self._kept[name, what] = held
        return held[1]


def complete_captions(run: Run) -> tuple[dict[str, list[str]], list[str]]:
    """Return level -> texts of the clips that have every level found in the run, and these clips' ids."""
    found = {clip_id: record.captions for clip_id, record in run.clips.items()}
    levels = [level for level in CAPTION_LEVELS if any(level in texts for texts in found.values())]
    ids = [clip_id for clip_id, texts in found.items() if levels and all(level in texts for level in levels)]
    return {level: [found[clip_id][level] for clip_id in ids] for level in levels}, ids


@lru_cache(maxsize=2)
def text_world(name: str = "phantom") -> World:
    """Return a world of our own for texts, by its profile; hold ``MODELS`` while using it.

    The renderer's is not shared: a tokenizer must not be used from two threads at once.

    Raises
    ------
    WeightsError
        When the profile's tokenizer is not on this machine; transformers would make an empty one, and count with it.
    """
    from pipeline.backbones import World, profile
    from pipeline.weights import missing_parts

    if "tokenizer" in missing_parts(profile(name)):
        raise WeightsError(
            f"the tokenizer of the profile {name} is not on this machine; "
            f"run python -m pipeline weights --profile {name}"
        )
    return World(profile(name))


def _clips(run: Run) -> dict[str, Any]:
    from pipeline.whatif import token_counts, token_room

    world = text_world(profile_of(run))
    places = [
        (clip_id, level, text) for clip_id, record in run.clips.items() for level, text in record.captions.items()
    ]
    tokens: dict[str, dict[str, int]] = {}
    for (clip_id, level, _), n in zip(places, token_counts(world, [text for *_, text in places]), strict=True):
        tokens.setdefault(clip_id, {})[level] = n
    return {"room": token_room(world), "tokens": tokens}


def _ranks(run: Run) -> dict[str, Any]:
    from pipeline.nearest import caption_ranks

    texts, ids = complete_captions(run)
    if run.manifest.cues is None or len(ids) < len(run.clips):
        return {"levels": {}, "trouble": None}
    try:
        found = caption_ranks(text_world(profile_of(run)), run.cues(), texts)
    except (DataError, WeightsError) as error:
        return {"levels": {}, "trouble": str(error)}
    named = {k: {"of": n, "rank": dict(zip(ids, ranks, strict=True))} for k, (ranks, n) in found.items()}
    return {"levels": named, "trouble": None}


def _tables(run: Run) -> dict[str, Any]:
    from pipeline.caption_stats import (
        PAIRS,
        PUBLISHED_SIMILARITY,
        PUBLISHED_TOKENS,
        caption_lengths,
        caption_similarity,
        pooled_text_embedding,
    )

    texts, ids = complete_captions(run)
    if not ids:
        raise DataError(f"{run.manifest.name}: no clip has captions, so there is nothing to count or compare")
    world = text_world(profile_of(run))
    pairs = [pair for pair in PAIRS if set(pair) <= set(texts)]
    alike = caption_similarity(texts, pooled_text_embedding(world), pairs) if pairs else []
    return {
        "n": len(ids),
        "n_clips": len(run.clips),
        "distinct": {level: len(set(values)) for level, values in texts.items()},
        "lengths": [one.to_dict() for one in caption_lengths(texts, world.tokenizer)],
        "similarity": [one.to_dict() for one in alike],
        "published_tokens": PUBLISHED_TOKENS,
        "published_similarity": [{"levels": pair, **values} for pair, values in PUBLISHED_SIMILARITY.items()],
    }
