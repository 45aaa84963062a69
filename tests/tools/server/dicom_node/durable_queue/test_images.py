"""The durable queue: states, bounds, what a second image of the same UID means, repair."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrloc.tools.server.dicom_node.durable_queue.images import (
    Bounds,
    ConflictError,
    DurableQueue,
    FullError,
)
from cxrloc.tools.server.dicom_node.durable_queue.repair import repair, requeue
from cxrloc.tools.server.dicom_node.durable_queue.spool import key_of

TO = ("ARCHIVE", "VIEWER")
KEY = key_of("1.2.3")


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., DurableQueue]:
    """`opened()` opens the queue of the test's folder as a new process would."""

    def open_it(engine: str = "models", **bounds: int) -> DurableQueue:
        queue = DurableQueue(tmp_path, Bounds(**bounds), engine)
        repair(queue, TO)
        return queue

    return open_it


def state(queue: DurableQueue, uid: str = "1.2.3") -> str | None:
    row = queue.database.row("SELECT state FROM images WHERE key = ?", key_of(uid))
    return None if row is None else str(row["state"])


def predict(queue: DurableQueue) -> None:
    job = queue.next_received()
    assert job is not None
    assert job.file.read_bytes() == b"pixels"
    files = [job.file.with_name(name) for name in ("image.sr.dcm", "image.sc.dcm")]
    for file in files:
        file.write_bytes(b"result")
    queue.predicted(job.key, files, TO)


def send(queue: DurableQueue, destination: str) -> list[str]:
    delivery = queue.deliveries.next(destination)
    assert delivery is not None
    for file in delivery.files:
        assert file.read_bytes() == b"result"
        queue.deliveries.sent(delivery, file)
    return sorted(file.name for file in delivery.files)


def test_an_image_is_sent_when_each_destination_has_each_file(
    opened: Callable[..., DurableQueue],
) -> None:
    queue = opened()
    assert queue.put("1.2.3", b"pixels", "content")
    assert state(queue) == "received"
    queue = opened()  # nothing is kept in memory alone
    predict(queue)
    assert state(queue) == "predicted"
    assert send(opened(), "ARCHIVE") == ["image.sc.dcm", "image.sr.dcm"]
    queue = opened()
    assert queue.deliveries.next("ARCHIVE") is None
    assert state(queue) == "predicted"
    send(queue, "VIEWER")
    assert state(queue) == "sent"
    assert list(queue.spool.waiting.iterdir()) == []
    assert queue.load() == (0, 0)


def test_an_image_is_taken_once_and_another_of_its_uid_never(
    opened: Callable[..., DurableQueue],
) -> None:
    queue = opened()
    queue.put("1.2.3", b"pixels", "content")
    assert not queue.put("1.2.3", b"pixels", "content")
    with pytest.raises(ConflictError, match="another image"):
        queue.put("1.2.3", b"others", "other content")
    predict(queue)
    for name in TO:
        send(queue, name)
    assert not queue.put("1.2.3", b"pixels", "content")
    assert queue.holds("1.2.3")
    other = opened("other models")  # they have not answered it
    assert not other.holds("1.2.3")
    assert other.put("1.2.3", b"pixels", "content")
    predict(other)
    assert send(other, "ARCHIVE") == ["image.sc.dcm", "image.sr.dcm"]


def test_past_a_bound_nothing_is_taken_but_what_is_known_is_acknowledged(
    opened: Callable[..., DurableQueue],
) -> None:
    queue = opened(images=1)
    queue.put("1.2.3", b"pixels", "content")
    with pytest.raises(FullError, match="1 images wait"):
        queue.put("1.2.4", b"pixels", "content")
    assert not queue.put("1.2.3", b"pixels", "content")
    with pytest.raises(FullError, match="GB"):
        opened(bytes=8).put("1.2.4", b"pixels", "content")
    assert sorted(queue.spool.waiting.iterdir()) == [queue.spool.waiting / KEY]


