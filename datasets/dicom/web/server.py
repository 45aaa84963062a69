"""A DICOMweb server: search (QIDO-RS), retrieve (WADO-RS) and store (STOW-RS).

    server = DicomWebServer("http://127.0.0.1:8042/dicom-web")
    for series in server.series("1.2.840..."):
        print(series.modality, [instance.uid for instance in server.instances(series)])

dicomweb-client speaks the protocol (`pip install "cxrloc[dicom]"`). Transfers that fail are tried
three times; what then is wrong is an error by name (`answers`).
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cxrloc.datasets.dicom.header import silence_pydicom
from cxrloc.datasets.dicom.web.answers import UNWANTED, ServerError, check_answer, explained
from cxrloc.datasets.dicom.web.credentials import Authorization, ShownCredentials
from cxrloc.datasets.files.addresses import LOOPBACK

if TYPE_CHECKING:
    from pydicom import Dataset

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64
_CONNECT_S, _SILENT_S = 10, 60
_EXCHANGE_S = 300.0  # for one request and its answer; with 3 attempts a quarter of an hour
_PAGE = 1000
_ALREADY_STORED = 0x0111  # Failure Reason: duplicate SOP Instance


@dataclass(frozen=True)
class Series:
    """A series of a study, as a search returns it."""

    study: str
    uid: str
    modality: str


@dataclass(frozen=True)
class Instance:
    """An object of a series; `sop_class` is empty where the server does not say."""

    series: Series
    uid: str
    sop_class: str


class DicomWebServer:
    """One server and how to reach it.

    Args:
        url: root of DICOMweb, such as https://host/dicom-web.
        authorization: credentials (`credentials`); None for a server that asks for none.
        ca_file: certificates (PEM) to trust instead of those that the system trusts.

    Raises:
        ValueError, FileNotFoundError: for a URL or a file that cannot be used.
        ImportError: without dicomweb-client.
    """

    def __init__(
        self, url: str, authorization: Authorization | None = None, ca_file: Path | None = None
    ) -> None:
        import requests
        from dicomweb_client.api import DICOMwebClient

        from cxrloc.datasets.dicom.web.exchange import BoundedAdapter

        self.url = checked_url(url)
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, BoundedAdapter(_EXCHANGE_S))
        session.auth = ShownCredentials(authorization)
        session.headers["Accept"] = "application/dicom+json"
        session.hooks["response"].append(check_answer)
        if ca_file is not None:
            # for each request: REQUESTS_CA_BUNDLE would come before the session's
            trusted = str(_certificates(ca_file))
            session.request = partial(session.request, verify=trusted)  # type: ignore[method-assign]
        whole = 2**40  # sent in chunks, a second attempt would send nothing
        self._client = DICOMwebClient(
            self.url,
            session,
            chunk_size=whole,
            permissive_uid=True,  # some have leading zeros; ours are checked here
            timeout=(_CONNECT_S, _SILENT_S),
        )
        self._client.set_http_retry_params(max_attempts=3, wait_exponential_multiplier=250)
        for library in ("dicomweb_client", "retrying"):  # they repeat what a server sends
            logging.getLogger(library).setLevel(logging.CRITICAL)
        silence_pydicom()

    def studies(self, filters: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """UID and number of objects, as the server states it, of the studies that match.

        They are asked for page by page, and no page is kept.

        Args:
            filters: keyword -> value to match (PS3.18 8.3.4).
        """
        found = self._search(self._client.search_for_studies, "0020000D", filters, "search")
        for uid, entry in found:
            yield uid, _text(entry, "00201208")

    def series(self, study: str) -> list[Series]:
        """All series of a study, in the server's order; empty if there is no such study."""
        search, asked = self._client.search_for_series, {"study_instance_uid": checked_uid(study)}
        found = self._search(search, "0020000E", {}, f"study {study}", **asked)
        return [Series(study, uid, _text(entry, "00080060")) for uid, entry in found]

    def instances(self, series: Series, uid: str | None = None) -> list[Instance]:
        """All objects of a series, or the one with this UID if it is there."""
        filters = {} if uid is None else {"SOPInstanceUID": uid}
        found = self._search(
            self._client.search_for_instances,
            "00080018",
            filters,
            f"series {series.uid}",
            study_instance_uid=series.study,
            series_instance_uid=checked_uid(series.uid),
        )
        kept = ((each, entry) for each, entry in found if uid in (None, each))  # may be ignored
        return [Instance(series, each, _text(entry, "00080016")) for each, entry in kept]

    def _search(
        self,
        search: Callable[..., Any],
        tag: str,
        filters: Mapping[str, str],
        what: str,
        **asked: str,
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """UID at `tag` and entry, page by page: a server may return fewer than it is asked for."""
        seen: set[str] = set()
        while True:
            with explained(self.url, what):
                page = search(**asked, search_filters=dict(filters), limit=_PAGE, offset=len(seen))
                entries = {_uid(entry, tag): entry for entry in page}
            new = entries.keys() - seen
            if not new:
                break
            seen |= new
            yield from ((uid, entry) for uid, entry in entries.items() if uid in new)
        if len(entries) == _PAGE:  # again, whatever the offset
            raise ServerError(
                f"{self.url}: it lists {_PAGE} matches and never the next ones (it ignores offset)"
                "; more may be there: ask for fewer, such as those since a StudyDate"
            )

    def retrieve(self, instance: Instance) -> bytes:
        """The object as a DICOM file, in the transfer syntax in which the server holds it.

        Raises:
            MissingError: if it is not there any more.
            ServerError: if the server sends another object, none, or a part.
        """
        series = instance.series
        with explained(self.url, f"object {instance.uid}"):
            got = self._client.retrieve_instance(
                series.study, series.uid, instance.uid, media_types=(("application/dicom", "*"),)
            )
            if got.get("SOPInstanceUID") != instance.uid:
                raise ServerError(f"it sends another object than {instance.uid}")
            return _as_file(got)

    def store(self, files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
        """Store DICOM files of one study; yields each with why it was not stored, empty if it was.

        What the server has already under the same UID counts as stored.

        Raises:
            UnwantedError: if the server refuses them without saying which.
            ServerError: if the server cannot be reached; nothing is known of the files then.
        """
        from pydicom import dcmread

        objects = {path: dcmread(path) for path in files}
        answer = self._stored(list(objects.values()))
        stored, failed = _outcome(answer)
        for path, made in objects.items():
            uid = made.SOPInstanceUID
            if uid in stored or failed.get(uid) == _ALREADY_STORED:
                yield path, ""
            elif uid in failed:
                yield path, f"the server refuses it (reason {failed[uid]:04X})"
            else:
                yield path, "the server does not say that it has stored it"

    def _stored(self, objects: Sequence[Dataset]) -> Dataset:
        import requests
        from pydicom import Dataset

        with explained(self.url, "storing of results"):
            try:
                return self._client.store_instances(objects)
            except requests.HTTPError as error:
                if error.response is None or error.response.status_code not in UNWANTED:
                    raise
                try:  # 409, and Orthanc's 400: none was stored, the answer says why
                    return Dataset.from_json(error.response.json())
                except Exception:  # no such answer
                    raise error from None


def checked_url(url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        ValueError: for what is no root of DICOMweb.
    """
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError("--dicomweb: no name and password in the URL; give --dicomweb-password")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"--dicomweb {url!r}: expected a URL such as https://host/dicom-web")
    return url.rstrip("/")


def is_unencrypted(url: str) -> bool:
    """Whether others in the network can read along."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK


def checked_uid(uid: str) -> str:
    """The UID.

    Raises:
        ValueError: for anything else; UIDs become parts of addresses and of files' names.
    """
    if not _UID.fullmatch(uid) or len(uid) > _LONGEST_UID:
        raise ValueError(f"{uid[:80]!r} is no UID; expected digits and dots, at most 64 characters")
    return uid


def _certificates(path: Path) -> Path:
    import ssl

    if not path.is_file():
        raise FileNotFoundError(f"--trusted {path}: no such file; expected certificates (PEM)")
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise ValueError(f"--trusted {path}: holds no certificates; expected PEM") from None
    return path


def _uid(entry: Any, tag: str) -> str:
    return checked_uid(_text(entry, tag))


def _text(entry: Any, tag: str) -> str:
    """A value of DICOM JSON; empty if there is none."""
    if not isinstance(entry, dict):
        raise ServerError("its answer is no DICOM JSON")
    element = entry.get(tag) or {}
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]).strip() if isinstance(values, list) and values else ""


def _as_file(got: Dataset) -> bytes:
    out = io.BytesIO()
    got.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _outcome(answer: Dataset) -> tuple[set[str], dict[str, int]]:
    """UIDs that were stored, and UID -> failure reason of those that were not."""
    reasons = {
        str(item.get("ReferencedSOPInstanceUID")): int(item.get("FailureReason") or 0)
        for item in answer.get("FailedSOPSequence") or ()
    }
    done = answer.get("ReferencedSOPSequence") or ()
    return {str(item.get("ReferencedSOPInstanceUID")) for item in done}, reasons
