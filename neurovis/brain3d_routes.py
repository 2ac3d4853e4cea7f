"""The 3-D view of a run: its files are made on request, kept by their content, and served by our own server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse, Response

from neurovis.security import FRAMED
from pipeline.importance.maps import ImportanceMap

MapsOf = Callable[[str, str, str], Mapping[str, ImportanceMap]]
KEPT = 12  # viewers on disk, of some 6 MB each
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".ctm": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".png": "application/octet-stream",  # named so by pycortex for vertices too, whose files are arrays
}
_KEEP = {"cache-control": "private, max-age=86400"}


def brain3d_router(maps_of: MapsOf, cache: Path) -> APIRouter:
    """Return the routes of the 3-D view, to be included under ``/neurovis``.

    ``GET /brain3d/{run}/{subject}/{statistic}`` makes the viewer, unless it is there, and answers ``{"url", "seconds",
    "simulated"}``; ``GET /brain3d/view/{key}/{path}`` are its files.

    Parameters
    ----------
    maps_of : callable
        (run name, subject, statistic) to the maps of its modules. A NeuroVisError that it raises becomes one sentence.
    cache : Path
        Folder of ours for pycortex's store and the viewers; made when it is not there.
    """
    router = APIRouter(include_in_schema=False)
    viewers, lock = cache / "viewers", threading.Lock()

    # Before the route below, which would otherwise take "view" for the name of a run.
    @router.get("/brain3d/view/{key}/{path:path}")
    def file(key: str, path: str) -> Response:
        folder = viewers / key
        try:
            found = (folder / path).resolve()
            known = key.isalnum() and found.is_relative_to(folder.resolve()) and found.suffix in _TYPES
            known = known and found.is_file()
        except (OSError, ValueError):  # a name that is too long, or holds a null byte
            known = False
        if not known:
            return Response("not found", 404)
        return FileResponse(found, media_type=_TYPES[found.suffix], headers=_KEEP)

    # The browser asks first whether a page of no origin may read the outlines; the answer is in the headers.
    @router.options("/brain3d/view/{key}/{path:path}")
    def allowed(key: str, path: str) -> Response:
        return Response(status_code=204)

    @router.get("/brain3d/{name}/{subject}/{statistic}")
    def view(name: str, subject: str, statistic: str) -> JSONResponse:
        from neurovis.brain3d import check_maps, viewer, viewer_key
        from neurovis.importance_figure import LIMITS

        began = time.perf_counter()
        maps = maps_of(name, subject, statistic)
        first = check_maps(maps, LIMITS)
        key = viewer_key(maps)
        with lock:
            if not (viewers / key / "index.html").is_file():
                viewer(maps, viewers / key, cache)
                _forget(viewers, KEPT)
        facts = {"url": f"{FRAMED}{key}/index.html", "simulated": first.simulated}
        return JSONResponse(facts | {"seconds": round(time.perf_counter() - began, 3)})

    return router


def _forget(viewers: Path, kept: int) -> None:
    """Remove the oldest viewers beyond ``kept``."""
    import shutil

    folders = [path for path in viewers.iterdir() if not path.name.startswith(".")]
    for path in sorted(folders, key=lambda folder: folder.stat().st_mtime)[:-kept]:
        shutil.rmtree(path, ignore_errors=True)
