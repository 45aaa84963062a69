"""A DICOMweb server at both ends of a node: new images come from it, results go to it.

The poller looks into a study when it is found first, and again when the server counts more objects
in it than before. Of its images those are fetched that the queue does not hold: one that was
answered is not fetched again, after a restart neither.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from cxrloc.datasets.dicom import scope
from cxrloc.datasets.dicom.web.answers import ServerError
from cxrloc.datasets.dicom.web.credentials import CredentialsError
from cxrloc.datasets.dicom.web.server import DicomWebServer, Instance, Series
from cxrloc.tools.server.dicom_node.intake import Intake, Refusal, RefusedError
from cxrloc.tools.server.dicom_node.loop import describe
from cxrloc.tools.server.dicom_node.sender import UnreachableError

_LOG = logging.getLogger("cxrloc.node")
_UID = re.compile(r"[0-9]+(?:\.[0-9]+){4,}")  # an IPv4 address has fewer parts
_STOP_S = 1.0  # what a request has not fetched until then is fetched after a restart


class DicomWebArchive:
    """A `Destination` that speaks DICOMweb."""

    def __init__(self, server: DicomWebServer) -> None:
        self.server = server

    @property
    def name(self) -> str:
        """The URL."""
        return self.server.url

    def send(self, files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
        """Store files in one request, as `Destination.send` describes."""
        try:
            yield from self.server.store(files)
        except ServerError as error:
            raise UnreachableError(without_uids(error)) from None


def without_uids(error: Exception) -> str:
    """The message for a log: UIDs lead to a patient."""
    return _UID.sub("(UID)", str(error))


@dataclass(frozen=True)
class Query:
    """Which studies are looked into, and which series of them.

    Attributes:
        studies: keys of a search for studies.
        modalities: of series that are taken.
    """

    studies: Mapping[str, str]
    modalities: Sequence[str]


def parse_query(text: str) -> Query:
    """Parse keys and values as a search has them: `Modality=DX&StudyDate=20260101-`.

    Raises:
        ValueError: for anything else, or a modality that the models cannot look at.
    """
    from pydicom.datadict import tag_for_keyword

    try:
        keys = dict(parse_qsl(text, strict_parsing=True))
    except ValueError:
        raise ValueError(f"{text!r}, expected a query such as Modality=DX") from None
    unknown = [key for key in keys if tag_for_keyword(key) is None]
    if unknown:
        raise ValueError(f"{unknown[0]!r}, expected a keyword of DICOM, such as StudyDate")
    modality = keys.pop("Modality", None)
    if modality is None:
        return Query(keys, scope.MODALITIES)
    if modality not in scope.MODALITIES:
        expected = ", ".join(scope.MODALITIES)
        raise ValueError(f"Modality {modality!r}, expected one of {expected}")
    return Query({"ModalitiesInStudy": modality, **keys}, (modality,))


class Poller:
    """A way into a node's queue: a `Door`.

    Args:
        server: where images are.
        intake: takes them.
        query: which ones.
        every_s: pause after each look.
    """

    def __init__(
        self, server: DicomWebServer, intake: Intake, query: Query, every_s: float
    ) -> None:
        self.server, self.intake, self.query, self.every_s = server, intake, query, every_s
        self.fault = ""
        self._known: dict[str, str] = {}  # study -> how many objects it had
        self._refused: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a request that takes long is left alone."""
        self._stop.set()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                taken = self.look()
                self.fault = ""
                if taken:
                    _LOG.info("%s: %d images taken", self.server.url, taken)
            except (ServerError, CredentialsError, RefusedError) as error:
                self._fail(without_uids(error))
            except Exception as error:
                self._fail(describe(error))
            self._stop.wait(self.every_s)

    def _fail(self, fault: str) -> None:
        if fault != self.fault:  # once, not every 30 s
            _LOG.warning("poller: %s", fault)
        self.fault = fault

    def look(self) -> int:
        """Take what is new; returns how many images that is.

        Raises:
            ServerError, CredentialsError: when the server fails.
            RefusedError: when the queue is full; later there may be room.
        """
        taken = 0
        for study, objects in self.server.studies(self.query.studies).items():
            if self._stop.is_set():
                break
            if self._known.get(study) == objects != "":
                continue
            taken += self._take_study(study)
            self._known[study] = objects
        return taken

    def _take_study(self, study: str) -> int:
        chosen = [s for s in self.server.series(study) if s.modality in self.query.modalities]
        return sum(self._take_series(series) for series in chosen)

    def _take_series(self, series: Series) -> int:
        new = [
            instance
            for instance in self.server.instances(series)
            if instance.uid not in self._refused and not self.intake.queue.holds(instance.uid)
        ]
        return sum(self._take(instance) for instance in new if not self._stop.is_set())

    def _take(self, instance: Instance) -> bool:
        try:
            return self.intake.take(self.server.retrieve(instance))
        except RefusedError as error:
            if error.kind == Refusal.full:
                raise
            self._refused.add(instance.uid)
            _LOG.info("poller: not taken: %s", error)
            return False
