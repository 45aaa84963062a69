"""Archives on the loopback interface: one that keeps what it is sent in a list, and Orthanc."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import JPEGLSLossless
from pynetdicom import AE, AllStoragePresentationContexts, evt

from datasets.dicom.web.servers import Orthanc, running_orthanc


class Receiver:
    """An archive that keeps what it is sent in a list."""

    def __init__(self) -> None:
        self.stored: list[Dataset] = []
        self.answer = 0x0000
        self.breaks_off = False
        entity = AE("ARCHIVE")
        entity.require_called_aet = True
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(
                context.abstract_syntax or "",
                [
                    "1.2.840.10008.1.2",
                    "1.2.840.10008.1.2.1",
                    JPEGLSLossless,
                ],
            )
        entity.remove_supported_context("1.2.840.10008.5.1.4.1.1.2")  # takes no CT
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store)]
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert self._server is not None
        self.port = self._server.server_address[1]

    def _store(self, event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.stored.append(dataset)
        if self.breaks_off:
            event.assoc.abort()
        return self.answer

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    archive = Receiver()
    yield archive
    archive.stop()


@pytest.fixture(scope="session")
def orthanc_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Orthanc with DICOMweb; a test that uses it empties it first."""
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server
