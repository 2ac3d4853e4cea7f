"""Importance on the folded, inflated and flat cortex with pycortex: a viewer in WebGL, and a figure to publish."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurovis.brain3d_subject import STORE, SUBJECT, on_mesh, outlines, pycortex
from neurovis.importance_figure import BORDERS, COLOURS, CREDIT, LABELLED, LIMITS, TITLES, dark_end, finish
from neurovis.mapnames import add_name, add_sides, spread
from neurovis.outlines import Rings
from pipeline.errors import ConfigError, DataError
from pipeline.importance.maps import ImportanceMap
from pipeline.paths import atomic_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).parent / "viewer3d" / "brain.html"
TYPES = ("inflated", "veryinflated")
# Named, or pycortex adds empty layers of its own and forgets at which vertex each label stands.
OVERLAYS = ("rois", "areas")
# Pixels that the flat map of the figure is high: a panel of it is 2.3 inches, and printed at 300 dpi.
HEIGHT = 700


def viewer(
    maps: Mapping[str, ImportanceMap],
    out: Path,
    cache: Path,
    limits: tuple[float, float] = LIMITS,
    colours: str = "inferno",
) -> Path:
    """Write a viewer of one subject's maps as a folder of files, whole or not at all.

    Parameters
    ----------
    maps : mapping of module to ImportanceMap
        One data view each, scaled to [0, 1]; what the decoder does not read shows the folds.
    out : Path
        Folder to make; what is there is replaced.
    cache : Path
        Folder that holds pycortex's store, see ``neurovis.brain3d_subject``.
    limits : tuple of float
        Ends of the colour bar, which the viewer can change.
    colours : str
        A colour map of pycortex.

    Returns
    -------
    Path
        ``out``, with ``index.html`` in it. It asks for nothing outside its own folder.

    Raises
    ------
    ConfigError
        When the limits do not rise, or pycortex has no such colour map.
    DataError
        When there is no map, or the voxels are not on the HCP's mesh.
    """
    first = check_maps(maps, limits)
    with pycortex(cache) as cortex, atomic_folder(out) as folder:
        views = _views(cortex, maps, limits, colours)
        cortex.webgl.make_static(
            str(folder), views, types=TYPES, template=str(TEMPLATE), title=escape(f"{first.subject}, importance"),
            overlays_available=OVERLAYS, overlays_visible=OVERLAYS, labels_visible=OVERLAYS[:1], note=_note(first),
        )  # fmt: skip
    return out


def viewer_key(
    maps: Mapping[str, ImportanceMap], limits: tuple[float, float] = LIMITS, colours: str = "inferno"
) -> str:
    """Return a name for the viewer of these maps: 24 letters that change with anything that it would show."""
    digest = hashlib.sha256(f"{STORE} {TEMPLATE.read_text(encoding='utf-8')} {limits} {colours}".encode())
    for module, found in maps.items():
        digest.update(f"{module} {found.subject} {found.statistic} {found.simulated}".encode())
        digest.update(np.ascontiguousarray(found.values).tobytes())
        digest.update(np.ascontiguousarray(found.voxel_ids).tobytes())
    return digest.hexdigest()[:24]


def quickflat_figure(
    maps: Mapping[str, ImportanceMap],
    cache: Path,
    limits: tuple[float, float] = LIMITS,
    labels: Sequence[str] = LABELLED,
    colours: str = COLOURS,
) -> Figure:
    """Draw the figure to publish with pycortex's flat map and our own outlines, which need no Inkscape.

    Parameters
    ----------
    maps, limits, labels, colours
        As of ``neurovis.importance_figure.draw``.
    cache : Path
        Folder that holds pycortex's store.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ConfigError, DataError
        As :func:`viewer` does.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    first = check_maps(maps, limits)
    figure = Figure(figsize=(7.2, 2.75 * len(maps) + 0.75), facecolor="white")
    axes = figure.subplots(len(maps), 1, squeeze=False)[:, 0]
    with pycortex(cache) as cortex:
        views, borders = _views(cortex, maps, limits, colours), outlines(cache)
        for ax, (module, found) in zip(axes, maps.items(), strict=True):
            title = TITLES.get(module, module)
            add_quickflat(cortex, ax, views[title], colours)
            add_rings(ax, borders, labels, colours)
            add_sides(ax)
            reliable = "" if np.isnan(found.reliability) else f"   split-half r = {found.reliability:.2f}"
            ax.set_title(f"{title}{reliable}", fontsize=9, loc="left")
    finish(figure, first, ScalarMappable(Normalize(*limits), colormaps[colours]), axes, CREDIT)
    spread(figure)
    return figure


