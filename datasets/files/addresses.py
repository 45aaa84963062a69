"""Models at an address instead of a path: fetched once, checked, and kept in a cache.

    hf://ORG/NAME@REVISION/FILE             a repository of the Hugging Face hub
    https://HOST/FILE#sha256=HEX            any server; the hash says which file is meant

The hub's files are fetched and kept by huggingface_hub (`pip install "cxrloc[hub]"`), with its
settings: HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE. Others are kept in `cache_folder()`. What
is in a cache is used without a connection. An interrupted download goes on where it was.

Every tool with models imports this module, few fetch any: the network's are imported when needed.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.files.runs.locks import writes_file

_HUB = re.compile(r"hf://(?P<repository>[^/@\s]+/[^/@\s]+)@(?P<revision>[^/\s]+)/(?P<file>\S+)")
_HUB_FORM = "hf://ORG/NAME@REVISION/FILE"
_WEB_FORM = "https://HOST/FILE#sha256=HEX"
_SHA256 = re.compile(r"sha256=([0-9a-f]{64})")
LOOPBACK = ("127.0.0.1", "localhost", "::1")  # names of this machine
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
    import http.client
    import urllib.error

    path = cache_folder() / "models" / sha256 / name
    if path.is_file():
        return path
    with writes_file(path):
        part = path.with_name(f"{name}.part")
        try:
            _download(url, part)
        except urllib.error.HTTPError as error:
            raise OSError(f"{url}: the server answers {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise OSError(_unreachable(url, str(cache_folder()), error)) from error
        if (found := file_sha256(part)) != sha256:
            part.unlink()
            raise ValueError(
                f"{url} is not the file that was asked for: its SHA-256 is {found}, expected "
                f"{sha256}; ask whoever gave you the address"
            )
        part.replace(path)
    return path


def _unreachable(address: str, cache: str, error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error).strip().partition("\n")[0]
    return (
        f"{address} is not in {cache}, and cannot be fetched: {reason}; without a connection give "
        "the path of a copy. The same command goes on with what has arrived"
    )


def _download(url: str, part: Path) -> None:
    """Append to `part` what is missing."""
    import http.client
    import urllib.error
    import urllib.request

    there = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    print(f"fetching {url}" + (f" from byte {there:,} on" if there else ""), file=sys.stderr)
    try:
        answer = urllib.request.urlopen(request, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing, or it is another file: the hash tells
        raise
    with answer:
        goes_on = answer.status == http.client.PARTIAL_CONTENT
        with part.open("ab" if goes_on else "wb") as handle:
            while block := answer.read(_BLOCK):
                handle.write(block)
    if answer.length:  # bytes that the server announced and did not send
        raise http.client.IncompleteRead(b"", answer.length)
