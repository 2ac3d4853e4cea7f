"""Published figures on CC2017, the mean of three subjects: for orientation, of conventions that differ by row.

Source: SemVideo, Table 1, with its ablations. The systems' released code defines these names differently, so nothing
may be decided by them.
"""

from __future__ import annotations

COLUMNS = (
    "2_way_image", "2_way_video", "50_way_image", "50_way_video", "vifi", "ssim", "psnr", "hue_pcc", "clip_pcc", "epe",
)  # fmt: skip
NOTE = "Published rows are for orientation only: they are of other, mixed conventions and of other test conditions."
ROWS: dict[str, tuple[float, ...]] = {
    "Mind-Video": (0.797, 0.848, 0.174, 0.197, 0.593, 0.177, 8.868, 0.768, 0.409, 6.125),
    "NeuroClips": (0.806, 0.834, 0.203, 0.220, 0.602, 0.390, 9.211, 0.812, 0.513, 4.833),
    "Mind-Animator": (0.805, 0.830, 0.192, 0.186, 0.608, 0.321, 9.220, 0.786, 0.425, 5.422),
    "NEURONS": (0.815, 0.853, 0.213, 0.246, 0.597, 0.285, 9.526, 0.830, 0.482, 4.827),
    "SemVideo": (0.838, 0.865, 0.225, 0.264, 0.608, 0.321, 9.448, 0.849, 0.526, 4.788),
    "SemVideo, ablation base": (0.826, 0.860, 0.211, 0.239, 0.590, 0.330, 9.626, 0.841, 0.502, 4.768),
    "SemVideo without C_anchor": (0.786, 0.808, 0.158, 0.147, 0.534, 0.361, 9.454, 0.835, 0.488, 4.796),
    "SemVideo without C_holi": (0.819, 0.849, 0.205, 0.221, 0.584, 0.299, 9.492, 0.834, 0.490, 4.859),
    "SemVideo without C_motion": (0.818, 0.846, 0.207, 0.216, 0.583, 0.285, 9.353, 0.741, 0.481, 4.930),
}


def published(metric: str) -> dict[str, float]:
    """Return name -> published figure of a metric; empty where none is published."""
    if metric not in COLUMNS:
        return {}
    return {name: row[COLUMNS.index(metric)] for name, row in ROWS.items()}
