"""Left stays left: a known area on the exported maps and the picture, by coordinates; and whose decoders fit a map."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cortex_sample
import nibabel
import numpy as np
import pytest

from neurovis.cortex import Cortex
from neurovis.cortexspace import surface
from neurovis.importance_figure import flat_map
from neurovis.library import Library
from neurovis.renders import Renders
from pipeline.clipset import VoxelSpace
from pipeline.grayordinates import area_labels
from pipeline.importance.export import write_dscalar, write_gifti
from pipeline.importance.maps import ImportanceMap

# Of the HCP's surfaces: V1 lies behind, around the calcarine sulcus; x is negative on the left, y at the back.
BEHIND = -50.0


@pytest.fixture(scope="module")
def left_v1() -> dict[str, ImportanceMap]:
    """A map that is 1 in the left V1 and 0 in the rest of the cortex."""
    values = (area_labels() == "L_V1").astype(np.float32)
    ids = np.arange(len(values), dtype=np.int64)
    assert 500 < values.sum() < 1500
    return {"anchor": ImportanceMap("sub-07", "anchor", "pattern", values, ids, VoxelSpace("fs_LR_32k"), 0.5)}


def test_the_dscalar_holds_left_v1_behind_on_the_left(left_v1, tmp_path):
    image = nibabel.load(write_dscalar(left_v1, tmp_path / "x.dscalar.nii"))
    values, models = image.get_fdata()[0], image.header.get_axis(1)
    for name, rows, model in models.iter_structures():
        hit = model.vertex[np.nan_to_num(values[rows]) > 0.5]
        if not name.endswith("CORTEX_LEFT"):
            assert len(hit) == 0
            continue
        points = surface("L")[0][hit]
        assert len(hit) == left_v1["anchor"].values.sum()
        assert points[:, 0].max() < 5 and points[:, 1].mean() < BEHIND


def test_the_gifti_of_each_side_holds_its_own(left_v1, tmp_path):
    left, right = (nibabel.load(path).darrays[0].data for path in write_gifti(left_v1, tmp_path))
    assert surface("L")[0][np.nan_to_num(left) > 0.5, 1].mean() < BEHIND
    assert not (np.nan_to_num(right) > 0.5).any()


def test_the_picture_has_left_v1_in_its_left_half(left_v1):
    vertex, region, _, names = flat_map()
    seen = vertex != np.iinfo(vertex.dtype).max
    of_map = np.zeros(vertex.shape, bool)
    of_map[seen] = left_v1["anchor"].values[vertex[seen]] > 0.5
    named = np.zeros(vertex.shape, bool)
    named[seen] = np.array(names)[region[vertex[seen]]] == "L_V1"
    assert of_map.sum() > 300 and np.array_equal(of_map, named)
    assert np.flatnonzero(of_map.any(0)).max() < vertex.shape[1] / 2


def test_a_decoder_of_another_grid_is_no_other_subject_of_the_map(tmp_path, phantom_home):
    """Its voxels' numbers would be drawn at other places of this subject's grid."""
    home = cortex_sample.make_home(tmp_path / "home", phantom_home)
    library = Library(home, home / "none")
    cortex = Cortex(library, Renders(library))
    assert cortex.describe(cortex_sample.NAME)["subjects"] == ["sub-01", "sub-02"]
    file = home / "decoders" / "sub-02" / "config.json"
    about = json.loads(file.read_text())
    about["space"] = {"kind": "volume", "shape": [5, 6, 7], "affine": np.eye(4).tolist()}
    file.write_text(json.dumps(about))
    assert cortex.describe(cortex_sample.NAME)["subjects"] == ["sub-01"]
    shutil.rmtree(Path(home) / "decoders" / "sub-02")
    assert cortex.describe(cortex_sample.NAME)["subjects"] == ["sub-01"]
