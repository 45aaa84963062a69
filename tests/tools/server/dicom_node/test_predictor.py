"""What a node does when something fails that is not the image's fault."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrloc.localization.diagnosis.diagnoser import Diagnoser
from cxrloc.localization.dicom_output.origin import Origin
from cxrloc.tools.server.dicom_node import loop, predictor
from cxrloc.tools.server.dicom_node.durable_queue.images import DurableQueue
from cxrloc.tools.server.dicom_node.durable_queue.reasons import describe
from cxrloc.tools.server.dicom_node.loop import Loop
from cxrloc.tools.server.dicom_node.predictor import Predictor
from cxrloc.tools.server.dicom_node.receiving.intake import Intake
from tools.server.dicom_node.waiting import wait_until


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("what", ["write_dicom_objects", "sync"])
def test_results_wait_for_a_full_disk_and_no_attempt_is_counted(
    queue: DurableQueue,
    diagnoser: Diagnoser,
    image: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    Intake(queue).take(image.read_bytes())
    predicting = Predictor(queue, diagnoser, Origin({"classifier": "abc"}), ["ARCHIVE"])
    with monkeypatch.context() as full:
        full.setattr(predictor, what, no_space)
        for _ in range(7):  # more than an image has attempts
            with pytest.raises(OSError, match="No space left"):
                predicting.step()
    assert queue.states() == {"received": 1}
    assert predicting.step()
    assert not predicting.step()
    assert queue.states() == {"predicted": 1}


def test_an_image_that_cannot_be_predicted_is_given_up_once_there_is_room_for_the_reason(
    queue: DurableQueue, diagnoser: Diagnoser, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise ValueError("not a chest")

    Intake(queue).take(image.read_bytes())
    monkeypatch.setattr(predictor, "decode_image", refuses)
    predicting = Predictor(queue, diagnoser, Origin({"classifier": "abc"}), ["ARCHIVE"])
    with monkeypatch.context() as full:
        full.setattr("cxrloc.tools.server.dicom_node.durable_queue.spool.sync", no_space)
        for _ in range(7):
            with pytest.raises(OSError, match="No space left"):
                predicting.step()
    assert len(list(queue.spool.waiting.glob("*/image.dcm"))) == 1
    assert predicting.step()
    assert queue.states() == {"failed": 1}
    [reason] = queue.spool.failed.glob("*/reason.txt")
    assert reason.read_text() == "not a chest\n"


def test_pauses_grow_while_a_step_fails_and_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop, "_FIRST_S", 0.01)
    monkeypatch.setattr(loop, "_LONGEST_S", 0.04)
    outcomes: list[Callable[[], object]] = [no_space] * 4 + [lambda: True, no_space]

    def step() -> bool:
        return bool(outcomes.pop(0)() if outcomes else False)

    with caplog.at_level(logging.ERROR):
        running = Loop("predictor", step, lambda: None)
        running.start()
        wait_until(lambda: not outcomes and not running.fault)
        running.stop()
        assert running.join(30)
    said = [record.message for record in caplog.records]
    assert all("the predictor fails: OSError (the disk is full) at " in each for each in said)
    pauses = [record.args[2] for record in caplog.records if isinstance(record.args, tuple)]
    assert pauses == [0.01, 0.02, 0.04, 0.04, 0.01]


def test_a_full_disk_is_called_so_by_files_and_queue(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.sqlite")
    connection.execute("PRAGMA max_page_count = 2")
    connection.execute("CREATE TABLE a (b)")
    with pytest.raises(sqlite3.OperationalError) as full:
        connection.execute("INSERT INTO a VALUES (zeroblob(10000))")
    connection.close()
    assert describe(full.value).startswith("OperationalError (the disk is full)")
    assert describe(OSError(errno.EDQUOT, "Disk quota exceeded")) == "OSError (the disk is full)"
    assert describe(OSError(errno.EIO, "Input/output error")) == "OSError (Input/output error)"
