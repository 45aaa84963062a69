"""Images of a study on a DICOMweb server for a tool, and its results back to that server."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxrloc.datasets.dicom.web.options import add_server_options, server_of

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
        from cxrloc.localization.dicom_output.output import DICOM_ENDINGS

        failures, stored = [], 0
        for stem in stems:
            files = [stem.with_name(stem.name + ending) for ending in DICOM_ENDINGS]
            try:
                reasons = list(self.server.store(files))
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


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fetched`."""
    group = add_server_options(parser, "has the study and gets the results")
    group.add_argument("--study", metavar="UID", help="Study Instance UID of what to predict")
    group.add_argument("--series", metavar="UID", help="only this series of the study")
    trusted = "certificate (PEM) to trust: the server's own, or that of who signed it"
    group.add_argument("--trusted", type=Path, metavar="FILE", help=trusted)


def parsed(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The command; a study's writes DICOM objects, too.

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
    elif arguments.engine == "spark" or isinstance(arguments.out, str):
        parser.error("--dicomweb is for one study, on this machine: no Spark, and --out a folder")
    if arguments.dicomweb is not None and "dicom" not in arguments.write:
        arguments.write = (*arguments.write, "dicom")
    return arguments
