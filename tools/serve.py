r"""Serve the web page and the HTTP API.

    cxrloc serve --gate demo/gate/fold0
    cxrloc serve --gate runs/gate/fold0/classifier.safetensors \
        --maskrcnn runs/maskrcnn/fold0/maskrcnn.safetensors --port 8081
    cxrloc serve --gate classifier.safetensors --host 0.0.0.0 \
        --token-file token.txt --certificate certificate.pem --key key.pem

Open http://127.0.0.1:8080 and drop radiographs (PNG, JPEG, DICOM) on the page, or send them to
the API (docs/how-to/http_api.md). The server answers this machine only, unless --host names another
address, which requires --token-file; with --certificate and --key it speaks TLS (https). Images are
held in memory and in a temporary folder, which is
removed at the end. Research use only, never a diagnosis.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import socket
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from cxrloc.configs.command_line import (
    add_any_image,
    add_model_options,
    add_tls,
    port_number,
    run_tool,
    tool_parser,
)
from cxrloc.tools.server.http.limits import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

    from cxrloc.tools.server.service import Service

_PORT = 8080
_GRACE_SECONDS = 2  # for the answer about the running image
_LIMIT_HELP = {
    "megabytes": "size of one file, in 10^6 bytes",
    "request_megabytes": "size of one request with all its files, in 10^6 bytes",
    "files": "files in one request",
    "megapixels": "width x height of one image, in 10^6 pixels",
    "seconds": "time to predict a request, or to wait for more of its bytes",
    "queue": "images that may wait at once, in all and on one page",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until stopped; returns the exit status."""
    return run_tool("serve", lambda: _serve(_parser().parse_args(argv)), "nothing is served now")


def _serve(arguments: argparse.Namespace) -> int:
    with _own_temporary_folder():
        app, service = build_app(arguments)
        # what is loaded stays loaded: without this, the interpreter searches all of it for garbage
        # when it ends, which takes seconds
        gc.freeze()
        return _run(app, service, arguments)


@contextlib.contextmanager
def _own_temporary_folder() -> Iterator[None]:
    """Where libraries put large uploads while these come in; removed at the end."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="cxrloc_serve_") as folder:
        tempfile.tempdir = os.environ["NICEGUI_STORAGE_PATH"] = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


def build_app(arguments: argparse.Namespace) -> tuple[FastAPI, Service]:
    """The app and the service behind it, its engine loaded.

    Raises:
        FileNotFoundError, ValueError, ImportError: for bundles, a token file, a certificate, limits
            or a host that cannot be used.
    """
    from cxrloc.tools.server.http.access import check_host, read_token
    from cxrloc.tools.server.http.tls import check_pair

    check_pair(arguments.certificate, arguments.key)
    token = None if arguments.token_file is None else read_token(arguments.token_file)
    check_host(arguments.host, token)
    limits = Limits(**{field.name: getattr(arguments, field.name) for field in fields(Limits)})

    from cxrloc.detection.load_diagnoser import diagnoser_of
    from cxrloc.tools.server.api import create_app
    from cxrloc.tools.server.http.schemas import loaded_models
    from cxrloc.tools.server.page.page import add_page
    from cxrloc.tools.server.service import Service

    diagnoser, bundles = diagnoser_of(arguments)
    models = loaded_models(diagnoser, list(bundles.values()))
    service = Service(diagnoser, models, limits)
    app = create_app(service, token)
    add_page(app, service)
    return app, service


def _run(app: FastAPI, service: Service, arguments: argparse.Namespace) -> int:
    import uvicorn

    from cxrloc.tools.server.http.connections import PunctualServer, protocol_with_deadline

    host, port = arguments.host, arguments.port
    scheme = "http" if arguments.certificate is None else "https"
    address = f"{scheme}://[{host}]" if ":" in host else f"{scheme}://{host}"

    class Server(PunctualServer):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                print(f"Open {address}:{port} (end with Ctrl+C).", flush=True)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            service.worker.stop()  # the running image is answered, those that wait are refused
            logging.disable()  # uvicorn logs a traceback for each request that it does not wait for
            await super().shutdown(sockets)

    # NiceGUI looks for its server among all objects, and torch's deprecated ones warn about that
    warnings.filterwarnings("ignore", category=FutureWarning, module="nicegui")
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol_with_deadline(),
        log_level="warning",
        timeout_graceful_shutdown=_GRACE_SECONDS,
        ssl_certfile=arguments.certificate,
        ssl_keyfile=arguments.key,
    )
    server = Server(config)
    server.run()  # on a signal it shuts down, and then lets the signal through
    return 0 if server.started else 2  # uvicorn has said why: mostly that the port is taken


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    add_model_options(parser)
    add_any_image(parser)
    network = parser.add_argument_group("network")
    network.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    network.add_argument(
        "--port", type=port_number, default=_PORT, help=f"port to listen on (default: {_PORT})"
    )
    network.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file with the token that clients must send"
    )
    add_tls(parser, "the server")
    group = parser.add_argument_group("limits of what one client may ask")
    for field in fields(Limits):
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            metavar="N",
            help=f"{_LIMIT_HELP[field.name]} (default: {field.default})",
        )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
