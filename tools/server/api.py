"""The HTTP API: /v1/predictions, /v1/models, /healthz, /metrics; described at /openapi.json.

Every error is `application/problem+json` (RFC 9457). Nothing is ever requested from
outside the server: FastAPI's interactive documentation, whose scripts come from elsewhere, is left
out.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import Annotated, Any

from fastapi import FastAPI, File, Query, Request, Response, Security, UploadFile
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.tools.server.http.access import GuardedApp, QuietApp, SizedApp, chosen_type
from cxrloc.tools.server.http.metrics import MeasuredApp
from cxrloc.tools.server.http.problems import (
    PROBLEM_JSON,
    Problem,
    ProblemError,
    add_problem_handlers,
    problem,
)
from cxrloc.tools.server.http.schemas import EXAMPLE, Health, ModelList, Predictions
from cxrloc.tools.server.images.dicom_files import DicomKind, dicom_file, source_of
from cxrloc.tools.server.images.prediction import Prediction
from cxrloc.tools.server.images.report import report_page
from cxrloc.tools.server.images.uploads import Upload
from cxrloc.tools.server.service import Done, Service

JSON, PNG, HTML, DICOM = "application/json", "image/png", "text/html", "application/dicom"
PRIVATE = {"Cache-Control": "no-store"}
_WHY = {
    400: "the body is not well-formed multipart/form-data",
    401: "no token or a wrong one (only if the server was started with one)",
    403: "sent by a browser for a page of another origin",
    406: "no offered type is acceptable, or it is not available for this image",
    408: "the request stopped arriving, or arrived too slowly",
    413: "a file, an image or the request is too large, or there are too many files",
    415: "not multipart/form-data, compressed, or a file that is not PNG, JPEG or DICOM",
    421: "the Host header names another server",
    422: "a damaged file or not a chest image; a missing or wrong parameter",
    503: "too many images are waiting: try again after the seconds in Retry-After",
    504: "not finished in time",
}


class Picture(StrEnum):
    boxes = "boxes"
    heat = "heat"


def create_app(service: Service, token: str | None = None) -> FastAPI:
    """The API of a service.

    Args:
        service: engine, limits, queue.
        token: what clients must send; None accepts every client on this machine.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.worker.close()

    app = FastAPI(
        title="cxrloc",
        version="1",
        description=_description(service),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        dependencies=[Security(HTTPBearer(auto_error=False))] if token else [],
    )
    add_problem_handlers(app)
    _add_predictions(app, service)
    _add_state(app, service)
    # the middleware added last sees a request first
    limits = service.limits
    app.add_middleware(SizedApp, megabytes=limits.request_megabytes, seconds=limits.seconds)
    app.add_middleware(GuardedApp, token=token)
    app.add_middleware(QuietApp)
    app.add_middleware(MeasuredApp, metrics=service.metrics)
    return app


def _add_predictions(app: FastAPI, service: Service) -> None:
    limits = service.limits

    @app.post(
        "/v1/predictions",
        summary="Classify images and box what passes the gate",
        response_class=JSONResponse,
        responses={
            200: _answers(),
            **_problems(400, 401, 403, 406, 408, 413, 415, 421, 422, 503, 504),
        },
    )
    async def predictions(
        request: Request,
        files: Annotated[
            list[UploadFile], File(min_length=1, description="images: PNG, JPEG or DICOM")
        ],
        picture: Annotated[
            Picture, Query(description="for a PNG: boxes next to the findings, or heat maps")
        ] = Picture.boxes,
        dicom: Annotated[
            DicomKind,
            Query(description="for application/dicom: report, presentation state or capture"),
        ] = DicomKind.sr,
    ) -> Response:
        views = _views(service, picture, dicom)
        media = chosen_type(request.headers.get("accept", ""), tuple(views))
        if len(files) > limits.files:
            raise ProblemError(413, f"{len(files)} files; the limit is {limits.files} per request")
        if media != JSON and len(files) > 1:
            raise ProblemError(406, f"{media} is offered for one file, {len(files)} were sent")
        service.worker.check_room(len(files))  # before all of them are in memory
        uploads = [Upload(file.filename or "", await file.read()) for file in files]
        done = await service.predict(uploads, views[media])
        if len(done) == 1 and done[0].error is not None:
            raise done[0].error
        if media != JSON:
            return Response(_bytes(done[0]), headers=PRIVATE, media_type=media)
        return _json({"research_use": RESEARCH_USE, "results": [_result(each) for each in done]})


def _views(
    service: Service, picture: Picture, dicom: DicomKind
) -> dict[str, Callable[[Prediction], object]]:
    """Media type -> what to send of a prediction; the worker makes it and drops the rest."""
    return {
        JSON: Prediction.record,
        PNG: lambda prediction: prediction.picture(picture),
        HTML: lambda prediction: report_page(prediction).encode(),
        DICOM: lambda prediction: dicom_file(
            prediction, source_of(prediction.upload), service.models.hashes, dicom
        ),
    }


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", summary="Which models are loaded", responses=_problems(401, 403, 421))
    def models() -> ModelList:
        return service.models

    @app.get("/healthz", summary="Is the server alive (also while it predicts)")
    async def healthz() -> Health:
        return Health(images_waiting=service.worker.taken)

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **_problems(401, 403, 421)},
    )
    async def metrics() -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _bytes(done: Done) -> bytes:
    assert isinstance(done.view, bytes)
    return done.view


def _result(done: Done) -> dict[str, Any]:
    if done.error is not None:
        bad = problem(done.error.status_code, str(done.error))
        return {"file_name": done.upload.name, "problem": bad}
    return {"file_name": done.upload.name, "prediction": done.view}


def _json(content: dict[str, Any]) -> Response:
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(text, headers=PRIVATE, media_type=JSON)


def _answers() -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "model": Predictions,
        "description": "One result per file, in order; a bad file among several has a `problem`. "
        "With one file, Accept may ask for a picture or a report instead.",
        "content": {
            JSON: {"example": EXAMPLE},
            PNG: binary,
            DICOM: binary,
            HTML: {"schema": {"type": "string"}},
        },
    }


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Descriptions of error answers; `model` would describe them as application/json."""
    schema = {"schema": Problem.model_json_schema()}
    return {
        status: {
            "description": _WHY[status],
            "content": {PROBLEM_JSON: {**schema, "example": problem(status, _WHY[status])}},
        }
        for status in statuses
    }


def _description(service: Service) -> str:
    limits = service.limits
    return (
        f"{RESEARCH_USE}.\n\n"
        "Classifies chest radiographs and boxes the diseases that pass the gate.\n\n"
        f"Limits: {limits.files} files and {limits.request_megabytes:g} MB per request, "
        f"{limits.megabytes:g} MB and {limits.megapixels:g} megapixels per image, {limits.queue} "
        f"images in the queue, {limits.seconds:g} s.\n\n"
        "curl -F files=@a.png -F files=@b.dcm http://127.0.0.1:8080/v1/predictions"
    )
