"""What the Data tab reads: cards, the import's options, quality of a subject, maps, tables. All are GET."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from neurovis.dataplans import fields
from neurovis.datasets import Datasets
from neurovis.library import Library


def data_router(library: Library) -> APIRouter:
    """Return the routes; they are plain functions, which the server runs beside its event loop."""
    router = APIRouter(include_in_schema=False, prefix="/data")
    datasets = Datasets(library)

    @router.get("")
    def overview() -> JSONResponse:
        return JSONResponse(datasets.overview() | {"fields": fields()})

    @router.get("/{name}/{subject}")
    def subject(name: str, subject: str) -> JSONResponse:
        return JSONResponse(datasets.subject(name, subject))

    @router.get("/{name}/{subject}/values/{measure}")
    def values(name: str, subject: str, measure: str) -> Response:
        return Response(datasets.values(name, subject, measure), media_type="application/octet-stream")

    @router.get("/{name}/{subject}/voxels.csv")
    def table(name: str, subject: str) -> Response:
        simulated = "_simulated" if datasets.subject(name, subject)["simulated"] else ""
        disposition = f'attachment; filename="{name}_{subject}_voxels{simulated}.csv"'
        return Response(
            datasets.table(name, subject), media_type="text/csv", headers={"content-disposition": disposition}
        )

    return router
