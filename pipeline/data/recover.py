"""Find again which grayordinate each voxel of preprocessed CC2017 data is, from the subject's raw CIFTI files.

The preprocessed download says nothing of positions, but its time courses are those of some grayordinates. The raw runs
are cleaned as :mod:`pipeline.data.cc2017_reader` cleans them, and every voxel is compared with every grayordinate:

1. on at most :data:`N_MATCH` training segments, the voxel's best grayordinate, and the runner-up, by the correlation of
   the mean over repeats (which does not depend on the order of the repeats);
2. the match is accepted only where *all* of it holds: every voxel correlates with its best by :data:`MIN_R` or more;
   what its best leaves unexplained (1 - r) is at most a :data:`MARGIN`-th of what the runner-up leaves; no two voxels
   share a grayordinate;
3. on other training segments, which step 1 has not seen, every voxel correlates with its match by :data:`MIN_R` or more
   and by more than with the runner-up.

One voxel that fails is enough to refuse, with what was found; nothing is guessed and nothing is changed then. The
volumes that a clip's response was taken from may differ (the papers speak of a lag of 4 s): the shift is found on some
voxels first, and steps 2 and 3 judge it with the rest.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clipset import ClipSet
from pipeline.data import store
from pipeline.data.cc2017 import Cc2017Layout, scan_cc2017
from pipeline.data.images import read_cifti
from pipeline.data.importing import locked
from pipeline.data.options import Progress
from pipeline.data.preprocess import clean_run, trim_window
from pipeline.data.registry import describe
from pipeline.errors import ConfigError, DataError
from pipeline.paths import atomic_file, atomic_folder, write_json
from pipeline.paths import home as working_folder

Array = NDArray[np.float32]
MIN_R, MARGIN = 0.95, 4.0
# A grayordinate that equals its neighbour to the last digits cannot be told from it.
MIN_LEFT = 1e-4
N_MATCH, N_VERIFY, N_SCOUTS = 3, 2, 64
SHIFTS = (0, -1, 1, 2, 3, 4)
BLOCK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Recovery:
    """What was found about one subject.

    Parameters
    ----------
    subject : str
    n_voxels, n_grayordinates : int
    shift : int
        Volumes between the trim's first volume and the one used here.
    segments, verified_on : tuple of str
        Training segments of steps 1 and 3.
    lowest_r, median_r, lowest_verified_r : float
        Over voxels, with the best grayordinate.
    largest_ratio : float
        Of (1 - r) of the best and of the runner-up; 0 is a clear match, 1 none.
    n_unlike, n_unclear, n_shared, n_unverified : int
        Voxels that fail: below ``MIN_R``, without margin, two on one grayordinate, not confirmed.
    """

    subject: str
    n_voxels: int
    n_grayordinates: int
    shift: int
    segments: tuple[str, ...]
    verified_on: tuple[str, ...]
    lowest_r: float
    median_r: float
    largest_ratio: float
    lowest_verified_r: float
    n_unlike: int
    n_unclear: int
    n_shared: int
    n_unverified: int

    @property
    def accepted(self) -> bool:
        """Whether every voxel passed every check."""
        return not (self.n_unlike or self.n_unclear or self.n_shared or self.n_unverified)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "accepted": self.accepted}

    def text(self) -> str:
        """Word what was found."""
        return (
            f"{self.subject}: {self.n_voxels:,} voxels against {self.n_grayordinates:,} grayordinates, shift "
            f"{self.shift:+d} volumes; r with the best {self.lowest_r:.4f} at least, {self.median_r:.4f} in the "
            f"middle, {self.lowest_verified_r:.4f} at least on {', '.join(self.verified_on)}; {self.n_unlike} below "
            f"{MIN_R}, {self.n_unclear} without margin, {self.n_shared} sharing a grayordinate, {self.n_unverified} "
            "not confirmed"
        )


@dataclass(frozen=True)
class _Raw:
    """Raw runs of a few segments: mean over repeats of the cleaned series, for any shift."""

    ids: NDArray[np.int64]
    runs: dict[str, list[Array]]
    n_clips: int

    def course(self, segments: tuple[str, ...], shift: int, columns: NDArray[np.int64] | None = None) -> Array | None:
        """Unit-norm time courses (n_clips * n_segments, n_columns); None where a run is too short for the shift."""
        parts = []
        for segment in segments:
            windows = []
            for data in self.runs[segment]:
                try:
                    window = trim_window(len(data), self.n_clips, shift, segment)
                except DataError:
                    return None
                windows.append(clean_run(data[window] if columns is None else data[window][:, columns]).data)
            parts.append(_mean(windows))
        return _unit(parts)


def recover_index(
    name: str,
    raw: str | os.PathLike[str],
    home: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> list[Recovery]:
    """Find the positions of all subjects' voxels and write them into the imported data set.

    Every subject is matched before the first is written; each is written whole or not at all.

    Parameters
    ----------
    name : str
        A data set imported from preprocessed CC2017 tensors.
    raw : path
        The raw CC2017 folder of the same subjects.
    home : path, optional
    progress : callable, optional
        Called with (done, total, what).

    Raises
    ------
    ConfigError
        Unknown data set, or one whose voxels have positions.
    DataError
        A subject without raw files, damaged files, or a match that is not beyond doubt; nothing is changed then.
    """
    card = describe(name, home)
    if card.space != "unknown":
        raise ConfigError(
            f"{name}: its voxels have positions already ({card.space or 'not imported'}); nothing to find"
        )
    root = Path(raw).expanduser().resolve()
    if not root.is_dir():
        raise DataError(f"{root}: expected the raw CC2017 folder, got nothing; give it with --raw")
    layout = scan_cc2017(root)
    folder = working_folder(home) / "datasets" / name
    found = []
    with locked(folder):
        for entry in card.subjects:
            result, ids, tsnr = match_subject(folder, entry["subject"], layout, progress)
            if not result.accepted:
                raise DataError(
                    f"{result.text()}; the match is not beyond doubt, so nothing was changed: check that {root} holds "
                    f"the raw runs of {result.subject}"
                )
            found.append((result, ids, tsnr))
        for result, ids, tsnr in found:
            _write(folder / result.subject, result, ids, tsnr)
    return [result for result, _, _ in found]


def match_subject(
    folder: Path, subject: str, layout: Cc2017Layout, progress: Progress | None = None
) -> tuple[Recovery, NDArray[np.int64], Array]:
    """Match one subject's voxels; return what was found, their grayordinates and tSNR (n_voxels,)."""
    if subject not in layout.subjects:
        raise DataError(f"{subject}: expected its raw runs in {layout.root}, got {', '.join(layout.subjects)}")
    clips = store.read_split(folder, subject, "train")
    ours = _segments(clips.groups, layout, subject)
    n_match = min(N_MATCH, len(ours) - 1)
    match, verify = ours[:n_match], ours[n_match : n_match + N_VERIFY]
    loaded, tsnr = _load(layout, subject, (*match, *verify), progress)
    rows = {s: np.flatnonzero(clips.groups == s) for s in (*match, *verify)}
    wanted, held_out = (_unit([_course(clips.take(rows[s])) for s in part]) for part in (match, verify))
    shift = _shift(wanted, loaded, match)
    course = loaded.course(match, shift)
    assert course is not None
    best, r, second, r_second = _best_two(wanted, course, progress)
    places, others = loaded.course(verify, shift, best), loaded.course(verify, shift, second)
    assert places is not None and others is not None
    confirmed = np.einsum("tv,tv->v", held_out, places)
    rival = np.einsum("tv,tv->v", held_out, others)
    left, left_second = np.maximum(1 - r, 0), np.maximum(1 - r_second, 0)
    unclear = (left * MARGIN > left_second) | (left_second < MIN_LEFT)
    counts = np.bincount(best, minlength=course.shape[1])
    result = Recovery(
        subject=subject,
        n_voxels=len(best),
        n_grayordinates=course.shape[1],
        shift=shift,
        segments=match,
        verified_on=verify,
        lowest_r=round(float(r.min()), 6),
        median_r=round(float(np.median(r)), 6),
        largest_ratio=round(float((left / np.maximum(left_second, 1e-12)).max()), 6),
        lowest_verified_r=round(float(confirmed.min()), 6),
        n_unlike=int((r < MIN_R).sum()),
        n_unclear=int(unclear.sum()),
        n_shared=int((counts[best] > 1).sum()),
        n_unverified=int(((confirmed < MIN_R) | (confirmed <= rival)).sum()),
    )
    return result, loaded.ids[best], tsnr[best]


