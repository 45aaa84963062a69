"""Look for new images on a DICOMweb server, again and again.

A study is looked into when it is found first, and again when the server counts more objects in it
than before. Of its images those are fetched that were not taken before. What the server cannot send
is asked for again with growing pauses, and the other studies go on.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from cxrloc.datasets.dicom import scope
from cxrloc.datasets.dicom.web.answers import MissingError, ServerError, without_uids
from cxrloc.datasets.dicom.web.credentials import CredentialsError
from cxrloc.datasets.dicom.web.server import DicomWebServer, Instance, Series

_LOG = logging.getLogger("cxrloc.node")
_DATES = re.compile(r"[0-9]{8}|[0-9]{8}-|-[0-9]{8}|[0-9]{8}-[0-9]{8}")
_IN_A_ROW = 5  # studies that fail one after the other: then it is the server, and no more are tried
_LONGEST_S = 3600.0  # pause before a study that failed is tried again
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
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    try:
        pairs = parse_qsl(text, strict_parsing=True)
    except ValueError:
        raise ValueError(f"{text!r}, expected a query such as Modality=DX") from None
    keys = dict(pairs)
    for key, value in pairs:
        if tag_for_keyword(key) is None:
            raise ValueError(f"{key!r}, expected a keyword of DICOM, such as StudyDate")
        if keys[key] != value:
            raise ValueError(f"{key} is given twice; repeat --query instead")
        if dictionary_VR(key) == "DA" and not _DATES.fullmatch(value):
            raise ValueError(f"{key}={value}, expected YYYYMMDD, YYYYMMDD- or YYYYMMDD-YYYYMMDD")
    modality = keys.pop("Modality", None)
    if modality is None:
        return Query(keys, scope.MODALITIES)
    if modality not in scope.MODALITIES:
        expected = ", ".join(scope.MODALITIES)
        raise ValueError(f"Modality {modality!r}, expected one of {expected}")
    return Query({"ModalitiesInStudy": modality, **keys}, (modality,))


class NoRoomError(Exception):
    """There is no room for another image now."""


class _Failed:
    """A study that could not be taken whole, and when it is tried again."""

    def __init__(self, fault: str, every_s: float, before: _Failed | None) -> None:
        self.fault = fault
        self.pause: float = every_s if before is None else min(2 * before.pause, _LONGEST_S)
        self.due = time.monotonic() + self.pause


class Poller:
    """A thread that looks for new images, again and again.

    Args:
        server: where images are.
        query: which ones.
        every_s: pause after each look.
        holds: whether an image (UID) was taken before; it is not fetched then.
        take: takes an image (a DICOM file); raises ValueError for one that is refused, which is not
            fetched again, and NoRoomError where it may be taken later.

    Attributes:
        fault: why the server could not be asked, or sent not all, at the last look; else empty.
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
        self.fault = self._told = ""
        self._known: dict[str, str] = {}  # study -> how many objects it had
        self._failed: dict[str, _Failed] = {}  # study -> what failed there
        self._refused: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    @property
    def name(self) -> str:
        """The server's URL; what is searched for may name a patient."""
        return self.server.url

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a request that takes long is left alone."""
        self._stop.set()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            fault, told = "", ""
            try:
                self.look()
            except NoRoomError as error:
                told = str(error)
            except (ServerError, CredentialsError) as error:
                fault = told = without_uids(error)
            except Exception as error:  # a fault of ours; its message may quote a file
                fault = told = type(error).__name__
            if told not in ("", self._told):  # once, not every 30 s
                _LOG.warning("poller: %s", told)
            self.fault, self._told = fault, told
            self._stop.wait(self.every_s)

    def look(self) -> int:
        """Take what is new; returns how many images that is.

        Raises:
            ServerError, CredentialsError: when the server fails; what it has sent is taken.
            NoRoomError: later there may be room.
        """
        taken, in_a_row, failure = 0, 0, ""
        try:
            for study, objects in self.server.studies(self.query.studies):
                if self._stop.is_set():
                    break
                if self._known.get(study) == objects != "":
                    continue
                before = self._failed.get(study)
                if before is not None and time.monotonic() < before.due:
                    failure = before.fault
                    continue
                number, fault = self._take_study(study)
                taken += number
                if not fault:
                    self._known[study], in_a_row = objects, 0
                    self._failed.pop(study, None)
                    continue
                self._failed[study] = _Failed(fault, self.every_s, before)
                failure, in_a_row = fault, in_a_row + 1
                if in_a_row == _IN_A_ROW:
                    break
        finally:
            if taken:
                _LOG.info("%s: %d images taken", self.server.url, taken)
        if failure:
            raise ServerError(failure)
        return taken

    def _take_study(self, study: str) -> tuple[int, str]:
        """Take what is new in a study: how many images, and what went wrong with the others."""
        taken, fault = 0, ""
        try:
            chosen = [s for s in self.server.series(study) if s.modality in self.query.modalities]
            new = [instance for series in chosen for instance in self._new(series)]
        except ServerError as error:
            return 0, str(error)
        for instance in new:
            if self._stop.is_set():
                break
            try:
                taken += self._take(instance)
            except MissingError:  # deleted meanwhile
                continue
            except ServerError as error:
                fault = str(error)
        return taken, fault

    def _new(self, series: Series) -> list[Instance]:
        return [
            instance
            for instance in self.server.instances(series)
            if instance.uid not in self._refused and not self._holds(instance.uid)
        ]

    def _take(self, instance: Instance) -> bool:
        data = self.server.retrieve(instance)
        try:
            return self._take_file(data)
        except ValueError as error:
            self._refused.add(instance.uid)
            _LOG.info("poller: not taken: %s", error)
            return False
