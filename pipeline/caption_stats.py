"""How long captions are, and how alike two levels are (SemVideo, Tables 4 and 5); nothing is fetched.

The paper names the measures and not their settings, so every value carries its own: library, version, settings, n.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pipeline.backbones import World

Pair = tuple[str, str]
Embed = Callable[[list[str]], NDArray[np.floating[Any]]]
PAIRS = (("anchor", "motion"), ("anchor", "holi"), ("motion", "holi"))
# As published for CC2017, for orientation only: neither the tokenizer nor any setting is given there.
PUBLISHED_TOKENS = {"BLIP-2": 10.6, "anchor": 32.8, "motion": 41.1, "holi": 52.8}
SIMILARITIES = ("bleu1", "bleu4", "meteor", "rouge1", "rougeL", "clip_s")
PUBLISHED_SIMILARITY = {
    ("anchor", "motion"): dict(zip(SIMILARITIES, (0.171, 0.022, 0.186, 0.275, 0.207, 0.655), strict=True)),
    ("anchor", "holi"): dict(zip(SIMILARITIES, (0.197, 0.028, 0.222, 0.304, 0.225, 0.665), strict=True)),
    ("motion", "holi"): dict(zip(SIMILARITIES, (0.270, 0.067, 0.292, 0.400, 0.293, 0.744), strict=True)),
}


NAMES = dict(
    zip(SIMILARITIES, ("BLEU-1", "BLEU-4", "METEOR (exact and stem)", "ROUGE-1", "ROUGE-L", "CLIP-S"), strict=True)
)


class SimilaritySettings(BaseModel):
    """The choices that the paper leaves open; each has an influence on the value."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    reference: Literal["second", "first"] = Field(
        "second", description="Level of a pair taken as reference; BLEU, METEOR and ROUGE's precision depend on it."
    )
    bleu: Literal["corpus", "sentence"] = Field(
        "corpus", description="BLEU of all clips together, as it is defined, or the mean of each clip's (smoothed)."
    )
    lowercase: bool = Field(True, description="Whether case is left out of account; ROUGE always does.")
    rouge_stemmer: bool = Field(False, description="Whether ROUGE compares stems.")


@dataclass(frozen=True)
class CaptionStatistic:
    """One number about captions, with all that is needed to get it again.

    Parameters
    ----------
    key : str
        ``words``, ``tokens``, ``bleu1``, ``bleu4``, ``meteor``, ``rouge1``, ``rougeL`` or ``clip_s``.
    name : str
        As it is to be shown.
    levels : tuple of str
        One level, or the pair compared, first and second.
    value : float
        Mean over clips (corpus BLEU: of all clips together); similarities in 0..1, CLIP-S in -1..1.
    spread : float or None
        Standard deviation over clips; None for a value of all clips together.
    n : int
        Clips.
    library, version : str
    settings : dict
    """

    key: str
    name: str
    levels: tuple[str, ...]
    value: float
    spread: float | None
    n: int
    library: str
    version: str
    settings: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def caption_lengths(captions: Mapping[str, Sequence[str]], tokenizer: Any = None) -> list[CaptionStatistic]:
    """Count words and tokens of each level, as in Table 4.

    Parameters
    ----------
    captions : mapping of level to (n_clips,) texts
    tokenizer : transformers tokenizer, optional
        Such as ``World.tokenizer``; without one only words are counted. Its start and end tokens do not count.

    Returns
    -------
    list of CaptionStatistic
        ``words`` and, with a tokenizer, ``tokens`` of each level; the settings hold the longest, and how many are
        longer than the text encoder reads.

    Raises
    ------
    DataError
        Levels of unequal length, or none.
    """
    checked = _checked(captions)
    found = []
    for level, texts in checked.items():
        counts = [len(text.split()) for text in texts]
        settings: dict[str, Any] = {"unit": "separated by white space", "longest": max(counts)}
        found.append(_mean("words", "words", (level,), counts, "python", settings))
        if tokenizer is not None:
            tokens = [
                len(ids)
                for ids in tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False).input_ids
            ]
            room = int(tokenizer.model_max_length) - int(tokenizer.num_special_tokens_to_add())
            settings = {
                "tokenizer": type(tokenizer).__name__,
                "vocabulary": len(tokenizer),
                "special_tokens": False,
                "longest": max(tokens),
                "room": room,
                "n_truncated": sum(n > room for n in tokens),
            }
            found.append(_mean("tokens", "tokens", (level,), tokens, "transformers", settings))
    return found