def _course(clips: ClipSet) -> Array:
    """Mean over the recorded repeats of one segment (n_clips, n_voxels).

    Each repeat is cleaned first, as the raw ones are: a drift that the data came with would else change its weight.
    """
    recorded = np.flatnonzero(clips.present.all(axis=0))
    return _mean([clean_run(clips.fmri[:, repeat]).data for repeat in recorded])


def _mean(arrays: list[Array]) -> Array:
    return np.asarray(np.stack(arrays).mean(axis=0, dtype=np.float64), dtype=np.float32)


def _shift(wanted: Array, raw: _Raw, segments: tuple[str, ...]) -> int:
    """Find the shift, in volumes, at which some of the voxels resemble their best grayordinates most."""
    scouts = np.unique(np.linspace(0, wanted.shape[1] - 1, N_SCOUTS).astype(int))
    likeness = {}
    for shift in SHIFTS:
        course = raw.course(segments, shift)
        if course is not None:
            likeness[shift] = float(np.median(_best_two(wanted[:, scouts], course)[1]))
    return max(likeness, key=lambda s: likeness[s])


def _segments(groups: NDArray[np.str_], layout: Cc2017Layout, subject: str) -> tuple[str, ...]:
    """Training segments that both sides hold whole, in order; at least one to match on and one to verify on."""
    raw = layout.subjects[subject]
    counts = {str(g): int((groups == g).sum()) for g in dict.fromkeys(groups.tolist())}
    both = tuple(s for s, n in counts.items() if s in raw and n == layout.n_clips)
    if len(both) < 2:
        raise DataError(
            f"{subject}: expected two or more training segments of {layout.n_clips} clips on both sides, one to match "
            f"on and one to verify on, got {len(both)}; the raw folder or the import is not whole"
        )
    return both


