"""Small clip sets whose fMRI is a linear image of what was shown, for the tests of the decoders."""

from __future__ import annotations

import numpy as np

from pipeline.clipset import ClipSet, VoxelSpace
from training.samples import Targets

N_TOKENS, D_TEXT, N_FRAMES, LATENT = 7, 12, 6, (4, 8, 8)
VOXELS = {"sub-01": 31, "sub-02": 37}


def clipset(subject: str = "sub-01", n_runs: int = 3, per_run: int = 11, n_repeats: int = 2) -> ClipSet:
    """Return runs ``seg1``, ``seg2``, ... of ``per_run`` clips; all subjects share what is shown."""
    n_clips, n_voxels = n_runs * per_run, VOXELS[subject]
    rng = np.random.default_rng(n_voxels)
    signal = _shown(n_clips) @ rng.standard_normal((5, n_voxels))
    fmri = signal[:, None] + 0.5 * rng.standard_normal((n_clips, n_repeats, n_voxels))
    clip_ids = np.array([f"seg{run + 1}_{i:04d}" for run in range(n_runs) for i in range(per_run)])
    present = np.ones((n_clips, n_repeats), bool)
    present[3, -1] = n_repeats == 1
    fmri[~present] = 0
    return ClipSet(
        subject=subject,
        fmri=fmri.astype(np.float32),
        voxel_ids=np.arange(n_voxels) * 3 + 1,
        space=VoxelSpace("fs_LR_32k"),
        clip_ids=clip_ids,
        groups=np.array([clip_id.split("_")[0] for clip_id in clip_ids]),
        tr=2.0,
        present=present,
        simulated=True,
    )


def targets(n_runs: int = 3, per_run: int = 11) -> Targets:
    """Return texts and latents that are linear in what is shown; row 0 of a text is constant."""
    n_clips = n_runs * per_run
    rng, shown = np.random.default_rng(5), _shown(n_clips)
    text = {}
    for level in ("anchor", "motion", "holi"):
        rest = (shown @ rng.standard_normal((5, (N_TOKENS - 1) * D_TEXT))).reshape(n_clips, N_TOKENS - 1, D_TEXT)
        text[level] = np.concatenate([np.full((n_clips, 1, D_TEXT), 0.25), rest], 1).astype(np.float32)
    latents = (shown @ rng.standard_normal((5, N_FRAMES * 256))).reshape(n_clips, N_FRAMES, *LATENT)
    return Targets(clipset(n_runs=n_runs, per_run=per_run).clip_ids, text, latents.astype(np.float32))


ClipSets = dict[str, ClipSet]


def split(subjects: tuple[str, ...] = ("sub-01", "sub-02"), **sizes: int) -> tuple[ClipSets, ClipSets]:
    """Return training and held-out sets by subject: the last run is held out."""
    sets = {subject: clipset(subject, **sizes) for subject in subjects}
    last = {subject: c.groups == c.groups[-1] for subject, c in sets.items()}
    return {s: c.take(~last[s]) for s, c in sets.items()}, {s: c.take(last[s]) for s, c in sets.items()}


def _shown(n_clips: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((n_clips, 5))
