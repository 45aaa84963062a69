"""Requests that are too large, too many, packed, or too slow."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from fastapi.testclient import TestClient

from cxrloc.tools.server.api import create_app
from cxrloc.tools.server.service import Service
from tools.server.requests import post, problem_of


def test_too_many_files_and_too_large_a_request_are_413(client: TestClient, png: bytes) -> None:
    assert problem_of(post(client, [("a.png", png)] * 4), 413) == (
        "4 files; the limit is 3 per request"
    )
    assert "0.5 MB" in problem_of(post(client, [("a.png", bytes(600_000))]), 413)


def test_a_thousand_and_more_files_are_413_too(client: TestClient) -> None:
    """They are stopped by what reads the form, before ours counts them."""
    detail = problem_of(post(client, [("a.png", b"")] * 1100), 413)
    assert "Too many files" in detail
    assert "Send fewer" in detail


def test_a_packed_request_is_415(client: TestClient, png: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"}
    answer = client.post("/v1/predictions", content=gzip.compress(png), headers=headers)
    assert problem_of(answer, 415) == "content encoding gzip; send the files as they are"


def test_a_body_of_unknown_length_is_stopped_on_its_way(client: TestClient) -> None:
    sent = []

    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        for _ in range(100):
            sent.append(1)
            yield bytes(100_000)

    content = {"Content-Type": "multipart/form-data; boundary=x"}
    response = client.post("/v1/predictions", content=endless(), headers=content)

    assert "0.5 MB" in problem_of(response, 413)


def test_a_request_that_stops_coming_in_is_408(services: Callable[..., Service]) -> None:
    detail = late_answer(services(seconds=0.1), asyncio.Event().wait)
    assert detail.endswith("arrived for 0.1 s")


def test_a_request_that_comes_in_byte_by_byte_without_end_is_408(
    services: Callable[..., Service],
) -> None:
    detail = late_answer(services(seconds=0.1), lambda: asyncio.sleep(0))
    assert detail == "the request was not complete after 1 s"


def late_answer(service: Service, wait: Callable[[], Awaitable[Any]]) -> str:
    """Detail of the 408 to a request of whose file a byte comes in after every `wait()`."""
    app, answer = create_app(service), []
    begun = [b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n']

    async def receive() -> Any:
        if not begun:
            await wait()
        body = begun.pop() if begun else b"-"
        return {"type": "http.request", "body": body, "more_body": True}

    async def send(message: Any) -> None:
        answer.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=x")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/predictions",
        "headers": headers,
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
    }
    asyncio.run(app(scope, receive, send))

    assert answer[0]["status"] == 408
    return str(json.loads(answer[1]["body"])["detail"])
