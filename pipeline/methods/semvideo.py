"""SemVideo: three semantic decoders and a motion decoder (papers/semvideo, section 3.2, appendix C).

From fMRI to cues, as :meth:`SemVideo.decode` walks it:

1. average the recorded repeats of each clip; join ``n_volumes`` neighbouring volumes;
2. SAD, one per level (anchor, motion, holi): mapper -> MLP -> refiner -> a text embedding;
3. MAD: projection -> frame maps -> fusion decoder, conditioned on the motion embedding -> latents of six frames;
4. MAD once more with the null embedding in place of the motion text: what an ablation of C_motion uses.

Where the paper contradicts itself or is silent, a config field's description names the choice.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from pipeline.clipset import ClipSet
from pipeline.errors import ConfigError, DataError
from pipeline.methods.base import Batch, Sizes, Strict
from pipeline.methods.mad import MAD, MADConfig
from pipeline.methods.sad import SAD, SADConfig

__all__ = ["CONFIGS", "LEVELS", "MAD", "SAD", "Batch", "MADConfig", "SADConfig", "SemVideo", "SemVideoConfig", "Sizes"]

Array = NDArray[np.float32]
LEVELS = ("anchor", "motion", "holi")


class SemVideoConfig(Strict):
    """SemVideo's decoders."""

    method: Literal["semvideo"] = "semvideo"
    n_volumes: int = Field(1, ge=1, le=5, description="Volumes seen per clip: 1 as in the paper; 2: the next too.")
    n_frames: int = Field(6, gt=0, description="Frames decoded per clip of 2 s (3 fps).")
    sad: SADConfig = SADConfig()
    mad: MADConfig = MADConfig()


PHANTOM = SemVideoConfig(
    sad=SADConfig(
        hidden=128,
        mlp_hidden=(128,),
        dropout=0.2,
        voxel_dropout=0.2,
        linear_path=True,
        refiner_layers=0,
        temperature=(0.1, 0.1),
    ),
    mad=MADConfig(
        hidden=128,
        frame_hidden=96,
        base_channels=48,
        block_channels=(32, 32, 16),
        fusion_levels=2,
        heads=2,
        norm_groups=8,
        voxel_dropout=0.2,
        lambda_contrast=0.1,
    ),
)

TINY = SemVideoConfig(
    sad=SADConfig(hidden=12, mlp_hidden=(10,), refiner_layers=1, refiner_heads=2, refiner_head_size=6, refine_steps=2),
    mad=MADConfig(hidden=9, frame_hidden=14, base_channels=8, block_channels=(8, 8, 4), heads=2, norm_groups=2),
)

CONFIGS: dict[str, SemVideoConfig] = {
    "semvideo": SemVideoConfig(),
    "semvideo-phantom": PHANTOM,
    "semvideo-tiny": TINY,
}


def preset(name: str) -> SemVideoConfig:
    """Return the config of a preset.

    Raises
    ------
    ConfigError
        When no preset has that name.
    """
    if name not in CONFIGS:
        raise ConfigError(f"method preset {name!r} is not known, expected one of {', '.join(CONFIGS)}")
    return CONFIGS[name]


