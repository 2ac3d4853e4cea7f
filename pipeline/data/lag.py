"""See for oneself which volume answers to which clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clipset import ClipSet
from pipeline.data.options import Progress
from pipeline.errors import DataError

MAX_VOXELS = 1500
GRID = 4


@dataclass(frozen=True)
class LagScan:
    """Held-out prediction score (mean correlation) at each lag; ``target`` says what was predicted."""

    lags: tuple[int, ...]
    scores: tuple[float, ...]
    target: str

    @property
    def best(self) -> int:
        """The lag with the highest score, volumes."""
        return self.lags[int(np.argmax(self.scores))]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "best": self.best}


def scan_lags(clips: ClipSet, lags: Sequence[int] = tuple(range(-3, 5)), progress: Progress | None = None) -> LagScan:
    """Predict what was shown in clip j from the volume of clip ``j + lag`` of the same run, for several lags.

    Ridge regression from voxels to a few features, tested on whole runs it has not seen (two folds over runs): with
    pictures, brightness and change of a 4 x 4 grid; else the trial type, one column each. The peak is the lag still
    left in the data: 0 when clips and volumes are aligned.

    Raises
    ------
    DataError
        Nothing was shown that could be predicted, a single run, or rests between the clips (a shift would then only
        choose among the volumes of a block).
    """
    groups = np.unique(clips.groups)
    if len(groups) < 2:
        raise DataError(f"{clips.subject}: a lag scan needs two runs to test on unseen ones, got {len(groups)}")
    position = _positions(clips)
    if any(np.diff(np.sort(position[clips.groups == group])).max(initial=1) > 1 for group in groups):
        raise DataError(
            f"{clips.subject}: a lag scan needs clips without rests between them, this recording has rests; "
            "import it with several --lag-s and compare the decoding instead"
        )
    features, target = _features(clips, progress)
    x = clips.mean_fmri()
    if x.shape[1] > MAX_VOXELS:
        x = x[:, np.random.default_rng(0).choice(x.shape[1], MAX_VOXELS, replace=False)]
    scores = [_score(x, features, clips.groups, groups, position, lag) for lag in lags]
    return LagScan(tuple(lags), tuple(round(float(s), 4) for s in scores), target)


def _positions(clips: ClipSet) -> NDArray[np.int64]:
    """When each clip was, in volumes from the start of its run."""
    if "volume" in clips.labels:
        return np.asarray(clips.labels["volume"], dtype=np.int64)
    seconds = np.asarray(clips.labels["second"], dtype=np.float64)
    return np.rint(seconds / clips.tr).astype(np.int64)


def _score(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    of: NDArray[np.str_],
    groups: NDArray[np.str_],
    position: NDArray[np.int64],
    lag: int,
) -> float:
    """Mean correlation of predicted and true features on unseen runs at one lag."""
    index = {(g, int(p)): i for i, (g, p) in enumerate(zip(of, position, strict=True))}
    pairs = [(index[g, p + lag], i) for (g, p), i in index.items() if (g, p + lag) in index]
    volume, clip = np.array(pairs, dtype=np.int64).T
    found = []
    for fold in (groups[::2], groups[1::2]):
        test = np.isin(of[clip], fold)
        train_x, train_y = x[volume[~test]], y[clip[~test]]
        centre = train_y.mean(axis=0)
        # The dual form: fewer clips than voxels. One penalty for all lags, so that they compare.
        gram = train_x @ train_x.T
        alpha = 0.5 * np.trace(gram) / len(gram)
        weights = np.linalg.solve(gram + alpha * np.eye(len(gram), dtype=np.float32), train_y - centre)
        predicted, true = x[volume[test]] @ (train_x.T @ weights), y[clip[test]]
        p, t = predicted - predicted.mean(axis=0), true - true.mean(axis=0)
        norm = np.linalg.norm(p, axis=0) * np.linalg.norm(t, axis=0)
        found.append(((p * t).sum(axis=0)[norm > 0] / norm[norm > 0]).mean())
    return float(np.mean(found))


def _features(clips: ClipSet, progress: Progress | None) -> tuple[NDArray[np.float32], str]:
    """What was shown, as a few numbers per clip, each of unit variance."""
    if clips.stimulus is not None:
        rows = []
        for i in range(len(clips)):
            if progress and i % 20 == 0:
                progress(i, len(clips), "frames")
            rows.append(_picture_features(clips.stimulus.frames(i, 4)))
        y, target = np.stack(rows), "brightness and change of a 4 x 4 grid"
    elif "trial_type" in clips.labels:
        kinds = np.unique(clips.labels["trial_type"])
        y, target = (clips.labels["trial_type"][:, None] == kinds).astype(np.float32), "trial type"
    else:
        raise DataError(f"{clips.subject}: a lag scan needs films or trial types, this data set has neither")
    std = y.std(axis=0)
    return ((y - y.mean(axis=0)) / np.where(std > 0, std, 1)).astype(np.float32)[:, std > 0], target


def _picture_features(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean brightness and mean absolute change in each cell of a grid."""
    grey = frames.astype(np.float32).mean(axis=3)
    change = np.abs(np.diff(grey, axis=0)).mean(axis=0)
    cells = [
        np.array_split(row, GRID, axis=1)
        for image in (grey.mean(axis=0), change)
        for row in np.array_split(image, GRID)
    ]
    return np.array([cell.mean() for row in cells for cell in row], dtype=np.float32)
