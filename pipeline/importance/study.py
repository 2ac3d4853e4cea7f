"""What an importance statistic is computed from: first-layer weights by module, and the clips of one subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.clipset import ClipSet, VoxelSpace
from pipeline.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from pipeline.checkpoints import Checkpoint

Array = NDArray[np.float32]
PARCELLATIONS = ("mmp1",)
UNLABELLED = ("", "???")


@dataclass(frozen=True)
class Study:
    """First layers of one subject's decoder and the recording whose covariance the patterns need.

    Parameters
    ----------
    subject : str
    layers : mapping of module to (n_outputs, n_volumes, n_voxels) float32
        Weights that read the (z-scored) voxels; any linear first layer will do.
    volumes : (n_clips, n_volumes, n_voxels) float32
        What the first layer reads of each clip: training runs, repeats averaged.
    groups : (n_clips,) str
        Run of each clip.

    Raises
    ------
    CheckpointError
        When a weight is not finite.
    DataError
        When the sizes disagree, or there is no voxel or too few clips.
    """

    subject: str
    layers: Mapping[str, Array]
    volumes: Array
    groups: NDArray[np.str_]

    def __post_init__(self) -> None:
        n_clips, n_volumes, n_voxels = self.volumes.shape
        if not n_voxels:
            raise DataError(f"{self.subject}: the voxel selection is empty; import the data set with voxels selected")
        if n_clips < 3 or len(self.groups) != n_clips:
            raise DataError(f"{self.subject}: at least 3 clips, each with its run, are needed, got {n_clips}")
        for module, weights in self.layers.items():
            if weights.ndim != 3 or weights.shape[1:] != (n_volumes, n_voxels):
                raise DataError(
                    f"{self.subject}: weights of {module} must be (n_outputs, {n_volumes}, {n_voxels}), "
                    f"got {weights.shape}; use the selection that the decoder was trained on"
                )
            if not np.isfinite(weights).all():
                n_bad = int((~np.isfinite(weights)).any(axis=(0, 1)).sum())
                raise CheckpointError(
                    f"{self.subject}: the weights of {module} must be finite, got NaN or Inf in {n_bad} voxels; "
                    "train the decoder again"
                )

    @property
    def n_voxels(self) -> int:
        """Count of voxels that the decoder reads."""
        return int(self.volumes.shape[2])

    def weights(self, module: str) -> Array:
        """Return a module's weights (n_outputs, n_volumes, n_voxels).

        Raises
        ------
        ConfigError
            When the decoder has no such module.
        """
        if module not in self.layers:
            raise ConfigError(f"{self.subject}: module {module!r} is not one of {', '.join(self.layers)}; name another")
        return self.layers[module]

    def signals(self, module: str) -> NDArray[np.float64]:
        """Return what the module's first layer makes of each clip, centred: (n_clips, n_outputs)."""
        found = self._raw(module).astype(np.float64)
        return np.asarray(found - found.mean(0))

    def _raw(self, module: str) -> Array:
        """Return the signals before centring, computed once."""
        if module not in self._known:
            weights = self.weights(module)
            flat = self.volumes.reshape(len(self.volumes), -1)
            self._known[module] = flat @ weights.reshape(len(weights), -1).T
        return self._known[module]

    @cached_property
    def _known(self) -> dict[str, Array]:
        # A cached property and no field: dataclasses.replace must not hand it to a study of other weights.
        return {}

    @cached_property
    def spread(self) -> Array:
        """Standard deviation over clips of each voxel, (n_volumes, n_voxels), 1 where it is constant."""
        spread = self.volumes.std(0)
        return np.where(spread > 1e-8, spread, 1).astype(np.float32)

    def take(self, rows: NDArray[np.bool_]) -> Study:
        """Return the study of some of the clips, with the same weights."""
        found = replace(self, volumes=self.volumes[rows], groups=self.groups[rows])
        found._known.update({module: raw[rows] for module, raw in self._known.items()})
        return found

    def with_outputs(self, start: int, step: int) -> Study:
        """Return the study with every ``step``-th output from ``start`` alone."""
        return replace(self, layers={name: weights[start::step] for name, weights in self.layers.items()})

    def without(self, voxels: NDArray[np.int64], modules: Sequence[str]) -> Study:
        """Return the study of some modules with the weights of some voxels set to 0: they are there and not read.

        Parameters
        ----------
        voxels : (n,) int64
        modules : sequence of str
            Those that read no other voxel are gone from what is returned.
        """
        layers, known = {}, {}
        flat = self.volumes[:, :, voxels].reshape(len(self.volumes), -1)
        for module in modules:
            weights = self.weights(module).copy()
            own = weights[:, :, voxels].reshape(len(weights), -1)
            weights[:, :, voxels] = 0
            read = weights.any(axis=(1, 2))
            if read.any():
                # An output that reads nothing else is 0, not what rounding leaves of it.
                layers[module], known[module] = weights, np.where(read, self._raw(module) - flat @ own.T, 0)
        found = replace(self, layers=layers)
        found._known.update(known)
        return found


