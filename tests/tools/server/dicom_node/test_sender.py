"""Sending results: to a real C-STORE receiver, with pauses that grow, until it has them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE, AllStoragePresentationContexts, evt

from builders import chest_pixels
from cxrloc.localization.dicom_output import c_store
from cxrloc.localization.dicom_output.c_store import Peer, parse_peer
from cxrloc.tools.server.dicom_node.archive import Archive
from cxrloc.tools.server.dicom_node.durable_queue.images import DurableQueue
from cxrloc.tools.server.dicom_node.durable_queue.spool import key_of
from cxrloc.tools.server.dicom_node.durable_queue.summary import summary
from cxrloc.tools.server.dicom_node.sender import Patience, Sender, UnreachableError
from datasets.dicom.builders import write_dicom
from datasets.dicom.web.servers import free_port

KEY = key_of("1.2.3")
AT_ONCE = Patience(first=0.0, refusals=3)


@pytest.fixture
def senders(queue: DurableQueue) -> Callable[..., Sender]:
    """`senders(port)` has an image with two results to send there."""

    def sender(port: int, patience: Patience = AT_ONCE) -> Sender:
        archive = Archive(Peer("ARCHIVE", "127.0.0.1", port), "CXRLOC")
        queue.put("1.2.3", b"image", "content")
        job = queue.next_received()
        assert job is not None
        files = [write_dicom(job.file.with_name(f"image.{n}.dcm"), chest_pixels(n)) for n in (0, 1)]
        queue.predicted(job.key, files, [archive.name])
        return Sender(queue, archive, patience)

    return sender


def test_results_arrive_and_their_files_go(
    senders: Callable[..., Sender], receiver: Any, queue: DurableQueue
) -> None:
    sender = senders(receiver.port)
    sent = [pydicom.dcmread(path) for path in sorted(queue.spool.waiting.glob("*/image.?.dcm"))]
    assert sender.step()
    assert receiver.stored == sent
    assert queue.states() == {"sent": 1}
    assert not sender.step()
    assert not (queue.spool.waiting / KEY).exists()


def test_what_is_refused_is_given_up_after_some_attempts(
    senders: Callable[..., Sender], receiver: Any, queue: DurableQueue
) -> None:
    sender = senders(receiver.port)
    receiver.answer = 0xA900
    while sender.step():
        pass
    assert len(receiver.stored) == 3 * 2
    assert queue.states() == {"failed": 1}
    reason = (queue.spool.failed / KEY / "reason.txt").read_text()
    assert "refused 3 times: the receiver answered with status A900" in reason
    assert KEY in summary(queue)


def test_what_was_stored_is_not_sent_again(
    senders: Callable[..., Sender], queue: DurableQueue
) -> None:
    sender, sent = senders(1), []

    class Half:
        name = sender.destination.name

        def send(self, files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
            for file in files:
                sent.append(file.name)
                yield file, "" if len(sent) != 2 else "not now"

    sender.destination = Half()
    while sender.step():
        pass
    assert sorted(sent[:2]) == ["image.0.dcm", "image.1.dcm"]
    assert sent[2:] == sent[1:2]
    assert queue.states() == {"sent": 1}


def test_a_destination_that_is_not_there_is_waited_for(
    senders: Callable[..., Sender], queue: DurableQueue
) -> None:
    sender = senders(free_port(), Patience(first=60.0))
    assert sender.step()
    assert not sender.step()  # not before the pause is over
    assert queue.states() == {"predicted": 1}
    assert "next try in" in summary(queue)
    assert "does not answer" in summary(queue)


def test_a_destination_that_stays_away_is_given_up(
    senders: Callable[..., Sender], queue: DurableQueue
) -> None:
    sender = senders(free_port(), Patience(first=0.0, unreachable=-1.0))
    assert sender.step()
    assert queue.states() == {"failed": 1}
    assert "does not answer" in (queue.spool.failed / KEY / "reason.txt").read_text()


def test_a_receiver_that_breaks_off_gets_the_rest_later(
    senders: Callable[..., Sender], receiver: Any, queue: DurableQueue
) -> None:
    sender = senders(receiver.port)
    receiver.breaks_off = True
    assert sender.step()
    assert queue.states() == {"predicted": 1}
    receiver.breaks_off = False
    while sender.step():
        pass
    assert queue.states() == {"sent": 1}


def test_a_receiver_that_stops_within_a_message_is_given_up(
    senders: Callable[..., Sender], queue: DurableQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_store, "TIMEOUT_S", 1)

    def stop_within_an_answer(event: Any) -> int:
        event.assoc.dul.socket.socket.sendall(b"\x04\x00\x00")
        over.wait()
        return 0

    over = threading.Event()
    entity = AE("ARCHIVE")
    entity.supported_contexts = AllStoragePresentationContexts
    handlers: Any = [(evt.EVT_C_STORE, stop_within_an_answer)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    sender = senders(server.server_address[1], Patience(first=60.0))
    sending = threading.Thread(target=sender.step, daemon=True)
    sending.start()
    sending.join(60)
    assert not sending.is_alive()
    over.set()
    server.shutdown()
    assert queue.states() == {"predicted": 1}
    assert "hung up or did not answer in time" in sender.fault


def test_a_listener_that_says_nothing_is_given_up(
    senders: Callable[..., Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_store, "TIMEOUT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sender = senders(silent.getsockname()[1], Patience(first=60.0))
        assert sender.step()
        assert "does not answer" in sender.fault


def test_an_image_that_a_destination_breaks_off_at_does_not_hold_up_the_others(
    senders: Callable[..., Sender], queue: DurableQueue
) -> None:
    sender, tried = senders(1), []
    queue.put("1.2.4", b"image", "content")
    job = queue.next_received()
    assert job is not None
    other = write_dicom(job.file.with_name("image.0.dcm"), chest_pixels())
    queue.predicted(job.key, [other], [sender.destination.name])

    class BreaksOff:
        name = sender.destination.name

        def send(self, files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
            tried.append(files[0].parent.name)
            if tried[0] == tried[-1]:
                raise UnreachableError("the connection was lost")
            yield from ((file, "") for file in files)

    sender.destination = BreaksOff()
    assert sender.step()
    assert sender.fault == f"{sender.destination.name}: the connection was lost"
    assert sender.step()
    assert set(tried) == {KEY, job.key}
    assert sender.fault == ""
    assert queue.states() == {"predicted": 1, "sent": 1}


def test_pauses_grow_to_a_longest() -> None:
    patience = Patience()
    assert [patience.pause(n) for n in (1, 2, 3, 8, 1000)] == [5, 10, 20, 600, 600]


def test_peers_are_parsed_or_refused() -> None:
    assert parse_peer("PACS@10.0.0.5:104") == Peer("PACS", "10.0.0.5", 104)
    assert str(parse_peer("PACS@[::1]:104")) == "PACS@[::1]:104"
    for word in ("PACS", "PACS@host", "PACS@host:0", "PACS@host:99999", "@host:1", "A@h:1:2"):
        with pytest.raises(ValueError, match="expected"):
            parse_peer(word)


def test_files_are_not_named_after_patients(queue: DurableQueue, image: Path) -> None:
    queue.put(pydicom.dcmread(image).SOPInstanceUID, image.read_bytes(), "content")
    names = [str(path.relative_to(queue.spool.folder)) for path in queue.spool.folder.rglob("*")]
    assert str(pydicom.dcmread(image).SOPInstanceUID) not in " ".join(names)
