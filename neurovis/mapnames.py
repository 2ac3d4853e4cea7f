"""Words on the flat cortex: left and right, and names of areas moved so that none covers another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.clipset import VoxelSpace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AREA, SIDE = "area", "side"  # group ids of the two kinds of words
SIDES = ("Left hemisphere", "Right hemisphere")
MARGIN = 0.12  # room around a name, in its own heights
RINGS = (0.0, 1.1, 1.7, 2.4, 3.2, 4.2, 5.4)  # how far a name may be moved, in its own heights
WAYS = 16  # directions tried at each distance

Box = tuple[float, float, float, float]


def add_sides(ax: Any) -> None:
    """Write which hemisphere is which into the upper corners, where the flat map leaves room."""
    for text, x, align in zip(SIDES, (0.0, 1.0), ("left", "right"), strict=True):
        ax.text(x, 1.0, text, transform=ax.transAxes, fontsize=6, color="0.2", ha=align, va="top", gid=SIDE)


def slice_sides(space: VoxelSpace) -> str:
    """Return which side of a slice is the left hemisphere, where the first voxel axis runs to the picture's right."""
    if space.affine is None:
        return "Which side is left is not known: the images gave no affine."
    first = np.asarray(space.affine, float)[:3, 0]
    if np.abs(first).argmax() != 0:
        return "The first axis of these voxels does not run between left and right."
    if first[0] > 0:
        return "Left of the picture is the left hemisphere (neurological)."
    return "Left of the picture is the right hemisphere (radiological)."


def add_name(ax: Any, text: str, x: float, y: float) -> None:
    """Write the name of an area at a place in the data's units; :func:`spread` moves it where it covers another."""
    from matplotlib.patheffects import withStroke

    effect = [withStroke(linewidth=1.2, foreground="black")]
    ax.text(x, y, text, color="white", fontsize=4.5, ha="center", va="center", path_effects=effect, gid=AREA)


def spread(figure: Figure) -> None:
    """Move names that would cover another, with a line to their area; leave out those without room.

    To be called when the layout is final. Names written first are kept in place first.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Its axes hold the words of :func:`add_name` and :func:`add_sides`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for ax in figure.axes:
        taken = [_box(text, renderer) for text in ax.texts if text.get_gid() == SIDE]
        lines: list[Box] = []
        for text in [one for one in ax.texts if one.get_gid() == AREA]:
            _place(ax, text, _box(text, renderer), taken, lines)


def _place(ax: Any, text: Any, box: Box, taken: list[Box], lines: list[Box]) -> None:
    """Put one name at the nearest free place and take that place; remove the name where there is none."""
    from matplotlib.patheffects import withStroke

    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    half = np.array([(box[2] - box[0]) / 2, (box[3] - box[1]) / 2])
    height = 2 * half[1]
    inside = ax.get_window_extent()
    for ring in RINGS:
        for way in range(WAYS if ring else 1):
            angle = 2 * np.pi * way / WAYS
            # Names are wider than tall, so they are moved further sideways.
            at = middle + ring * np.array([np.cos(angle) * max(1.0, half[0] / half[1] * 0.7), np.sin(angle)]) * height
            tried = (*(at - half - MARGIN * height), *(at + half + MARGIN * height))
            line = (*middle, *at)
            if tried[0] < inside.x0 or tried[2] > inside.x1 or tried[1] < inside.y0 or tried[3] > inside.y1:
                continue
            if any(_overlap(tried, one) for one in taken) or any(_crosses(one, tried) for one in lines):
                continue
            # A line may begin under the name that is in the way, which is drawn over it.
            if ring and any(_crosses(line, one) for one in taken if not _crosses((*middle, *middle), one)):
                continue
            taken.append(tried)
            if ring:
                lines.append(line)
                ends = ax.transData.inverted().transform([middle, at])
                effect = [withStroke(linewidth=1.1, foreground="black")]
                ax.plot(*ends.T, color="white", linewidth=0.45, path_effects=effect, scalex=False, scaley=False)
                text.set_position(ends[1])
                text.set_zorder(5)
            return
    text.remove()


def _box(text: Any, renderer: Any) -> Box:
    found = text.get_window_extent(renderer)
    return found.x0, found.y0, found.x1, found.y1


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _crosses(line: Box, box: Box) -> bool:
    """Whether a line from (x0, y0) to (x1, y1) touches a box, at forty places along it."""
    x, y = np.linspace(line[:2], line[2:], 40).T
    return bool(((box[0] < x) & (x < box[2]) & (box[1] < y) & (y < box[3])).any())
