"""Errors as `application/problem+json` (RFC 9457), from every part of the server."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from cxrloc.tools.server.http.metrics import route_template

PROBLEM_JSON = "application/problem+json"
_LOG = logging.getLogger("cxrloc.server")


class Problem(BaseModel):
    """RFC 9457: what went wrong with a request or with one file of it."""

    type: str = Field("about:blank", examples=["about:blank"])
    title: str = Field(description="name of the status", examples=["Request Entity Too Large"])
    status: int = Field(ge=400, le=599, examples=[413])
    detail: str = Field(
        description="what is wrong, and what is expected",
        examples=["the file has 61.2 MB; the limit is 50 MB"],
    )


class ProblemError(HTTPException):
    """Ends a request, or one file of it, with a status and a sentence for the client."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, dict(headers or {}))

    def __str__(self) -> str:
        return str(self.detail)


def problem(status: int, detail: str) -> dict[str, Any]:
    """The JSON body of a problem."""
    title = HTTPStatus(status).phrase
    return Problem(type="about:blank", title=title, status=status, detail=detail).model_dump()


def problem_response(
    status: int, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(problem(status, detail), status, dict(headers or {}), PROBLEM_JSON)


def add_problem_handlers(app: FastAPI) -> None:
    """Send every error as problem+json; an unforeseen one reveals nothing about itself."""

    @app.exception_handler(StarletteHTTPException)
    async def known(request: Request, error: StarletteHTTPException) -> JSONResponse:
        status, detail = error.status_code, str(error.detail)
        packed = request.headers.get("content-encoding", "").strip().lower()
        if status == 400 and packed not in ("", "identity"):
            status, detail = 415, f"content encoding {packed}; send the files as they are"
        elif status == 400 and detail.startswith("Too many files"):
            status, detail = 413, detail + " Send fewer in one request."
        return problem_response(status, detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def wrong_request(request: Request, error: RequestValidationError) -> JSONResponse:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind != "multipart/form-data":
            detail = f"content type {kind or 'missing'}; send the files as multipart/form-data"
            return problem_response(415, detail)
        return problem_response(422, "; ".join(map(_sentence, error.errors())))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        _LOG.error("%s %s failed", request.method, route_template(request.scope), exc_info=error)
        return problem_response(500, "server error; see the server's log")


def _sentence(error: Mapping[str, Any]) -> str:
    place = " ".join(str(part) for part in error["loc"])
    return f"{place}: {error['msg']}"
