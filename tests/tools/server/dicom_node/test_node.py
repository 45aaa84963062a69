"""Whole nodes: killed at random moments, looked at, and beside Orthanc, which routes to them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from fastapi.testclient import TestClient
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from builders import chest_pixels
from cxrloc.datasets.dicom.web.poller import Poller, parse_query
from cxrloc.datasets.dicom.web.server import DicomWebServer
from cxrloc.localization.diagnosis.diagnoser import Diagnoser
from cxrloc.localization.dicom_output.c_store import Peer
from cxrloc.localization.dicom_output.origin import Origin
from cxrloc.tools.data import send_dicom
from cxrloc.tools.experiments.benchmarks.node_kills import kill_campaign
from cxrloc.tools.server.dicom_node import node as tool
from cxrloc.tools.server.dicom_node.archive import Archive
from cxrloc.tools.server.dicom_node.durable_queue.images import DurableQueue
from cxrloc.tools.server.dicom_node.durable_queue.spool import key_of
from cxrloc.tools.server.dicom_node.options import node_parser
from cxrloc.tools.server.dicom_node.predictor import Predictor
from cxrloc.tools.server.dicom_node.receiving.intake import Intake
from cxrloc.tools.server.dicom_node.receiving.receiver import Receiver
from cxrloc.tools.server.dicom_node.service import Node
from cxrloc.tools.server.dicom_node.status_pages import NodeMetrics, status_app
from datasets.dicom.builders import write_dicom
from datasets.dicom.web.servers import Answer, Orthanc, free_port, running_orthanc, told_server
from tools.server.dicom_node.waiting import wait_until


def send_to(node: Node, *files: Path) -> int:
    receiver = node.doors[0]
    assert isinstance(receiver, Receiver)
    address = ["127.0.0.1", str(receiver.port), "--called", "CXRLOC"]
    return send_dicom.main([*address, *map(str, files)])


@pytest.mark.slow
def test_a_node_that_is_killed_while_it_takes_images_from_a_store_does_neither(
    bundles: Mapping[str, Path], orthanc_server: Orthanc
) -> None:
    orthanc_server.empty()
    url = orthanc_server.dicomweb
    outcome = kill_campaign(bundles["classifier"], images=4, kills=2, seed=2, dicomweb=url)
    assert (outcome.answered, outcome.twice, outcome.status) == (4, 0, 143)
    assert orthanc_server.modalities() == {"DX": 4, "SR": 4, "PR": 4, "OT": 4}


@pytest.mark.slow
def test_a_node_that_is_killed_loses_nothing_and_answers_nothing_twice(
    bundles: Mapping[str, Path],
) -> None:
    outcome = kill_campaign(bundles["classifier"], images=6, kills=2, seed=1)
    assert (outcome.answered, outcome.twice, outcome.changed) == (6, 0, 0)
    assert len(outcome.kills) == 2
    assert outcome.status == 143
    assert sorted(map(len, outcome.answers.values())) == [3] * 6


def test_an_image_is_answered_once_however_often_it_is_sent(
    nodes: Callable[..., Node], receiver: Any, image: Path, queue: DurableQueue
) -> None:
    node = nodes(Peer("ARCHIVE", "127.0.0.1", receiver.port))
    assert send_to(node, image, image) == 0
    wait_until(lambda: queue.states() == {"sent": 1})
    assert send_to(node, image) == 0
    assert sorted(made.Modality for made in receiver.stored) == ["OT", "PR", "SR"]
    source = pydicom.dcmread(image)
    assert {made.StudyInstanceUID for made in receiver.stored} == {source.StudyInstanceUID}
    assert {made.PatientID for made in receiver.stored} == {source.PatientID}
    assert queue.database.counts()["duplicates"] == 2
    assert node.faults() == []


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_an_image_of_a_rare_syntax_and_the_longest_uids_is_answered(
    queue: DurableQueue, diagnoser: Diagnoser, tmp_path: Path, syntax: UID
) -> None:
    uids = {
        f"{each}InstanceUID": f"1.{n}" + "2" * 61 for n, each in enumerate(("Study", "Series"), 1)
    }
    path = write_dicom(tmp_path / "a.dcm", chest_pixels(), uids, syntax=syntax)
    Intake(queue).take(path.read_bytes())
    assert Predictor(queue, diagnoser, Origin({"classifier": "abc"}), ["ARCHIVE"]).step()
    delivery = queue.deliveries.next("ARCHIVE")
    assert delivery is not None
    made = [pydicom.dcmread(file) for file in delivery.files]
    assert [each.StudyInstanceUID for each in made] == [uids["StudyInstanceUID"]] * 3
    assert all(len(each.SOPInstanceUID) <= 64 for each in made)


def test_a_node_stops_in_time_whatever_it_waits_for(
    queue: DurableQueue, diagnoser: Diagnoser, image: Path
) -> None:
    over = threading.Event()

    def answer_late(method: str, path: str) -> Answer:
        over.wait(60)
        return Answer()

    with told_server() as source, socket.create_server(("127.0.0.1", 0)) as silent:
        source.answer = answer_late
        archive = Archive(Peer("ARCHIVE", "127.0.0.1", silent.getsockname()[1]), "CXRLOC")
        predictor = Predictor(queue, diagnoser, Origin({"classifier": "abc"}), [archive.name])
        receiver = Receiver(Intake(queue), "CXRLOC", "127.0.0.1", 0)
        query = parse_query("Modality=DX")
        web = DicomWebServer(source.url)
        pollers = [Poller(web, query, 1, queue.holds, lambda data: True) for _ in range(3)]
        node = Node(queue, predictor, [archive], [receiver, *pollers])
        node.start()
        Intake(queue).take(image.read_bytes())
        calling, _ = silent.accept()  # its results are there; the archive says nothing
        caller = socket.create_connection(("127.0.0.1", receiver.port))
        caller.sendall(b"\x01\x00\x00\x00")  # half of a message
        wait_until(lambda: len(source.asked) == 3)
        began = time.monotonic()
        node.stop()
        assert time.monotonic() - began < 5
        over.set()
        for each in (calling, caller):
            each.close()
    assert queue.states() == {"predicted": 1}


def test_what_is_no_chest_is_a_dead_letter_with_its_reason(
    nodes: Callable[..., Node], receiver: Any, tmp_path: Path, queue: DurableQueue
) -> None:
    cut = write_dicom(tmp_path / "cut.dcm", chest_pixels(), PixelData=bytes(100))
    node = nodes(Peer("ARCHIVE", "127.0.0.1", receiver.port))
    assert send_to(node, cut) == 0
    wait_until(lambda: queue.states() == {"failed": 1})
    key = key_of(pydicom.dcmread(cut).SOPInstanceUID)
    assert "pixel" in (queue.spool.failed / key / "reason.txt").read_text().lower()
    assert pydicom.dcmread(queue.spool.failed / key / "image.dcm") == pydicom.dcmread(cut)
    assert receiver.stored == []


def test_the_queue_is_looked_at_and_requeued_from_outside(
    intake: Intake, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    intake.take(image.read_bytes())
    job = intake.queue.next_received()
    assert job is not None
    intake.queue.fail(job.key, "no memory")
    folder = str(intake.queue.spool.folder)
    assert tool.main(["--status", "--folder", folder]) == 0
    printed = capsys.readouterr().out
    assert "0 received, 0 predicted, 0 sent, 1 failed" in printed
    assert f"{job.key}  " in printed
    assert "no memory" in printed
    assert tool.main(["--requeue", "--folder", folder]) == 0
    assert "1 images are on their way again" in capsys.readouterr().out
    assert intake.queue.states() == {"received": 1}
    assert tool.main(["--requeue", "none", "--folder", folder]) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--gate", "g"], "--send-to is missing"),
        (["--send-to", "A@h:1"], "--gate is missing"),
        (["--gate", "g", "--send-to", "A@h"], "expected AET@HOST:PORT"),
        (["--gate", "g", "--send-to", "A@h:1", "--host", "0.0.0.0"], "--from AET@ADDRESS"),
        (["--gate", "g", "--send-to", "A@h:1", "--certificate", "c"], "belong together"),
        (["--status", "--folder", "absent"], "no node has run here"),
        (["--gate", "g", "--send-to", "A@h:1", "--aet", "S" * 17], "1 to 16 ASCII characters"),
    ],
)
def test_mistakes_are_told(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = [] if "--folder" in words else ["--folder", str(tmp_path / "node")]
    try:
        status: object = tool.main([*words, *folder])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert reason in capsys.readouterr().err


_HOLDS = """
import sys
from pathlib import Path
from cxrloc.datasets.files.runs.locks import writes_folder
with writes_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_node_on_the_same_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--gate", "g", "--send-to", "A@h:1", "--folder", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert tool.main(words) == 2
        other.communicate()
    said = capsys.readouterr().err
    assert f"{tmp_path} is being written by process {other.pid} on" in said
    assert "choose another --folder" in said


