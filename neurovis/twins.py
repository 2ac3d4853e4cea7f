"""Which clip of one run shows what a clip of another run shows: by its id, else by its pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurovis.library import Library
from pipeline.errors import DataError
from pipeline.runs import Run

ALIKE = 4.0  # grey levels, root mean square: what a size, a codec and a rate of their own do to the same film
_SIDE, _MOMENTS = 8, (0.05, 0.5, 0.95)


class Twins:
    """Find the same clips in two runs, remembering what was found.

    Parameters
    ----------
    library : Library
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self._signs: dict[Run, tuple[list[str], NDArray[np.float32]]] = {}
        self._found: dict[tuple[Run, Run], dict[str, str]] = {}

    def of(self, name: str, other: str) -> dict[str, str]:
        """Return clip id of run ``name`` -> clip id of run ``other``; clips without a twin are left out."""
        one, two = self.library.run(name), self.library.run(other)
        if (one, two) not in self._found:
            self._found[one, two] = self._search(one, two)
        return self._found[one, two]

    def _search(self, one: Run, two: Run) -> dict[str, str]:
        """Trust the ids of one data set; videos that were imported name their clips as they like."""
        named = one.manifest.dataset == two.manifest.dataset
        if named and {one.manifest.source, two.manifest.source} == {"recording"}:
            return {clip: clip for clip in one.manifest.clip_ids if clip in two.clips}
        (ids, signs), (others, theirs) = self._signatures(one), self._signatures(two)
        found = {}
        for clip, sign in zip(ids, signs, strict=True):
            if len(others) == 0:
                break
            distance = np.sqrt(np.square(theirs - sign).mean(axis=1))
            nearest = int(distance.argmin())
            if distance[nearest] < ALIKE:
                found[clip] = others[nearest]
        return found

    def _signatures(self, run: Run) -> tuple[list[str], NDArray[np.float32]]:
        """Shrink three moments of every truth to a few grey levels: clip ids and (n_clips, n_values)."""
        if run not in self._signs:
            ids, rows = [], []
            for clip in run.manifest.clip_ids if "truth" in run.manifest.streams else ():
                try:
                    rows.append(_signature(run, clip))
                    ids.append(clip)
                except DataError:
                    continue
            self._signs[run] = ids, np.array(rows, dtype=np.float32).reshape(len(ids), -1)
        return self._signs[run]


def _signature(run: Run, clip_id: str) -> NDArray[np.float32]:
    import cv2

    frames = run.frames(clip_id, "truth")
    moments = np.array(_MOMENTS) * run.seconds(clip_id, "truth")
    chosen = frames[run.shown_at(clip_id, "truth", len(frames), moments)]
    small = [cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).mean(axis=-1) for frame in chosen]
    return np.concatenate(small).ravel().astype(np.float32)
