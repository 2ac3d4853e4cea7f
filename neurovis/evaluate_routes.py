"""What the Evaluate tab reads: choices, figures, values clip by clip, tests, the error budget, exports. All are GET."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from neurovis.budgets import Budgets
from neurovis.evaluations import Evaluations
from neurovis.findings import MEDIA, Findings, read_query
from neurovis.library import Library
from pipeline.errors import NeuroVisError


def evaluate_router(library: Library) -> APIRouter:
    """Return the routes; they are plain functions, which the server runs beside its event loop."""
    router = APIRouter(include_in_schema=False, prefix="/evaluations")
    evaluations = Evaluations(library)
    findings, budgets = Findings(evaluations), Budgets(library)

    @router.get("/choices")
    def choices() -> JSONResponse:
        return JSONResponse(evaluations.choices())

    @router.get("")
    def overview(request: Request) -> JSONResponse:
        return JSONResponse(findings.overview(read_query(request.query_params)))

    @router.get("/clips")
    def clips(request: Request, metric: str, of: str, by: str = "") -> JSONResponse:
        return JSONResponse(findings.clips(read_query(request.query_params), metric, of, by))

    @router.get("/paired")
    def paired(request: Request) -> dict[str, Any]:
        """Tests that cannot be made are told as a sentence, not as a missing page."""
        try:
            return {"reason": None, **findings.paired(read_query(request.query_params))}
        except NeuroVisError as error:
            return {"reason": str(error), "tests": []}

    @router.get("/budget/{name}")
    def budget(name: str) -> JSONResponse:
        return JSONResponse(budgets.found(name))

    @router.get("/export.{kind}")
    def export(request: Request, kind: str) -> Response:
        body, file = findings.export(read_query(request.query_params), kind, request.query_params.get("hide") != "1")
        return Response(body, media_type=MEDIA[kind], headers={"content-disposition": f'attachment; filename="{file}"'})

    return router
