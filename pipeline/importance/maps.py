"""The importance maps of one checkpoint: statistic, reliability, null and region table for each module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.clipset import ClipSet, VoxelSpace
from pipeline.errors import CheckpointError, ConfigError, DataError
from pipeline.importance.inference import RegionRow, adjust, check_draws, region_table, split_half
from pipeline.importance.jackknife import region_intervals
from pipeline.importance.permutation import permutation, targets_of
from pipeline.importance.shifts import n_shifts, region_names, shift_test
from pipeline.importance.statistics import PERMUTATION, STATISTICS, check_statistic, scaled
from pipeline.importance.study import Array, Study, check_modules, regions_of, study_of
from pipeline.paths import home as working_folder
from pipeline.provenance import find_decoder

if TYPE_CHECKING:
    from pipeline.backbones import World
    from pipeline.checkpoints import Checkpoint

Progress = Callable[[int, int, str], None]
PANELS = ("anchor", "motion", "holi")


@dataclass(frozen=True)
class Settings:
    """What to compute.

    Parameters
    ----------
    statistic : str
        See ``pipeline.importance.statistics.NAMES``.
    modules : tuple of str
        When empty, the three of the paper's figures where the method has them, else all of its own.
    parcellation : {"mmp1"}
    correction : {"benjamini-hochberg", "holm", "none"}
    n_null : int, optional
        Shifts of a pattern's null, at least; 0: no test. Default: as many as the correction needs for the regions
        that there are, where the recording has as many clips.
    n_bootstrap, n_shuffles, seed : int
    """

    statistic: str = "pattern"
    modules: tuple[str, ...] = ()
    parcellation: str = "mmp1"
    correction: str = "benjamini-hochberg"
    n_null: int | None = None
    n_bootstrap: int = 1000
    n_shuffles: int = 3
    seed: int = 0


@dataclass(frozen=True)
class ImportanceMap:
    """One module's map of one subject.

    Parameters
    ----------
    subject, module, statistic : str
    values : (n_voxels,) float32
        The statistic itself; ``scaled`` is what is drawn and exported, 0..1.
    voxel_ids : (n_voxels,) int64
    space : VoxelSpace
    reliability : float
        Split-half correlation over voxels, NaN where the statistic has no halves.
    voxel_p : (n_voxels,) float32 or None
        Of a pattern: each voxel against its own null, the region's own voxels left out; NaN for those in no region.
        None for other statistics, and for a volume, whose neighbourhoods are not known.
    table : tuple of RegionRow
        Empty for a volume.
    simulated : bool
    n_shifts : int
        Of the null.
    note : str
        What these shifts cannot establish; empty where they are enough.
    """

    subject: str
    module: str
    statistic: str
    values: Array
    voxel_ids: NDArray[np.int64]
    space: VoxelSpace
    reliability: float
    voxel_p: Array | None = None
    table: tuple[RegionRow, ...] = field(default=(), repr=False)
    simulated: bool = False
    n_shifts: int = 0
    note: str = ""

    @property
    def above_null(self) -> float | None:
        """Share of the tested voxels at p <= 0.05, which is 0.05 by chance; None where none is tested."""
        if self.voxel_p is None or not np.isfinite(self.voxel_p).any():
            return None
        return float((self.voxel_p[np.isfinite(self.voxel_p)] <= 0.05).mean())

    @property
    def scaled(self) -> Array:
        """The map scaled to [0, 1] over the subject's voxels."""
        return scaled(self.values)


def importance_maps(
    checkpoint: Checkpoint,
    train: ClipSet,
    settings: Settings,
    val: ClipSet | None = None,
    world: World | None = None,
    progress: Progress | None = None,
) -> dict[str, ImportanceMap]:
    """Compute the maps of a decoder's modules.

    Parameters
    ----------
    checkpoint : Checkpoint
    train : ClipSet
        Training runs of its subject.
    settings : Settings
    val : ClipSet, optional
        Validation runs, which ``permutation`` needs.
    world : World, optional
        Text encoder and VAE, which ``permutation`` needs.
    progress : callable, optional

    Returns
    -------
    dict of module to ImportanceMap

    Raises
    ------
    ConfigError
        Unknown statistic, module, parcellation or correction.
    DataError
        Voxels without position, an empty selection, or nothing to judge held-out decoding by.
    CheckpointError
        When the checkpoint is of other voxels, or a weight is not finite.
    """
    check_statistic(settings.statistic)
    study = study_of(checkpoint, train)
    usual = tuple(module for module in PANELS if module in study.layers)
    modules = check_modules(tuple(study.layers), settings.modules or usual)
    regions = regions_of(train.space, train.voxel_ids, settings.parcellation)
    if settings.statistic == PERMUTATION:
        return _permuted(checkpoint, train, modules, regions, settings, val, world, progress)
    adjust(np.zeros(0), settings.correction)
    n_regions = 0 if regions is None else len(region_names(regions))
    drawn = n_shifts(settings.statistic, len(train), n_regions, settings.n_null)
    tested = n_regions > 0 and STATISTICS[settings.statistic].sources is not None
    note = check_draws(train.subject, n_regions, drawn, settings.correction) if tested else ""
    found = {}
    for number, module in enumerate(modules):
        tell = _teller(progress, module, number, len(modules), n_regions)
        tell(0)
        values, voxel_p, table = _one_module(study, module, settings, train.subject, regions, tell)
        half = split_half(study, module, settings.statistic)
        facts = (train.subject, module, settings.statistic, values, train.voxel_ids, train.space, half)
        found[module] = ImportanceMap(*facts, voxel_p, tuple(table), train.simulated, drawn, note)
    return found


