"""Borders of the areas on the flat map, as lines: triangles are split where the areas of their corners differ."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from neurovis.flatmap import flat_sides

SCALE = 16  # sixteenths of a pixel fit int16 and look smooth at any zoom


@lru_cache(maxsize=1)
def borders() -> NDArray[np.int16]:
    """Return the borders on the flat map's picture.

    A triangle whose corners lie in two areas is cut from the middle of one mixed edge to that of the other; one with
    three areas from each edge's middle to its centre. Neighbouring triangles meet at the middle of their edge, so that
    the pieces join without gaps.

    Returns
    -------
    (n_pieces, 6) int16
        x and y of both ends, sixteenths of a pixel, and the numbers of the areas on either side, as the flat map's
        ``region`` counts them.
    """
    from neurovis.importance_figure import flat_map

    numbers = flat_map()[1].astype(np.int64)
    pieces = []
    for side in flat_sides():
        faces = side.faces
        place = np.stack([side.x, side.y], 1)
        label = numbers[side.gray[faces]]
        middle = {(i, j): (place[faces[:, i]] + place[faces[:, j]]) / 2 for i, j in ((0, 1), (1, 2), (2, 0))}
        mixed = {edge: label[:, edge[0]] != label[:, edge[1]] for edge in middle}
        three = mixed[0, 1] & mixed[1, 2] & mixed[2, 0]
        centre = place[faces].mean(1)
        for edge in middle:
            pieces.append(_pieces(middle[edge][three], centre[three], label[three][:, edge]))
        for one, other in (((0, 1), (1, 2)), ((1, 2), (2, 0)), ((2, 0), (0, 1))):
            two = mixed[one] & mixed[other] & ~three
            pieces.append(_pieces(middle[one][two], middle[other][two], label[two][:, one]))
    return np.concatenate(pieces)


def _pieces(start: NDArray[np.float64], end: NDArray[np.float64], areas: NDArray[np.int64]) -> NDArray[np.int16]:
    return np.concatenate([np.round(start * SCALE), np.round(end * SCALE), areas], 1).astype(np.int16)
