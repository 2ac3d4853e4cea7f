"""The working folder, and writing into it so that a crash or a full disk leaves nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import ResourceError

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "assets"
PHANTOM_ASSETS = ASSETS / "phantom"


def home(override: str | os.PathLike[str] | None = None) -> Path:
    """Return the working folder: ``override``, else ``$NEUROVIS_HOME``, else the platform's data folder."""
    from platformdirs import user_data_path

    chosen = override or os.environ.get("NEUROVIS_HOME")
    return Path(chosen).expanduser().resolve() if chosen else user_data_path("neurovis", appauthor=False)


def check_space(folder: Path, n_bytes: int) -> None:
    """Raise ResourceError when the disk of ``folder`` has less than ``n_bytes`` and a tenth free."""
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < 1.1 * n_bytes:
        raise ResourceError(
            f"{folder}: {n_bytes / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free; "
            "make room or name another working folder with --home"
        )


def disk_is_full(error: BaseException) -> bool:
    """Tell whether the disk, or the user's share of it, is full; safetensors says so in an error of its own."""
    wrapped = re.search(r"\(os error (\d+)\)", str(error))
    code = error.errno if isinstance(error, OSError) else int(wrapped[1]) if wrapped else None
    return code in {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place, flushed to disk, when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except Exception as error:
        if disk_is_full(error):
            raise ResourceError(f"{path}: the disk is full; nothing was changed, make room and run again") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that takes its place, whole, when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        os.chmod(temporary, 0o755)
        old = None
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
            os.replace(path, old)
        os.replace(temporary, path)
        if old:
            shutil.rmtree(old, ignore_errors=True)
    except Exception as error:
        if disk_is_full(error):
            raise ResourceError(f"{path}: the disk is full; nothing was changed, make room and run again") from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
