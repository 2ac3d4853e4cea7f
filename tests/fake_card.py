"""A graphics card that only remembers shapes: runs a program's steps where there is none, and tells where they wait.

torch's fake tensors know shape, type and device and hold no numbers. What lies on the processor stays real, so that a
program's own draws and decisions are made as ever; only what is put on the card is fake. An operation for which the
processor would have to wait until the card has caught up is written down.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
# Their result, or its shape, is known to the processor only when the card has worked it out.
_READS = {
    aten._local_scalar_dense, aten.item, aten.nonzero, aten.masked_select, aten.equal, aten.is_nonzero, aten._unique2,
    aten.unique_dim, aten.bincount,
}  # fmt: skip
_COPIES = {aten._to_copy, aten.copy_}
_PICKS = {aten.index, aten.index_put, aten.index_put_}


class FakeCard(TorchDispatchMode):
    """Within this block ``cuda`` is a device that has shapes and no numbers.

    Attributes
    ----------
    waits : list of str
        Operations for which the processor would wait for the card.
    n_operations : int
        Operations on the card so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.waits: list[str] = []
        self.n_operations = 0

    def __enter__(self) -> FakeCard:
        self.fake.__enter__()  # below this mode: torch then looks for no driver
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.fake.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        here = any(isinstance(x, FakeTensor) and x.device.type == "cuda" for x in leaves)
        if not here and not any(isinstance(x, torch.device) and x.type == "cuda" for x in leaves):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        self.n_operations += 1
        self._watch(func, args, kwargs, leaves)
        return func(*args, **kwargs)

    def _watch(self, func: Any, args: Any, kwargs: Any, leaves: list[Any]) -> None:
        kind = func.overloadpacket
        devices = {x.device.type for x in leaves if isinstance(x, torch.Tensor)}
        if kind in _COPIES:
            target = kwargs.get("device") if kind is aten._to_copy else args[0].device
            devices |= {torch.device(target).type} if target is not None else set()
            # A processor's scalar that is copied into an array travels with the command.
            scalar = kind is aten.copy_ and args[1].ndim == 0 and args[1].device.type == "cpu"
            waits = len(devices) > 1 and not kwargs.get("non_blocking", len(args) > 2 and args[2]) and not scalar
        elif kind in _PICKS:
            places = [x for x in args[1] if x is not None]
            waits = any(
                x.dtype == torch.bool or (x.device.type == "cpu" and args[0].device.type != "cpu") for x in places
            )
        else:
            waits = kind in _READS
        if waits:
            self.waits.append(f"{func} {[tuple(x.shape) for x in leaves if isinstance(x, torch.Tensor)]}")
