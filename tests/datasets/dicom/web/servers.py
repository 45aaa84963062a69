"""DICOMweb servers on the loopback interface: Orthanc, and one that answers as it is told."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
WEB_VIEWER = Path("/usr/share/orthanc/plugins/libOrthancWebViewer.so")
USER, PASSWORD = "cxrloc", "pass:word ü"


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc; `url` is its own API's, `dicomweb` that of its plugin."""

    url: str

    @property
    def dicomweb(self) -> str:
        return f"{self.url}/dicom-web"

    def put(self, *files: Path) -> None:
        for path in files:
            self.ask("/instances", path.read_bytes())

    def tags(self) -> list[dict[str, Any]]:
        """The main tags of each object that it holds, from the short names to the values."""
        uids = json.loads(self.ask("/instances"))
        return [json.loads(self.ask(f"/instances/{uid}/simplified-tags")) for uid in uids]

    def modalities(self) -> Counter[str]:
        """How many objects it holds of each."""
        return Counter(tags["Modality"] for tags in self.tags())

    def file(self, sop_instance_uid: str) -> bytes:
        [found] = json.loads(self.ask("/tools/lookup", sop_instance_uid.encode()))
        return self.ask(f"/instances/{found['ID']}/file")

    def empty(self) -> None:
        for uid in json.loads(self.ask("/patients")):
            request = urllib.request.Request(f"{self.url}/patients/{uid}", method="DELETE")
            urllib.request.urlopen(request).close()

    def ask(self, path: str, data: bytes | None = None) -> bytes:
        """Ask its own API; with data, POST."""
        with urllib.request.urlopen(f"{self.url}{path}", data, timeout=60) as answer:
            content: bytes = answer.read()
        return content


@contextlib.contextmanager
def running_orthanc(
    folder: Path, plugins: Sequence[Path] = (DICOMWEB,), **more: object
) -> Iterator[Orthanc]:
    """Start Orthanc with plugins and more settings; the test is skipped where one is missing."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None or not all(plugin.is_file() for plugin in plugins):
        pytest.skip("Orthanc is missing (Debian: apt-get install orthanc orthanc-dicomweb)")
    port = free_port()
    settings = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(plugin) for plugin in plugins],
        "WebViewer": {"CachePath": str(folder / "viewer")},
        **more,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            server = Orthanc(f"http://127.0.0.1:{port}")
            _wait(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(60)


def _wait(server: Orthanc, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, "Orthanc ended"
        try:
            server.ask("/system")
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("Orthanc does not answer")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@dataclass
class Answer:
    """What a server answers: by default nothing, as an empty success."""

    status: int = 200
    kind: str = "application/dicom+json"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    states_length: bool = True


@dataclass
class Told:
    """A server that answers as `answer(method, path)` says, and keeps what it was asked.

    `pause` is how long it waits before it takes what it is sent.
    """

    url: str = ""
    pause: float = 0.0
    answer: Callable[[str, str], Answer] = lambda method, path: Answer()
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def always(self, answer: Answer) -> None:
        self.answer = lambda method, path: answer


@contextlib.contextmanager
def told_server(certificate: Path | None = None, key: Path | None = None) -> Iterator[Told]:
    told = Told()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append((self.command, self.path))
            told.headers.append(dict(self.headers))
            time.sleep(told.pause)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = told.answer(self.command, self.path)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.states_length and "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_GET  # noqa: N815 - the library asks for this name

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate is not None and key is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    told.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/dicom-web"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()


def dicom_json(*entries: dict[str, str]) -> bytes:
    """A search's answer; entries are tag -> value."""
    return json.dumps(
        [{tag: {"vr": "UI", "Value": [value]} for tag, value in e.items()} for e in entries]
    ).encode()


def stored_json(stored: list[Dataset], failed: dict[str, int]) -> bytes:
    """The answer that objects were stored, and that others (UID -> reason) were not."""
    answer = Dataset()
    answer.ReferencedSOPSequence = []
    for made in stored:
        item = Dataset()
        item.ReferencedSOPClassUID = made.SOPClassUID
        item.ReferencedSOPInstanceUID = made.SOPInstanceUID
        answer.ReferencedSOPSequence.append(item)
    answer.FailedSOPSequence = []
    for uid, reason in failed.items():
        item = Dataset()
        item.ReferencedSOPInstanceUID, item.FailureReason = uid, reason
        answer.FailedSOPSequence.append(item)
    return answer.to_json().encode()


def multipart(data: bytes, end: bytes = b"\r\n--sep--\r\n") -> tuple[str, bytes]:
    """A retrieved object: content type and body."""
    kind = 'multipart/related; type="application/dicom"; boundary=sep'
    return kind, b"--sep\r\nContent-Type: application/dicom\r\n\r\n" + data + end
