"""Options of tools that take images from a DICOMweb server, or store results there."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from cxrloc.datasets.dicom.web.credentials import (
    basic_password,
    bearer_token,
    is_readable_by_others,
)
from cxrloc.datasets.dicom.web.poller import Poller, Query, parse_query
from cxrloc.datasets.dicom.web.server import DicomWebServer, is_unencrypted


def add_server_options(parser: argparse.ArgumentParser, what: str) -> argparse._ArgumentGroup:
    """Add --dicomweb, which does `what`, and how to reach it; returns the group, for more."""
    group = parser.add_argument_group("a DICOMweb server")
    root = f"root of DICOMweb, such as https://host/dicom-web; {what}"
    group.add_argument("--dicomweb", metavar="URL", help=root)
    token = "file with a bearer token for it"
    group.add_argument("--dicomweb-token", type=Path, metavar="FILE", help=token)
    password = "file with NAME:PASSWORD for it (Basic)"
    group.add_argument("--dicomweb-password", type=Path, metavar="FILE", help=password)
    return group


def server_of(arguments: argparse.Namespace) -> DicomWebServer:
    """The server of those options and of --trusted; errors as of `DicomWebServer`."""
    token, password = arguments.dicomweb_token, arguments.dicomweb_password
    if token is not None and password is not None:
        raise ValueError("give --dicomweb-token or --dicomweb-password, not both")
    shown = None
    if token is not None:
        shown = bearer_token(token)
    elif password is not None:
        shown = basic_password(password)
    server = DicomWebServer(arguments.dicomweb, shown, arguments.trusted)
    file = token or password
    if file is not None and is_readable_by_others(file):
        print(f"{file}: other users of this machine can read it; chmod 600 it", file=sys.stderr)
    if shown is not None and is_unencrypted(server.url):
        others = "others in the network can read the credentials and the images; use https"
        print(f"{server.url}: not encrypted: {others}", file=sys.stderr)
    return server


def add_polling_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `add_server_options` and of `pollers`."""
    group = add_server_options(parser, "gets the results")
    matching = "take the images there that match, such as Modality=DX, now and when new ones come"
    group.add_argument(
        "--query",
        type=_query,
        action="append",
        default=[],
        metavar="KEY=VALUE&...",
        help=f"{matching}; repeat it for others",
    )
    often = "how often to look for them (default: 30)"
    group.add_argument("--every", type=_seconds, default=30, metavar="SECONDS", help=often)


def pollers(
    arguments: argparse.Namespace,
    server: DicomWebServer,
    holds: Callable[[str], bool],
    take: Callable[[bytes], bool],
) -> list[Poller]:
    """One for each --query; see `Poller`."""
    return [Poller(server, query, arguments.every, holds, take) for query in arguments.query]


def _query(word: str) -> Query:
    try:
        return parse_query(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(word: str) -> int:
    if not (word.isdecimal() and int(word) > 0):
        raise argparse.ArgumentTypeError(f"{word!r}, expected a whole number of seconds from 1")
    return int(word)
