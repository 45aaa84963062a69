"""How long one exchange with a DICOMweb server may take, whatever the server does meanwhile."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest

from cxrloc.datasets.dicom.web import server as server_module
from cxrloc.datasets.dicom.web.answers import ServerError
from cxrloc.datasets.dicom.web.server import DicomWebServer
from datasets.dicom.builders import write_dicom
from datasets.dicom.web.servers import Answer, Told, stored_json

STUDY = "1.2.3"


class Trickle:
    """A server that sends a byte of its answer now and then."""

    def __init__(self, whole: bytes, at_once: int, pause: float) -> None:
        self.whole, self.at_once, self.pause, self.asked = whole, at_once, pause, 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}/dicom-web"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.server.accept()
                self.asked += 1
                threading.Thread(target=self.answer, args=(client,), daemon=True).start()

    def answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.recv(65_536)
            client.sendall(self.whole[: self.at_once])
            for n in range(self.at_once, len(self.whole)):
                client.sendall(self.whole[n : n + 1])
                time.sleep(self.pause)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n"


@pytest.mark.parametrize(
    ("whole", "at_once"),
    [
        (HEAD * 30, 0),
        (HEAD + b"Content-Length: 1000\r\n\r\n" + b" " * 1000, 80),
        (HEAD + b"Connection: close\r\n\r\n" + b" " * 1000, 80),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 200, 85),
    ],
)
def test_a_server_that_sends_a_byte_now_and_then_does_not_hold_us(
    monkeypatch: pytest.MonkeyPatch, whole: bytes, at_once: int
) -> None:
    monkeypatch.setattr(server_module, "_EXCHANGE_S", 0.5)
    trickle = Trickle(whole, at_once, 0.02)
    with trickle.server:
        began = time.monotonic()
        with pytest.raises(ServerError, match=r"(did not come to an end|in time), tried 3"):
            DicomWebServer(trickle.url).series(STUDY)
        assert trickle.asked == 3
        assert 1.5 < time.monotonic() - began < 15


def test_a_slow_connection_takes_a_large_result(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time to connect in does not bound the time to send."""
    monkeypatch.setattr(server_module, "_CONNECT_S", 0.3)
    path = write_dicom(tmp_path / "large.dcm", np.zeros((2000, 4000), np.uint8))
    told.always(Answer(body=stored_json([pydicom.dcmread(path)], {})))
    told.pause = 1.0
    assert list(DicomWebServer(told.url).store([path])) == [(path, "")]
