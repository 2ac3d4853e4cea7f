"""Read texts and tensors from PyTorch's .pt files without running the pickle inside.

A pickle is a small program: loading one runs it. Tensors are read by ``torch.load(weights_only=True)``, which refuses
every program but that of a tensor. Lists and numpy arrays of texts it refuses too, so :func:`read_texts` follows the
pickle's instructions by itself, one by one, and knows only those that lists and numpy's arrays of texts are made of: it
has no way to import or to call anything, and the first other instruction ends it.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError, ResourceError

if TYPE_CHECKING:
    import torch

MAX_PICKLE_BYTES = 256 * 2**20
MAX_TEXTS, MAX_DEPTH = 2_000_000, 4

# What numpy's arrays of texts name; "core" became "_core" in numpy 2.
RECONSTRUCT, SCALAR = "_reconstruct", "scalar"
KNOWN = {
    ("numpy.core.multiarray", RECONSTRUCT),
    ("numpy._core.multiarray", RECONSTRUCT),
    ("numpy.core.multiarray", SCALAR),
    ("numpy._core.multiarray", SCALAR),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
STORES = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
FETCHES = {"GET", "BINGET", "LONG_BINGET"}
VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MARK = object()


@dataclass
class _Name:
    """A name that the pickle wants imported; it never is."""

    module: str
    name: str


@dataclass
class _Made:
    """A dtype, array or numpy text: what it is, what it was made from, and its state."""

    kind: str
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass
class _Machine:
    """Follow a pickle that holds texts only.

    Parameters
    ----------
    where : str
        The file, for messages.
    """

    where: str
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, raw: bytes) -> Any:
        """Return what the pickle describes."""
        for opcode, argument, _ in pickletools.genops(raw):
            if opcode.name == "STOP":
                return self.stack.pop()
            self.step(opcode.name, argument)
        raise DataError(f"{self.where}: the pickle ends in the middle; fetch the file again")

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in STORES:
            self.memo[len(self.memo) if argument is None else int(argument)] = self.stack[-1]
        elif name in FETCHES:
            self.stack.append(self.memo[int(argument)])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self.name(argument)
        elif name == "REDUCE":
            arguments, called = self.stack.pop(), self.stack.pop()
            self.stack.append(self.made(called, arguments))
        elif name == "BUILD":
            state = self.stack.pop()
            if not isinstance(self.stack[-1], _Made):
                raise self.refused("sets the state of an object")
            self.stack[-1].state = state
        elif name not in ("PROTO", "FRAME"):
            self.gather(name)

    def gather(self, name: str) -> None:
        """Follow the instructions that build lists and tuples."""
        if name == "MARK":
            self.stack.append(MARK)
        elif name == "EMPTY_LIST":
            self.stack.append([])
        elif name == "EMPTY_TUPLE":
            self.stack.append(())
        elif name in TUPLES:
            cut = len(self.stack) - TUPLES[name]
            self.stack[cut:] = [tuple(self.stack[cut:])]
        elif name in ("TUPLE", "LIST"):
            items = self.marked()
            self.stack.append(tuple(items) if name == "TUPLE" else items)
        elif name in ("APPEND", "APPENDS"):
            items = [self.stack.pop()] if name == "APPEND" else self.marked()
            if not isinstance(self.stack[-1], list):
                raise self.refused("appends to what is no list")
            self.stack[-1].extend(items)
        else:
            raise self.refused(f"holds the instruction {name}")

    def name(self, argument: str | None) -> None:
        """Note a name that the pickle asks for; only those of numpy's arrays of texts pass."""
        if argument is None:
            name, module = self.stack.pop(), self.stack.pop()
        else:
            module, _, name = argument.partition(" ")
        if (module, name) not in KNOWN:
            raise self.refused(f"asks for {module}.{name}")
        self.stack.append(_Name(module, name))

    def made(self, called: Any, arguments: Any) -> Any:
        """Describe what a call of a known name would have made."""
        if not isinstance(called, _Name) or not isinstance(arguments, tuple):
            raise self.refused("calls what has no name")
        if called.name == "encode":
            text, encoding = arguments
            if encoding != "latin1":
                raise self.refused(f"encodes in {encoding}")
            return str(text).encode("latin1")
        if called.name == SCALAR:
            kind, raw = arguments
            return _texts_of(kind, raw, self.where)[0]
        if called.name not in ("dtype", RECONSTRUCT):
            raise self.refused(f"calls {called.name}")
        return _Made(called.name, arguments)

    def marked(self) -> list[Any]:
        """Take everything above the last mark, and the mark."""
        at = max(i for i, item in enumerate(self.stack) if item is MARK)
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def refused(self, what: str) -> DataError:
        """Word a refusal."""
        return DataError(
            f"{self.where}: expected texts only, but its pickle {what}, so it was refused and nothing of it was run; "
            "fetch the file from its authors, or give the captions with --captions FILE.json"
        )


def read_texts(path: Path) -> list[str]:
    """Read a list or numpy array of texts that was written by ``torch.save``; nothing in the file is executed.

    Parameters
    ----------
    path : Path
        A .pt file of PyTorch 1.6 or later (a zip).

    Returns
    -------
    list of str
        In the order of the file; an array of one column counts as a list.

    Raises
    ------
    DataError
        Missing or damaged file, an older format, a pickle that holds anything but texts.
    """
    raw = _pickle_of(path)
    texts: list[str] = []
    try:
        _flatten(_Machine(str(path)).run(raw), texts, 0, str(path))
    except DataError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, UnicodeError, OverflowError) as error:
        raise DataError(f"{path}: the pickle is damaged ({type(error).__name__}); fetch the file again") from error
    return texts


