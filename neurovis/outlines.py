"""The borders of regions on the flat cortex as polygons: triangles split by label and joined again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rings = list[NDArray[np.float64]]


def region_polygons(
    points: NDArray[np.floating[Any]], faces: NDArray[np.integer[Any]], labels: NDArray[np.integer[Any]]
) -> dict[int, Any]:
    """Join the pieces of the mesh that belong to each label.

    A triangle whose corners differ is cut through the middles of its edges and its centre, so a border runs halfway
    between the vertices on either side and two neighbours share it exactly.

    Parameters
    ----------
    points : (n_vertices, 2) float
        Flat positions, mm.
    faces : (n_faces, 3) int
    labels : (n_vertices,) int
        Negative: no region.

    Returns
    -------
    dict of int to shapely Polygon or MultiPolygon
    """
    import shapely

    corners, at = points[faces].astype(np.float64), labels[faces]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    upright = ax * by > ay * bx  # a few faces of the flat mesh are folded over their neighbours
    corners, at = corners[upright], at[upright]
    whole = (at == at[:, :1]).all(1)
    middles = (corners + np.roll(corners, -1, 1)) / 2
    # Whole faces have the middles of their edges as corners too, as a split neighbour has.
    around = np.stack([corners, middles], 2).reshape(-1, 6, 2)
    pieces, owner = [shapely.polygons(around[whole])], [at[whole, 0]]
    split, halves = corners[~whole], middles[~whole]
    for k in range(3):
        ring = np.stack([split[:, k], halves[:, k], split.mean(1), halves[:, k - 1]], 1)
        pieces.append(shapely.polygons(ring))
        owner.append(at[~whole, k])
    shapes, owners = np.concatenate(pieces), np.concatenate(owner)
    found = {}
    for label in np.unique(owners[owners >= 0]).tolist():
        mine = shapes[owners == label]
        try:  # many times faster, and refuses pieces that overlap
            found[label] = shapely.coverage_union_all(mine)
        except shapely.errors.GEOSException:
            found[label] = shapely.union_all(mine, grid_size=1e-3)
    return found


def rings(polygons: Mapping[int, Any], smallest: float = 4.0, tolerance: float = 0.15) -> dict[int, Rings]:
    """Return the outer rings of each region, simplified.

    Parameters
    ----------
    polygons : mapping of label to shapely geometry
    smallest : float
        Pieces of less area (mm^2) are left out: single faces cut off along the rim.
    tolerance : float
        How far a ring may be from the exact border, mm.

    Returns
    -------
    dict of label to list of (n_points, 2) float64
    """
    import shapely

    found = {}
    for label, shape in polygons.items():
        parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon" and part.area >= smallest]
        kept = [np.asarray(shapely.simplify(part, tolerance).exterior.coords) for part in parts]
        if kept:
            found[label] = kept
    return found
