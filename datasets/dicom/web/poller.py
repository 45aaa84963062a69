"""Look for new images on a DICOMweb server, again and again.

A study is looked into when it is found first, and again when the server counts more objects in it
than before. Of its images those are fetched that were not taken before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from cxrloc.datasets.dicom import scope
from cxrloc.datasets.dicom.web.answers import ServerError, without_uids
from cxrloc.datasets.dicom.web.credentials import CredentialsError
from cxrloc.datasets.dicom.web.server import DicomWebServer, Instance, Series

_LOG = logging.getLogger("cxrloc.node")
_STOP_S = 1.0  # what a request has not fetched until then is fetched after a restart


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


class NoRoomError(Exception):
    """There is no room for another image now."""


class Poller:
    """A thread that looks for new images, again and again.

    Args:
        server: where images are.
        query: which ones.
        every_s: pause after each look.
        holds: whether an image (UID) was taken before; it is not fetched then.
        take: takes an image (a DICOM file); raises ValueError for one that is refused, which is not
            fetched again, and NoRoomError where it may be taken later.
    """

    def __init__(
        self,
        server: DicomWebServer,
        query: Query,
        every_s: float,
        holds: Callable[[str], bool],
        take: Callable[[bytes], bool],
    ) -> None:
        self.server, self.query, self.every_s = server, query, every_s
        self._holds, self._take_file = holds, take
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
            except (ServerError, CredentialsError, NoRoomError) as error:
                self._fail(without_uids(error))
            except Exception as error:  # a fault of ours; its message may quote a file
                self._fail(type(error).__name__)
            self._stop.wait(self.every_s)

    def _fail(self, fault: str) -> None:
        if fault != self.fault:  # once, not every 30 s
            _LOG.warning("poller: %s", fault)
        self.fault = fault

    def look(self) -> int:
        """Take what is new; returns how many images that is.

        Raises:
            ServerError, CredentialsError: when the server fails.
            NoRoomError: later there may be room.
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
            if instance.uid not in self._refused and not self._holds(instance.uid)
        ]
        return sum(self._take(instance) for instance in new if not self._stop.is_set())

    def _take(self, instance: Instance) -> bool:
        data = self.server.retrieve(instance)
        try:
            return self._take_file(data)
        except ValueError as error:
            self._refused.add(instance.uid)
            _LOG.info("poller: not taken: %s", error)
            return False
