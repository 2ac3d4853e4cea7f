"""Words on the flat maps that are saved: sides, names that cover no other, and colours that lead the eye."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib import colormaps

from neurovis.cortex_routes import COLOURS as OFFERED
from neurovis.importance_figure import COLOURS, LABELLED, add_panel, dark_end, draw, flat_map
from neurovis.mapnames import AREA, SIDE, SIDES, add_name, slice_sides, spread
from pipeline.clipset import VoxelSpace
from pipeline.importance.maps import ImportanceMap

SURFACE = VoxelSpace("fs_LR_32k")
CROWD = ("V1", "V2", "V3", "V4", "LO1", "LO2", "LO3", "MT", "MST", "V4t", "FST", "PIT", "V3CD", "PH")


def a_map(values, ids, space=SURFACE):
    return ImportanceMap("sub-03", "motion", "weight", np.asarray(values, np.float32), np.asarray(ids), space, 0.4)


def boxes(figure, ax, group):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return {text: text.get_window_extent(canvas.get_renderer()) for text in ax.texts if text.get_gid() == group}


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("labels", [LABELLED, CROWD])
@pytest.mark.parametrize("dpi", [100, 300])
def test_no_name_on_the_saved_figure_covers_another_or_a_side(labels, dpi):
    figure = draw({"motion": a_map([0.2, 0.9, 0.6], [5, 400, 40000])}, labels=labels)
    figure.set_dpi(dpi)
    (ax,) = [one for one in figure.axes if one.images]
    found = boxes(figure, ax, AREA) | boxes(figure, ax, SIDE)
    assert {text.get_text() for text in found} >= {"V1", "V4", "MT", *SIDES}
    assert len(found) >= 2 * 10
    covered = [(a.get_text(), b.get_text()) for a, b in combinations(found, 2) if found[a].overlaps(found[b])]
    assert covered == []


def test_sides_stand_beside_their_hemisphere_and_off_the_map():
    figure = draw({"motion": a_map([0.2, 0.9], [5, 400])})
    (ax,) = [one for one in figure.axes if one.images]
    found = boxes(figure, ax, SIDE)
    cortex = flat_map()[0] != 65535
    left, right = (found[text] for text in sorted(found, key=lambda text: SIDES.index(text.get_text())))
    assert left.x1 < right.x0
    for box in (left, right):
        (x0, y1), (x1, y0) = ax.transData.inverted().transform([(box.x0, box.y0), (box.x1, box.y1)])
        part = cortex[max(0, int(y0)) : int(np.ceil(y1)), max(0, int(x0)) : int(np.ceil(x1))]
        assert part.size > 200 and not part.any()


def test_a_name_in_the_way_is_moved_with_a_line_and_one_without_room_is_left_out():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.0, 0.7))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 200), ylim=(0, 70))
    for number in range(60):
        add_name(ax, f"A{number:02d}", 100 + number % 2, 35)
    spread(figure)
    found = boxes(figure, ax, AREA)
    assert 5 < len(found) < 60 and len(ax.lines) == len(found) - 1
    first = next(text for text in found if text.get_text() == "A00")
    assert first.get_position() == (100, 35)
    assert not any(found[a].overlaps(found[b]) for a, b in combinations(found, 2))


@pytest.mark.parametrize(
    ("first", "told"), [((3, 0, 0), "neurological"), ((-2, 0.4, 0), "radiological"), ((0, 2, 1), "does not run")]
)
def test_slices_say_which_side_is_left(first, told):
    affine = np.eye(4)
    affine[:3, 0] = first
    space = VoxelSpace("volume", (2, 3, 4), tuple(map(tuple, affine.tolist())))
    figure = draw({"motion": a_map(np.arange(24), np.arange(24), space)})
    assert told in slice_sides(space) and any(slice_sides(space) in text.get_text() for text in figure.texts)
    assert "not known" in slice_sides(VoxelSpace("volume", (2, 3, 4)))


@pytest.mark.parametrize("colours", [name for name in OFFERED if not name.endswith("_r")])
def test_what_matters_stands_out_of_the_folds_more_than_what_does_not(colours):
    """Paint half of the vertices at the low end and half at the high one, and compare with the grey around."""
    from matplotlib.figure import Figure

    vertex = flat_map()[0]
    ids = np.arange(0, 59412, 3)
    ax = Figure().subplots()
    add_panel(ax, a_map(np.tile([0.0, 1.0], len(ids) // 2), ids), (0.25, 0.75), colours)
    picture = np.asarray(ax.images[0].get_array())[vertex != 65535]
    at = vertex[vertex != 65535]
    grey = picture[at % 3 != 0].mean(0)
    low, high = (picture[at == ids[k]][0] for k in (0, 1))
    np.testing.assert_allclose([low, high], colormaps[colours]([0.0, 1.0]), atol=1e-6)
    assert contrast(high, grey) > max(3, 1.5 * contrast(low, grey))


def test_the_usual_colours_of_a_figure_on_white_begin_light():
    assert OFFERED[0] == COLOURS and not dark_end(COLOURS) and dark_end("inferno")
