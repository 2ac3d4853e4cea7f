"""Training samples: which volume of which subject goes with which target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.clipset import ClipSet
from pipeline.errors import DataError
from pipeline.methods.drawing import sent

if TYPE_CHECKING:
    from pipeline.backbones import World
    from pipeline.methods.semvideo import Sizes

LEVELS = ("anchor", "motion", "holi")


@dataclass(frozen=True)
class Targets:
    """What the decoders should find, by clip; subjects who saw the same film share it.

    Parameters
    ----------
    clip_ids : (n_clips,) str
    text : mapping of level to (n_clips, n_tokens, d_text) float
        Text encoder's last hidden states of ``anchor``, ``motion``, ``holi``.
    latents : (n_clips, n_frames, c, h, w) float, optional
        VAE latents, times the VAE's scaling factor; needed for MAD.

    Raises
    ------
    DataError
        When an array does not have a row per clip.
    """

    clip_ids: NDArray[np.str_]
    text: Mapping[str, NDArray[Any]]
    latents: NDArray[Any] | None = None
    rows: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        arrays = {**self.text, **({} if self.latents is None else {"latents": self.latents})}
        for name, array in arrays.items():
            if len(array) != len(self.clip_ids):
                raise DataError(f"targets: {name} must have n_clips={len(self.clip_ids)} rows, got {len(array)}")
        object.__setattr__(self, "rows", {str(clip_id): i for i, clip_id in enumerate(self.clip_ids)})

    def find(self, clipset: ClipSet) -> Tensor:
        """Return the target row of each clip of ``clipset``."""
        missing = [str(clip_id) for clip_id in clipset.clip_ids if str(clip_id) not in self.rows]
        if missing:
            raise DataError(
                f"{clipset.subject}: no targets for {len(missing)} clips, the first {missing[0]}; make them"
            )
        return torch.tensor([self.rows[str(clip_id)] for clip_id in clipset.clip_ids])

    def level(self, name: str, rows: Tensor | None = None) -> Tensor:
        """Return a level's embeddings, or some rows of them, as float32."""
        if name not in self.text:
            raise DataError(f"targets: no text of level {name}, got {sorted(self.text)}; give captions of that level")
        return _float32(self.text[name], rows)

    def video(self, rows: Tensor | None = None) -> Tensor:
        """Return the latents, or some rows of them, as float32."""
        if self.latents is None:
            raise DataError("targets: MAD needs the latents of the clips; give a stimulus, or leave the stage mad out")
        return _float32(self.latents, rows)


def _float32(values: NDArray[Any], rows: Tensor | None) -> Tensor:
    """Return an array, or some rows of it, as float32: the rows first, as the whole is gigabytes at full size."""
    chosen = values if rows is None else values[rows.numpy()]
    return torch.as_tensor(np.asarray(chosen, dtype=np.float32))


def make_targets(world: World, clipset: ClipSet, n_frames: int = 6, batch_size: int = 32) -> Targets:
    """Encode a clip set's captions and frames with a world's text encoder and VAE.

    Frames are brought to the side whose latents MAD decodes (SemVideo: 224 pixels).

    Parameters
    ----------
    world : World
    clipset : ClipSet
        With captions of the three levels; without a stimulus there are no latents.
    n_frames, batch_size : int
    """
    from pipeline.backbones import encode_frames, encode_text
    from pipeline.reconstruct import fit_frames

    missing = [level for level in LEVELS if level not in clipset.captions]
    if missing:
        raise DataError(f"{clipset.subject}: training needs captions {', '.join(LEVELS)}, lacks {', '.join(missing)}")
    text = {}
    for level in LEVELS:
        # The same words have the same embedding: encode each wording once.
        words, place = np.unique(clipset.captions[level], return_inverse=True)
        text[level] = np.asarray(encode_text(world, words.tolist()))[place].astype(np.float32)
    latents = None
    if clipset.stimulus is not None:
        parts = []
        for i in range(0, len(clipset), batch_size):
            clips = [clipset.stimulus.frames(j, n_frames) for j in range(i, min(i + batch_size, len(clipset)))]
            square = [fit_frames(frames, world.backbones.mad_size) for frames in clips]
            found = np.asarray(encode_frames(world, np.concatenate(square)))
            parts.append(found.reshape(len(clips), n_frames, *found.shape[1:]))
        latents = np.concatenate(parts).astype(np.float32)
    return Targets(clipset.clip_ids, text, latents)


