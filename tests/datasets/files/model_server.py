"""A server on the loopback interface that speaks the protocol of the Hugging Face hub.

`/ORG/NAME/resolve/REVISION/FILE` answers HEAD with the commit, the hash and the size, and GET with
the bytes, from where `Range` says. Any other path gives a file by its name alone, or leads on to
another address.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class ModelServer(ThreadingHTTPServer):
    """Serves `files`.

    Attributes:
        files: path of a URL -> its bytes.
        breaks_after: bytes after which answers end, for as many answers as `breaks` says.
        ranges: the `Range` of every GET of a file, empty for none.
        moved: path of a URL -> the address that it leads on to.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = "http" if context is None else "https"
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.files = files
        self.moved: dict[str, str] = {}
        self.breaks_after, self.breaks = 0, 0
        self.ranges: list[str] = []

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        if self.path in self.server.files:
            self.server.ranges.append(self.headers.get("Range", ""))
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        if self.path in self.server.moved:
            self.send_response(302)
            self.send_header("Location", self.server.moved[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = self.server.files.get(self.path)
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first = int(self.headers.get("Range", "bytes=0-")[len("bytes=") :].partition("-")[0])
        if first >= len(content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - first))
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            self._send(content[first:])

    def _send(self, content: bytes) -> None:
        if self.server.breaks:
            self.server.breaks -= 1
            content = content[: self.server.breaks_after]
            self.close_connection = True
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(
    files: dict[str, bytes], context: ssl.SSLContext | None = None
) -> Iterator[ModelServer]:
    """Within, the files are served, by TLS with a context."""
    server = ModelServer(files, context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
