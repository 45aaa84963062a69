"""Store DICOM files at another machine by C-STORE."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrloc.datasets.dicom.deflated import BoundedReader, DeflatedFileError
from cxrloc.datasets.dicom.header import silence_pydicom

if TYPE_CHECKING:
    from ssl import SSLContext

    from pynetdicom.association import Association
    from pynetdicom.events import Event

TIMEOUT_S = 30
_SLOWEST = 50_000  # bytes a second of a receiver that is waited for
_PEER = re.compile(r"(?P<title>[^@\\]+)@(?P<host>\[[^\]]+\]|[^:\[\]]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Peer:
    """Another machine: its AE title, and where it listens."""

    title: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.title}@{host}:{self.port}"


def parse_peer(word: str) -> Peer:
    """Parse AET@HOST:PORT.

    Raises:
        ValueError: for anything else.
    """
    match = _PEER.fullmatch(word.strip())
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise ValueError(f"{word!r}, expected AET@HOST:PORT, such as ARCHIVE@10.0.0.5:104")
    return Peer(checked_title(match["title"]), match["host"].strip("[]"), int(match["port"]))


def checked_title(title: str) -> str:
    """Return an AE title; raises ValueError for one that DICOM does not allow (PS3.5 6.2)."""
    stripped = title.strip()
    if not (0 < len(stripped) <= 16 and stripped.isascii() and stripped.isprintable()):
        raise ValueError(f"{title!r}, expected an AE title of 1 to 16 ASCII characters")
    if "\\" in stripped:
        raise ValueError(f"{title!r}, expected an AE title without backslash")
    return stripped


def presentation_contexts(files: Sequence[Path]) -> list[tuple[str, str]]:
    """Class and transfer syntax of the files, each pair once.

    Raises:
        ValueError: for a file that is no DICOM file.
        OSError: for one that cannot be read.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    silence_pydicom()
    pairs: dict[tuple[str, str], None] = {}
    for path in files:
        try:
            with BoundedReader(FileIO(path)) as file:
                tags = ["SOPClassUID"]
                meta = dcmread(file, specific_tags=tags, stop_before_pixels=True).file_meta
            pairs[meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID] = None
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such file; expected DICOM files") from None
        except DeflatedFileError as error:
            raise ValueError(f"{path}: {error}") from None
        except (InvalidDicomError, AttributeError):
            raise ValueError(f"{path}: not a DICOM file; expected one with a header") from None
    return list(pairs)


def associate(
    peer: Peer,
    calling: str,
    contexts: Sequence[tuple[str, str]],
    tls: SSLContext | None = None,
) -> Association:
    """Open a connection to the receiver, which knows this program by the AE title `calling`.

    Raises:
        ConnectionError: when nobody answers or the receiver refuses.
        ModuleNotFoundError: without pynetdicom.
    """
    from pynetdicom import AE, evt

    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = TIMEOUT_S
    entity.connection_timeout = TIMEOUT_S
    for sop_class, syntax in contexts:
        entity.add_requested_context(sop_class, syntax)
    secured = None if tls is None else (tls, peer.host)
    association = entity.associate(
        peer.host,
        peer.port,
        ae_title=peer.title,
        tls_args=secured,
        evt_handlers=[(evt.EVT_CONN_OPEN, _limit_waiting)],
    )
    if not association.is_established:
        why = "refuses the connection" if association.is_rejected else "does not answer"
        raise ConnectionError(f"{peer.title} at {peer.host}:{peer.port} {why}")
    return association


def _limit_waiting(event: Event) -> None:
    """Give up a receiver that stops within a message: the library would wait for ever."""
    association: Any = event.assoc  # its socket is there while it is opened
    association.dul.socket.socket.settimeout(TIMEOUT_S)


def store(association: Association, path: Path) -> str:
    """Store one file; returns why it was not stored, empty if it was.

    The association is no longer established where no answer came.
    """
    association.dimse_timeout = TIMEOUT_S + path.stat().st_size / _SLOWEST
    try:
        status = association.send_c_store(path)
    except (ValueError, RuntimeError) as error:  # no accepted context, or the connection is gone
        reason = (
            "the receiver does not take this kind of object"
            if association.is_established
            else "the connection was lost"
        )
        return f"{reason} ({type(error).__name__})"
    if "Status" not in status:
        association.abort()  # the remaining files need not wait as long
        return "the receiver hung up or did not answer in time; see its log"
    code = int(status.Status)
    # B000 to BFFF are warnings: stored, with something left out or changed (PS3.4 B.2.3)
    return "" if code == 0 or code >> 12 == 0xB else f"the receiver answered with status {code:04X}"