def caption_similarity(
    captions: Mapping[str, Sequence[str]],
    embed: Embed | None = None,
    pairs: Sequence[Pair] = PAIRS,
    settings: SimilaritySettings | None = None,
) -> list[CaptionStatistic]:
    """Compare levels pair by pair, as in Table 5.

    BLEU-1 and BLEU-4 by sacrebleu, ROUGE-1 and ROUGE-L (F) by rouge-score, METEOR by NLTK with exact and stem matches
    only: its third stage, synonyms, needs WordNet, which would have to be fetched, so it is given none. The name says
    so; values are a little lower than with WordNet. NLTK aligns a repeated word with its last free occurrence, which
    may count more chunks than need be. CLIP-S is the cosine of the two texts' embeddings.

    Parameters
    ----------
    captions : mapping of level to (n_clips,) texts
    embed : callable, optional
        Texts -> (n, d) embeddings; without one there is no CLIP-S.
    pairs : sequence of (level, level)
        Those whose levels are both there are compared.
    settings : SimilaritySettings, optional

    Returns
    -------
    list of CaptionStatistic

    Raises
    ------
    ConfigError
        No pair has both levels.
    DataError
        Levels of unequal length, or embeddings that are not finite rows of one length.
    """
    chosen, checked = settings or SimilaritySettings(), _checked(captions)
    there = [pair for pair in pairs if set(pair) <= set(checked)]
    if not there:
        raise ConfigError(f"captions: none of the pairs {list(pairs)} is there, got {sorted(checked)}; give two levels")
    found = []
    for pair in there:
        candidate, reference = pair if chosen.reference == "second" else pair[::-1]
        texts = list(zip(checked[candidate], checked[reference], strict=True))
        found += [*_bleu(pair, texts, chosen), _meteor(pair, texts, chosen), *_rouge(pair, texts, chosen)]
    if embed is not None:
        codes = {level: _embedded(embed, checked[level]) for level in dict.fromkeys(sum(there, ()))}
        how = {"embedding": getattr(embed, "__name__", type(embed).__name__)}
        for first, second in there:
            cosine = (codes[first] * codes[second]).sum(1)
            found.append(_mean("clip_s", "CLIP-S", (first, second), cosine, "numpy", how))
    return found


