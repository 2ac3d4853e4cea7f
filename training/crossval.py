"""Leave-one-run-out cross-validation of the SAD on labelled volumes, with reference classifiers on the same folds.

The walk of :func:`crossval`:

1. each trial type has captions; a text encoder turns them into codes Z of a level (C_anchor, C_holi, ...);
2. a volume is seen with its neighbours in time where they answer to events too (:data:`N_VOLUMES`), as the response to
   a picture outlasts a volume;
3. for each run: start a small SAD per level (and seed) at ridge regression, whose strength is chosen on the other runs
   alone, train it on them, and decode the run's volumes from fMRI alone;
4. nearest caption: cosine of the decoded code and each trial type's, in the space where the captions compared are
   centred and white (see :func:`similarities`); levels and seeds are averaged. A block's code is the mean of its
   volumes' codes;
5. permutation p: trial types are exchanged between the blocks within each run, the decoded codes stay as they are.

Nothing is chosen on the run that is tested; the last epoch is kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.clipset import ClipSet
from pipeline.errors import DataError
from pipeline.methods.semvideo import SAD, Batch, SADConfig, Sizes, windows
from training.config import LoopConfig
from training.loop import Progress, Task, fit
from training.references import accuracies, block_means, permutation_p, reference_classifiers
from training.warm import Lines, ridge_start

Array = NDArray[np.float32]
LEVELS = ("anchor", "motion", "holi")
N_VOLUMES = 3

SMALL_SAD = SADConfig(
    hidden=128,
    mlp_hidden=(128,),
    dropout=0.3,
    voxel_dropout=0.3,
    refiner_layers=0,
    refine_steps=0,
    temperature=(0.1, 0.1),
    mixco_share=1.0,
    linear_path=True,
)
SMALL_LOOP = LoopConfig(
    epochs=10,
    batch_size=96,
    lr=3e-4,
    schedule="onecycle",
    warmup=0.1,
    weight_decay=0.05,
    keep="last",
    checkpoint_every=9999,
)


@dataclass(frozen=True)
class Crossval:
    """What a cross-validation found.

    Parameters
    ----------
    summary : dict
        ``volume_accuracy``, ``block_accuracy``, ``permutation_p``, ``chance``, ``references`` and how they were made.
    volumes : ClipSet
        With the cues decoded for each volume while its run was held out.
    blocks : ClipSet
        One clip a block, in the order of recording: mean fMRI and mean cues of its volumes.
    block_right : (n_blocks,) bool
        Whether the nearest caption of each block is its own trial type's.
    """

    summary: dict[str, Any]
    volumes: ClipSet
    blocks: ClipSet
    block_right: NDArray[np.bool_]


def crossval(
    clipset: ClipSet,
    codes: Mapping[str, Mapping[str, Array]],
    *,
    config: SADConfig = SMALL_SAD,
    loop: LoopConfig = SMALL_LOOP,
    n_members: int = 3,
    n_volumes: int = N_VOLUMES,
    n_permutations: int = 2000,
    references: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> Crossval:
    """Cross-validate a small SAD.

    Parameters
    ----------
    clipset : ClipSet
        With labels ``trial_type`` and ``block``; each group (run) is held out once.
    codes : mapping of level to mapping of trial type to (n_tokens, d_text) float32
        Embedded captions. A level whose captions are the same for all trial types has nothing to decode and is not
        compared: its cue is that caption.
    config : SADConfig
    loop : LoopConfig
    n_members : int
        SADs per level and fold, which differ by seed; their codes are averaged.
    n_volumes : int
        Volumes that a decoder sees at once: 1 the volume alone, 3 those before and after it too.
    n_permutations : int
    references : bool
        Also run the reference classifiers, on the volume alone and on what the SAD sees.
    seed : int
    progress : callable, optional

    Raises
    ------
    DataError
        When labels or codes are missing, or there are fewer than three runs.
    """
    kinds, kind_of, block_of = _labels(clipset)
    missing = [kind for level in codes for kind in kinds if kind not in codes[level]]
    if missing:
        raise DataError(f"{clipset.subject}: no code for trial type {missing[0]}; give captions of each trial type")
    table = {level: np.stack([codes[level][kind] for kind in kinds]).astype(np.float32) for level in codes}
    fmri = windows(clipset, n_volumes)
    train = partial(_train, config=config, loop=loop, n_volumes=n_volumes)
    cues = _held_out_cues(fmri, kind_of, clipset.groups, table, train, n_members, seed, progress)
    similarity = similarities(cues, table)
    scores = accuracies(similarity, kind_of, block_of)
    p = permutation_p(similarity, kind_of, block_of, clipset.groups, n_permutations, seed)
    summary: dict[str, Any] = {**scores, "permutation_p": p, "chance": 1 / len(kinds)}
    right = similarity.argmax(1) == kind_of
    if references:
        summary["references"] = _references(clipset, fmri, n_volumes, kind_of, block_of, seed)
    summary |= {
        "n_volumes": len(clipset),
        "n_blocks": len(np.unique(block_of)),
        "n_runs": len(set(clipset.groups.tolist())),
        "per_type": {kind: round(float(right[kind_of == k].mean()), 4) for k, kind in enumerate(kinds)},
        "compared": [level for level, z in table.items() if _varies(z)],
        "rule": "nearest caption by cosine, codes centred and whitened over the captions compared, levels averaged",
        "permutation": f"{n_permutations} exchanges of trial types between the blocks within each run",
        "seed": seed,
        "members": n_members,
        "volumes_seen": n_volumes,
        "sad": config.model_dump(mode="json"),
        "loop": loop.model_dump(mode="json"),
    }
    volumes = clipset.with_cues(**cues)
    blocks = mean_blocks(volumes)
    return Crossval(summary, volumes, blocks, _block_right(blocks, clipset, similarity, kind_of, block_of))


def _references(
    clipset: ClipSet, fmri: Array, n_volumes: int, kind_of: NDArray[np.int64], block_of: NDArray[np.int64], seed: int
) -> dict[str, dict[str, float]]:
    """Score the reference classifiers on the volume alone, and on what the SAD sees."""
    truth = (kind_of, block_of, clipset.groups, seed)
    found = reference_classifiers(clipset.mean_fmri(), *truth)
    if n_volumes > 1:
        more = reference_classifiers(fmri, *truth)
        found |= {f"{name}, {n_volumes} volumes": score for name, score in more.items()}
    return found


def _block_right(
    blocks: ClipSet, volumes: ClipSet, similarity: Array, kind_of: NDArray[np.int64], block_of: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return whether the nearest caption of each block is its own trial type's, in the order of recording."""
    guessed, kinds_of = block_means(similarity, kind_of, block_of)
    right_of = dict(zip(np.unique(volumes.labels["block"]).tolist(), guessed.argmax(1) == kinds_of, strict=True))
    return np.array([right_of[str(block)] for block in blocks.clip_ids])


