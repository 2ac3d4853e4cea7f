"""What the Captions tab reads: facts over a run's captions, the prompts, renderings from words. All are GET."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from neurovis.captionfacts import CaptionFacts
from neurovis.library import Library
from neurovis.renders import Renders
from neurovis.wordings import Wordings

_KEEP = {"cache-control": "private, max-age=86400"}


def caption_router(library: Library, renders: Renders) -> APIRouter:
    """Return the routes; they are plain functions, which the server runs beside its event loop."""
    router = APIRouter(include_in_schema=False)
    facts, wordings = CaptionFacts(library), Wordings(library, renders)

    @router.get("/prompts")
    def prompts() -> dict[str, str]:
        from pipeline.semminer.prompts import read_prompts

        return read_prompts().templates

    @router.get("/runs/{name}/captions")
    def clips(name: str) -> JSONResponse:
        return JSONResponse(facts.clips(name) | {"has_tables": facts.has_tables(name)})

    @router.get("/runs/{name}/captions/possible")
    def possible(name: str) -> dict[str, Any]:
        return wordings.possible(name)

    @router.get("/runs/{name}/captions/ranks")
    def ranks(name: str) -> JSONResponse:
        return JSONResponse(facts.ranks(name))

    @router.get("/runs/{name}/captions/tables")
    def tables(name: str) -> JSONResponse:
        return JSONResponse(facts.tables(name))

    @router.get("/runs/{name}/clips/{clip_id}/wordings")
    def of_clip(name: str, clip_id: str) -> list[dict[str, Any]]:
        return wordings.of_clip(name, clip_id)

    @router.get("/wordings/{variant}/{stream}.png")
    def strip(variant: str, stream: str) -> Response:
        return Response(wordings.strip(variant, stream), media_type="image/png", headers=_KEEP)

    @router.get("/wordings/{variant}.json")
    def record(variant: str) -> JSONResponse:
        found = wordings.record(variant)
        mark = "_simulated" if found["simulated"] else ""
        file = f"{found['run']}_{found['clip_id']}_{variant}{mark}.json"
        return JSONResponse(found, headers={"content-disposition": f'attachment; filename="{file}"'})

    return router