def _load(
    layout: Cc2017Layout, subject: str, segments: tuple[str, ...], progress: Progress | None
) -> tuple[_Raw, Array]:
    """Read the raw runs of some segments; also the tSNR of every grayordinate over them."""
    ids: NDArray[np.int64] | None = None
    runs: dict[str, list[Array]] = {}
    tsnr = []
    for number, segment in enumerate(segments):
        if progress:
            progress(number, len(segments), f"{subject} {segment}")
        for repeat, path in layout.subjects[subject][segment].items():
            if (subject, segment, repeat) in layout.bad_runs:
                continue
            gray = read_cifti(path)
            if ids is not None and not np.array_equal(ids, gray.voxel_ids):
                raise DataError(
                    f"{path}: expected the {len(ids)} vertices of the runs before, got {len(gray.voxel_ids)}"
                )
            ids = gray.voxel_ids
            window = trim_window(len(gray.data), layout.n_clips, 0, str(path))
            tsnr.append(clean_run(gray.data[window]).tsnr)
            runs.setdefault(segment, []).append(gray.data)
    assert ids is not None
    return _Raw(ids, runs, layout.n_clips), _mean(tsnr)


def _unit(parts: list[Array]) -> Array:
    """Put segments one after the other; centre every column and give it the norm 1 (0 where it is constant)."""
    whole = np.concatenate(parts)
    whole -= whole.mean(axis=0, dtype=np.float64).astype(np.float32)
    norm = np.linalg.norm(whole, axis=0)
    return np.asarray(whole / np.where(norm > 0, norm, 1), dtype=np.float32)


def _best_two(
    wanted: Array, course: Array, progress: Progress | None = None
) -> tuple[NDArray[np.int64], Array, NDArray[np.int64], Array]:
    """Best and second-best column of ``course`` for each column of ``wanted``, and their correlations.

    In blocks of columns, so that the product never takes more than :data:`BLOCK_BYTES`.
    """
    n_wanted, n_course = wanted.shape[1], course.shape[1]
    if n_course < 2:
        raise DataError(f"expected two grayordinates or more to choose from, got {n_course}")
    step = max(1, BLOCK_BYTES // (4 * n_course))
    best, second = np.zeros(n_wanted, np.int64), np.zeros(n_wanted, np.int64)
    r, r_second = np.zeros(n_wanted, np.float32), np.zeros(n_wanted, np.float32)
    for start in range(0, n_wanted, step):
        if progress:
            progress(start, n_wanted, "matching voxels")
        block = slice(start, min(start + step, n_wanted))
        product = wanted[:, block].T @ course
        rows = np.arange(len(product))
        best[block] = product.argmax(axis=1)
        r[block] = product[rows, best[block]]
        product[rows, best[block]] = -2
        second[block] = product.argmax(axis=1)
        r_second[block] = product[rows, second[block]]
    return best, r, second, r_second


def _write(folder: Path, result: Recovery, ids: NDArray[np.int64], tsnr: Array) -> None:
    """Put the positions into an imported subject, all at once; voxels that were left out have none and go."""
    from safetensors.numpy import save_file

    record = store.read_record(folder / "subject.json")
    known = store.read_tensors(folder / "quality.safetensors")
    quality = {k: v[known["selected"] > 0] for k, v in known.items()} | {"voxel_ids": ids, "tsnr": tsnr}
    record["space"] = {"kind": "fs_LR_32k", "shape": None, "affine": None}
    record["n_voxels_seen"] = len(ids)
    record["notes"] = [note for note in record["notes"] if "recover-index" not in note]
    record["notes"].append(f"positions found again from the raw files: {result.text()}")
    record["recovery"] = result.to_dict()
    with atomic_folder(folder) as temporary:
        for path in folder.iterdir():
            try:
                os.link(path, temporary / path.name)
            except OSError:  # a disk without hard links
                shutil.copy2(path, temporary / path.name)
        for file, arrays in (("voxels", {"voxel_ids": ids}), ("quality", quality)):
            with atomic_file(temporary / f"{file}.safetensors") as path:
                save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path)
        write_json(temporary / "subject.json", record)
