"""Bound what one exchange with a server may take in all.

`requests` bounds each silence of a server, and the whole of what is sent: a server that sends a
byte now and then would hold us for ever, and a slow connection could never take a large file.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

from requests.adapters import HTTPAdapter

_LEAST = 1e-3  # 0 would mean: do not wait at all


class BoundedAdapter(HTTPAdapter):
    """Connections on which sending a request, and receiving its answer, take `seconds` at most."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._bound(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        self._bound(manager)
        return manager

    def _bound(self, manager: Any) -> None:  # urllib3.PoolManager
        response = type("BoundedResponse", (_Response,), {"seconds": self._seconds})
        facts = {"seconds": self._seconds, "response_class": response}
        pools: dict[str, Any] = {}
        for scheme, pool in manager.pool_classes_by_scheme.items():
            connection: Any = pool.ConnectionCls
            if not issubclass(connection, _Sender):
                connection = type(connection.__name__, (_Sender, connection), facts)
            pools[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": connection})
        manager.pool_classes_by_scheme = pools


class _Sender:
    """A connection whose requests may take `seconds` to be sent, not as long as it may connect."""

    seconds: float
    sock: Any

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        self.sock.settimeout(self.seconds)
        super().send(data)  # type: ignore[misc]


class _Response(http.client.HTTPResponse):
    seconds: float

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        file: Any = self.fp
        self.fp = io.BufferedReader(_Timed(file.detach(), sock, self.seconds))


class _Timed(io.RawIOBase):
    """What is read from a socket, with a limit for each silence (the socket's) and for all."""

    def __init__(self, raw: Any, sock: socket.socket, seconds: float) -> None:
        self._raw, self._sock, self._silent = raw, sock, sock.gettimeout() or seconds
        self._end = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        self._sock.settimeout(max(min(self._silent, left), _LEAST))
        read: int | None = self._raw.readinto(buffer)
        return read

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def close(self) -> None:
        self._raw.close()
        super().close()
