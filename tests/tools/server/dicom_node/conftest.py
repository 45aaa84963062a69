"""A queue, the way into it, and nodes in this process, for the tests of the DICOM node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builders import chest_pixels
from cxrloc.localization.diagnosis.diagnoser import Diagnoser
from cxrloc.localization.dicom_output.c_store import Peer
from cxrloc.localization.dicom_output.origin import Origin
from cxrloc.tools.server.dicom_node.archive import Archive
from cxrloc.tools.server.dicom_node.durable_queue.images import DurableQueue
from cxrloc.tools.server.dicom_node.predictor import Predictor
from cxrloc.tools.server.dicom_node.receiving.intake import Intake
from cxrloc.tools.server.dicom_node.receiving.receiver import Receiver
from cxrloc.tools.server.dicom_node.service import Node
from datasets.dicom.builders import write_dicom


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[DurableQueue]:
    opened = DurableQueue(tmp_path / "node")
    yield opened
    opened.database.close()


@pytest.fixture
def intake(queue: DurableQueue) -> Intake:
    return Intake(queue)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_dicom(tmp_path / "image.dcm", chest_pixels())


@pytest.fixture
def listening(intake: Intake) -> Iterator[Callable[..., Receiver]]:
    """`listening(callers=..., tls=...)` is a receiver on the loopback interface."""
    started: list[Receiver] = []

    def start(**settings: Any) -> Receiver:
        receiver = Receiver(intake, "CXRLOC", "127.0.0.1", 0, **settings)
        receiver.start()
        started.append(receiver)
        return receiver

    yield start
    for receiver in started:
        receiver.stop()


@pytest.fixture
def nodes(queue: DurableQueue, diagnoser: Diagnoser) -> Iterator[Callable[..., Node]]:
    """`nodes(*peers)` is a running node that sends to these; its first door is the receiver."""
    running: list[Node] = []

    def start(*peers: Peer) -> Node:
        archives = [Archive(peer, "CXRLOC") for peer in peers]
        names = [archive.name for archive in archives]
        predictor = Predictor(queue, diagnoser, Origin({"classifier": "abc"}), names)
        receiver = Receiver(Intake(queue), "CXRLOC", "127.0.0.1", 0)
        running.append(Node(queue, predictor, archives, [receiver]))
        running[-1].start()
        return running[-1]

    yield start
    for node in running:
        node.stop()
