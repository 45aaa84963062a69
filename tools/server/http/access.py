"""Who may use the server, how much one request may send, and which media type the answer has.

Media types follow a client's Accept header (RFC 9110, 12.5.1).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cxrloc.datasets.files.addresses import LOOPBACK
from cxrloc.datasets.files.parse import read_text
from cxrloc.tools.server.http.problems import ProblemError, problem_response

_OPEN_PATHS = ("/healthz",)
# RFC 9110, 7.2
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._~!$&'()*+,;=%-]+)(?::([0-9]{0,5}))?")
_LAST_PORT = 65535
_PORTS = {"http": ":80", "https": ":443"}  # of origins that name none
_ASK = {"WWW-Authenticate": 'Basic realm="cxrloc", charset="UTF-8", Bearer realm="cxrloc"'}
_MIN_TOKEN = 16
_SHOWN = 200  # characters of what a client says
_IN_ALL = 10  # with the usual limits 200 MB in 20 minutes: 1.3 Mbit/s
# NiceGUI's page has its scripts and templates inside; 'self' is this server alone
_POLICY = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def read_token(path: Path) -> str:
    """The token in a file: one line of at least 16 printable ASCII characters.

    Raises:
        FileNotFoundError, ValueError: when there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no token file at {path}; make one: openssl rand -hex 32 > {path}")
    token = read_text(path).strip()
    if not re.fullmatch(rf"[!-~]{{{_MIN_TOKEN},}}", token):
        raise ValueError(
            f"{path}: expected one line of at least {_MIN_TOKEN} characters without spaces; "
            f"make one: openssl rand -hex 32 > {path}"
        )
    return token


def check_host(host: str, token: str | None) -> None:
    """Raise ValueError for a host that others can reach if there is no token."""
    if token is None and host not in LOOPBACK:
        raise ValueError(
            f"--host {host} can be reached from other machines: give --token-file FILE, "
            "or leave --host out to serve only this machine"
        )


class GuardedApp:
    """Accepts requests with the token or, if there is no token, requests to loopback.

    A program sends `Authorization: Bearer TOKEN`; a browser asks its user once and sends the token
    as the password of Basic authentication. Without a token, the Host header must name this
    machine, which refuses a foreign page whose name was made to point here (DNS rebinding). What a
    browser sends for a page of another origin is refused too.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in _OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        fault = self._fault(headers) or _malformed_host(headers) or _foreign_page(headers)
        if fault is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await problem_response(fault.status_code, str(fault), fault.headers)(
                scope, receive, send
            )
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _fault(self, headers: Headers) -> ProblemError | None:
        if self.token is None:
            if _host_name(headers) in LOOPBACK:
                return None
            return ProblemError(421, f"this server answers to {', '.join(LOOPBACK)} only")
        shown = _shown_token(headers.get("authorization", ""))
        if hmac.compare_digest(shown.encode(), self.token.encode()):
            return None
        return ProblemError(401, "a token is needed: Authorization: Bearer TOKEN", _ASK)


def _host_name(headers: Headers) -> str | None:
    """The name in the Host header; empty if there is none, None if it is malformed."""
    named = [each.lower() for each in headers.getlist("host")]
    if named in ([], [""]):
        return ""
    match = _HOST.fullmatch(named[0])
    if len(named) > 1 or match is None or int(match[2] or 0) > _LAST_PORT:
        return None
    return match[1].strip("[]")


def _malformed_host(headers: Headers) -> ProblemError | None:
    malformed = _host_name(headers) is None  # libraries would raise, later
    return ProblemError(400, "the Host header is malformed") if malformed else None


def _foreign_page(headers: Headers) -> ProblemError | None:
    host = headers.get("host", "").lower()
    for origin in filter(None, headers.getlist("origin")):  # browsers send one
        scheme, _, place = origin.lower().partition("://")
        port = _PORTS.get(scheme)
        if port is None or place.removesuffix(port) != host.removesuffix(port):
            return ProblemError(403, f"pages from {origin[:_SHOWN]} may not use this server")
    return None


def _shown_token(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return value.strip() if scheme.lower() == "bearer" else ""


class QuietApp:
    """Tells browsers to load nothing from other servers, and not to frame a page in another."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_POLICY)
            await send(message)

        await self.app(scope, receive, with_policy)


class SizedApp:
    """Stops requests that are too large or too slow.

    Too large is a body of more than `megabytes`, by its header or while it arrives. Too slow is one
    that pauses for `seconds`, or is not complete after ten times as many.
    """

    def __init__(self, app: ASGIApp, megabytes: float, seconds: float) -> None:
        self.app, self.megabytes, self.seconds = app, megabytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length) > self.megabytes * 1e6:
            error = self._too_large()
            await problem_response(error.status_code, str(error), {"Connection": "close"})(
                scope, receive, send
            )
            return
        await self.app(scope, self._watched(receive), send)

    def _watched(self, receive: Receive) -> Receive:
        size, more = 0, True
        end = asyncio.get_running_loop().time() + _IN_ALL * self.seconds

        async def watched() -> Message:
            nonlocal size, more
            message: Any = await (self._in_time(receive, end) if more else receive())
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
            if size > self.megabytes * 1e6:
                raise self._too_large()
            return message  # type: ignore[no-any-return]

        return watched

    async def _in_time(self, receive: Receive, end: float) -> Message:
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout_at(min(clock() + self.seconds, end)):
                return await receive()
        except TimeoutError as error:
            late = f"the request was not complete after {_IN_ALL * self.seconds:g} s"
            idle = f"no more of the request arrived for {self.seconds:g} s"
            raise ProblemError(408, late if clock() >= end else idle) from error

    def _too_large(self) -> ProblemError:
        return ProblemError(
            413, f"the request is larger than {self.megabytes:g} MB; send fewer or smaller files"
        )


def chosen_type(accept: str, offered: Sequence[str]) -> str:
    """The offered type with the highest quality; on equal terms the first offered.

    Raises:
        ProblemError: 406 when none is acceptable.
    """
    ranges = [_range(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]
    best = max(offered, key=lambda media: _quality(media, ranges))
    if _quality(best, ranges) <= 0:
        raise ProblemError(406, f"Accept: {accept}; offered: {', '.join(offered)}")
    return best


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return media, 0.0
            return media, quality if 0 <= quality <= 1 else 0.0
    return media, 1.0


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Quality by the most specific range that matches; 0 without one."""
    for pattern in (media, f"{media.split('/')[0]}/*", "*/*"):
        for text, quality in ranges:
            if text == pattern:
                return quality
    return 0.0
