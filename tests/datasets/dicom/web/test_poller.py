"""Looking for new images: many pages, servers without them, images that come later, failures."""

from __future__ import annotations

import contextlib
import io
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from cxrloc.datasets.dicom.web import server
from cxrloc.datasets.dicom.web.answers import ServerError
from cxrloc.datasets.dicom.web.poller import Poller, parse_query
from cxrloc.datasets.dicom.web.server import DicomWebServer
from datasets.dicom.builders import write_dicom
from datasets.dicom.web.servers import Answer, Told, dicom_json, multipart

PAGE = 10
_OBJECT = re.compile(r"/instances/([0-9.]+)$")


@dataclass
class Store:
    """Studies of one DX series each, as a DICOMweb server lists and sends them.

    Attributes:
        image: what each object is a copy of.
        studies: study -> how many images it has.
        counts: whether it states that number.
        offset: whether it knows offset, and limit.
    """

    image: Path
    studies: dict[str, int]
    counts: bool = True
    offset: bool = True
    limit: bool = True
    fails: Callable[[str], bool] = lambda path: False
    asked: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str) -> Answer:
        self.asked.append(path)
        if self.fails(path):
            return Answer(500)
        place, _, query = path.partition("?")
        if found := _OBJECT.search(place):
            return Answer(200, *multipart(self._object(found[1])))
        entries = [*self._entries(place.split("/")[2:])]
        keys = dict(pair.split("=") for pair in query.split("&"))
        first = int(keys["offset"]) if self.offset else 0
        last = first + int(keys["limit"]) if self.limit else None
        return Answer(body=dicom_json(*entries[first:last]))

    def _entries(self, place: list[str]) -> Iterator[dict[str, str]]:
        if len(place) == 1:
            for study, images in self.studies.items():
                yield {"0020000D": study} | ({"00201208": str(images)} if self.counts else {})
        elif place[-1] == "series":
            yield {"0020000E": f"{place[1]}.1", "00080060": "DX"}
        else:
            for n in range(self.studies[place[1]]):
                yield {"00080018": f"{place[3]}.{n}"}

    def _object(self, uid: str) -> bytes:
        made = pydicom.dcmread(self.image)
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(uid)
        out = io.BytesIO()
        made.save_as(out)
        return out.getvalue()


class Taken(list[str]):
    """The UIDs of what was taken, in order."""

    def take(self, data: bytes) -> bool:
        self.append(str(pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID))
        return True


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    return write_dicom(tmp_path_factory.mktemp("image") / "a.dcm", pixels)


@pytest.fixture
def watched(
    told: Told, image: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Store, Poller, Taken]]:
    """`watched(25)`: a server with so many studies of one image, a poller, what it takes."""
    monkeypatch.setattr(server, "_PAGE", PAGE)

    def watch(studies: int, **more: Any) -> tuple[Store, Poller, Taken]:
        store = Store(image, {f"1.2.{n}": 1 for n in range(1, studies + 1)}, **more)
        told.answer, taken = store.answer, Taken()
        query = parse_query("Modality=DX&StudyDate=20261101-")
        looking = Poller(DicomWebServer(told.url), query, 0.0, taken.__contains__, taken.take)
        return store, looking, taken

    return watch


def images(count: int) -> list[str]:
    return [f"1.2.{n}.1.0" for n in range(1, count + 1)]


def test_all_pages_are_taken_and_the_first_before_the_next_is_asked_for(
    watched: Callable[..., tuple[Store, Poller, Taken]],
) -> None:
    store, looking, taken = watched(25)
    assert looking.look() == 25
    assert taken == images(25)
    second = next(n for n, path in enumerate(store.asked) if "offset=10" in path)
    assert sum(bool(_OBJECT.search(path)) for path in store.asked[:second]) == PAGE
    assert "ModalitiesInStudy=DX&StudyDate=20261101-" in store.asked[0]
    store.asked.clear()
    assert looking.look() == 0
    assert len(store.asked) == 4  # only the list: pages of 10, 10, 5 and none


def test_a_server_without_offset_is_told_of_unless_it_lists_all(
    watched: Callable[..., tuple[Store, Poller, Taken]],
) -> None:
    _, looking, taken = watched(25, offset=False)
    with pytest.raises(ServerError, match=r"lists 10 matches and never the next ones .*StudyDate"):
        looking.look()
    assert taken == images(10)
    _, looking, taken = watched(25, offset=False, limit=False)
    assert looking.look() == 25
    assert taken == images(25)


@pytest.mark.parametrize("counts", [True, False])
def test_images_that_come_later_are_taken(
    watched: Callable[..., tuple[Store, Poller, Taken]], counts: bool
) -> None:
    store, looking, taken = watched(2, counts=counts)
    looking.look()
    store.studies |= {"1.2.2": 3}
    assert looking.look() == 2
    assert looking.look() == 0
    assert taken == [*images(2), "1.2.2.1.1", "1.2.2.1.2"]


def test_a_server_that_fails_half_of_the_time_gives_all_in_the_end_and_none_twice(
    watched: Callable[..., tuple[Store, Poller, Taken]],
) -> None:
    store, looking, taken = watched(12)
    rng = random.Random(0)
    store.fails = lambda path: "/series" in path and "offset=1" not in path and rng.random() < 0.5
    with pytest.raises(ServerError, match="it answers 500"):
        looking.look()
    for _ in range(60):
        with contextlib.suppress(ServerError):
            looking.look()
    assert sorted(taken) == sorted(images(12))


def test_what_cannot_be_sent_holds_up_nothing_and_is_tried_again_later(
    watched: Callable[..., tuple[Store, Poller, Taken]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    store, looking, taken = watched(4)
    looking.every_s = 30.0
    broken = images(4)[0]
    store.fails = lambda path: path.endswith(broken)

    def tries() -> int:
        store.asked.clear()
        with pytest.raises(ServerError, match=r"500 .* for object"):
            looking.look()
        return sum(path.endswith(broken) for path in store.asked)

    tried = {}
    for now[0] in (0.0, 29.0, 31.0, 90.0, 92.0):  # pauses of 30, 60, 120 s
        tried[now[0]] = tries()
    assert tried == {0.0: 1, 29.0: 0, 31.0: 1, 90.0: 0, 92.0: 1}
    assert taken == images(4)[1:]
    store.fails, now[0] = lambda path: False, 300.0
    assert looking.look() == 1


def test_a_server_that_fails_at_everything_is_left_alone_for_a_while(
    watched: Callable[..., tuple[Store, Poller, Taken]],
) -> None:
    store, looking, _ = watched(10)
    store.fails = lambda path: "/series" in path
    with pytest.raises(ServerError, match="500"):
        looking.look()
    assert len(store.asked) == 1 + 5


@pytest.mark.parametrize("dates", ["2026-11-01", "20261101-2026", "today", "20261101,20261102"])
def test_a_date_that_would_match_nothing_is_refused(dates: str) -> None:
    with pytest.raises(ValueError, match="expected YYYYMMDD, YYYYMMDD- or YYYYMMDD-YYYYMMDD"):
        parse_query(f"Modality=DX&StudyDate={dates}")
    with pytest.raises(ValueError, match="StudyDate is given twice"):
        parse_query("StudyDate=20260101-&StudyDate=20270101-")
