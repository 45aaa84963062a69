"""Connections without a whole request header are closed; a request that is answered late is not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -e .[serve]")

from cxrloc.tools.server.http.connections import (  # noqa: E402
    HEADER_BYTES,
    HEADER_SECONDS,
    PunctualServer,
    protocol_with_deadline,
)
from tools.server.certificates import make_certificate  # noqa: E402

SECONDS = 0.3  # instead of HEADER_SECONDS
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def slow_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await asyncio.sleep(3 * SECONDS)
        start = {"type": "http.response.start", "status": 204, "headers": []}
        await send(start)
        await send({"type": "http.response.body"})


@contextlib.contextmanager
def listening(**settings: Any) -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = PunctualServer(
            uvicorn.Config(
                slow_app,
                http=protocol_with_deadline(SECONDS),
                timeout_keep_alive=60,
                log_level="critical",
                lifespan="off",
                **settings,
            ),
            SECONDS,
        )
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield bound.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with listening() as port:
        yield port


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


@pytest.mark.parametrize("loop", ["asyncio", "auto"])  # auto is uvloop where that is installed
def test_a_tls_handshake_has_no_more_time_than_a_header(tmp_path: Path, loop: str) -> None:
    certificate, key = make_certificate(tmp_path)
    with (
        listening(ssl_certfile=certificate, ssl_keyfile=key, loop=loop) as port,
        socket.create_connection(("127.0.0.1", port), timeout=30) as client,
    ):
        client.sendall(b"\x16\x03\x01")  # the begin of a handshake
        assert client.recv(1000) == b""


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
def test_a_header_without_end_is_cut_off_and_a_long_one_is_not(port: int, begin: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(GET[:-2] + b"X: " + b"x" * (HEADER_BYTES // 2) + b"\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 204")
        sent = 0
        with contextlib.suppress(OSError):
            client.sendall(begin)
            while sent < 100 * HEADER_BYTES:
                client.sendall(b"x" * 10_000)
                sent += 10_000
        assert sent < 100 * HEADER_BYTES
