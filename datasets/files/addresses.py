"""Models at an address instead of a path: fetched once, checked, and kept in a cache.

    hf://ORG/NAME@REVISION/FILE             a repository of the Hugging Face hub
    https://HOST/FILE#sha256=HEX            any server; the hash says which file is meant

The hub's files are fetched and kept by huggingface_hub (`pip install "cxrloc[hub]"`), with its
settings: HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE. Others are kept in `cache_folder()`. What
is in a cache is used without a connection. An interrupted download goes on where it was. The
authorities that https trusts are the system's, and those in the files that SSL_CERT_FILE and
REQUESTS_CA_BUNDLE name, as a company's proxy needs.

Every tool with models imports this module, few fetch any: the network's are imported when needed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.files.runs.locks import BeingWrittenError, writes_file

if TYPE_CHECKING:
    import ssl
    from http.client import HTTPResponse

_HUB = re.compile(r"hf://(?P<repository>[^/@\s]+/[^/@\s]+)@(?P<revision>[^/\s]+)/(?P<file>\S+)")
_HUB_FORM = "hf://ORG/NAME@REVISION/FILE"
_WEB_FORM = "https://HOST/FILE#sha256=HEX"
_SHA256 = re.compile(r"sha256=([0-9a-f]{64})")
LOOPBACK = ("127.0.0.1", "localhost", "::1")  # names of this machine
_AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_SECONDS = 30  # without a byte
_BLOCK = 1 << 20


def is_address(word: object) -> bool:
    """Whether a word of the command line is an address, right or wrong, and no path."""
    return isinstance(word, str) and "://" in word


def path_or_address(word: str) -> Path | str:
    """`type` of an argparse option that takes either; a path would lose one of the slashes."""
    return word if is_address(word) else Path(word)


def fetched(address: str) -> Path:
    """The file at an address, from the cache if it is there.

    Raises:
        ValueError: for an address of another form, or a file that is not the one it names.
        OSError: if it is not in the cache and cannot be fetched; says what to do.
        ImportError: without huggingface_hub, with the install command.
    """
    if address.startswith("hf://"):
        return _from_hub(address)
    parts = urlsplit(address)
    secure = parts.scheme == "https" or (
        parts.scheme == "http" and parts.hostname in LOOPBACK  # the hash protects it
    )
    named = _SHA256.fullmatch(parts.fragment.lower())
    name = PurePosixPath(unquote(parts.path)).name
    if not (secure and named and name):
        raise ValueError(
            f"{address}: expected {_HUB_FORM}, or {_WEB_FORM} with the 64 digits of the file's "
            "SHA-256"
        )
    return _from_web(parts._replace(fragment="").geturl(), named[1], name)


def cache_folder() -> Path:
    """Cache of models: `cxrloc` in XDG_CACHE_HOME, by default in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxrloc"


def _from_hub(address: str) -> Path:
    asked = _HUB.fullmatch(address)
    if asked is None:
        raise ValueError(
            f"{address}: expected {_HUB_FORM}; REVISION is a commit, which names one file for "
            "ever, or a branch or tag, which may change"
        )
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise ImportError(
            f'{address} needs huggingface_hub, which is not installed: pip install "cxrloc[hub]"'
        ) from error
    try:
        path = hf_hub_download(asked["repository"], asked["file"], revision=asked["revision"])
    except LocalEntryNotFoundError as error:
        raise OSError(_unreachable(address, "the hub's cache (HF_HOME)", error)) from error
    except (HfHubHTTPError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise OSError(
            f"{address}: the hub does not give this file: {first}; correct the address, or set "
            "HF_TOKEN if the repository is private"
        ) from error
    return Path(path)


def _from_web(url: str, sha256: str, name: str) -> Path:
    path = cache_folder() / "models" / sha256 / name
    if path.is_file():
        return path
    try:
        with writes_file(path):
            part = path.with_name(f"{name}.part")
            _download(url, part)
            if (found := file_sha256(part)) != sha256:
                part.unlink()
                raise ValueError(
                    f"{url} is not the file that was asked for: its SHA-256 is {found}, expected "
                    f"{sha256}; ask whoever gave you the address"
                )
            part.replace(path)
    except (_NotFetchedError, BeingWrittenError):
        raise
    except OSError as error:  # of the disk: full, not writable
        raise OSError(
            f"{url} cannot be kept in {path.parent}: {error.strerror or error}; make room, or name "
            "another folder with XDG_CACHE_HOME. The same command goes on with what has arrived"
        ) from error
    return path


class _NotFetchedError(OSError):
    """The server or the way to it is the reason, not this machine's disk."""


def _unreachable(address: str, cache: str, error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error).strip().partition("\n")[0]
    return (
        f"{address} is not in {cache}, and cannot be fetched: {reason}; without a connection give "
        "the path of a copy. The same command goes on with what has arrived"
    )


def _download(url: str, part: Path) -> None:
    """Append to `part` what is missing.

    Raises:
        _NotFetchedError: with a sentence for the user.
        OSError: if it cannot be written.
    """
    import http.client

    there = part.stat().st_size if part.is_file() else 0
    print(f"fetching {url}" + (f" from byte {there:,} on" if there else ""), file=sys.stderr)
    with _errors_of_server(url):
        answer = _opened(url, there)
    if answer is None:
        return  # nothing is missing, or it is another file: the hash tells
    with answer, part.open("ab" if answer.status == http.client.PARTIAL_CONTENT else "wb") as file:
        while True:
            with _errors_of_server(url):
                block = answer.read(_BLOCK)
                if not block and answer.length:  # the server announced more
                    raise http.client.IncompleteRead(b"", answer.length)
            if not block:
                return
            file.write(block)


def _opened(url: str, there: int) -> HTTPResponse | None:
    """The server's answer from byte `there` on; None if there is no such byte."""
    import http.client
    import ssl
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    context = ssl.create_default_context()
    for name in _AUTHORITIES:
        _trust(context, name, os.environ.get(name))
    try:
        answer: HTTPResponse = urllib.request.urlopen(request, timeout=_SECONDS, context=context)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return None
        raise
    return answer


def _trust(context: ssl.SSLContext, name: str, where: str | None) -> None:
    """Trust the authorities that a variable of the environment names, if it is set."""
    if not where:
        return
    try:
        context.load_verify_locations(**{"capath" if os.path.isdir(where) else "cafile": where})
    except OSError as error:
        raise _NotFetchedError(
            f"{name}: {where} cannot be used: {error.strerror or error}; expected certificates of "
            "authorities (PEM)"
        ) from error


@contextmanager
def _errors_of_server(url: str) -> Iterator[None]:
    """Say in one sentence what went wrong on the way to the server."""
    import http.client
    import ssl
    import urllib.error

    try:
        yield
    except _NotFetchedError:
        raise
    except urllib.error.HTTPError as error:
        raise _NotFetchedError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise _NotFetchedError(
                f"{url}: the server's certificate is not trusted ({reason.verify_message}); if it "
                f"is from your own authority, name its certificate with {_AUTHORITIES[0]}"
            ) from error
        raise _NotFetchedError(_unreachable(url, str(cache_folder()), error)) from error