def test_a_destination_is_used_once_and_by_tls_or_not() -> None:
    def named(*words: str) -> list[str]:
        arguments = node_parser("").parse_args([f"--send-to={word}" for word in words])
        return [archive.name for archive in tool._archives(arguments, None)]

    assert named("A@h:1", " A@h:1", "A@h:1", "B@h:1") == ["A@h:1", "B@h:1"]
    with pytest.raises(ValueError, match="A@h:1 is given with tls:// and without"):
        named("A@h:1", "tls://A@h:1")


def test_pages_tell_health_and_figures(intake: Intake, image: Path) -> None:
    intake.take(image.read_bytes())
    faults: list[str] = []
    metrics = NodeMetrics(intake.queue)
    metrics.observe("networks", 0.3)
    token = "t" * 16
    others = {"sources": {"https://pacs": ""}, "destinations": {"ARCHIVE@h:1": ""}}
    metrics.watch(lambda: others)
    app = status_app(intake.queue, metrics, lambda: faults, lambda: others, token)
    client = TestClient(app, base_url="http://127.0.0.1")
    well = {"sources": {"https://pacs": "ok"}, "destinations": {"ARCHIVE@h:1": "ok"}}
    assert client.get("/healthz").json() == {"status": "ok", "images_waiting": 1, **well}
    others["destinations"]["ARCHIVE@h:1"] = "ARCHIVE@h:1: does not answer"
    answer = client.get("/healthz")  # a restart would not mend it
    assert (answer.status_code, answer.json()["status"]) == (200, "ARCHIVE@h:1: does not answer")
    assert answer.json()["destinations"] == {"ARCHIVE@h:1": "ARCHIVE@h:1: does not answer"}
    assert client.get("/metrics").status_code == 401
    text = client.get("/metrics", headers={"Authorization": f"Bearer {token}"}).text
    assert 'cxrloc_node_images{state="received"} 1.0' in text
    assert 'cxrloc_node_events_total{event="received"} 1.0' in text
    assert 'cxrloc_image_seconds_count{stage="networks"} 1.0' in text
    assert 'cxrloc_node_failing{name="https://pacs",role="source"} 0.0' in text
    assert 'cxrloc_node_failing{name="ARCHIVE@h:1",role="destination"} 1.0' in text
    faults.append("the predictor fails: OSError")
    assert client.get("/healthz").status_code == 503