def test_a_dead_letter_has_its_reason_and_goes_on_where_it_failed(
    opened: Callable[..., DurableQueue],
) -> None:
    queue = opened()
    queue.put("1.2.3", b"pixels", "content")
    queue.fail(KEY, "not a chest")
    assert (queue.spool.failed / KEY / "reason.txt").read_text() == "not a chest\n"
    assert queue.next_received() is None
    assert requeue(queue) == [KEY]
    predict(queue)
    send(queue, "VIEWER")
    delivery = queue.deliveries.next("ARCHIVE")
    assert delivery is not None
    queue.deliveries.give_up(delivery, "status A900")
    assert state(queue) == "failed"
    reason = (queue.spool.failed / KEY / "reason.txt").read_text()
    assert reason == "not sent to ARCHIVE: status A900\n"
    with pytest.raises(ValueError, match="no failed image is called abc"):
        requeue(queue, ["abc"])
    assert requeue(opened(), [KEY]) == [KEY]
    queue = opened()
    assert queue.deliveries.next("VIEWER") is None  # it has them
    send(queue, "ARCHIVE")
    assert state(queue) == "sent"


def test_a_failed_image_that_is_sent_again_is_predicted_again(
    opened: Callable[..., DurableQueue],
) -> None:
    queue = opened()
    queue.put("1.2.3", b"pixels", "content")
    queue.fail(KEY, "no memory")
    assert queue.put("1.2.3", b"pixels", "content")
    predict(queue)
    assert list(queue.spool.failed.iterdir()) == []


def test_an_image_that_ends_the_process_each_time_is_given_up(
    opened: Callable[..., DurableQueue],
) -> None:
    opened().put("1.2.3", b"pixels", "content")
    for _ in range(5):
        assert opened().next_received() is not None  # and then the process is gone
    queue = opened()
    assert queue.next_received() is None
    assert "5 times without an end" in (queue.spool.failed / KEY / "reason.txt").read_text()


def test_what_a_killed_process_left_is_put_in_order(opened: Callable[..., DurableQueue]) -> None:
    queue = opened()
    orphan = queue.spool.waiting / "unknown"
    orphan.mkdir()
    queue.put("1.2.3", b"pixels", "content")
    queue.put("1.2.4", b"pixels", "content")
    queue.spool.fail(KEY, "killed before the state was written")
    queue.fail(key_of("1.2.4"), "deleted by hand")
    queue.spool.remove(key_of("1.2.4"))

    queue = opened()
    assert not orphan.exists()
    assert state(queue) == "received"
    assert state(queue, "1.2.4") is None
    predict(queue)
    for file in (queue.spool.waiting / KEY).glob("image.s*.dcm"):
        file.unlink()
    assert state(opened()) == "received"


def test_what_waits_for_a_destination_that_is_gone_fails(
    opened: Callable[..., DurableQueue],
) -> None:
    queue = opened()
    queue.put("1.2.3", b"pixels", "content")
    predict(queue)
    repair(queue, ["ARCHIVE"])
    assert state(queue) == "predicted"  # the other one still gets it
    send(queue, "ARCHIVE")
    assert "VIEWER: the node no longer sends to it" in (
        queue.spool.failed / KEY / "reason.txt"
    ).read_text(encoding="utf-8")


def test_a_queue_that_is_damaged_is_an_error(opened: Callable[..., DurableQueue]) -> None:
    queue = opened()
    for n in range(20):
        queue.put(f"1.2.{n}", b"pixels", "content" * 400)
    queue.database.close()
    with queue.database.path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 20_000)
    with pytest.raises(ValueError, match=r"queue\.sqlite cannot be opened .*damaged|malformed"):
        opened()


def test_a_queue_without_its_folder_says_so(opened: Callable[..., DurableQueue]) -> None:
    queue = opened()
    assert queue.fault() == ""
    shutil.rmtree(queue.spool.folder)
    assert queue.fault() == "its folder is gone"
    with pytest.raises(OSError, match="No such file"):
        queue.put("1.2.3", b"pixels", "content")


def test_a_file_that_is_no_queue_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "queue.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(ValueError, match=r"queue\.sqlite cannot be opened"):
        DurableQueue(tmp_path)