class SemVideo(nn.Module):
    """The four decoders of one or several subjects.

    Parameters
    ----------
    config : SemVideoConfig
    sizes : Sizes
    """

    NAME = "semvideo"
    CONFIG = SemVideoConfig
    STAGES = (*LEVELS, "mad")
    ABLATIONS = (*LEVELS, "mad")

    def __init__(self, config: SemVideoConfig, sizes: Sizes) -> None:
        super().__init__()
        self.config, self.sizes = config, sizes
        self.parts = nn.ModuleDict({level: SAD(config.sad, sizes, config.n_volumes) for level in LEVELS})
        self.parts["mad"] = MAD(config.mad, sizes, config.n_volumes, config.n_frames)

    @classmethod
    def build(cls, config: SemVideoConfig, sizes: Sizes) -> SemVideo:
        """Return an untrained model."""
        return cls(config, sizes)

    def prepare(self, stage: str, text: Tensor, latents: Tensor | None = None) -> None:
        """Learn a stage's constants from its training targets."""
        if stage == "mad":
            assert latents is not None
            self._mad.prepare(text, latents)
        else:
            self._sad(stage).prepare(text)

    def training_step(
        self, stage: str, batch: Batch, progress: float, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return the losses of one batch; ``loss`` is what to minimise, ``progress`` runs from 0 to 1."""
        part = self._mad if stage == "mad" else self._sad(stage)
        return part.training_step(batch, progress, generator)

    def for_subject(self, subject: str) -> SemVideo:
        """Return a copy with this subject's mappers alone."""
        if subject not in self.sizes.n_voxels:
            raise DataError(f"{subject}: this decoder knows {', '.join(self.sizes.n_voxels)}; train it on {subject}")
        alone = self.sizes.model_copy(update={"n_voxels": {subject: self.sizes.n_voxels[subject]}})
        model = type(self)(self.config, alone)
        state = self.state_dict()
        model.load_state_dict({name: state[name] for name in model.state_dict()})
        return model

    @torch.inference_mode()
    def decode(
        self,
        clipset: ClipSet,
        seed: int = 0,
        batch_size: int = 128,
        stages: tuple[str, ...] = STAGES,
        progress: Callable[[int, int, str], None] | None = None,
        device: str | None = None,
    ) -> ClipSet:
        """Fill the cues of a clip set from its fMRI alone.

        Parameters
        ----------
        clipset : ClipSet
            Whole runs: with ``n_volumes`` > 1 a clip whose neighbours are absent sees its own volume in their place.
        seed : int
            Of the refiner's starting noise, drawn per clip id: a clip decodes alike in any company.
        batch_size : int
        stages : tuple of str
            ``mad`` without ``motion`` decodes with the null embedding alone.
        progress : callable, optional
            Called with (done, total, what).
        device : str, optional
            Where to decode, one part at a time; by default where the parts are.

        Returns
        -------
        ClipSet
            With ``anchor``, ``motion``, ``holi`` (n_clips, n_tokens, d_text) and ``motion_latents``,
            ``motion_latents_null`` (n_clips, n_frames, c, h, w), float32.

        Raises
        ------
        DataError
            When the subject or its voxel count is not the decoder's.
        """
        was_training = self.training
        self.eval()
        x = torch.from_numpy(windows(clipset, self.config.n_volumes))
        batches = [slice(first, first + batch_size) for first in range(0, len(x), batch_size)]
        wanted = [stage for stage in self.STAGES if stage in stages]
        found: dict[str, list[Tensor]] = {}
        for number, stage in enumerate(wanted):
            with _lent(self.parts[stage], device):
                for i, rows in enumerate(batches):
                    fmri = {clipset.subject: x[rows]}
                    text = found["motion"][i] if stage == "mad" and "motion" in found else None
                    for name, value in self._decode_part(stage, fmri, text, clipset.clip_ids[rows], seed).items():
                        found.setdefault(name, []).append(value)
                    if progress:
                        progress(number * len(batches) + i + 1, len(wanted) * len(batches), "decoding")
        self.train(was_training)
        return clipset.with_cues(**{name: torch.cat(parts).numpy() for name, parts in found.items()})

    def _decode_part(
        self, stage: str, fmri: dict[str, Tensor], text: Tensor | None, clip_ids: NDArray[np.str_], seed: int
    ) -> dict[str, Tensor]:
        """Return what one part makes of a batch, float32 in main memory."""
        part = self.parts[stage]
        device = next(part.parameters()).device
        fmri = {subject: x.to(device) for subject, x in fmri.items()}
        if isinstance(part, SAD):
            noise = self._noise(clip_ids, seed, stage)
            cues = {stage: part.decode(fmri, None if noise is None else noise.to(device))}
        else:
            assert isinstance(part, MAD)
            text = None if text is None else text.to(device)
            cues = {"motion_latents": part.decode(fmri, text), "motion_latents_null": part.decode(fmri, None)}
        return {name: value.float().cpu() for name, value in cues.items()}

    def first_layers(self, subject: str) -> dict[str, Array]:
        """Return the weights that read the voxels, by module: (n_outputs * n_volumes, n_voxels)."""
        if subject not in self.sizes.n_voxels:
            raise DataError(f"{subject}: this decoder knows {', '.join(self.sizes.n_voxels)}; open that subject's own")
        weights = {}
        for stage in self.STAGES:
            part = self._mad if stage == "mad" else self._sad(stage)
            weight = part.mapper.linear[subject].weight.detach().float().cpu().numpy()
            weights[stage] = np.asarray(weight).reshape(-1, self.sizes.n_voxels[subject])
        return weights

    def _sad(self, level: str) -> SAD:
        part = self.parts[level]
        assert isinstance(part, SAD)
        return part

    @property
    def _mad(self) -> MAD:
        part = self.parts["mad"]
        assert isinstance(part, MAD)
        return part

    def _noise(self, clip_ids: NDArray[np.str_], seed: int, level: str) -> Tensor | None:
        config = self.config.sad
        if not (config.refiner_layers and config.refine_steps):
            return None
        shape = (self.sizes.n_tokens - 1, self.sizes.d_text)
        if config.refine_temperature == 0:
            return torch.zeros(len(clip_ids), *shape)
        draws = []
        for clip_id in clip_ids:
            key = zlib.crc32(f"{level}/{clip_id}".encode())
            draws.append(np.random.default_rng([seed, key]).standard_normal(shape, dtype=np.float32))
        return config.refine_temperature * torch.from_numpy(np.stack(draws))


@contextmanager
def _lent(part: nn.Module, device: str | None) -> Iterator[None]:
    """Have a part on a device in this block, and afterwards where it was."""
    home = next(part.parameters()).device
    if device is not None:
        part.to(device)
    try:
        yield
    finally:
        part.to(home)


def windows(clipset: ClipSet, n_volumes: int, fmri: Array | None = None) -> Array:
    """Join each clip's volume with its neighbours' of the same run: (n_clips, n_volumes * n_voxels).

    The order is the clip's own volume and then offsets +1, -1, +2, -2; a neighbour that the set does not hold is
    replaced by the clip's own volume. Neighbours are told by the number that ends a clip id (``seg1_0007``).

    Parameters
    ----------
    clipset : ClipSet
    n_volumes : int
    fmri : (n_clips, n_voxels) float32, optional
        In place of the average of the repeats.
    """
    values = clipset.mean_fmri() if fmri is None else fmri
    if n_volumes == 1:
        return values
    numbers = [int(str(clip_id).rpartition("_")[2].rpartition("-")[2]) for clip_id in clipset.clip_ids]
    places = list(zip(clipset.groups.tolist(), numbers, strict=True))
    row_of = {place: row for row, place in enumerate(places)}
    parts = []
    for offset in (0, 1, -1, 2, -2)[:n_volumes]:
        rows = [row_of.get((group, number + offset), row) for row, (group, number) in enumerate(places)]
        parts.append(values[rows])
    return np.concatenate(parts, 1)
