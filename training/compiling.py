"""Compile the parts of a decoder that its training step calls, in place, so that weights keep their names.

The layers that read one subject's voxels stay as they are: how many samples of a subject a batch holds changes from
step to step, and each new number would be compiled anew. What follows sees whole batches of one size.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from pipeline.errors import ConfigError
from pipeline.methods.semvideo import MAD, SAD
from training.progress import ProgressLog


def parts_of(module: nn.Module) -> list[nn.Module]:
    """Return what is compiled of a decoder: what follows the mapper, as ``training_step`` calls it.

    Raises
    ------
    ConfigError
        For any other network.
    """
    if isinstance(module, SAD):
        return [module.mlp] if module.refiner is None else [module.mlp, module.refiner]
    if isinstance(module, MAD):
        return [module.projection, module.middle, *module.fusions, *module.blocks]
    raise ConfigError(f"compile: only SAD and MAD can be compiled, got {type(module).__name__}; set compile to false")


def missing_tools(device: str) -> str | None:
    """Return what this machine lacks to compile for a device (``cpu`` or a card), or None where all is there."""
    if device == "cpu":
        what, named, usual = "C++ compiler", "CXX", {"darwin": ["clang++"], "win32": ["cl"]}.get(sys.platform, ["g++"])
    else:
        what, named, usual = "C compiler", "CC", ["gcc", "clang"]
        if find_spec("triton") is None:
            return "the package triton"
    names = [os.environ[named]] if os.environ.get(named) else usual
    if not any(shutil.which(name) for name in names):
        return f"a {what} ({' or '.join(names)})"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        return "Python's own header files (Python.h)"
    return None


def check(device: str) -> None:
    """Raise ConfigError where this machine cannot compile for a device."""
    lacking = missing_tools(device)
    if lacking is not None:
        raise ConfigError(
            f"compile: needs {lacking} to compile for {device}, which is not there; install it, or set compile to false"
        )


@contextmanager
def compiled(module: nn.Module, wanted: bool, device: str, log: ProgressLog) -> Iterator[None]:
    """Let a decoder's parts run compiled in this block; outside of it, and in its files, nothing shows.

    Parameters
    ----------
    module : SAD or MAD
    wanted : bool
        False does nothing.
    device : str
    log : ProgressLog
        Is told where compiling is of no use.

    Raises
    ------
    ConfigError
        Where it cannot be compiled.
    """
    if not wanted:
        yield
        return
    parts = parts_of(module)
    check(device)
    if device == "cpu":
        log.write("note", message="compile is meant for a graphics card: on cpu it is of no use, and takes its time")
    # Of the object, beside its class's: found first when the part is called, gone when it is taken away again.
    for part in parts:
        setattr(part, "forward", torch.compile(part.forward))  # noqa: B010
    try:
        yield
    finally:
        for part in parts:
            delattr(part, "forward")


def uncompiled(wanted: bool) -> AbstractContextManager[object]:
    """Let compiled parts run as they were written: scoring has batches of other sizes, once an epoch."""
    return torch.compiler.set_stance("force_eager") if wanted else nullcontext()
