"""What stands against a training, found before it starts: a sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError, DataError, ResourceError
from pipeline.paths import check_space
from training.config import Plan, TrainingConfig, plan, replace

if TYPE_CHECKING:
    from pipeline.data import DatasetCard

# A guess at what the libraries and the phantom's models take before the first clip is read; the training itself
# reckons more exactly once it has read the data, and refuses then.
BASE_MEMORY = 800e6
BASE_DISK = 200e6


def check_training(
    settings: TrainingConfig,
    subjects: Sequence[str],
    home: Path,
    *,
    resume: bool,
    local: bool = True,
    device: str | None = None,
) -> None:
    """Refuse a training that cannot go well.

    Parameters
    ----------
    settings : TrainingConfig
        With ``out`` settled.
    subjects : sequence of str
        Those that are trained on.
    home : Path
        Working folder.
    resume : bool
        An earlier run in ``out`` is then wanted; else it is refused.
    local : bool
        Whether it runs on this machine, whose memory and devices are then looked at.
    device : str, optional
        ``cpu`` or ``cuda:N``, by default the config's own.

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    from pipeline.data import describe

    card = describe(settings.dataset, home)
    settled = plan(settings.method, settings.plan_overrides)
    if settings.method_overrides:  # only then, since the networks' module loads torch
        from pipeline.methods.semvideo import preset

        replace(preset(settings.method), settings.method_overrides)
    out = Path(str(settings.out))
    if (out / "stages").exists() and not resume:
        raise ConfigError(f"{out}: holds an earlier run; resume that one, or set another `out`")
    _check_files(settings, card, subjects, home)
    if local:
        _check_device(device or settings.device)
        _check_compile(settled, device or settings.device)
        need = BASE_MEMORY + 2 * data_bytes(card, subjects)
        _check_memory(settings, need)
    check_space(out, int(BASE_DISK))


def data_bytes(card: DatasetCard, subjects: Sequence[str]) -> float:
    """Return the bytes of the recordings that a training holds in memory, as far as the card tells them."""
    found = [entry for entry in card.subjects if entry["subject"] in subjects]
    return float(sum(entry["n_voxels"] * _samples(entry) * 4 for entry in found))


def _samples(entry: dict[str, object]) -> int:
    clips, repeats = entry["n_clips"], entry["n_repeats"]
    assert isinstance(clips, dict)
    times = int(repeats.get("train", 1)) if isinstance(repeats, dict) else 1
    return times * (int(clips.get("train", 0)) + int(clips.get("val", 0)))


def _check_files(settings: TrainingConfig, card: DatasetCard, subjects: Sequence[str], home: Path) -> None:
    """Refuse a data set whose card is there but whose arrays are gone; a built-in one is made again."""
    there = {str(entry["subject"]) for entry in card.subjects}
    for subject in subjects:
        folder = home / "datasets" / settings.dataset / subject
        if subject in there and not (folder / "train.safetensors").is_file() and not card.built_in:
            raise DataError(f"{settings.dataset} {subject}: {folder} holds no recordings any more; import it again")


def _check_memory(settings: TrainingConfig, need: float) -> None:
    import psutil

    free = psutil.virtual_memory().available
    if free < need:
        raise ResourceError(
            f"{settings.dataset}: training needs about {need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; "
            "close other programs or train on fewer subjects"
        )


def _check_device(device: str) -> None:
    """Refuse an accelerator that this machine does not have; only asked where one is named, since it loads torch."""
    if device == "cpu":
        return
    import torch

    index = int(device.partition(":")[2] or 0)
    if torch.cuda.device_count() <= index:
        raise ResourceError(f"device {device} is not there; choose cpu, or run where there is one")


def _check_compile(settled: Plan, device: str) -> None:
    """Refuse to compile without a compiler; only asked where it is wanted, since it loads torch."""
    loops = [loop for part in (settled.sad, settled.mad) for loop in (part.pretrain, part.finetune) if loop]
    if any(loop.compile for loop in loops):
        from training.compiling import check

        check(device)
