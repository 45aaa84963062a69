"""A DICOMweb server as a node's source and destination, and one that fails."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pydicom
import pytest

from builders import chest_pixels
from cxrloc.datasets.dicom.web.answers import without_uids
from cxrloc.datasets.dicom.web.poller import NoRoomError, Poller, Query, parse_query
from cxrloc.datasets.dicom.web.server import DicomWebServer
from cxrloc.localization.diagnosis.diagnoser import Diagnoser
from cxrloc.localization.dicom_output.origin import Origin
from cxrloc.tools.server.dicom_node.archive import DicomWebArchive
from cxrloc.tools.server.dicom_node.durable_queue.images import Bounds, DurableQueue
from cxrloc.tools.server.dicom_node.predictor import Predictor
from cxrloc.tools.server.dicom_node.receiving.intake import Intake
from cxrloc.tools.server.dicom_node.sender import UnreachableError
from cxrloc.tools.server.dicom_node.service import Node
from datasets.dicom.builders import write_dicom
from datasets.dicom.web.servers import Answer, Orthanc, told_server

DX = parse_query("Modality=DX")
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def orthanc(orthanc_server: Orthanc, tmp_path: Path) -> Orthanc:
    """It holds two studies: a radiograph; a knee and a CT."""
    orthanc_server.empty()
    pixels = chest_pixels()
    orthanc_server.put(write_dicom(tmp_path / "chest.dcm", pixels))
    study = {"StudyInstanceUID": "1.2.826.0.1.3680043.8.498.2", "PatientID": "2"}
    orthanc_server.put(
        write_dicom(tmp_path / "knee.dcm", pixels, study, BodyPartExamined="KNEE"),
        write_dicom(tmp_path / "ct.dcm", pixels, study, SOPClassUID=CT, Modality="CT"),
    )
    return orthanc_server


def poller(server: Orthanc, intake: Intake, query: Query = DX) -> Poller:
    return watching(server.dicomweb, intake, query)


def watching(url: str, intake: Intake, query: Query = DX) -> Poller:
    return Poller(DicomWebServer(url), query, 0.05, intake.queue.holds, intake.take_fetched)


def test_a_poller_takes_what_matches_once_and_later_what_is_new(
    orthanc: Orthanc, intake: Intake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    looking = poller(orthanc, intake)
    with caplog.at_level(logging.INFO):
        assert looking.look() == 1
        assert looking.look() == 0
        assert poller(orthanc, intake).look() == 0  # as after a restart
    assert intake.queue.load()[0] == 1
    chest = pydicom.dcmread(tmp_path / "chest.dcm")
    job = intake.queue.next_received()
    assert job is not None
    assert pydicom.dcmread(job.file) == chest
    assert "poller: not taken: not a chest image: BodyPartExamined is KNEE" in caplog.text
    assert not any(text in caplog.text for text in ("Canary", "CANARY", chest.SOPInstanceUID))

    more = {"StudyInstanceUID": chest.StudyInstanceUID, "ViewPosition": "AP"}
    orthanc.put(write_dicom(tmp_path / "later.dcm", chest_pixels(1), more))
    assert looking.look() == 1
    assert poller(orthanc, intake, parse_query("Modality=CR")).look() == 0


def test_a_query_bounds_what_is_taken(orthanc: Orthanc, intake: Intake) -> None:
    assert poller(orthanc, intake, parse_query("Modality=DX&StudyDate=20250101-")).look() == 0
    assert poller(orthanc, intake, parse_query("PatientID=OTHER-*")).look() == 0
    both = parse_query("StudyDate=20240101-20241231&PatientID=CANARY-*")
    assert poller(orthanc, intake, both).look() == 1
    assert parse_query("Modality=DX&StudyDate=20250101-").studies == {
        "ModalitiesInStudy": "DX",
        "StudyDate": "20250101-",
    }
    for text, said in (
        ("Modality", "expected a query such as Modality=DX"),
        ("Modalty=DX", "'Modalty', expected a keyword of DICOM"),
        ("Modality=CT", "Modality 'CT', expected one of CR, DX, RG"),
    ):
        with pytest.raises(ValueError, match=said):
            parse_query(text)


def test_what_a_full_queue_does_not_take_is_taken_later(orthanc: Orthanc, tmp_path: Path) -> None:
    queue = DurableQueue(tmp_path / "full", Bounds(images=0))
    looking = poller(orthanc, Intake(queue))
    with pytest.raises(NoRoomError, match="the bound is 0"):
        looking.look()
    queue.bounds = Bounds()
    assert looking.look() == 1
    queue.database.close()


@pytest.mark.slow
def test_a_node_answers_what_comes_to_a_dicomweb_server_there_and_once(
    orthanc: Orthanc, queue: DurableQueue, diagnoser: Diagnoser
) -> None:
    archive = DicomWebArchive(DicomWebServer(orthanc.dicomweb))
    predictor = Predictor(queue, diagnoser, Origin({"classifier": "abc"}), [archive.name])
    node = Node(queue, predictor, [archive], [poller(orthanc, Intake(queue))])
    node.start()
    end = time.monotonic() + 120
    while orthanc.modalities()["SR"] == 0 and time.monotonic() < end:
        time.sleep(0.2)
    time.sleep(1)  # it looks some more times
    began = time.monotonic()
    node.stop()
    assert time.monotonic() - began < 5
    assert orthanc.modalities() == {"DX": 2, "CT": 1, "SR": 1, "PR": 1, "OT": 1}
    assert queue.load()[0] == 0


def test_a_server_that_fails_is_told_once_and_asked_again(
    intake: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    with told_server() as told, caplog.at_level(logging.INFO):
        told.always(Answer(401))
        looking = watching(told.url, intake)
        looking.start()
        end = time.monotonic() + 30
        while len(told.asked) < 3 and time.monotonic() < end:
            time.sleep(0.05)
        looking.stop()
    assert len(told.asked) >= 3
    assert caplog.text.count("it asks who you are (401)") == 1
    assert "ModalitiesInStudy=DX" in told.asked[0][1]


def test_results_that_a_server_cannot_take_now_wait(tmp_path: Path) -> None:
    made = write_dicom(tmp_path / "a.sr.dcm", chest_pixels())
    with told_server() as told:
        archive = DicomWebArchive(DicomWebServer(told.url))
        assert archive.name == told.url
        for answer in (Answer(503), Answer(401), Answer(200, "text/html", b"<html>")):
            told.always(answer)
            with pytest.raises(UnreachableError):
                list(archive.send([made]))
        for status in (400, 409, 413, 415, 422):  # of what was sent: others are not held up by it
            told.always(Answer(status, "text/html", b"<html>Canary"))
            [(path, reason)] = archive.send([made])
            assert path == made
            assert f"it answers {status}" in reason
    error = ValueError("http://10.0.0.7:80: it has no study 1.2.840.113619.2.1 (404)")
    assert without_uids(error) == "http://10.0.0.7:80: it has no study (UID) (404)"
