"""What a trained SAD makes of training samples: the text that MAD is trained and judged on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.clipset import ClipSet
from pipeline.methods.semvideo import SAD
from training.samples import Samples, Targets


def decode_text(part: nn.Module, fmri: dict[str, Tensor], seed: int, device: str) -> Tensor:
    """Decode text: {subject: (B_s, n_inputs)} to (B, n_tokens, d_text) on the CPU, noise drawn by ``seed``."""
    assert isinstance(part, SAD)
    part.eval()
    fmri = {s: x.to(device) for s, x in fmri.items()}
    n = sum(len(x) for x in fmri.values())
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, *part.space.mean.shape, generator=generator) * part.config.refine_temperature
    return part.decode(fmri, noise.to(device)).cpu()


def predict_text(part: nn.Module, samples: Samples, seed: int, device: str, rows: Tensor | None = None) -> Tensor:
    """Decode the text of one subject's samples: (n, n_tokens, d_text) float16."""
    rows = torch.arange(len(samples)) if rows is None else rows
    parts = [decode_text(part, samples.batch(chunk)[0], seed, device) for chunk in rows.split(256)]
    return torch.cat(parts).half()


def fingerprint(clipsets: Mapping[str, ClipSet], targets: Targets, latents: bool = False) -> str:
    """Return a short hash of what is trained on: subjects, clips, voxels, repeats, every 17th row of fMRI and targets.

    Parameters
    ----------
    clipsets : mapping of subject to ClipSet
    targets : Targets
    latents : bool
        Of MAD's training: the latents count too.
    """
    found = hashlib.sha256()
    for subject, clipset in clipsets.items():
        words = "\n".join([subject, *map(str, clipset.clip_ids), *map(str, clipset.groups)])
        found.update(words.encode())
        for array in (clipset.voxel_ids, clipset.present, clipset.fmri[::17]):
            found.update(np.ascontiguousarray(array).tobytes())
    for level in sorted(targets.text):
        found.update(np.ascontiguousarray(targets.text[level][::17]).tobytes())
    if latents and targets.latents is not None:
        found.update(np.ascontiguousarray(targets.latents[::17]).tobytes())
    return found.hexdigest()[:16]
