"""Connections without a whole request header are closed; a request that is answered late is not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -e .[serve]")

from cxrloc.tools.server.http.connections import (  # noqa: E402
    HEADER_SECONDS,
    protocol_with_deadline,
)

SECONDS = 0.3  # instead of HEADER_SECONDS
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def slow_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await asyncio.sleep(3 * SECONDS)
        start = {"type": "http.response.start", "status": 204, "headers": []}
        await send(start)
        await send({"type": "http.response.body"})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(
                slow_app,
                http=protocol_with_deadline(SECONDS),
                timeout_keep_alive=60,
                log_level="error",
                lifespan="off",
            )
        )
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield bound.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("first", [b"", GET[:-2], b"GET /a"])
@pytest.mark.parametrize("answered", [0, 1])
def test_half_a_header_is_waited_for_so_long(port: int, first: bytes, answered: int) -> None:
    """On a new connection, and on one that has had an answer, which itself may take longer."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        for _ in range(answered):
            client.sendall(GET)
            assert client.recv(1000).startswith(b"HTTP/1.1 204")
        client.sendall(first)
        began = time.monotonic()
        for _ in range(2):  # a byte now and then does not help
            time.sleep(SECONDS / 4)
            with contextlib.suppress(OSError):
                client.sendall(b"x" if first else b"")
        assert client.recv(1000) == b""
        assert time.monotonic() - began > SECONDS / 2
    assert HEADER_SECONDS == 30
