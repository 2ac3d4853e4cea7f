"""Scores of words: the decoded caption (the nearest known one, or one from a file) against the true caption.

BLEU, METEOR and ROUGE clip by clip, CLIP-S where a text tower is at hand, and how much of what the truth names the
decoded caption names too. Chance is the same score over mispaired clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.caption_stats import Stemmer, similarity_by_clip, words_of
from pipeline.data.captions import read_captions_by_name
from pipeline.data.clipfiles import clip_key
from pipeline.errors import DataError, NeuroVisError
from pipeline.evaluate.embedded import mispaired, unit
from pipeline.evaluate.seer import Seer
from pipeline.evaluate.settings import CAPTION, Settings
from pipeline.evaluate.sources import Source
from pipeline.evaluate.summary import Row
from pipeline.runs import FULL

Values = NDArray[np.float64]
Embed = Callable[[list[str]], NDArray[np.floating[Any]]]
Measure = Callable[[list[str], list[str]], Values]  # decoded, true -> (n_clips,)
SIMULATED_RULE = (
    "Concept and verb accuracy of captions (simulated data): share of clips whose decoded caption names the true label."
)
WORD_RULE = (
    "Concept and verb accuracy of captions: share of the true caption's nouns (verbs) that the decoded caption holds, "
    "as Porter stems; nouns and verbs by TextBlob's lexicon tagger, forms of be, have and do left out."
)
AUXILIARY = frozenset([
    "be", "am", "is", "are", "was", "were", "been", "being", "have", "has", "had", "having", "do", "does", "did",
    "doing", "done", "'s", "'re", "'ve",
])  # fmt: skip


def caption_rows(source: Source, settings: Settings, judges: Sequence[Seer]) -> tuple[list[Row], list[str]]:
    """Return a row for each clip, level and measure, and the rules; nothing where no decoded captions are known.

    The rows are of the variant ``full`` and the convention ``corrected``: the published tables give no settings.
    """
    if "corrected" not in settings.conventions or FULL not in settings.variants:
        return [], []
    texts = {clip_id: source.texts(i) for i, clip_id in enumerate(source.clip_ids)}
    levels = list(dict.fromkeys(level for found in texts.values() for level in found))
    if not levels:
        return [], []
    name, embed, notes = _text_tower(source, judges)
    labelled = bool(source.facts["simulated"]) and source.facts["dataset"] == "phantom"
    notes.append(SIMULATED_RULE if labelled else WORD_RULE)
    rows: list[Row] = []
    for level in levels:
        ids = [clip_id for clip_id, found in texts.items() if level in found]
        decoded, true = (list(side) for side in zip(*(texts[clip_id][level] for clip_id in ids), strict=True))
        for metric, judge, values, chance in _measured(level, decoded, true, labelled, name, embed, settings.seed):
            key = f"{CAPTION}{metric}_{level}"
            listed = zip(ids, values, strict=True)
            rows += [Row(i, FULL, key, "corrected", _plain(v), chance, judge) for i, v in listed]
    return rows, notes


def _measured(
    level: str, decoded: list[str], true: list[str], labelled: bool, tower: str, embed: Embed | None, seed: int
) -> list[tuple[str, str, Values, float | None]]:
    """Every measure of one level: key, judge, values by clip, chance."""
    found = []
    own, shuffled = similarity_by_clip(decoded, true), mispaired(true, seed)
    others = [similarity_by_clip(decoded, one) for one in shuffled]
    for key, values in own.items():
        found.append((key, "", values, float(np.mean([other[key].mean() for other in others])) if others else None))
    if embed is not None:
        one, other = unit(np.asarray(embed(decoded))), unit(np.asarray(embed(true)))
        alike, n = one @ other.T, len(true)
        chance = float((alike.sum() - np.trace(alike)) / (n * (n - 1))) if n > 1 else None
        found.append(("clip_s", tower, np.diag(alike).copy(), chance))
    for key, kind in (("concepts", "object"), ("verbs", "motion")):
        measure = _labels(kind) if labelled else _words(kind)
        values = measure(decoded, true)
        if not np.isfinite(values).any():
            continue  # this level names nothing of the kind
        guessed = [other[np.isfinite(other)] for other in (measure(decoded, one) for one in shuffled)]
        chance = float(np.mean(np.concatenate(guessed))) if guessed else None
        found.append((key, "", values, chance))
    return found


def shared_words(decoded: str, true: str, kind: str) -> float:
    """Return the share of the true caption's nouns (``object``) or verbs (``motion``) that the decoded one holds.

    ``nan`` where the true caption has none; see ``WORD_RULE``.
    """
    from textblob.en import tag

    stem = Stemmer().stem
    prefix = "NN" if kind == "object" else "VB"
    wanted = {stem(w.lower()) for w, t in tag(true) if t.startswith(prefix) and w.lower() not in AUXILIARY}
    held = {stem(word.lower()) for word in words_of(decoded)}
    return len(wanted & held) / len(wanted) if wanted else float("nan")


def _words(kind: str) -> Measure:
    def measure(decoded: list[str], true: list[str]) -> Values:
        return np.array([shared_words(one, other, kind) for one, other in zip(decoded, true, strict=True)])

    return measure


def _labels(kind: str) -> Measure:
    """Of the phantom's captions, whose words are known: does the decoded one name what the true one names?"""
    from pipeline.phantom.captions import named_in

    def measure(decoded: list[str], true: list[str]) -> Values:
        pairs = [(named_in(one).get(kind), named_in(other).get(kind)) for one, other in zip(decoded, true, strict=True)]
        return np.array([np.nan if label is None else float(made == label) for made, label in pairs])

    return measure


def _text_tower(source: Source, judges: Sequence[Seer]) -> tuple[str, Embed | None, list[str]]:
    """Return a judge that reads, else the phantom's own text tower for its own run, else a sentence."""
    reader = next((judge for judge in judges if judge.read is not None), None)
    if reader is not None:
        return reader.name, reader.read, []
    if source.facts["dataset"] == "phantom":
        from pipeline.backbones import World, profile
        from pipeline.caption_stats import pooled_text_embedding

        try:
            return "phantom text tower, pooled", pooled_text_embedding(World(profile("phantom"))), []
        except NeuroVisError as error:
            return "", None, [f"CLIP-S of captions is left out: {error}."]
    return "", None, ["CLIP-S of captions is left out: it needs a CLIP with its tokenizer; name one with --judges."]


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def read_caption_file(path: Path, clip_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Read captions by clip name (:func:`pipeline.data.captions.read_captions_by_name`) for these clips.

    Raises
    ------
    DataError
        The file cannot be read, or names none of the clips.
    """
    known = {clip_key(name): levels for name, levels in read_captions_by_name(path).items()}
    found = {clip_id: known[clip_key(clip_id)] for clip_id in clip_ids if clip_key(clip_id) in known}
    if not found:
        got = ", ".join(list(known)[:3])
        raise DataError(f"{path.name}: expected captions of clips such as {clip_ids[0]}, got {got}; check the names")
    return found
