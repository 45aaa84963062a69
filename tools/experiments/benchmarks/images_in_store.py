"""Images on a DICOMweb server that a node answers there, and what it has answered so far."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cxrloc.datasets.dicom.web.answers import ServerError
from cxrloc.datasets.dicom.web.server import DicomWebServer

_LOOK_S = 1.0
_OF_IMAGES = "DX"


@contextmanager
def images_in(
    url: str, files: Sequence[Path], objects: int, answers: dict[str, dict[str, str]]
) -> Iterator[list[str]]:
    """Store images, each of a study of its own; yields a node's options to take them up.

    Args:
        url: of the server.
        files: the images.
        objects: how many results an answer has.
        answers: gets study -> UID of each result in it, for as long as this lasts.

    Raises:
        ServerError, RuntimeError: when they cannot be stored.
    """
    from pydicom import dcmread

    server, studies = DicomWebServer(url), []
    for file in files:
        for _, reason in server.store([file]):
            if reason:
                raise RuntimeError(f"{url}: {file.name} is not stored: {reason}")
        studies.append(str(dcmread(file, stop_before_pixels=True).StudyInstanceUID))
    over = threading.Event()
    looked = server, studies, objects, answers, over
    looking = threading.Thread(target=_look, args=looked, daemon=True)
    looking.start()
    try:
        # what else is there is left alone
        query = f"Modality={_OF_IMAGES}&PatientID=NODE-*"
        yield ["--dicomweb", url, "--query", query, "--every", "1"]
    finally:
        over.set()
        looking.join()


def _look(
    server: DicomWebServer,
    studies: Sequence[str],
    objects: int,
    answers: dict[str, dict[str, str]],
    over: threading.Event,
) -> None:
    """Note results until it is over; those that are complete once more, at the end."""
    while not over.wait(_LOOK_S):
        for study in studies:
            if not over.is_set() and len(answers.get(study, ())) < objects:
                _note(server, study, answers)
    for study in studies:
        _note(server, study, answers)


def _note(server: DicomWebServer, study: str, answers: dict[str, dict[str, str]]) -> None:
    with suppress(ServerError):  # it is asked again
        made = [series for series in server.series(study) if series.modality != _OF_IMAGES]
        uids = [instance.uid for series in made for instance in server.instances(series)]
        if uids:
            answers[study] = dict.fromkeys(uids, "")
