"""The known captions that are most like what was decoded: a decoded embedding in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.runs import Nearest

if TYPE_CHECKING:
    from pipeline.backbones import World

LEVELS = ("anchor", "motion", "holi")


def nearest_captions(
    world: World, cues: Mapping[str, NDArray[Any]], known: Mapping[str, NDArray[Any]], count: int = 3
) -> dict[str, list[list[Nearest]]]:
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


def caption_ranks(
    world: World, cues: Mapping[str, NDArray[Any]], captions: Mapping[str, list[str]]
) -> dict[str, tuple[list[int], int]]:
    """Rank each clip's own caption among all captions of the clips, by likeness to what was decoded of it.

    Likeness as in :func:`nearest_captions`, centred on these captions; rank 1 is the best, and equal texts count once.

    Parameters
    ----------
    world : World
    cues : mapping of level to (n_clips, n_tokens, d_text)
    captions : mapping of level to n_clips texts

    Returns
    -------
    dict of level to (n_clips ranks, number of distinct captions)
        Levels with fewer than two distinct captions are left out: there is nothing to rank.

    Raises
    ------
    DataError
        When the cues are not in this world's text space.
    """
    from pipeline.backbones import encode_text

    found: dict[str, tuple[list[int], int]] = {}
    for level in LEVELS:
        texts = list(dict.fromkeys(captions.get(level, ())))
        if level not in cues or len(texts) < 2:
            continue
        shape = (len(captions[level]), world.n_tokens, world.d_text)
        if cues[level].shape != shape:
            raise DataError(
                f"cue {level!r} must be (n_clips, n_tokens, d_text)={shape} to rank captions, got "
                f"{cues[level].shape}; decode again"
            )
        codes = encode_text(world, texts).reshape(len(texts), -1)
        likeness = centred_cosine(np.asarray(cues[level], np.float32).reshape(shape[0], -1), codes)
        own = likeness[np.arange(shape[0]), [texts.index(text) for text in captions[level]]]
        found[level] = [int(rank) for rank in 1 + (likeness > own[:, None]).sum(1)], len(texts)
    return found


def centred_cosine(decoded: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine (n, m) of (n, d) and (m, d) after the known rows' mean is removed from both."""
    mean = known.mean(0)
    a, b = decoded - mean, known - mean
    a /= np.linalg.norm(a, axis=1, keepdims=True) + 1e-8
    b /= np.linalg.norm(b, axis=1, keepdims=True) + 1e-8
    return np.asarray(a @ b.T)
