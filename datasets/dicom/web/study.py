"""Fetch the radiographs of a study, and pass over what else is in it, by name."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cxrloc.datasets.dicom import scope
from cxrloc.datasets.dicom.attributes import word
from cxrloc.datasets.dicom.header import parse_header
from cxrloc.datasets.dicom.web.answers import MissingError
from cxrloc.datasets.dicom.web.server import DicomWebServer, Instance, Series, checked_uid

_OWN = "cxrloc"  # Manufacturer's Model Name of what we write


@dataclass
class FetchedStudy:
    """What became of the objects of a study.

    Attributes:
        images: radiographs, as files named after their UIDs.
        failures: a sentence for each object that should be one and could not be had.
        passed_over: what else the study holds -> how many objects or series of it.
    """

    images: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def others(self) -> str:
        """What was passed over, in one line."""
        return ", ".join(f"{what} ({count})" for what, count in sorted(self.passed_over.items()))


def fetch_study(
    server: DicomWebServer, folder: Path, study: str, only: str | None = None
) -> FetchedStudy:
    """Fetch the radiographs of a study, or of one series of it, into a folder.

    Series of other modalities are not fetched; objects of a vague one (secondary captures, OT) are,
    and kept if they are single grey images that we have not made.

    Raises:
        ValueError: if there is no such study or series, or nothing in it that is a radiograph.
        ServerError: if the server fails.
    """
    fetched = FetchedStudy()
    for series in _series(server, checked_uid(study), only):
        if series.modality in scope.MODALITIES + scope.VAGUE_MODALITIES:
            _fetch(server, folder, server.instances(series), fetched)
        else:
            fetched.passed_over[f"series of modality {series.modality[:16]}"] += 1
    if not fetched.images:
        holds = fetched.others() or "nothing"
        reasons = "; ".join([f"it holds {holds}", *fetched.failures])
        raise ValueError(f"{server.url}: no radiograph in {_name(study, only)}: {reasons}")
    return fetched


def _series(server: DicomWebServer, study: str, only: str | None) -> list[Series]:
    found = server.series(study)
    if only is not None:
        found = [series for series in found if series.uid == checked_uid(only)]
    if not found:
        raise ValueError(f"{server.url}: no {_name(study, only)}; check the UIDs")
    return found


def _name(study: str, only: str | None) -> str:
    return f"study {study}" if only is None else f"series {only} in study {study}"


def _fetch(
    server: DicomWebServer, folder: Path, instances: Iterable[Instance], fetched: FetchedStudy
) -> None:
    for instance in instances:
        if instance.sop_class and instance.sop_class not in scope.STORAGE_CLASSES:
            fetched.passed_over["objects of other kinds"] += 1
            continue
        try:
            data = server.retrieve(instance)
        except MissingError as error:  # deleted meanwhile
            fetched.failures.append(str(error))
            continue
        if what := _no_radiograph(data, instance.series):
            fetched.passed_over[what] += 1
            continue
        path = folder / f"{instance.uid}.dcm"
        path.write_bytes(data)
        fetched.images.append(path)


def _no_radiograph(data: bytes, series: Series) -> str:
    """What the object is instead; empty for a radiograph, also one that cannot be predicted."""
    from pydicom import dcmread

    if series.modality in scope.MODALITIES:
        return ""
    try:
        header = parse_header(data)
    except ValueError:
        return ""
    if word(header, "Modality") in scope.MODALITIES:
        return ""
    tags = ["ManufacturerModelName"]
    made_by = dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=tags)
    if made_by.get("ManufacturerModelName") == _OWN:
        return "earlier pictures of cxrloc"
    try:
        scope.check_scope(header, any_body_part=True)
    except ValueError:
        return "pictures that are no radiographs"
    return ""
