"""Random state of a training: python's, numpy's and torch's generators, seeded by epoch, saved and put back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Far apart, so that no process of one epoch draws what another draws in the next.
_BETWEEN_EPOCHS, _BETWEEN_PROCESSES = 1_000_003, 7_919_000_017


@contextmanager
def borrowed() -> Iterator[None]:
    """Give python, numpy and torch the random state back that they had before the block."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


class Randomness:
    """All random state of one process of a training.

    Parameters
    ----------
    seed : int
    rank : int
        Number of this process; process 0 draws what a training of one process draws.

    Attributes
    ----------
    generator : torch.Generator
        Draws data order and whatever a loss is given it for.
    """

    def __init__(self, seed: int, rank: int = 0) -> None:
        self.seed, self.rank = seed, rank
        self.generator = torch.Generator()

    def begin(self, epoch: int, n_samples: int) -> Tensor:
        """Seed everything for an epoch and return its data order (n_samples,), the same in every process."""
        number = self.seed * _BETWEEN_EPOCHS + epoch
        self.generator.manual_seed(number)
        order = torch.randperm(n_samples, generator=self.generator)
        if self.rank:
            number += self.rank * _BETWEEN_PROCESSES
            self.generator.manual_seed(number)
        torch.manual_seed(number)
        random.seed(number)
        np.random.seed(number % 2**32)  # noqa: NPY002
        return order

    def state(self) -> dict[str, Any]:
        """Return the present state as JSON values."""
        version, numbers, gauss = random.getstate()
        name, keys, place, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
        return {
            "python": [version, list(numbers), gauss],
            "numpy": [name, np.asarray(keys).tolist(), int(place), int(has_gauss), float(cached)],
            "torch": _hex(torch.get_rng_state()),
            "generator": _hex(self.generator.get_state()),
            "cuda": [_hex(one) for one in torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else [],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state` returned; the generators of cards that are no longer there are left out."""
        version, numbers, gauss = state["python"]
        random.setstate((version, tuple(numbers), gauss))
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, np.asarray(keys, dtype=np.uint32), *rest))  # noqa: NPY002
        torch.set_rng_state(_tensor(state["torch"]))
        self.generator.set_state(_tensor(state["generator"]))
        if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([_tensor(one) for one in state["cuda"]])


def _hex(state: Tensor) -> str:
    return bytes(state.cpu().numpy()).hex()


def _tensor(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
