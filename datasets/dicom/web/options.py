"""Options of tools that take images from a DICOMweb server, or store results there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cxrloc.datasets.dicom.web.credentials import basic_password, bearer_token
from cxrloc.datasets.dicom.web.server import DicomWebServer, is_unencrypted


def add_server_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add --dicomweb and how to reach that server; returns the group, for more."""
    group = parser.add_argument_group("a DICOMweb server")
    root = "root of DICOMweb, such as https://host/dicom-web"
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
    if shown is not None and is_unencrypted(server.url):
        others = "others in the network can read the credentials and the images; use https"
        print(f"{server.url}: not encrypted: {others}", file=sys.stderr)
    return server
