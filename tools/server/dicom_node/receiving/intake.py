"""Take a DICOM file into the queue, or say why not: what a receiver and a poller have in common."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from enum import StrEnum
from typing import TYPE_CHECKING

from cxrloc.datasets.dicom.deflated import BoundedFile
from cxrloc.datasets.dicom.header import parse_header
from cxrloc.datasets.dicom.scope import OtherObjectError, check_scope
from cxrloc.datasets.dicom.web.poller import NoRoomError
from cxrloc.tools.server.dicom_node.durable_queue.images import (
    ConflictError,
    DurableQueue,
    FullError,
)
from cxrloc.tools.server.dicom_node.durable_queue.reasons import is_full
from cxrloc.tools.server.dicom_node.durable_queue.spool import key_of

if TYPE_CHECKING:
    from pydicom import Dataset

_LOG = logging.getLogger("cxrloc.node")
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


class Refusal(StrEnum):
    """Why an object is not taken; each is counted."""

    other_class = "other_class"  # CT, a report, ...
    mismatch = "mismatch"  # it is not what its sender says
    not_an_image = "not_an_image"  # a limb, no pixels, colour, damaged ...
    conflict = "conflict"  # another image has its UID
    full = "full"  # later there may be room


class RefusedError(ValueError):
    """An object that is not taken. The message holds nothing of the patient."""

    def __init__(self, kind: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Intake:
    """The one way into a queue.

    Args:
        queue: what it puts images into.
        any_body_part: takes other parts than the chest, too.
    """

    def __init__(self, queue: DurableQueue, any_body_part: bool = False) -> None:
        self.queue, self.any_body_part = queue, any_body_part

    def take(self, data: bytes) -> bool:
        """Put a DICOM file into the queue; afterwards it is on the disk.

        Returns:
            False if it is there or answered already, and nothing needs to be done.

        Raises:
            RefusedError: what is refused is counted, and never kept.
        """
        try:
            uid, content = self._checked(data)
            taken = self._put(uid, data, content)
        except RefusedError as error:
            self.queue.database.count(f"refused_{error.kind}")
            raise
        if not taken:
            self.queue.database.count("duplicates")
        _LOG.info("%s: %s", key_of(uid), "received" if taken else "received again, known already")
        return taken

    def take_fetched(self, data: bytes) -> bool:
        """Take as `take` does, for a poller.

        Raises:
            NoRoomError: where the image may be taken later.
            RefusedError: where it is refused for good.
        """
        try:
            return self.take(data)
        except RefusedError as error:
            if error.kind == Refusal.full:
                raise NoRoomError(str(error)) from None
            raise

    def _put(self, uid: str, data: bytes, content: str) -> bool:
        try:
            return self.queue.put(uid, data, content)
        except ConflictError as error:
            raise RefusedError(Refusal.conflict, str(error)) from None
        except FullError as error:
            raise RefusedError(Refusal.full, str(error)) from None
        except (OSError, sqlite3.Error) as error:
            if not is_full(error):
                raise
            raise RefusedError(Refusal.full, "the disk is full") from None

    def _checked(self, data: bytes) -> tuple[str, str]:
        """Return the SOP Instance UID and the hash of the content of an image that is taken."""
        try:
            header = parse_header(data)
            _check_image(header, self.any_body_part)
            facts = _facts(data)
        except RefusedError:
            raise
        except OtherObjectError as error:
            raise RefusedError(Refusal.other_class, str(error)) from None
        except ValueError as error:
            raise RefusedError(Refusal.not_an_image, str(error)) from None
        return str(facts.SOPInstanceUID), _content(header, facts)


def _check_image(header: Dataset, any_body_part: bool) -> None:
    check_scope(header, any_body_part=any_body_part)
    if not header.get("PixelData"):
        raise ValueError("a DICOM object without pixels; expected an image")


def _facts(data: bytes) -> Dataset:
    """Read the UIDs that results refer to, and the patient's number, which is only hashed."""
    from pydicom import dcmread

    try:
        facts = dcmread(
            BoundedFile(data),
            force=True,
            stop_before_pixels=True,
            specific_tags=[*_UIDS, "PatientID"],
        )
        missing = [keyword for keyword in _UIDS if not facts.get(keyword)]
        given = [facts.file_meta.get(f"MediaStorage{word}", facts.get(word)) for word in _UIDS[:2]]
    except Exception as error:  # a parser can raise anything on a damaged file
        raise ValueError(f"damaged DICOM file ({type(error).__name__})") from None
    if missing:
        raise RefusedError(Refusal.mismatch, f"no {missing[0]}, so no result can refer to it")
    for keyword, uid in zip(_UIDS, given, strict=False):
        if uid != facts[keyword].value:
            raise RefusedError(Refusal.mismatch, f"its {keyword} is not the one it was sent under")
    return facts


def _content(header: Dataset, facts: Dataset) -> str:
    """Hash what tells two images of one UID apart; archives may change other attributes."""
    digest = hashlib.sha256(bytes(header.PixelData))
    for value in (facts.get("PatientID"), facts.StudyInstanceUID, header.Rows, header.Columns):
        digest.update(f"\0{value or ''}".encode())
    return digest.hexdigest()
