"""Images of a study on a DICOMweb server for a tool, and its results back to that server."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxrloc.localization.dicom_output.output import DICOM_ENDINGS

if TYPE_CHECKING:
    from cxrloc.datasets.dicom.web.server import DicomWebServer


@dataclass(frozen=True)
class Study:
    """A fetched study.

    Attributes:
        server: where it is, and where results go.
        folder: the images, only until the tool ends.
        images: files in it.
        failures: a sentence for each image that could not be fetched.
    """

    server: DicomWebServer
    folder: Path
    images: Sequence[Path]
    failures: Sequence[str]

    def shown(self, message: str) -> str:
        """The message without the folder, which will be gone."""
        return message.replace(f"{self.folder}/", "")

    def store(self, stems: Sequence[Path]) -> list[str]:
        """Store the DICOM objects of these results; returns what was not stored, and why."""
        from cxrloc.datasets.dicom.web.answers import ServerError

        failures, stored = [], 0
        for stem in stems:
            files = [stem.with_name(stem.name + ending) for ending in DICOM_ENDINGS]
            try:
                reasons = [(path, reason) for path, reason in self.server.store(files)]
            except ServerError as error:
                failures.append(f"{stem.name}: results not stored: {error}")
                continue
            stored += sum(not reason for _, reason in reasons)
            failures += [f"{path.name}: not stored: {why}" for path, why in reasons if why]
        print(f"{stored} of {len(stems) * len(DICOM_ENDINGS)} objects stored at {self.server.url}.")
        return failures


@contextlib.contextmanager
def fetched(arguments: argparse.Namespace) -> Iterator[Study | None]:
    """The study that the command names; None if it names none.

    Raises:
        ValueError, OSError, ImportError: for a wrong command, server, or study.
    """
    if arguments.dicomweb is None:
        yield None
        return
    from cxrloc.datasets.dicom.web.study import fetch_study

    server = server_of(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        found = fetch_study(server, folder, arguments.study, arguments.series)
        if found.passed_over:
            print(f"Passed over in the study: {found.others()}.")
        yield Study(server, folder, found.images, found.failures)


def server_of(arguments: argparse.Namespace) -> DicomWebServer:
    """The server of the options of `add_server_options`; errors as of `DicomWebServer`."""
    from cxrloc.datasets.dicom.web.credentials import basic_password, bearer_token
    from cxrloc.datasets.dicom.web.server import DicomWebServer, is_unencrypted

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


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fetched`."""
    group = add_server_options(parser)
    group.add_argument("--study", metavar="UID", help="Study Instance UID of what to predict")
    group.add_argument("--series", metavar="UID", help="only this series of the study")
    trusted = "certificate (PEM) to trust: the server's own, or that of who signed it"
    group.add_argument("--trusted", type=Path, metavar="FILE", help=trusted)


def parsed(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The command; a study's has --dicom-out, too.

    Raises:
        SystemExit: if it names neither files nor a study, or both, or half of it.
    """
    arguments = parser.parse_args(argv)
    needs = ("study", "series", "dicomweb_token", "dicomweb_password", "trusted")
    if arguments.dicomweb is None:
        given = next((name for name in needs if getattr(arguments, name) is not None), None)
        if given:
            parser.error(f"--{given.replace('_', '-')} needs --dicomweb URL")
        if not arguments.inputs:
            parser.error("no images; give INPUT, or --dicomweb URL --study UID")
    elif arguments.inputs:
        parser.error("--dicomweb takes the images of a study: leave INPUT out")
    elif arguments.study is None:
        parser.error("--dicomweb needs --study UID")
    arguments.dicom_out |= arguments.dicomweb is not None
    return arguments
