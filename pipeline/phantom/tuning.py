"""The planted truth: which area of the phantom's cortex carries what. One table, and the masks made from it.

Area names are those of the HCP's multi-modal parcellation (Glasser et al. 2016) without the hemisphere's prefix; both
hemispheres share a row. The visual areas are the 29 that CineNeuron lists (8,405 vertices), with TPOJ1-3 added.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.grayordinates import N_CORTEX, area_names

# contrast, colour : retinotopic maps of local contrast and of three colour channels
# energy           : retinotopic, direction-selective motion energy
# object, place    : which object, which background
# flow             : direction, speed, expansion, rotation, of the object and of the camera
# drive            : brightness, overall contrast and cuts, whatever is shown
GROUPS = ("contrast", "colour", "energy", "object", "place", "flow", "drive")

# The table. A row gives the share of each feature group in the variance of an area's signal; a row sums to 1.
TUNING: dict[str, dict[str, float]] = {
    "V1": {"contrast": 0.40, "colour": 0.25, "energy": 0.35},
    "V2": {"contrast": 0.60, "colour": 0.40},
    "V3": {"contrast": 0.65, "colour": 0.35},
    # Object and place.
    "V4": {"object": 0.60, "place": 0.40},
    "LO1": {"object": 0.80, "place": 0.20},
    "LO2": {"object": 0.80, "place": 0.20},
    "LO3": {"object": 0.80, "place": 0.20},
    "PIT": {"object": 0.80, "place": 0.20},
    "FFC": {"object": 0.85, "place": 0.15},
    "VVC": {"object": 0.65, "place": 0.35},
    "VMV1": {"object": 0.40, "place": 0.60},
    "VMV2": {"object": 0.40, "place": 0.60},
    "VMV3": {"object": 0.40, "place": 0.60},
    "PHA1": {"object": 0.25, "place": 0.75},
    "PHA2": {"object": 0.25, "place": 0.75},
    "PHA3": {"object": 0.25, "place": 0.75},
    # Motion.
    "MT": {"flow": 0.85, "energy": 0.15},
    "MST": {"flow": 1.0},
    "FST": {"flow": 1.0},
    "V4t": {"flow": 0.85, "energy": 0.15},
    "V3A": {"flow": 1.0},
    "V3B": {"flow": 1.0},
    "V6": {"flow": 1.0},
    "TPOJ1": {"flow": 1.0},
    "TPOJ2": {"flow": 1.0},
    "TPOJ3": {"flow": 1.0},
    # Reliable, so selection keeps them, and yet silent on what is shown: importance must not find them.
    "V3CD": {"drive": 1.0},
    "V6A": {"drive": 1.0},
    "V7": {"drive": 1.0},
    "V8": {"drive": 1.0},
    "PH": {"drive": 1.0},
    "IP0": {"drive": 1.0},
}

# Auditory and motor cortex: no signal at all. Selection must reject them.
CONTROLS = ("A1", "LBelt", "MBelt", "PBelt", "A4", "4")

# What each module of a decoder should draw on.
MODULES: dict[str, frozenset[str]] = {
    "anchor": frozenset({"object", "place"}),
    "motion": frozenset({"flow", "energy"}),
    "holi": frozenset({"object", "place", "flow", "energy"}),
}


def simulated_ids(whole_cortex: bool = False, stride: int = 1) -> NDArray[np.int64]:
    """Return the grayordinates that the phantom simulates, ascending: tuned areas and controls, or all of cortex."""
    if whole_cortex:
        return np.arange(0, N_CORTEX, stride, dtype=np.int64)
    mask = np.isin(area_names(), [*TUNING, *CONTROLS])
    return np.flatnonzero(mask).astype(np.int64)[::stride]


def areas_of(voxel_ids: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return the area of each grayordinate: (n_voxels,) str.

    Raises
    ------
    DataError
        When an id lies outside 0..59411.
    """
    ids = np.asarray(voxel_ids, dtype=np.int64)
    if ids.size and (ids.min() < 0 or ids.max() >= N_CORTEX):
        raise DataError(
            f"planted truth: ids must be cortical grayordinates 0..{N_CORTEX - 1}, got {ids.min()}..{ids.max()}; "
            "the table holds for the phantom on fs_LR only"
        )
    return np.asarray(area_names()[ids])


def planted(voxel_ids: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Tell which voxels were planted to matter to each module.

    Parameters
    ----------
    voxel_ids : (n_voxels,) int
        Cortical grayordinates of fs_LR 32k, 0..59411.

    Returns
    -------
    dict
        ``anchor`` (object and place areas), ``motion`` (motion areas and V1), ``holi`` (either): (n_voxels,) bool.
    """
    areas = areas_of(voxel_ids)
    return {
        module: np.isin(areas, [area for area, row in TUNING.items() if groups & set(row)])
        for module, groups in MODULES.items()
    }


def controls(voxel_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which voxels lie in the control areas, where no signal was planted: (n_voxels,) bool."""
    return np.isin(areas_of(voxel_ids), CONTROLS)


def shares(voxel_ids: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Return each feature group's share of each voxel's signal variance, 0..1: group -> (n_voxels,) float32."""
    areas = areas_of(voxel_ids)
    rows = {area: TUNING.get(area, {}) for area in np.unique(areas).tolist()}
    return {group: np.array([rows[a].get(group, 0.0) for a in areas.tolist()], np.float32) for group in GROUPS}
