"""A trained decoder on disk: a folder that any machine can read without running anything.

``config.json``
    format, method, its config, sizes, subjects, voxel space, dtype, versions, seed and how it was trained.
``model.safetensors``
    every weight and constant of the model, no more and no less.
``voxels.safetensors``
    ``<subject>``: the voxel ids (n_voxels,) that the first layers read, in their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clipset import ClipSet, VoxelSpace
from pipeline.errors import CheckpointError
from pipeline.paths import atomic_folder, check_space, write_json

if TYPE_CHECKING:
    import torch

    from pipeline.methods.semvideo import SemVideo

FORMAT = 1
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Checkpoint:
    """A decoder read back, with what it needs to know about its data.

    Parameters
    ----------
    model : SemVideo
        In evaluation mode, float32.
    voxel_ids : mapping of subject to (n_voxels,) int64
    space : VoxelSpace
    simulated : bool
        Trained on a phantom.
    about : dict
        ``config.json`` as read.
    """

    model: SemVideo
    voxel_ids: Mapping[str, Ids]
    space: VoxelSpace
    simulated: bool
    about: dict[str, Any]

    def check(self, clipset: ClipSet) -> None:
        """Raise CheckpointError unless ``clipset`` is of a subject, space and voxels that this decoder reads."""
        subject = clipset.subject
        if subject not in self.voxel_ids:
            known = ", ".join(self.voxel_ids)
            raise CheckpointError(f"{subject}: the checkpoint is of {known}; open the checkpoint of {subject}")
        if clipset.space.kind != self.space.kind:
            raise CheckpointError(
                f"{subject}: the checkpoint reads voxels in space {self.space.kind}, got {clipset.space.kind}; "
                "import the data set in that space or train again"
            )
        wanted = self.voxel_ids[subject]
        if not np.array_equal(wanted, clipset.voxel_ids):
            raise CheckpointError(
                f"{subject}: the checkpoint reads {len(wanted)} voxels, got {len(clipset.voxel_ids)}, of which "
                f"{len(np.intersect1d(wanted, clipset.voxel_ids))} are the same; use the selection it was trained on"
            )


def save_checkpoint(
    folder: Path,
    model: SemVideo,
    voxel_ids: Mapping[str, Ids],
    space: VoxelSpace,
    *,
    simulated: bool,
    seed: int,
    training: Mapping[str, Any] | None = None,
    dtype: str = "float16",
) -> Path:
    """Write ``model`` to ``folder``, which appears whole or not at all.

    Parameters
    ----------
    folder : Path
    model : SemVideo
    voxel_ids : mapping of subject to (n_voxels,) int64
        For each subject of the model.
    space : VoxelSpace
    simulated : bool
    seed : int
    training : mapping, optional
        Provenance: data set, plan, scores on held-out training runs. JSON values.
    dtype : {"float16", "float32"}
        Of the stored weights; a model is always read back as float32.

    Raises
    ------
    CheckpointError
        When ids and model disagree, or a weight is not finite in ``dtype``.
    ResourceError
        When the disk is full.
    """
    import torch
    from safetensors.numpy import save_file as save_arrays
    from safetensors.torch import save_file

    for subject, n_voxels in model.sizes.n_voxels.items():
        n_ids = len(voxel_ids.get(subject, ()))
        if n_ids != n_voxels:
            raise CheckpointError(f"{subject}: the model reads {n_voxels} voxels, got {n_ids} voxel ids; give each one")
    kind = getattr(torch, dtype)
    state = {name: value.detach().to("cpu", kind).contiguous() for name, value in model.state_dict().items()}
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(f"{folder}: {broken[0]} is not finite as {dtype}; lower the learning rate or use float32")
    check_space(folder, sum(value.nbytes for value in state.values()))
    about = {
        "format": FORMAT,
        "method": model.NAME,
        "subjects": sorted(model.sizes.n_voxels),
        "config": model.config.model_dump(mode="json"),
        "sizes": model.sizes.model_dump(mode="json"),
        "space": asdict(space),
        "simulated": simulated,
        "dtype": dtype,
        "seed": seed,
        "versions": {name: version(name) for name in ("torch", "diffusers", "safetensors", "numpy")},
        "training": dict(training or {}),
    }
    with atomic_folder(folder) as temporary:
        save_file(state, temporary / "model.safetensors")
        ids = {s: np.ascontiguousarray(voxel_ids[s], dtype=np.int64) for s in model.sizes.n_voxels}
        save_arrays(ids, temporary / "voxels.safetensors")
        write_json(temporary / "config.json", about)
    return folder


def read_about(folder: Path) -> dict[str, Any]:
    """Read and check a checkpoint's ``config.json`` without loading any weight."""
    path = folder / "config.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder}: no config.json; name the folder of a trained decoder") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error}); copy the checkpoint again") from error
    wanted = {"format", "method", "subjects", "config", "sizes", "space", "simulated"}
    missing = wanted - set(about) if isinstance(about, dict) else wanted
    if missing:
        raise CheckpointError(f"{path}: not a decoder's checkpoint, it lacks {', '.join(sorted(missing))}")
    if about["format"] != FORMAT:
        raise CheckpointError(f"{path}: format {about['format']!r}, this version reads {FORMAT}; update NeuroVis")
    return about


