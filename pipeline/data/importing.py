"""The work behind the registry: reading a folder into the working folder, and making a built-in phantom."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data import store
from pipeline.errors import ConfigError, DataError
from pipeline.paths import ASSETS, atomic_folder, write_json

if TYPE_CHECKING:
    from pipeline.data.options import ImportOptions, Progress
    from pipeline.data.readers import Reader

BUILT_IN = {"phantom-tiny": "tiny", "phantom": "small", "phantom-full": "full"}
BUILT_IN_TITLES = {
    "phantom-tiny": "Phantom, tiny: two simulated subjects, for tests",
    "phantom": "Phantom: three simulated subjects with known tuning",
    "phantom-full": "Phantom, full size: CC2017's own counts, for benchmarks",
}
CARD = "dataset.json"


def import_folder(
    root: Path, name: str, into: Path, final: Path, options: ImportOptions, progress: Progress | None
) -> None:
    """Read every subject of ``root`` into the folder ``into``, which will be called ``final``."""
    from pipeline.data.options import refuse_copies

    reader = _reader(root, name, options)
    subjects = _choose(reader.subjects, options.subjects, name)
    digests: dict[str, dict[str, str]] = {}
    for subject in subjects:
        data = reader.read(subject, progress)
        digests[subject] = data.digests
        refuse_copies(digests)
        store.write_subject(data, into / subject, final)
    write_json(into / CARD, _card(reader, subjects, str(root), options, []))


def ensure_built_in(name: str, subject: str, folder: Path, home: Path, progress: Progress | None) -> None:
    """Make and import one subject of a phantom, unless this version of it is there already."""
    from pipeline.phantom.write import ensure_phantom

    mark = built_in_mark(name)
    if _is_imported(folder, subject, mark):
        return
    with locked(folder):
        if _is_imported(folder, subject, mark):  # another process was faster
            return
        from pipeline.data.options import make_options

        raw = ensure_phantom(home, size=BUILT_IN[name], progress=progress, subjects=[subject])
        options = make_options({})
        reader = _reader(raw, name, options)
        _choose(reader.subjects, (subject,), name)
        data = reader.read(subject, progress)
        with atomic_folder(folder / subject) as temporary:
            store.write_subject(data, temporary, folder)
        done = _imported_subjects(folder, mark)
        write_json(folder / CARD, _card(reader, sorted({*done, subject}), "raw", options, [], mark))


def is_current(name: str, subject: str, folder: Path) -> bool:
    """Tell whether this version of one subject of a phantom is there, so that nothing has to be made."""
    return _is_imported(folder, subject, built_in_mark(name))


def built_in_mark(name: str) -> str:
    """Return what changes with what a phantom is made of; where it is made changes nothing."""
    from pipeline.phantom.sizes import phantom_size
    from pipeline.phantom.write import fingerprint

    return fingerprint(phantom_size(BUILT_IN[name]))


def built_in_bytes(name: str) -> int:
    """Estimate from above how many bytes the recordings and films of a phantom take on disk."""
    from pipeline.phantom.sizes import phantom_size
    from pipeline.phantom.write import bytes_needed

    size = phantom_size(BUILT_IN[name])
    return bytes_needed(size, range(len(size.subjects)))


def sweep(folder: Path) -> None:
    """Remove what imports under this name left that were killed; call it within :func:`locked`."""
    left = re.compile(re.escape(f".{folder.name}.") + r"[a-z0-9_]{8}")  # as mkdtemp names them, see atomic_folder
    for path in folder.parent.iterdir():
        if left.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def built_in_subjects(name: str) -> tuple[str, ...]:
    """Names of a phantom's subjects."""
    from pipeline.phantom.sizes import phantom_size

    return tuple(f"sub-{i + 1:02d}" for i in range(len(phantom_size(BUILT_IN[name]).subjects)))


def _imported_subjects(folder: Path, fingerprint: str) -> list[str]:
    try:
        record = store.read_record(folder / CARD)
    except DataError:
        return []
    return list(record["subjects"]) if record.get("fingerprint") == fingerprint else []


def _is_imported(folder: Path, subject: str, fingerprint: str) -> bool:
    whole = (folder / subject / "subject.json").is_file() and (folder / "raw" / CARD).is_file()
    return whole and subject in _imported_subjects(folder, fingerprint)


def _reader(root: Path, name: str, options: ImportOptions) -> Reader:
    """Return the reader of a folder's layout."""
    from pipeline.data.readers import READERS, find_layout

    layout = find_layout(root) if options.layout == "auto" else options.layout
    captions = options.captions
    if captions is None and (ASSETS / "captions" / f"{name}.json").is_file():
        captions = ASSETS / "captions" / f"{name}.json"
    return READERS[layout](root, options, captions)


def _choose(known: list[str], wanted: tuple[str, ...] | None, name: str) -> list[str]:
    unknown = [s for s in wanted or () if s not in known]
    if unknown:
        raise ConfigError(f"{name}: no subject is called {', '.join(unknown)}; there are {', '.join(known)}")
    return list(known if wanted is None else [s for s in known if s in wanted])


def _card(
    reader: Reader, subjects: list[str], source: str, options: ImportOptions, notes: list[str], fingerprint: str = ""
) -> dict[str, Any]:
    return {
        "format": store.FORMAT,
        "title": reader.title,
        "layout": reader.layout_name,
        "simulated": reader.simulated,
        "source": source,
        "fingerprint": fingerprint,
        "tr": reader.tr,
        "subjects": subjects,
        "options": options.model_dump(mode="json", exclude={"replace"}),
        "notes": [*reader.notes, *notes],
    }


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time write a data set; the others wait."""
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder.parent / f".{folder.name}.lock")):
        yield
