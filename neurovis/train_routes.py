"""What the Train tab reads: the form, the jobs, one job with its curves, the difference of two. All are GET."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from neurovis import training_form
from neurovis.library import Library
from neurovis.training_service import TrainingService

_FRESH = {"cache-control": "no-store"}


def train_router(library: Library) -> APIRouter:
    """Return the routes; they are plain functions, which the server runs beside its event loop."""
    router = APIRouter(include_in_schema=False, prefix="/train")
    service = TrainingService(library.home)

    @router.get("/form")
    def form() -> JSONResponse:
        return JSONResponse(service.form(), headers=_FRESH)

    @router.get("/network/{method}")
    def network(method: str) -> dict[str, Any]:
        return training_form.network_fields(method)

    @router.get("/jobs")
    def jobs() -> JSONResponse:
        return JSONResponse(service.jobs(), headers=_FRESH)

    @router.get("/jobs/{number}")
    def job(number: int) -> JSONResponse:
        return JSONResponse(service.job(number), headers=_FRESH)

    @router.get("/compare/{first}/{second}")
    def compare(first: int, second: int) -> JSONResponse:
        return JSONResponse(service.compare(first, second), headers=_FRESH)

    return router
