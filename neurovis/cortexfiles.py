"""Files of a subject's importance maps: the figure, CIFTI, GIFTI or NIfTI, tables, what was computed from what."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from neurovis.cortex import Cortex
from pipeline.errors import ConfigError
from pipeline.importance.kept import Maps

FIGURES = ("png", "svg", "pdf")
MEDIA = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "dscalar.nii": "application/octet-stream",
    "L.func.gii": "application/xml",
    "R.func.gii": "application/xml",
    "nii.gz": "application/gzip",
    "csv": "text/csv",
    "json": "application/json",
    "zip": "application/zip",
}


def kinds(space: str) -> tuple[str, ...]:
    """Return the files that there are for a space."""
    if space == "volume":
        return (*FIGURES, "nii.gz", "csv", "json", "zip")
    return (*FIGURES, "dscalar.nii", "L.func.gii", "R.func.gii", "csv", "json", "zip")


def export(
    cortex: Cortex, name: str, subject: str, statistic: str, kind: str, scratch: Path, view: dict[str, Any]
) -> tuple[bytes, str]:
    """Make one file, or a zip of all, from maps that are computed.

    Parameters
    ----------
    cortex : Cortex
    name, subject, statistic : str
    kind : str
        One of :data:`MEDIA`.
    scratch : Path
        Where temporary files may be written; nothing is left there.
    view : dict
        ``modules`` (panels of the figure; empty: all), ``limits``, ``labels`` and ``colours`` of the figure.

    Returns
    -------
    (bytes, str)
        The file, and its name, which says what is simulated.

    Raises
    ------
    ConfigError
        Unknown kind, module or colours.
    DataError
        When the maps are not computed yet.
    """
    maps = cortex.ready_maps(name, subject, statistic)
    first = next(iter(maps.values()))
    known = kinds(first.space.kind)
    if kind not in known:
        raise ConfigError(f"{name}: maps are saved as {', '.join(known)}, got {kind!r}")
    shown = {module: maps[module] for module in _checked(view.get("modules") or tuple(maps), maps)}
    stem = f"{name}_{subject}_{statistic}{'_simulated' * first.simulated}_importance"
    if kind == "json":
        return _facts(cortex, name, subject, maps), f"{stem}.json"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        out = Path(folder)
        if kind in FIGURES:
            _figure(shown, out, (kind,), view)
            return (out / f"importance.{kind}").read_bytes(), f"{stem}.{kind}"
        from pipeline.importance.export import write_files

        written = write_files(maps, out)
        if kind == "zip":
            _figure(shown, out, FIGURES, view)
            (out / "importance.json").write_bytes(_facts(cortex, name, subject, maps))
            return _zipped(out, stem), f"{stem}.zip"
        ending = {"csv": ".csv"}.get(kind, f".{kind}")
        path = next(path for path in written if path.name.endswith(ending))
        return path.read_bytes(), f"{stem}{ending}"


def _checked(modules: tuple[str, ...], maps: Maps) -> tuple[str, ...]:
    wrong = [module for module in modules if module not in maps]
    if wrong:
        raise ConfigError(f"module {wrong[0]!r} is not one of {', '.join(maps)}; name another")
    return modules


def _figure(maps: Maps, out: Path, formats: tuple[str, ...], view: dict[str, Any]) -> None:
    """Draw and write the figure as the page shows it: limits, labels and colours."""
    from matplotlib import colormaps

    from neurovis.importance_figure import COLOURS, LABELLED, LIMITS, draw, save

    colours = str(view.get("colours") or COLOURS)
    if colours not in colormaps:
        raise ConfigError(f"colours {colours!r} are not known; name a colour map of matplotlib")
    labels = view.get("labels")
    figure = draw(maps, view.get("limits") or LIMITS, LABELLED if labels is None else labels, colours)
    save(figure, out, formats)


def _facts(cortex: Cortex, name: str, subject: str, maps: Maps) -> bytes:
    """Return what was computed from what, as JSON."""
    from dataclasses import replace

    from pipeline.data import load
    from pipeline.importance.export import describe
    from pipeline.importance.maps import Settings

    dataset, decoder = cortex.source(name, subject)
    statistic = next(iter(maps.values())).statistic
    splits = ("val",) if statistic == "permutation" else ("train",)
    n_clips = {split: len(load(dataset, subject, split, cortex.library.home)) for split in splits}
    settings = replace(Settings(), statistic=statistic)
    facts = describe(maps, settings, decoder.folder, dataset, n_clips)
    facts |= {"run": name, "decoder_recorded_by_run": decoder.recorded}
    return json.dumps(facts, indent=2, ensure_ascii=False).encode()


def _zipped(folder: Path, stem: str) -> bytes:
    """Pack a folder's files under one folder of their own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.iterdir()):
            packed.write(path, f"{stem}/{path.name}")
    return buffer.getvalue()