# ---- Orthanc routes images to the node, and gets the results ----------------------------------

_ROUTE = """
function OnStoredInstance(instance, tags, metadata, origin)
  if tags['Modality'] == 'DX' then SendToModality(instance, 'cxrloc') end
end
"""


@contextmanager
def routing_orthanc(folder: Path, port: int, node_port: int) -> Iterator[Orthanc]:
    """Orthanc that listens on a port, too, and sends what it stores to the node."""
    folder.mkdir()
    (folder / "route.lua").write_text(_ROUTE)
    with running_orthanc(
        folder,
        (),
        DicomServerEnabled=True,
        DicomAet="ORTHANC",
        DicomPort=port,
        LuaScripts=[str(folder / "route.lua")],
        DicomModalities={"cxrloc": ["CXRLOC", "127.0.0.1", node_port]},
    ) as server:
        yield server


def test_orthanc_routes_an_image_and_gets_the_results(
    nodes: Callable[..., Node], receiver: Any, image: Path, tmp_path: Path, queue: DurableQueue
) -> None:
    port = free_port()
    node = nodes(Peer("ORTHANC", "127.0.0.1", port), Peer("ARCHIVE", "127.0.0.1", receiver.port))
    routed_to = node.doors[0]
    assert isinstance(routed_to, Receiver)
    with routing_orthanc(tmp_path / "orthanc", port, routed_to.port) as orthanc:
        orthanc.put(image)  # as a modality or its user would put it there
        wait_until(lambda: queue.states() == {"sent": 1})
        assert len(receiver.stored) == 3
        files = [orthanc.file(tags["SOPInstanceUID"]) for tags in orthanc.tags()]
        kept = {made.SOPInstanceUID: made for made in map(pydicom.dcmread, map(BytesIO, files))}
        assert sorted(made.Modality for made in kept.values()) == ["DX", "OT", "PR", "SR"]
        for made in receiver.stored:  # what the node has sent, as another archive got it
            assert kept[made.SOPInstanceUID] == made
        assert len(json.loads(orthanc.ask("/studies"))) == 1
