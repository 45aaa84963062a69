"""Closes connections on which no whole request header arrives in time: uvicorn waits for ever.

A header that goes on and on is cut off too, before it fills the memory.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEADER_SECONDS = 30.0
HEADER_BYTES = 65_536
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as _Protocol
else:
    _Protocol = AutoHTTPProtocol


def protocol_with_deadline(seconds: float = HEADER_SECONDS) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, with `seconds` for each request's header to be complete."""

    class Punctual(_Protocol):
        _header: int | None = None  # bytes of one that is not complete; h11 counts by itself

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._deadline = self.loop.call_later(seconds, self._close_if_idle)

        def data_received(self, data: bytes) -> None:
            begun = self._header is not None
            super().data_received(data)
            if begun and self._header is not None:
                self._header += len(data)
                if self._header > HEADER_BYTES:
                    self._refuse()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._header = 0

        def on_headers_complete(self) -> None:
            self._header = None
            super().on_headers_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._deadline.cancel()
            self._deadline = self.loop.call_later(seconds, self._close_if_idle)

        def connection_lost(self, exc: Exception | None) -> None:
            self._deadline.cancel()
            super().connection_lost(exc)

        def _refuse(self) -> None:
            if self._waits():
                self.transport.write(_TOO_LARGE)
            self.transport.close()

        def _close_if_idle(self) -> None:
            if self._waits() and self.transport.get_protocol() is self:  # not a websocket by now
                self.transport.close()

        def _waits(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

    return Punctual


class PunctualServer(uvicorn.Server):
    """uvicorn's server, which gives a TLS handshake no longer than a header (a minute otherwise).

    Args:
        config: with `protocol_with_deadline(seconds)`.
        seconds: that a handshake may take.
    """

    def __init__(self, config: uvicorn.Config, seconds: float = HEADER_SECONDS) -> None:
        super().__init__(config)
        self._seconds = seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if not self.config.is_ssl:
            await super().startup(sockets)
            return
        loop: Any = asyncio.get_running_loop()
        # uvicorn has no setting for it
        loop.create_server = partial(loop.create_server, ssl_handshake_timeout=self._seconds)
        try:
            await super().startup(sockets)
        finally:
            del loop.create_server
