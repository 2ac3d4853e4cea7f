"""The figure to publish: importance on both flat hemispheres, one panel a module, outlines of regions, one colour bar.

Drawn with matplotlib on the project's own flat map (``assets/brain/flatmap.safetensors``), whose every pixel names its
vertex: pycortex ships no subject on the HCP's mesh, and fetching one needs the network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neurovis.flatmap import FLATMAP, NO_VERTEX
from neurovis.mapnames import add_name, add_sides, slice_sides, spread
from pipeline.errors import ConfigError, DataError
from pipeline.importance.maps import ImportanceMap
from pipeline.importance.statistics import PERMUTATION, STATISTICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
LIMITS = (0.25, 0.75)  # the paper's colour bar
COLOURS = "YlOrRd"  # light at the low end, as the folds are, so that what matters stands out
BORDERS = {False: (0.1, 0.1, 0.1, 0.55), True: (0.9, 0.9, 0.9, 0.4)}
TITLES = {"anchor": "Anchor", "motion": "Motion", "holi": "Holistic", "mad": "MAD"}
LABELLED = ("V1", "V2", "V4", "MT", "LO2", "FFC", "PHA3", "V3A", "V6", "TPOJ1")
CREDIT = "Surfaces: HCP S1200 group average. Regions: HCP MMP 1.0 (Glasser et al., 2016)."


@lru_cache(maxsize=1)
def flat_map() -> tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.uint8], list[str]]:
    """Return the picture of vertices, the region and sulcal depth of each grayordinate, and the regions' names."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(FLATMAP, framework="numpy") as file:
            names = json.loads(file.metadata()["names"])
            return file.get_tensor("vertex"), file.get_tensor("region"), file.get_tensor("sulc"), names
    except (SafetensorError, OSError) as error:
        raise DataError(f"{FLATMAP}: the flat map is missing or damaged ({error}); run neurovis.flatmap") from error