def _held_out_cues(
    fmri: Array,
    kind_of: NDArray[np.int64],
    groups: NDArray[np.str_],
    table: Mapping[str, Array],
    train: Callable[..., SAD],
    n_members: int,
    seed: int,
    progress: Progress | None,
) -> dict[str, Array]:
    """Decode every volume by SADs that never saw its run: level -> (n_volumes, n_tokens, d_text)."""
    runs = list(dict.fromkeys(groups.tolist()))
    cues = {level: np.zeros((len(fmri), *z.shape[1:]), np.float32) for level, z in table.items()}
    total, done = len(runs) * sum(_varies(z) for z in table.values()) * n_members, 0
    for number, run in enumerate(runs):
        test = groups == run
        for level, z in table.items():
            if not _varies(z):
                cues[level][test] = z[0]
                continue
            for member in range(n_members):
                part = train(fmri[~test], z[kind_of[~test]], groups[~test], seed=seed + 1000 * member + number)
                found = part.decode({"all": torch.from_numpy(fmri[test])}, None).numpy()
                cues[level][test] += found / n_members
                done += 1
                if progress:
                    progress(done, total, f"{run} held out, C_{level}")
    return cues


def _labels(clipset: ClipSet) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Return trial types, and the trial type and block number of each volume."""
    for name in ("trial_type", "block"):
        if name not in clipset.labels:
            raise DataError(f"{clipset.subject}: cross-validation needs the label {name}, got {sorted(clipset.labels)}")
    if len(set(clipset.groups.tolist())) < 3:
        raise DataError(f"{clipset.subject}: cross-validation needs at least 3 runs; import more runs")
    kinds, kind_of = np.unique(clipset.labels["trial_type"], return_inverse=True)
    block_of = np.unique(clipset.labels["block"], return_inverse=True)[1]
    return [str(kind) for kind in kinds], kind_of, block_of


def _train(
    fmri: Array, text: Array, runs: NDArray[np.str_], config: SADConfig, loop: LoopConfig, n_volumes: int, seed: int
) -> SAD:
    """Train one SAD on volumes (n, n_volumes * n_voxels), codes (n, n_tokens, d_text) and their runs (n,)."""
    n_voxels = fmri.shape[1] // n_volumes
    sizes = Sizes(n_voxels={"all": n_voxels}, n_tokens=text.shape[1], d_text=text.shape[2], latent=(1, 1, 1))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        part = SAD(config, sizes, n_volumes)
    x, z = torch.from_numpy(fmri), torch.from_numpy(text)
    part.prepare(z)
    if config.linear_path:
        ridge_start(part, {"all": Lines(x, torch.arange(len(x)), runs)}, z, n_folds=len(np.unique(runs)))

    def loss(rows: Tensor, share: float, generator: torch.Generator) -> dict[str, Tensor]:
        return part.training_step(Batch({"all": x[rows]}, z[rows]), share, generator)

    with tempfile.TemporaryDirectory(prefix="neurovis-") as folder:
        fit(Task("fold", part, len(x), loss), loop, Path(folder), seed=seed, resume=False)
    return part


def _varies(z: Array) -> bool:
    return bool(np.abs(z - z.mean(0)).max() > 1e-4)


def similarities(cues: Mapping[str, Array], table: Mapping[str, Array]) -> Array:
    """Compare each decoded code with each trial type's: (n_volumes, n_types), averaged over levels.

    Codes are taken less their mean over the trial types and whitened by the trial types' own codes: captions that
    differ by a noun lie at very unequal distances in Z, and the nearest of them would be told by the longest
    difference alone. Both come from the captions, no label is used. The value is the projection of the decoded code
    on the direction of each trial type's; a block is the mean of codes, so it keeps their length.

    Parameters
    ----------
    cues, table : mapping of level to (n_volumes, n_tokens, d_text) and (n_types, n_tokens, d_text)
    """
    parts = []
    for level, z in table.items():
        if _varies(z):
            flat, centre = z.reshape(len(z), -1), z.mean(0).reshape(-1)
            directions, scale, axes = np.linalg.svd(flat - centre, full_matrices=False)
            kept = scale > 1e-3 * scale[0]
            wanted = directions[:, kept] / np.linalg.norm(directions[:, kept], axis=1, keepdims=True)
            found = (cues[level].reshape(len(cues[level]), -1) - centre) @ axes[kept].T / scale[kept]
            parts.append(found @ wanted.T)
    if not parts:
        raise DataError("no level of caption tells the trial types apart; give them different captions")
    return np.asarray(np.mean(parts, axis=0), dtype=np.float32)


def mean_blocks(clipset: ClipSet) -> ClipSet:
    """Return one clip per block: the mean fMRI and the mean cues of its volumes."""
    blocks, first, block_of = np.unique(clipset.labels["block"], return_index=True, return_inverse=True)
    count = np.bincount(block_of).astype(np.float32)

    def mean(values: NDArray[Any]) -> Array:
        flat = values.reshape(len(values), -1)
        sums = np.zeros((len(blocks), flat.shape[1]), np.float64)
        np.add.at(sums, block_of, flat)
        return np.asarray((sums / count[:, None]).reshape(len(blocks), *values.shape[1:]), dtype=np.float32)

    order = np.argsort(first)
    return ClipSet(
        subject=clipset.subject,
        fmri=mean(clipset.mean_fmri())[order][:, None],
        voxel_ids=clipset.voxel_ids,
        space=clipset.space,
        clip_ids=blocks[order].astype(str),
        groups=clipset.groups[first[order]],
        tr=clipset.tr,
        present=np.ones((len(blocks), 1), bool),
        captions={level: text[first[order]] for level, text in clipset.captions.items()},
        labels={name: values[first[order]] for name, values in clipset.labels.items() if name != "volume"},
        cues={name: mean(np.asarray(values))[order] for name, values in clipset.cues.items()},
        simulated=clipset.simulated,
    )


def caption_codes(
    clipset: ClipSet, encode: Callable[[list[str]], Array], levels: tuple[str, ...] = LEVELS
) -> dict[str, dict[str, Array]]:
    """Embed the captions of each trial type: level -> trial type -> (n_tokens, d_text)."""
    kinds, first = np.unique(clipset.labels["trial_type"], return_index=True)
    given = [level for level in levels if level in clipset.captions]
    if not given:
        raise DataError(f"{clipset.subject}: no captions; import the data set with a captions file")
    found = {}
    for level in given:
        values = np.asarray(encode([str(text) for text in clipset.captions[level][first]]), dtype=np.float32)
        found[level] = {str(kind): value for kind, value in zip(kinds, values, strict=True)}
    return found