def add_quickflat(cortex: Any, ax: Any, view: Any, colours: str = COLOURS) -> None:
    """Paint one view over folds that are as dark as the colours' lower end."""
    composite = cortex.quickflat.composite
    brightness = 0.30 if dark_end(colours) else 0.76
    _, extents = composite.add_data(ax, view, height=HEIGHT)
    composite.add_curvature(
        ax, view, extents, height=HEIGHT, threshold=False, brightness=brightness, contrast=0.3, curvature_lims=1
    )
    ax.set_xlim(extents[0], extents[1])
    ax.set_ylim(extents[2], extents[3])
    ax.set_aspect("equal")
    ax.set_axis_off()


def add_rings(ax: Any, found: Mapping[str, Rings], labels: Sequence[str], colours: str = COLOURS) -> None:
    """Draw the borders of all regions and write the names of some, where each is largest."""
    from matplotlib.collections import LineCollection
    from shapely import Polygon

    lines = [ring for parts in found.values() for ring in parts]
    ax.add_collection(LineCollection(lines, colors=BORDERS[dark_end(colours)], linewidths=0.35), autolim=False)
    for text in dict.fromkeys(labels):
        for parts in (parts for name, parts in found.items() if name.partition("_")[2] == text):
            place = Polygon(max(parts, key=len)).representative_point()
            add_name(ax, text, place.x, place.y)


def check_maps(maps: Mapping[str, ImportanceMap], limits: tuple[float, float]) -> ImportanceMap:
    """Return the first map, or say why these cannot be drawn on the surface.

    Raises
    ------
    ConfigError
        When the limits do not rise.
    DataError
        When there is no map, or the voxels are not on the HCP's mesh.
    """
    if not limits[0] < limits[1] or not np.isfinite(limits).all():
        raise ConfigError(
            f"the colour bar must rise between two numbers, got {limits[0]} to {limits[1]}; give the lower end first"
        )
    first = next(iter(maps.values()), None)
    if first is None:
        raise DataError("the cortex needs at least one map, got none; name a module")
    if first.space.kind != "fs_LR_32k":
        raise DataError(
            f"{first.subject}: pycortex draws on the HCP's mesh (fs_LR 32k), got voxels of kind {first.space.kind!r}; "
            "resample the recording to that mesh, or use the matplotlib figure"
        )
    return first


def _views(cortex: Any, maps: Mapping[str, ImportanceMap], limits: tuple[float, float], colours: str) -> dict[str, Any]:
    """Return a cortical view per module, by the title that is shown."""
    folder = Path(cortex.options.config.get("webgl", "colormaps"))
    if colours not in {path.stem for path in folder.glob("*.png")}:
        raise ConfigError(f"colour map {colours!r} is not one of pycortex's; name one such as inferno or viridis")
    views = {}
    for module, found in maps.items():
        values = on_mesh(found.scaled, found.voxel_ids)
        views[TITLES.get(module, module)] = cortex.Vertex(values, SUBJECT, cmap=colours, vmin=limits[0], vmax=limits[1])
    return views


def _note(first: ImportanceMap) -> str:
    """Return what the viewer says in its corner, as HTML."""
    mark = "<b>SIMULATED DATA.</b> " if first.simulated else ""
    return f"{mark}{escape(first.subject)}, {escape(first.statistic)}, scaled to [0, 1]. {escape(CREDIT)}"