def draw(
    maps: Mapping[str, ImportanceMap],
    limits: tuple[float, float] = LIMITS,
    labels: Sequence[str] = LABELLED,
    colours: str = COLOURS,
) -> Figure:
    """Draw the maps of one subject, one panel a module.

    Parameters
    ----------
    maps : mapping of module to ImportanceMap
        Scaled to [0, 1] when drawn.
    limits : tuple of float
        Ends of the colour bar; values beyond take the end's colour.
    labels : sequence of str
        Regions whose names are written.
    colours : str
        A matplotlib colour map. The folds are as dark as its lower end, see :func:`dark_end`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ConfigError
        When the limits are not two rising numbers.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    if not limits[0] < limits[1] or not np.isfinite(limits).all():
        raise ConfigError(
            f"the colour bar must rise between two numbers, got {limits[0]} to {limits[1]}; give the lower end first"
        )
    first = next(iter(maps.values()))
    if first.space.kind == "volume":
        return _draw_volume(maps, limits, colours)
    figure = Figure(figsize=(7.2, 2.75 * len(maps) + 0.75), facecolor="white")
    axes = figure.subplots(len(maps), 1, squeeze=False)[:, 0]
    for ax, (module, found) in zip(axes, maps.items(), strict=True):
        add_panel(ax, found, limits, colours)
        add_outlines(ax, colours)
        add_labels(ax, labels)
        add_sides(ax)
        reliable = "" if np.isnan(found.reliability) else f"   split-half r = {found.reliability:.2f}"
        ax.set_title(f"{TITLES.get(module, module)}{reliable}", fontsize=9, loc="left")
    finish(figure, first, ScalarMappable(Normalize(*limits), colormaps[colours]), axes, CREDIT)
    spread(figure)
    return figure


def add_panel(ax: Any, found: ImportanceMap, limits: tuple[float, float], colours: str) -> None:
    """Paint one map over the grey folds; what the decoder does not read stays grey."""
    from matplotlib import colormaps

    vertex, region, sulc, _ = flat_map()
    inside = vertex != NO_VERTEX
    full = np.full(len(region), np.nan, np.float32)
    full[found.voxel_ids] = found.scaled
    picture = np.ones((*vertex.shape, 4), np.float32)
    at = vertex[inside].astype(np.int64)
    grey = (0.16 if dark_end(colours) else 0.62) + 0.28 * sulc[at] / 255.0
    picture[inside] = np.stack([grey, grey, grey, np.ones_like(grey)], 1)
    values = np.full(vertex.shape, np.nan, np.float32)
    values[inside] = full[at]
    seen = np.isfinite(values)
    picture[seen] = colormaps[colours](np.clip((values[seen] - limits[0]) / (limits[1] - limits[0]), 0, 1))
    ax.imshow(picture, interpolation="nearest")
    ax.set_axis_off()


def dark_end(colours: str) -> bool:
    """Whether a colour map begins darker than a mid grey; on pale folds its low values would stand out most."""
    from matplotlib import colormaps

    return float(np.dot(colormaps[colours](0.0)[:3], (0.2126, 0.7152, 0.0722))) < 0.4


def add_outlines(ax: Any, colours: str = COLOURS) -> None:
    """Draw the borders between regions as thin lines that show on the folds of these colours."""
    vertex, region, _, _ = flat_map()
    label = np.full(vertex.shape, -1, np.int64)
    inside = vertex != NO_VERTEX
    label[inside] = region[vertex[inside].astype(np.int64)]
    border = np.zeros(vertex.shape, bool)
    border[:, 1:] |= label[:, 1:] != label[:, :-1]
    border[1:] |= label[1:] != label[:-1]
    lines = np.zeros((*vertex.shape, 4), np.float32)
    lines[border] = BORDERS[dark_end(colours)]
    ax.imshow(lines, interpolation="nearest")


def add_labels(ax: Any, labels: Sequence[str]) -> None:
    """Write the names of regions where most of their pixels are, on both hemispheres, the first named first."""
    vertex, region, _, names = flat_map()
    inside = vertex != NO_VERTEX
    label = np.full(vertex.shape, -1, np.int64)
    label[inside] = region[vertex[inside].astype(np.int64)]
    for text in dict.fromkeys(labels):
        for number, name in enumerate(names):
            rows, columns = np.nonzero(label == number) if name.partition("_")[2] == text else ((), ())
            if len(rows):
                add_name(ax, text, float(np.median(columns)), float(np.median(rows)))


def save(figure: Figure, out: Path, formats: Sequence[str] = FORMATS, dpi: int = 300) -> list[Path]:
    """Write the figure as ``importance.png``, ``.svg`` and ``.pdf`` at 300 dpi.

    Raises
    ------
    ConfigError
        Unknown format.
    """
    wrong = [name for name in formats if name not in FORMATS]
    if wrong:
        raise ConfigError(f"figures are written as {', '.join(FORMATS)}, got {wrong[0]}")
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"importance.{name}" for name in formats]
    for path in paths:
        figure.savefig(path, dpi=dpi)
    return paths


def _draw_volume(maps: Mapping[str, ImportanceMap], limits: tuple[float, float], colours: str) -> Figure:
    """Draw the slices of a volume that hold most voxels, one row a module."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    first = next(iter(maps.values()))
    if first.space.shape is None:
        raise DataError(f"{first.subject}: the grid of the volume is not known; import the data set from its images")
    depth = np.unravel_index(first.voxel_ids, first.space.shape)[2]
    counts = np.bincount(depth, minlength=first.space.shape[2])
    slices = np.sort(np.argsort(-counts, kind="stable")[: min(6, int((counts > 0).sum()))])
    figure = Figure(figsize=(7.2, 1.8 * len(maps) + 0.75), facecolor="white")
    grid = figure.subplots(len(maps), len(slices), squeeze=False)
    for row, (module, found) in zip(grid, maps.items(), strict=True):
        volume = np.full(int(np.prod(first.space.shape)), np.nan, np.float32)
        volume[found.voxel_ids] = found.scaled
        volume = volume.reshape(first.space.shape)
        for ax, z in zip(row, slices, strict=True):
            ax.imshow(volume[:, :, z].T, origin="lower", cmap=colours, vmin=limits[0], vmax=limits[1])
            ax.set_axis_off()
        row[0].set_title(f"{TITLES.get(module, module)}, slices {', '.join(map(str, slices))}", fontsize=9, loc="left")
    finish(
        figure, first, ScalarMappable(Normalize(*limits), colormaps[colours]), grid.ravel(), slice_sides(first.space)
    )
    return figure


def finish(figure: Figure, first: ImportanceMap, colours: Any, axes: Any, credit: str) -> None:
    """Add title, colour bar, the mark of simulated data and the acknowledgement."""
    entry = STATISTICS.get(first.statistic)
    title = "loss of held-out decoding" if first.statistic == PERMUTATION or entry is None else entry.title
    mark = " (simulated data)" if first.simulated else ""
    figure.suptitle(f"{first.subject}{mark}: {title}, scaled to [0, 1]", fontsize=10)
    height = figure.get_size_inches()[1]
    figure.subplots_adjust(left=0.02, right=0.88, top=1 - 0.5 / height, bottom=0.22 / height, hspace=0.08)
    bar = figure.add_axes((0.90, 0.3, 0.018, 0.4))
    figure.colorbar(colours, cax=bar, extend="both", label="importance, scaled")
    note = "SIMULATED DATA. " if first.simulated else ""
    figure.text(0.02, 0.05 / height, note + credit, fontsize=6, color="0.3")
