"""What the page reads: runs, pictures, patterns, exports. Reading only, so all are GET and may be cached."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from neurovis.caption_routes import caption_router
from neurovis.cortex_routes import cortex_router
from neurovis.data_routes import data_router
from neurovis.evaluate_routes import evaluate_router
from neurovis.exports import MEDIA, Column, export
from neurovis.flatmap import FLATMAP
from neurovis.library import Library
from neurovis.machine import describe_machine
from neurovis.renders import Renders
from neurovis.train_routes import train_router
from neurovis.twins import Twins
from pipeline.errors import NeuroVisError
from pipeline.paths import disk_is_full
from pipeline.runs import FULL, parse_variant

log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_KEEP = {"cache-control": "private, max-age=86400"}


def add_routes(app: FastAPI, library: Library, renders: Renders, scratch: Path) -> None:
    """Put the routes under ``/neurovis/``; a NeuroVisError becomes one sentence (404), a full disk too (507)."""
    app.add_exception_handler(NeuroVisError, _sentence)
    app.add_exception_handler(OSError, _no_file)
    app.include_router(_router(library, renders), prefix="/neurovis")
    app.include_router(_clip_router(library, scratch), prefix="/neurovis")
    app.include_router(caption_router(library, renders), prefix="/neurovis")
    app.include_router(evaluate_router(library), prefix="/neurovis")
    app.include_router(data_router(library), prefix="/neurovis")
    app.include_router(cortex_router(library, renders, scratch), prefix="/neurovis")
    app.include_router(train_router(library), prefix="/neurovis")


def _router(library: Library, renders: Renders) -> APIRouter:
    """Everything but what belongs to a clip."""
    router = APIRouter(include_in_schema=False)

    @router.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/static/{name}")
    def static(name: str) -> Response:
        path = STATIC / name
        if path.parent != STATIC or path.suffix not in _TYPES or not path.is_file():
            return Response("not found", 404)
        return FileResponse(path, media_type=_TYPES[path.suffix], headers={"cache-control": "no-cache"})

    @router.get("/machine")
    def machine() -> dict[str, str]:
        return describe_machine()

    @router.get("/flatmap")
    def flatmap() -> Response:
        return FileResponse(FLATMAP, media_type="application/octet-stream", headers=_KEEP)

    @router.get("/runs")
    def runs() -> list[dict[str, object]]:
        keys = ("title", "dataset", "subject", "method", "simulated", "labels")
        return [
            {"name": i.name, "shipped": i.shipped, "error": i.error}
            | ({k: getattr(i.manifest, k) for k in keys} | {"n_clips": len(i.manifest.clip_ids)} if i.manifest else {})
            for i in library.infos()
        ]

    @router.get("/runs/{name}")
    def index(name: str) -> JSONResponse:
        run = library.run(name)
        reasons = {"cannot_render": renders.disabled(run), "lacking_weights": renders.lacking(run)}
        return JSONResponse(library.index(name) | reasons)

    @router.get("/runs/{name}/job")
    def job(name: str) -> dict[str, Any] | None:
        return renders.whole_set(name)

    @router.get("/runs/{name}/renderings")
    def renderings(name: str) -> list[dict[str, Any]]:
        return renders.of_clips(name)

    @router.get("/runs/{name}/voxels")
    def voxels(name: str) -> Response:
        patterns = library.run(name).patterns
        return _array(np.empty(0, "<i4") if patterns is None else patterns[0].astype("<i4"))

    return router


def _clip_router(library: Library, scratch: Path) -> APIRouter:
    """What belongs to a clip: pictures, patterns, tests and exports."""
    router = APIRouter(include_in_schema=False)
    twins = Twins(library)

    @router.get("/runs/{name}/clips/{clip_id}/orders/{variant}")
    def shuffled(name: str, clip_id: str, variant: str) -> JSONResponse:
        return JSONResponse(library.orders(name, clip_id, variant), headers=_KEEP)

    @router.get("/runs/{name}/clips/{clip_id}/variants")
    def variants(name: str, clip_id: str) -> list[str]:
        return library.run(name).variants(clip_id)

    @router.get("/runs/{name}/clips/{clip_id}/{variant}/{stream}")
    def strip(name: str, clip_id: str, variant: str, stream: str) -> Response:
        body, media = library.strip(name, clip_id, stream, variant)
        return Response(body, media_type=media, headers=_KEEP)

    @router.get("/runs/{name}/twins/{other}")
    def twin_clips(name: str, other: str) -> dict[str, str]:
        return twins.of(name, other)

    @router.get("/runs/{name}/clips/{clip_id}/pattern")
    def pattern(name: str, clip_id: str) -> Response:
        run = library.run(name)
        if run.patterns is None or clip_id not in run.manifest.clip_ids:
            return Response("no pattern", 404)
        return _array(run.patterns[1][run.manifest.clip_ids.index(clip_id)].astype("<f4"))

    @router.get("/runs/{name}/clips/{clip_id}/export.{kind}")
    def exported(name: str, clip_id: str, kind: str, column: Annotated[list[str] | None, Query()] = None) -> Response:
        run = library.run(name)
        asked = [c.split(":") for c in column or [f"{s}:{FULL}" for s in run.manifest.streams]]
        columns = [_column(library, twins, name, clip_id, *words) for words in asked if len(words) in (2, 3)]
        body = export(run, clip_id, kind, [c for c in columns if c is not None], scratch)
        mark = "_simulated" if run.manifest.simulated else ""
        file = f"{name}_{clip_id}{mark}.{kind}"
        return Response(body, media_type=MEDIA[kind], headers={"content-disposition": f'attachment; filename="{file}"'})

    return router


def _column(
    library: Library, twins: Twins, name: str, clip_id: str, stream: str, variant: str, other: str | None = None
) -> Column | None:
    """Read one column of an export; None where another run has no such clip."""
    parse_variant(variant)
    run = library.run(other or name)
    clip = twins.of(name, other).get(clip_id) if other else clip_id
    return None if clip is None or stream not in run.manifest.streams else Column(run, clip, stream, variant)


def _array(values: np.ndarray) -> Response:
    return Response(values.tobytes(), media_type="application/octet-stream", headers=_KEEP)


async def _sentence(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 404)


async def _no_file(request: Request, error: Exception) -> JSONResponse:
    """Say in a sentence what the disk refused; the path stays in the log."""
    log.error("%s", request.url.path, exc_info=error)
    told = getattr(error, "strerror", None) or type(error).__name__
    full = disk_is_full(error)
    what = "make room on the disk and try again" if full else "the server's log has the details"
    return JSONResponse({"error": f"a file could not be read or written ({told}); {what}"}, 507 if full else 500)
