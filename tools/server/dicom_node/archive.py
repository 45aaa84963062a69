"""An archive or viewer as a destination: results are stored there by C-STORE, or by STOW-RS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxrloc.datasets.dicom.web.answers import ServerError, UnwantedError, without_uids
from cxrloc.datasets.dicom.web.server import DicomWebServer
from cxrloc.localization.dicom_output.c_store import Peer, associate, presentation_contexts, store
from cxrloc.tools.server.dicom_node.sender import UnreachableError

if TYPE_CHECKING:
    from ssl import SSLContext


class Archive:
    """A `Destination` that speaks DICOM.

    Args:
        peer: whom to send to.
        calling: AE title that it knows this node by.
        tls: for DICOM TLS.
    """

    def __init__(self, peer: Peer, calling: str, tls: SSLContext | None = None) -> None:
        self.peer, self.calling, self.tls = peer, calling, tls

    @property
    def name(self) -> str:
        """AET@HOST:PORT."""
        return str(self.peer)

    def send(self, files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
        """Store files over one association, as `Destination.send` describes."""
        contexts = presentation_contexts(files)
        try:
            association = associate(self.peer, self.calling, contexts, self.tls)
        except ConnectionError as error:
            raise UnreachableError(str(error)) from None
        try:
            for file in files:
                reason = store(association, file)
                if reason and not association.is_established:
                    raise UnreachableError(reason)
                yield file, reason
        finally:
            if association.is_established:
                association.release()


class DicomWebArchive:
    """A `Destination` that speaks DICOMweb."""

    def __init__(self, server: DicomWebServer) -> None:
        self.server = server

    @property
    def name(self) -> str:
        """The URL."""
        return self.server.url

    def send(self, files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
        """Store files in one request, as `Destination.send` describes."""
        try:
            yield from self.server.store(files)
        except UnwantedError as error:
            yield from ((file, without_uids(error)) for file in files)
        except ServerError as error:
            raise UnreachableError(without_uids(error)) from None
