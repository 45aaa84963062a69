"""Turn what goes wrong between us and a DICOMweb server into one sentence each.

A server's own text is never quoted: it may hold what it knows of the patient.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from cxrloc.datasets.dicom.web.credentials import CredentialsError

_JSON = ("application/dicom+json", "application/json")
_DICOM = ("multipart/related", "application/dicom")
_XML = ("application/dicom+xml", "application/xml", "text/xml")
_ATTEMPTS = "tried 3 times"
UNWANTED = (400, 409, 413, 415, 422)  # malformed, conflict, too large, unknown kind, not processed


_UID = re.compile(r"[0-9]+(?:\.[0-9]+){4,}")  # an IPv4 address has fewer parts


class ServerError(ConnectionError):
    """A server that cannot be reached or does not answer as DICOMweb does; later it may."""


class MissingError(ServerError):
    """The server does not have what was asked for."""


class UnwantedError(ServerError):
    """The server answers, and does not take what it was sent."""


def without_uids(error: Exception) -> str:
    """The message for a log: UIDs lead to a patient."""
    return _UID.sub("(UID)", str(error))


def check_answer(response: Any, *_: Any, **__: Any) -> Any:
    """Refuse a good answer that holds no DICOM, or not all of it: a hook of `requests`.

    dicomweb-client takes a web page for the answer that something was stored.
    """
    kind, _, parameters = response.headers.get("Content-Type", "").partition(";")
    kind = kind.strip().lower()
    if kind in _JSON:
        response.headers["Content-Type"] = kind  # dicomweb-client knows it without a charset alone
    if not response.ok or response.is_redirect or not response.content:
        return response
    if kind not in (*_JSON, *_DICOM, *_XML):
        raise ServerError(
            f"it answers with {kind[:60] or 'no content type'}, not DICOM: is the URL that of "
            "DICOMweb, and not of a page to log in?"
        )
    if kind == "multipart/related" and not _is_whole(response, parameters):
        raise ServerError("the transfer broke off")
    return response


def _is_whole(response: Any, parameters: str) -> bool:
    """Whether a multipart answer has its end; one of a stated length is checked by urllib3."""
    stated = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
    boundary = next(
        (
            value.strip().strip('"')
            for name, _, value in (p.strip().partition("=") for p in parameters.split(";"))
            if name.lower() == "boundary"
        ),
        "",
    )
    return stated or not boundary or f"--{boundary}--".encode() in response.content[-200:]


@contextlib.contextmanager
def explained(url: str, what: str) -> Iterator[None]:
    """Within, errors of requests and of dicomweb-client become ours.

    Args:
        url: of the server, for the message.
        what: that is asked for or stored, for the message.

    Raises:
        ServerError: see there.
        MissingError: for a 404 or 410.
        UnwantedError: for statuses that speak of what was sent.
        CredentialsError: as it is.
    """
    import requests
    from pydicom.errors import InvalidDicomError
    from retrying import RetryError

    try:
        yield
    except CredentialsError:
        raise
    except ServerError as error:
        raise type(error)(f"{url}: {error}") from None
    except RetryError as error:  # an answer such as 503, each time
        raise _of_status(url, error.last_attempt.value.status_code, what) from None
    except requests.HTTPError as error:
        raise _of_status(url, getattr(error.response, "status_code", 0), what) from None
    except requests.exceptions.SSLError as error:
        raise ServerError(f"{url}: {_tls_fault(error)}") from None
    except requests.Timeout:
        raise ServerError(f"{url}: no answer in time, {_ATTEMPTS}") from None
    except requests.exceptions.ChunkedEncodingError:
        raise ServerError(f"{url}: the transfer broke off, {_ATTEMPTS}") from None
    except requests.ConnectionError as error:
        if _is_late(error):
            raise ServerError(f"{url}: its answer did not come to an end, {_ATTEMPTS}") from None
        raise ServerError(f"{url}: nobody answers, {_ATTEMPTS}; check host and port") from None
    except (InvalidDicomError, EOFError):
        raise ServerError(f"{url}: what it sends for {what} is no DICOM file") from None
    except (ValueError, TypeError, KeyError) as error:  # its text may quote the answer
        name = type(error).__name__
        raise ServerError(f"{url}: its answer for {what} is damaged ({name})") from None
    except requests.RequestException as error:
        raise ServerError(f"{url}: {type(error).__name__}") from None


def _is_late(error: Exception) -> bool:
    """Whether a time ran out after the server had been reached: urllib3 says so within."""
    from urllib3.exceptions import ReadTimeoutError

    inner = error.args[0] if error.args else None
    return isinstance(inner, ReadTimeoutError) or any(
        isinstance(each, TimeoutError) for each in getattr(inner, "args", ())
    )


def _of_status(url: str, status: int, what: str) -> ServerError:
    if status == HTTPStatus.UNAUTHORIZED:
        return ServerError(
            f"{url}: it asks who you are (401); give --dicomweb-token or --dicomweb-password, or "
            "see whether the one given is still good"
        )
    if status == HTTPStatus.FORBIDDEN:
        return ServerError(f"{url}: it does not allow it (403): {what}")
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return MissingError(f"{url}: it has no {what} ({status}); check the URL and the UIDs")
    kind = UnwantedError if status in UNWANTED else ServerError
    known = {each.value: each.phrase for each in HTTPStatus}
    return kind(f"{url}: it answers {status} {known.get(status, '')} for {what}".rstrip())


def _tls_fault(error: Exception) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = "it names another host" if "match" in text else "nobody known has signed it"
        return (
            f"its certificate is not trusted: {reason}. Give the certificate, or that of who "
            "signed it, by --trusted"
        )
    return "TLS failed: does it speak https on this port?"