def _one_module(
    study: Study,
    module: str,
    settings: Settings,
    subject: str,
    regions: NDArray[np.str_] | None,
    tell: Callable[[int], None],
) -> tuple[Array, Array | None, Sequence[RegionRow]]:
    """Return a module's map, the voxels' p, and the table of regions."""
    statistic = settings.statistic
    names = (subject, module, statistic)
    values = STATISTICS[statistic].function(study, module)
    if regions is None:
        return values, None, ()
    test, intervals = shift_test(study, module, statistic, regions, settings.n_null, tell), None
    if test is not None:
        intervals = region_intervals(study, module, statistic, values, regions)
    args = (settings.n_bootstrap, settings.correction, settings.seed)
    table = region_table(values, regions, names, test, intervals, *args)
    return values, None if test is None else test.voxel_p, table


def _teller(
    progress: Progress | None, module: str, number: int, n_modules: int, n_regions: int
) -> Callable[[int], None]:
    """Return what tells of each tested region of a module, the modules taking equal shares."""
    steps = max(n_regions, 1)

    def tell(done: int) -> None:
        if progress:
            progress(number * steps + done, n_modules * steps, module)

    return tell


def _permuted(
    checkpoint: Checkpoint,
    train: ClipSet,
    modules: Sequence[str],
    regions: NDArray[np.str_] | None,
    settings: Settings,
    val: ClipSet | None,
    world: World | None,
    progress: Progress | None,
) -> dict[str, ImportanceMap]:
    """Paint each region's loss of held-out decoding over its voxels."""
    if regions is None:
        raise DataError(
            f"{train.subject}: permutation importance shuffles whole regions, and a volume has no parcellation here; "
            "use --statistic pattern"
        )
    if val is None or world is None:
        raise DataError(f"{train.subject}: permutation importance needs validation runs and the decoder's world")
    if set(val.groups.tolist()) & set(train.groups.tolist()):
        raise DataError(f"{train.subject}: validation runs must not be training runs; hold out whole runs")
    checkpoint.check(val)
    targets = targets_of(world, val, modules, checkpoint.model.config.n_frames)
    extra = (settings.n_shuffles, settings.n_bootstrap, settings.correction, settings.seed)
    tables = permutation(checkpoint.model, val, targets, regions, *extra, progress=progress)
    found = {}
    for module, (table, half) in tables.items():
        loss = {row.region: row.mean for row in table}
        values = np.array([loss.get(str(region), 0.0) for region in regions], np.float32)
        facts = (train.subject, module, PERMUTATION, values, train.voxel_ids, train.space, half)
        found[module] = ImportanceMap(*facts, table=tuple(table), simulated=train.simulated)
    return found


def find_checkpoints(
    run: str | None, checkpoint: Path | None, subjects: Sequence[str], home: Path | None = None
) -> dict[str, Path]:
    """Find the checkpoint folder of each subject.

    Parameters
    ----------
    run : str, optional
        A training run (folder, or name under ``training/`` of the working folder) or a run that the app shows.
    checkpoint : path, optional
        A checkpoint folder, or a folder of one per subject.
    subjects : sequence of str
        All that are there when empty.
    home : path, optional

    Returns
    -------
    dict of subject to Path

    Raises
    ------
    ConfigError
        When not exactly one of the two is given, or a run does not say what decoded it.
    CheckpointError
        When no checkpoint is there, or none of a subject.
    """
    if (run is None) == (checkpoint is None):
        raise ConfigError("name what to look into, with either --run or --checkpoint")
    folder = checkpoint if checkpoint is not None else _folder_of(str(run), home)
    if (folder / "config.json").is_file():
        from pipeline.checkpoints import read_about

        known = {str(subject): folder for subject in read_about(folder)["subjects"]}
    else:
        known = {path.parent.name: path.parent for path in sorted(folder.glob("*/config.json"))}
    if not known:
        raise CheckpointError(f"{folder}: holds no trained decoder; name a checkpoint, or a folder of one per subject")
    missing = [subject for subject in subjects if subject not in known]
    if missing:
        raise CheckpointError(f"{missing[0]}: {folder} holds the decoders of {', '.join(known)}; train it on that one")
    return {subject: known[subject] for subject in subjects or known}


def _folder_of(run: str, home: Path | None) -> Path:
    """Return the folder of the decoders of a run."""
    from pipeline.runs import discover

    base = working_folder(home)
    for folder in (Path(run), base / "training" / run):
        if folder.is_dir() and not (folder / "manifest.json").is_file():
            return folder
    for info in discover(base):
        if (info.name == run or info.path == Path(run)) and info.manifest is not None:
            return find_decoder(info.manifest).folder
    raise ConfigError(f"run {run!r} is neither a folder nor a run in {base}; name another, or use --checkpoint")


def likeness_table(maps: Mapping[str, ImportanceMap]) -> dict[str, float]:
    """Return how alike the maps of one subject's modules are: "anchor ~ motion" to the correlation over voxels."""
    from pipeline.importance.inference import likeness

    pairs = likeness({module: found.values for module, found in maps.items()})
    return {f"{one} ~ {other}": value for (one, other), value in pairs.items()}