def study_of(checkpoint: Checkpoint, clipset: ClipSet) -> Study:
    """Join a decoder and the training runs of its subject.

    Parameters
    ----------
    checkpoint : Checkpoint
    clipset : ClipSet
        Training runs; neither validation nor test clips belong here.

    Raises
    ------
    CheckpointError
        When subject, space or voxels are not the checkpoint's, or a weight is not finite.
    """
    from pipeline.methods.semvideo import windows

    checkpoint.check(clipset)
    n_volumes, n_voxels = checkpoint.model.config.n_volumes, len(clipset.voxel_ids)
    layers = {
        module: weights.reshape(-1, n_volumes, n_voxels)
        for module, weights in checkpoint.model.first_layers(clipset.subject).items()
    }
    volumes = windows(clipset, n_volumes).reshape(len(clipset), n_volumes, n_voxels)
    return Study(clipset.subject, layers, volumes, clipset.groups)


def check_modules(known: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the wanted modules (all when none is named), or say which is unknown."""
    wrong = [module for module in wanted if module not in known]
    if wrong:
        raise ConfigError(f"module {wrong[0]!r} is not one of {', '.join(known)}; name another with --modules")
    return tuple(dict.fromkeys(wanted)) or tuple(known)


def regions_of(space: VoxelSpace, voxel_ids: NDArray[np.int64], parcellation: str = "mmp1") -> NDArray[np.str_] | None:
    """Return each voxel's region, hemispheres together, or None for a volume, which has no parcellation here.

    Parameters
    ----------
    space : VoxelSpace
    voxel_ids : (n_voxels,) int64
    parcellation : {"mmp1"}
        The HCP's multi-modal parcellation (Glasser et al. 2016).

    Raises
    ------
    ConfigError
        Unknown parcellation.
    DataError
        Voxels without position, or outside the mesh.
    """
    from pipeline.grayordinates import N_CORTEX, area_names

    if parcellation not in PARCELLATIONS:
        raise ConfigError(f"parcellation {parcellation!r} is not one of {', '.join(PARCELLATIONS)}; name another")
    if space.kind == "unknown":
        raise DataError(
            f"the {len(voxel_ids)} voxels have no known position, so nothing can be drawn on the cortex; "
            "find them again with python -m pipeline recover-index, or import the data set from its raw files"
        )
    if space.kind == "volume":
        return None
    if len(voxel_ids) and (voxel_ids.min() < 0 or voxel_ids.max() >= N_CORTEX):
        raise DataError(
            f"voxel ids must be cortical grayordinates 0..{N_CORTEX - 1} of fs_LR 32k, got "
            f"{voxel_ids.min()}..{voxel_ids.max()}; resample the recording to that mesh"
        )
    names = area_names()[voxel_ids]
    return np.where(np.isin(names, UNLABELLED), "", names)
