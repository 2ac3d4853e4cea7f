"""What the Cortex tab reads: maps as plain arrays, tables, borders, colour tables, files. All are GET."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from neurovis.brain3d_routes import brain3d_router
from neurovis.cortex import Cortex
from neurovis.cortexfiles import MEDIA, export, kinds
from neurovis.library import Library
from neurovis.renders import Renders

_KEEP = {"cache-control": "private, max-age=86400"}
_BINARY = "application/octet-stream"
# Even in lightness, so that they can be read with any colour vision; the last two are for values around nought.
COLOURS = ("YlOrRd", "inferno", "viridis", "cividis", "magma", "PuOr_r", "RdBu_r")


def cortex_router(library: Library, renders: Renders, scratch: Path) -> APIRouter:
    """Return the routes; they are plain functions, which the server runs beside its event loop."""
    router = APIRouter(include_in_schema=False)
    cortex = Cortex(library, renders)
    router.include_router(brain3d_router(cortex.ready_maps, library.home / "cache"))

    @router.get("/cortex-borders")
    def lines() -> Response:
        from neurovis.cortexlines import borders

        return Response(borders().astype("<i2").tobytes(), media_type=_BINARY, headers=_KEEP)

    @router.get("/cortex-colours")
    def colours() -> JSONResponse:
        return JSONResponse(colour_tables(), headers=_KEEP)

    @router.get("/cortex/{name}")
    def describe(name: str) -> JSONResponse:
        found = cortex.describe(name)
        return JSONResponse(found | {"files": kinds(found["space"]["kind"])})

    @router.get("/cortex/{name}/{subject}/layer/{layer}")
    def layer(name: str, subject: str, layer: str, module: str = "") -> Response:
        found = cortex.layer(name, subject, layer, module)
        return Response(status_code=202) if found is None else Response(found, media_type=_BINARY)

    @router.get("/cortex/{name}/{subject}/{statistic}")
    def facts(name: str, subject: str, statistic: str) -> JSONResponse:
        return JSONResponse(cortex.facts(name, subject, statistic))

    @router.get("/cortex/{name}/{subject}/{statistic}/values")
    def values(name: str, subject: str, statistic: str, cortical: bool = False) -> Response:
        read = cortex.projected if cortical else cortex.values
        return Response(read(name, subject, statistic), media_type=_BINARY)

    @router.get("/cortex/{name}/{subject}/{statistic}/importance.{kind}")
    def file(
        name: str,
        subject: str,
        statistic: str,
        kind: str,
        low: float = 0.25,
        high: float = 0.75,
        colours: str = "",
        module: Annotated[list[str] | None, Query()] = None,
        label: Annotated[list[str] | None, Query()] = None,
    ) -> Response:
        view: dict[str, Any] = {"limits": (low, high), "colours": colours, "modules": tuple(module or ())}
        view["labels"] = None if label is None else tuple(name for name in label if name)
        body, stem = export(cortex, name, subject, statistic, kind, scratch, view)
        disposition = {"content-disposition": f'attachment; filename="{stem}"'}
        return Response(body, media_type=MEDIA[kind], headers=disposition)

    return router


def colour_tables() -> dict[str, str]:
    """Return matplotlib's colour maps as 256 colours of six hexadecimal digits each, those of the published figure."""
    import numpy as np
    from matplotlib import colormaps

    steps = np.arange(256)
    return {name: colormaps[name](steps, bytes=True)[:, :3].tobytes().hex() for name in COLOURS}