def open_tensor(path: Path) -> torch.Tensor:
    """Map one tensor of a .pt file into memory, without reading it and without running its pickle.

    Returns
    -------
    torch.Tensor
        On the CPU, read from disk where it is used.

    Raises
    ------
    DataError
        Missing, truncated or older format; a pickle that is not a tensor's; a shape that its bytes cannot fill.
    """
    import torch

    _check_zip(path)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except MemoryError as error:
        raise ResourceError(f"{path}: the tensor does not fit into memory") from error
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, KeyError, ... on damage
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise DataError(
            f"{path}: expected one tensor, the file cannot be read as such ({reason}); nothing of it was run, fetch "
            "it again"
        ) from error
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
        raise DataError(f"{path}: expected one tensor, got {type(value).__name__}; fetch the file again")
    # A view may claim more values than the file holds (a stride of 0); to copy it would fill the memory.
    claimed, there = math.prod(value.shape) * value.element_size(), value.untyped_storage().nbytes()
    if claimed > there:
        raise DataError(
            f"{path}: the tensor claims {claimed} bytes and holds {there}, so it is refused; fetch it again"
        )
    return value


def _check_zip(path: Path) -> None:
    """Raise unless ``path`` is a whole zip."""
    if not path.is_file():
        raise DataError(f"{path}: expected a .pt file, got {'a folder' if path.is_dir() else 'nothing'}; copy it there")
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"{path}: expected a file of torch.save (a zip), got {path.stat().st_size} bytes of something else; it is "
            "truncated or older than PyTorch 1.6, fetch it again"
        )


def _pickle_of(path: Path) -> bytes:
    """Return the bytes of ``data.pkl``, never more than the limit."""
    _check_zip(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            if len(names) != 1:
                raise DataError(f"{path}: expected one data.pkl, got {len(names)}; fetch the file again")
            with archive.open(names[0]) as stream:
                raw = stream.read(MAX_PICKLE_BYTES + 1)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
        raise DataError(f"{path}: the zip is damaged ({error}); fetch the file again") from error
    if len(raw) > MAX_PICKLE_BYTES:
        raise DataError(f"{path}: holds more than {MAX_PICKLE_BYTES // 2**20} MB of texts, so it is refused")
    return raw


def _flatten(value: Any, into: list[str], depth: int, where: str) -> None:
    """Gather the texts of nested lists and arrays in order.

    A short pickle may name one list a million times, a million times over; as an empty one inside is refused, every
    list that is entered adds a text, and the limit of texts ends the walk.
    """
    if isinstance(value, _Made):
        value = _array_texts(value, where)
    if isinstance(value, str):
        into.append(value)
    elif isinstance(value, list | tuple) and depth < MAX_DEPTH and (value or not depth):
        for item in value:
            _flatten(item, into, depth + 1, where)
    else:
        raise DataError(f"{where}: expected a list of texts, got {type(value).__name__} in it; fetch the file again")
    if len(into) > MAX_TEXTS:
        raise DataError(f"{where}: holds more than {MAX_TEXTS} texts, so it is refused")


def _array_texts(array: _Made, where: str) -> list[Any]:
    """Texts of a numpy array from its state: (version, shape, dtype, fortran, data)."""
    if array.kind != RECONSTRUCT or not isinstance(array.state, tuple) or len(array.state) != 5:
        raise DataError(f"{where}: expected an array of texts, got {array.kind}; fetch the file again")
    _, shape, kind, fortran, data = array.state
    if len(shape) not in (0, 1) and not (len(shape) == 2 and 1 in shape):
        raise DataError(f"{where}: expected one text a clip, got an array of shape {shape}; choose a column of it")
    found = list(data) if isinstance(data, list) else _texts_of(kind, data, where)
    if fortran not in (True, False) or len(found) != math.prod(shape):
        raise DataError(f"{where}: expected {math.prod(shape)} texts, got {len(found)}; fetch the file again")
    return found


def _texts_of(kind: Any, raw: Any, where: str) -> list[str]:
    """Cut the bytes of a numpy array of fixed-width texts (``<U12``) into texts."""
    import numpy as np

    code = kind.arguments[0] if isinstance(kind, _Made) and kind.kind == "dtype" else ""
    order = kind.state[1] if code and isinstance(kind.state, tuple) else ""
    if not (isinstance(code, str) and code[:1] == "U" and code[1:].isdigit() and order in ("<", ">")):
        raise DataError(f"{where}: expected texts, got values of the type {code!r}; fetch the file again")
    width = int(code[1:])
    if not isinstance(raw, bytes) or not width or len(raw) % (4 * width):
        raise DataError(f"{where}: the texts are cut short; fetch the file again")
    if len(raw) // (4 * width) > MAX_TEXTS:
        raise DataError(f"{where}: holds more than {MAX_TEXTS} texts, so it is refused")
    return [str(text) for text in np.frombuffer(raw, dtype=f"{order}U{width}")]
