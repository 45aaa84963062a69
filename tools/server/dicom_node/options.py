"""The command line of a DICOM node."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cxrloc.configs.command_line import (
    add_any_image,
    add_model_options,
    add_tls,
    port_number,
    tool_parser,
)
from cxrloc.datasets.dicom.web.options import add_polling_options
from cxrloc.localization.diagnosis.engines.options import count
from cxrloc.localization.dicom_output.c_store import checked_title, parse_peer
from cxrloc.tools.server.dicom_node.durable_queue.images import Bounds
from cxrloc.tools.server.dicom_node.receiving.callers import parse_caller

Parsed = TypeVar("Parsed")
TLS = "tls://"  # before a destination that is sent to by TLS
_PORT, _HEALTH_PORT = 11112, 11113


def node_parser(docstring: str | None) -> argparse.ArgumentParser:
    """A parser of all options, with the tool's docstring as its help."""
    parser = tool_parser(docstring)
    add_model_options(parser, required=False)
    add_any_image(parser, body_part=True)
    _add_network(parser)
    add_polling_options(parser)
    queue = parser.add_argument_group("queue")
    queue.add_argument(
        "--folder",
        type=Path,
        default=Path("cxrloc_node"),
        help="holds the queue and its images (default: cxrloc_node in the current folder)",
    )
    queue.add_argument(
        "--queue",
        type=count,
        default=Bounds.images,
        metavar="N",
        help=f"images that may wait to be answered (default: {Bounds.images}); past it, and past "
        "--gigabytes, the node answers out of resources",
    )
    queue.add_argument(
        "--gigabytes",
        type=count,
        default=Bounds.bytes // 10**9,
        metavar="N",
        help=f"that the files may take on the disk (default: {Bounds.bytes // 10**9})",
    )
    queue.add_argument(
        "--status", action="store_true", help="print what waits, was sent and failed, and end"
    )
    queue.add_argument(
        "--requeue",
        nargs="*",
        metavar="IMAGE",
        help="send failed images on their way again, all or those named as in --status, and end",
    )
    return parser


def _add_network(parser: argparse.ArgumentParser) -> None:
    network = parser.add_argument_group("network")
    network.add_argument(
        "--aet", type=_checked(checked_title), default="CXRLOC", help="AE title (default: CXRLOC)"
    )
    network.add_argument(
        "--port", type=port_number, default=_PORT, help=f"port for DICOM (default: {_PORT})"
    )
    network.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    network.add_argument(
        "--from",
        dest="callers",
        type=_checked(parse_caller),
        action="append",
        default=[],
        metavar="AET@ADDRESS",
        help="who may send: AE title and address or network; repeat it for others",
    )
    network.add_argument(
        "--send-to",
        type=_checked(_destination),
        action="append",
        default=[],
        metavar="AET@HOST:PORT",
        help="who gets the results, tls://AET@HOST:PORT by TLS; repeat it for others",
    )
    network.add_argument(
        "--health-port",
        type=port_number,
        default=_HEALTH_PORT,
        metavar="PORT",
        help=f"port for /healthz and /metrics (default: {_HEALTH_PORT})",
    )
    network.add_argument(
        "--token-file", type=Path, metavar="FILE", help="token that clients of /metrics must send"
    )
    add_tls(parser, "the node")
    trust = "PEM: callers, and those sent to by TLS, must have a certificate of these authorities"
    network.add_argument("--trusted", type=Path, metavar="FILE", help=trust)


def _destination(word: str) -> str:
    word = word.strip()
    peer = parse_peer(word.removeprefix(TLS))
    return f"{TLS}{peer}" if word.startswith(TLS) else str(peer)


def _checked(parse: Callable[[str], Parsed]) -> Callable[[str], Parsed]:
    """Parse a word of the command line; what is wrong with it becomes a usage error."""

    def parsed(word: str) -> Parsed:
        try:
            return parse(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed
