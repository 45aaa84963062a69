"""What a DICOMweb server is shown: a bearer token, or a name and password, out of a file.

The file is read again for every request: tokens expire, and others put new ones there.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from requests import PreparedRequest

Authorization = Callable[[], str]  # the value of that header


class CredentialsError(ValueError):
    """A file that holds no credentials, or is not there."""


def bearer_token(path: Path) -> Authorization:
    """Take the token from a file of one line.

    Raises:
        CredentialsError: here, and again by what is returned, if there is none.
    """

    def authorization() -> str:
        token = _line(path, "a token")
        if not re.fullmatch(r"[!-~]+", token):
            raise CredentialsError(
                f"{path}: expected one line, a token of ASCII letters without spaces"
            )
        return f"Bearer {token}"

    authorization()
    return authorization


def basic_password(path: Path) -> Authorization:
    """Take both from a file with the line `NAME:PASSWORD`; errors as of `bearer_token`."""

    def authorization() -> str:
        line = _line(path, "a line NAME:PASSWORD")
        name, colon, _ = line.partition(":")
        if not (name and colon):
            raise CredentialsError(f"{path}: expected one line NAME:PASSWORD")
        return f"Basic {base64.b64encode(line.encode()).decode()}"

    authorization()
    return authorization


def is_readable_by_others(path: Path) -> bool:
    """Whether other users of this machine may read a file of credentials."""
    return bool(path.stat().st_mode & 0o044)


class ShownCredentials:
    """Added to each request by `requests`, also where there are none to show."""

    def __init__(self, authorization: Authorization | None) -> None:
        self.authorization = authorization

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        # dicomweb-client states the host without its port, which leads proxies astray
        request.headers.pop("Host", None)
        # a wildcard that is escaped finds nothing on Orthanc, without a word
        request.url = (request.url or "").replace("%2A", "*")
        if self.authorization is not None:
            request.headers["Authorization"] = self.authorization()
        return request


def _line(path: Path, what: str) -> str:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # Windows' editors add a mark
    except OSError as error:
        raise CredentialsError(f"{path}: {error.strerror}; expected {what}") from None
    except UnicodeDecodeError:
        raise CredentialsError(f"{path}: expected UTF-8 text with {what}") from None
    if len(lines) != 1 or not lines[0]:
        raise CredentialsError(f"{path}: {len(lines)} lines; expected one, with {what}")
    return lines[0]
