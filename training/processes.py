"""The processes of one training: one, unless `accelerate launch` started several; what they do together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError
from training.config import LoopConfig

Value = TypeVar("Value")


def rank() -> int:
    """Return the number of this process, which the launcher tells; 0 where there is no other."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def count() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def with_precision(config: LoopConfig, device: str) -> LoopConfig:
    """Return the config with ``auto`` replaced by the arithmetic that is used on ``device``."""
    if config.mixed_precision != "auto":
        return config
    able = device != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return config.model_copy(update={"mixed_precision": "bf16" if able else "no"})


def accelerator(config: LoopConfig, device: str, trackers: tuple[str, ...] = (), tracked: Path | None = None) -> Any:
    """Return accelerate's Accelerator for one run of the loop.

    Parameters
    ----------
    config : LoopConfig
        From :func:`with_precision`.
    device : str
        ``cpu``, or the accelerator that accelerate finds.
    trackers : tuple of str
        By accelerate's names.
    tracked : Path, optional
        Folder of what the trackers write.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    if config.mixed_precision == "fp16" and device == "cpu":
        raise ConfigError("mixed_precision fp16 needs a graphics card; take bf16 or no on cpu, or set device to cuda")
    # The state is one per process and keeps its first precision and device; each run here chooses its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    # A batch need not hold every subject, so a process may leave a mapper without a gradient.
    ddp = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.accumulate,
        log_with=list(trackers) or None,
        project_dir=str(tracked) if tracked else None,
        kwargs_handlers=[ddp],
    )


def prepare(device: str) -> None:
    """Let the processes find each other, and each choose its card; call before anything is put on a device."""
    if count() > 1:
        from accelerate import PartialState

        PartialState(cpu=device == "cpu")


def from_first(value: Value) -> Value:
    """Return the first process's value in every process."""
    if count() == 1:
        return value
    from accelerate.utils import broadcast_object_list

    (found,) = broadcast_object_list([value])
    result: Value = found
    return result


def by_first(write: Callable[[], Value]) -> Value | None:
    """Let the first process write, the others wait until it is done."""
    result = write() if rank() == 0 else None
    if count() > 1:
        torch.distributed.barrier()
    return result


def gathered(value: Value) -> list[Value]:
    """Return the values of all processes in every process."""
    if count() == 1:
        return [value]
    from accelerate.utils import gather_object

    return list(gather_object([value]))


def mean_of_all(terms: Mapping[str, Tensor], accelerate: Any) -> dict[str, float]:
    """Return the terms (scalars) as numbers, averaged over the processes."""
    if count() == 1:
        return {name: float(value.detach()) for name, value in terms.items()}
    values = accelerate.reduce(torch.stack([value.detach().double() for value in terms.values()]), "mean")
    return dict(zip(terms, values.tolist(), strict=True))


def any_of_all(flags: list[bool], accelerate: Any) -> list[bool]:
    """Return, for each flag, whether it is set in any process."""
    if count() == 1:
        return flags
    found = accelerate.reduce(torch.tensor(flags, dtype=torch.float32, device=accelerate.device), "sum")
    return [value > 0 for value in found.tolist()]


def batch_size(name: str, config: LoopConfig, n_samples: int) -> int:
    """Return the samples of a step: the config's, or as many as there are, in equal parts.

    Raises
    ------
    ConfigError
        When a part would hold fewer than two samples, which no contrastive loss can use, or the parts are unequal.
    """
    parts = config.accumulate * count()
    if config.batch_size % parts:
        raise ConfigError(
            f"{name}: batch_size {config.batch_size} cannot be cut into {config.accumulate} parts for each of "
            f"{count()} processes; choose a multiple of {parts}"
        )
    size = min(config.batch_size, n_samples) // parts * parts
    if size < 2 * parts:
        raise ConfigError(
            f"{name}: a step of {min(config.batch_size, n_samples)} samples in {parts} parts leaves fewer than 2 "
            "samples a part; lower accumulate, take fewer processes, or add runs"
        )
    return size


@dataclass(frozen=True, eq=False)
class Sealed:
    """A batch that no wrapper looks into.

    torch's wrapper for several cards would move every array of a batch to the card, the sample numbers too, which
    index arrays in main memory.
    """

    batch: Any


class Step(nn.Module):
    """A loss as a module's forward pass, so that accelerate can wrap it like any network."""

    def __init__(self, module: nn.Module, loss: Callable[..., dict[str, Tensor]]) -> None:
        super().__init__()
        self.module, self._loss = module, loss

    def forward(self, sealed: Sealed, share: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the named losses of a batch."""
        return self._loss(sealed.batch, share, generator)