def similarity_by_clip(candidates: Sequence[str], references: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return each clip's own BLEU-1, BLEU-4 (sentences, smoothed), METEOR, ROUGE-1 and ROUGE-L: key -> (n_clips,)."""
    from sacrebleu.metrics import BLEU

    chosen = SimilaritySettings(bleu="sentence")
    texts = list(zip(map(str, candidates), map(str, references), strict=True))
    found: dict[str, Sequence[float]] = {}
    for order in (1, 4):
        metric = BLEU(max_ngram_order=order, lowercase=chosen.lowercase, effective_order=True)
        found[f"bleu{order}"] = [metric.sentence_score(c, [r]).score / 100 for c, r in texts]
    found |= {"meteor": _meteor_values(texts, chosen), **_rouge_values(texts, chosen)}
    return {key: np.asarray(values, dtype=np.float64) for key, values in found.items()}


def pooled_text_embedding(world: World, batch: int = 64) -> Embed:
    """Return an embedding for CLIP-S: the text tower's pooled output, before any projection.

    The tower of Stable Diffusion 1.5 is that of CLIP ViT-L/14; it comes without CLIP's projection.
    """
    from pipeline.backbones import encode_text

    def pooled_text(texts: list[str]) -> NDArray[np.float32]:
        return encode_text(world, texts, batch, pooled=True)

    return pooled_text


def _checked(captions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Texts by level, all of one number."""
    checked = {level: [str(text) for text in texts] for level, texts in captions.items()}
    sizes = {level: len(texts) for level, texts in checked.items()}
    if not sizes or len(set(sizes.values())) > 1 or not min(sizes.values()):
        raise DataError(
            f"captions: every level must have a text for every clip, got {sizes or 'none'}; caption them all"
        )
    return checked


def _mean(
    key: str,
    name: str,
    levels: tuple[str, ...],
    values: Sequence[float] | NDArray[Any],
    library: str,
    settings: dict[str, Any],
) -> CaptionStatistic:
    array = np.asarray(values, dtype=np.float64)
    value, spread = float(array.mean()), float(array.std())
    return CaptionStatistic(key, name, levels, value, spread, len(array), library, _version(library), settings)


def _bleu(pair: Pair, texts: list[tuple[str, str]], chosen: SimilaritySettings) -> list[CaptionStatistic]:
    """BLEU-1 and BLEU-4 in 0..1."""
    from sacrebleu.metrics import BLEU

    candidates, references = map(list, zip(*texts, strict=True))
    found = []
    for order in (1, 4):
        sentence = chosen.bleu == "sentence"
        metric = BLEU(max_ngram_order=order, lowercase=chosen.lowercase, effective_order=sentence)
        if sentence:
            values = [metric.sentence_score(c, [r]).score / 100 for c, r in texts]
        else:
            values = [metric.corpus_score(candidates, [references]).score / 100]
        how = {**_how(chosen), "bleu": chosen.bleu, "signature": str(metric.get_signature())}
        score = _mean(f"bleu{order}", f"BLEU-{order}", pair, values, "sacrebleu", how)
        found.append(score if sentence else replace(score, spread=None, n=len(texts)))
    return found


def _meteor(pair: Pair, texts: list[tuple[str, str]], chosen: SimilaritySettings) -> CaptionStatistic:
    """METEOR (Lavie and Agarwal 2007) without its synonym stage."""
    how = {
        **_how(chosen),
        "stages": ["exact", "Porter stem"],
        "synonyms": "none",
        "alpha": 0.9,
        "beta": 3,
        "gamma": 0.5,
    }
    return _mean("meteor", NAMES["meteor"], pair, _meteor_values(texts, chosen), "nltk", how)


def _meteor_values(texts: list[tuple[str, str]], chosen: SimilaritySettings) -> list[float]:
    from nltk.translate.meteor_score import single_meteor_score

    stemmer, fold = Stemmer(), str.lower if chosen.lowercase else str
    return [
        single_meteor_score(words_of(r), words_of(c), preprocess=fold, stemmer=stemmer, wordnet=_NoSynonyms())
        for c, r in texts
    ]


def _rouge(pair: Pair, texts: list[tuple[str, str]], chosen: SimilaritySettings) -> list[CaptionStatistic]:
    """F values of ROUGE-1 and ROUGE-L."""
    how = {**_how(chosen), "value": "F", "stemmer": chosen.rouge_stemmer, "lowercase": True}
    return [_mean(k, NAMES[k], pair, v, "rouge-score", how) for k, v in _rouge_values(texts, chosen).items()]


def _rouge_values(texts: list[tuple[str, str]], chosen: SimilaritySettings) -> dict[str, list[float]]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=chosen.rouge_stemmer)
    scores = [scorer.score(r, c) for c, r in texts]
    return {key: [float(score[key].fmeasure) for score in scores] for key in ("rouge1", "rougeL")}


def _how(chosen: SimilaritySettings) -> dict[str, Any]:
    return {"reference": chosen.reference, "lowercase": chosen.lowercase}


def _embedded(embed: Embed, texts: list[str]) -> NDArray[np.float64]:
    """Embeddings of length one."""
    codes = np.asarray(embed(texts), dtype=np.float64)
    norms = np.linalg.norm(codes, axis=1) if codes.ndim == 2 else np.zeros(0)
    if codes.ndim != 2 or len(codes) != len(texts) or not np.isfinite(norms).all() or not norms.all():
        raise DataError(f"CLIP-S: embed must return ({len(texts)}, d) finite rows that are not zero, got {codes.shape}")
    return np.asarray(codes / norms[:, None])


def words_of(text: str) -> list[str]:
    """Words and numbers; punctuation is no word."""
    return re.findall(r"\w+(?:['\u2019-]\w+)*", text)


class Stemmer:
    """NLTK's Porter stemmer, which forgets nothing: captions repeat their words."""

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem = cache(PorterStemmer().stem)


class _NoSynonyms:
    """In WordNet's place: no word has a synonym."""

    def synsets(self, word: str) -> list[Any]:
        """Return nothing."""
        return []


def _version(library: str) -> str:
    import platform

    return platform.python_version() if library == "python" else importlib.metadata.version(library)
