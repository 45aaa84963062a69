"""Requests to the API and the problems that it answers with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi.testclient import TestClient

PROBLEM = "application/problem+json"
Files = Sequence[tuple[str, bytes]]


def post(client: TestClient, files: Files, accept: str = "*/*", **query: str) -> Any:
    parts = [("files", (name, data)) for name, data in files]
    return client.post("/v1/predictions", files=parts, headers={"Accept": accept}, params=query)


def problem_of(response: Any, status: int) -> str:
    """Detail of the problem that a response must be."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail"}
    assert body["status"] == status
    return str(body["detail"])