def load_checkpoint(
    folder: Path, *, method: str | None = None, subject: str | None = None, device: str = "cpu"
) -> Checkpoint:
    """Read a decoder strictly: each weight must be there, of the right shape, and nothing else.

    Parameters
    ----------
    folder : Path
    method, subject : str, optional
        Refuse the checkpoint of another.
    device : str

    Raises
    ------
    CheckpointError
        When anything is missing, damaged, of another method or of another subject.
    """
    import torch
    from pydantic import ValidationError

    from pipeline.errors import NeuroVisError
    from pipeline.methods import load_method
    from pipeline.methods.semvideo import Sizes

    about = read_about(folder)
    if method is not None and about["method"] != method:
        raise CheckpointError(f"{folder}: made by method {about['method']}, expected {method}; name another one")
    if subject is not None and subject not in about["subjects"]:
        known = ", ".join(about["subjects"])
        raise CheckpointError(f"{folder}: the decoders of {known}, expected {subject}; open those of {subject}")
    try:
        kind = load_method(about["method"])
        with torch.device("meta"):  # no memory and no random start for weights that are read the next moment
            model = kind.build(kind.CONFIG.model_validate(about["config"]), Sizes.model_validate(about["sizes"]))
        space = VoxelSpace(**about["space"])
    except (ValidationError, NeuroVisError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise CheckpointError(f"{folder}/config.json: not known to this version ({first}); train again") from error
    _load_strictly(model, _read(folder / "model.safetensors"), folder)
    ids = {name: np.asarray(t.numpy(), dtype=np.int64) for name, t in _read(folder / "voxels.safetensors").items()}
    for name, n_voxels in model.sizes.n_voxels.items():
        if len(ids.get(name, ())) != n_voxels:
            raise CheckpointError(f"{folder}/voxels.safetensors: {name} must have {n_voxels} voxel ids; copy it again")
    return Checkpoint(model.to(device).eval(), ids, space, bool(about["simulated"]), about)


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file or say what is wrong with it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise CheckpointError(f"{path}: is missing; copy the whole checkpoint folder again")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: truncated or damaged ({error}); copy the checkpoint again") from error


def _load_strictly(model: SemVideo, state: dict[str, torch.Tensor], folder: Path) -> None:
    own = model.state_dict()
    missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    if missing or extra:
        what = f"lacks {missing[0]}" if missing else f"holds {extra[0]}, which the config has no place for"
        raise CheckpointError(f"{folder}/model.safetensors: {what}; copy the checkpoint again")
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise CheckpointError(
                f"{folder}/model.safetensors: {name} must be {tuple(own[name].shape)}, got {tuple(value.shape)}; "
                "config and weights are not of one checkpoint"
            )
    model.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