def join_targets(parts: list[Targets]) -> Targets:
    """Put the targets of different clips one after the other; latents are kept where all parts have them."""
    if not parts:
        raise DataError("targets: no clips to make targets of; choose subjects and splits that hold clips")
    clip_ids = np.concatenate([part.clip_ids for part in parts])
    text = {level: np.concatenate([part.text[level] for part in parts]) for level in parts[0].text}
    videos = [part.latents for part in parts if part.latents is not None]
    return Targets(clip_ids, text, np.concatenate(videos) if len(videos) == len(parts) else None)


def sizes_of(clipsets: Mapping[str, ClipSet], targets: Targets, latent: tuple[int, int, int] | None = None) -> Sizes:
    """Return the sizes that a method is built for."""
    from pipeline.methods.semvideo import Sizes

    text = next(iter(targets.text.values()))
    if targets.latents is not None:
        latent = (int(targets.latents.shape[2]), int(targets.latents.shape[3]), int(targets.latents.shape[4]))
    return Sizes(
        n_voxels={subject: len(clipset.voxel_ids) for subject, clipset in clipsets.items()},
        n_tokens=text.shape[1],
        d_text=text.shape[2],
        latent=latent or (4, 8, 8),
    )


class Samples:
    """The samples of some subjects, numbered one subject after the other.

    Parameters
    ----------
    clipsets : mapping of subject to ClipSet
        Never changed.
    targets : Targets
    n_volumes : int
        Neighbouring volumes that a decoder sees.
    repeats : {"separate", "average", "mixed"}
        See ``training.config.Plan``.
    """

    def __init__(self, clipsets: Mapping[str, ClipSet], targets: Targets, n_volumes: int, repeats: str) -> None:
        from pipeline.methods.semvideo import windows

        self.repeats = repeats
        self.subjects = list(clipsets)
        self.values: dict[str, Tensor] = {}
        self.present: dict[str, Tensor] = {}
        owner, clip, repeat, target = [], [], [], []
        for number, (subject, clipset) in enumerate(clipsets.items()):
            if repeats == "average":
                stack = windows(clipset, n_volumes)[:, None]
                present = clipset.present.any(1, keepdims=True)
            else:
                each = [windows(clipset, n_volumes, clipset.fmri[:, r]) for r in range(clipset.fmri.shape[1])]
                stack, present = np.stack(each, 1), clipset.present
            self.values[subject] = torch.from_numpy(stack)
            self.present[subject] = torch.from_numpy(np.ascontiguousarray(present))
            clips, which = np.nonzero(present)
            owner.append(np.full(len(clips), number))
            clip.append(clips)
            repeat.append(which)
            target.append(targets.find(clipset).numpy()[clips])
        self.owner, self.clip, self.repeat, self.target = (
            torch.from_numpy(np.concatenate(parts)) for parts in (owner, clip, repeat, target)
        )

    def __len__(self) -> int:
        return len(self.owner)

    def to(self, device: str) -> Samples:
        """Put each subject's volumes on the device where they fit (:mod:`training.resident`)."""
        from training.resident import place

        self.values = {subject: place(values, device) for subject, values in self.values.items()}
        return self

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Return {subject: (B_s, n_inputs)} and the rows in that order.

        With a ``generator`` and ``repeats="mixed"`` each repeat is blended with another of the same clip.
        """
        owner = self.owner[rows]
        parts = [rows[owner == number] for number in range(len(self.subjects))] if len(self.subjects) > 1 else [rows]
        fmri = {}
        for subject, own in zip(self.subjects, parts, strict=True):
            if not len(own):
                continue
            clip, repeat = self.clip[own], self.repeat[own]
            n_repeats = self.values[subject].shape[1]
            x = self._volumes(subject, clip, repeat)
            if generator is not None and self.repeats == "mixed" and n_repeats > 1:
                other = (repeat + torch.randint(1, n_repeats, repeat.shape, generator=generator)) % n_repeats
                share = torch.rand(len(own), 1, generator=generator) / 2
                share = sent(share * self.present[subject][clip, other][:, None], x.device)
                # In one pass: the copies were most of the time that a step waited for its batch.
                x = x.lerp_(self._volumes(subject, clip, other), share)
            fmri[subject] = x
        return fmri, torch.cat(parts)

    def _volumes(self, subject: str, clip: Tensor, repeat: Tensor) -> Tensor:
        """Return a new array (B, n_inputs) of some clips' repeats."""
        values = self.values[subject]
        which = (clip * values.shape[1] + repeat).to(values.device, non_blocking=True)
        return values.flatten(0, 1).index_select(0, which)


def averages(clipsets: Mapping[str, ClipSet], targets: Targets, n_volumes: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each subject's averaged volumes (n_clips, n_inputs) and target rows, to validate on."""
    from pipeline.methods.semvideo import windows

    return {s: (torch.from_numpy(windows(c, n_volumes)), targets.find(c)) for s, c in clipsets.items() if len(c)}
