"""The durable queue: which images a node has taken, and what became of each.

    received -> predicted -> sent
    received or predicted -> failed (and back, by `requeue` or when the image is sent again)

`put` returns after the image and its state are on the disk: from then on the image is answered,
whatever ends the process. A receiver or poller calls `put`; the predictor `next_received` and then
`predicted`, `postpone` or `fail`; senders use `deliveries`.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrloc.tools.server.dicom_node.durable_queue.database import Database
from cxrloc.tools.server.dicom_node.durable_queue.deliveries import Deliveries
from cxrloc.tools.server.dicom_node.durable_queue.spool import IMAGE, Spool, key_of
from cxrloc.tools.server.dicom_node.durable_queue.states import (
    FAILED,
    PREDICTED,
    RECEIVED,
    SENT,
    WAITING,
)

_RESERVE = 500_000_000  # bytes of the disk that are left to others
_MOST_ATTEMPTS = 5


class ConflictError(ValueError):
    """Another image with the same SOP Instance UID was taken before."""


class FullError(OSError):
    """There is no room for another image now."""


@dataclass(frozen=True)
class Bounds:
    """What a queue may hold: images that wait to be answered, bytes of all files."""

    images: int = 1000
    bytes: int = 20_000_000_000


@dataclass(frozen=True)
class Job:
    """An image to predict."""

    key: str
    file: Path
    attempts: int


class DurableQueue:
    """Images that were taken, on the disk.

    Args:
        folder: holds all of it; the caller keeps other nodes from it (`writes_folder`).
        bounds: what it may hold.
        engine: hash of models and settings; an image that was answered by another one is predicted
            again when it is sent again.
        clock: tells the time in seconds.
    """

    def __init__(
        self,
        folder: Path,
        bounds: Bounds | None = None,
        engine: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.spool, self.database = Spool(folder), Database(folder)
        self.bounds, self.engine, self.clock = bounds or Bounds(), engine, clock
        self.deliveries = Deliveries(self.database, self.spool, clock)
        self._news = threading.Condition()

    def put(self, uid: str, data: bytes, content: str) -> bool:
        """Take an image; it is on the disk afterwards.

        Args:
            uid: its SOP Instance UID.
            data: the DICOM file.
            content: hash of what makes it this image and this patient's (see `intake`).

        Returns:
            False if it was taken before and needs nothing.

        Raises:
            ConflictError: if another image was taken under this UID.
            FullError: if the queue or the disk is full.
        """
        key = key_of(uid)
        if self._is_known(key, content):
            return False
        self._check_room(len(data))
        with self.spool.set_aside(key, data) as aside, self.database.transaction():
            if self._is_known(key, content):  # by another connection, meanwhile
                return False
            self._check_room(len(data))
            self._insert(key, content, aside, len(data))
        self.wake()
        return True

    def holds(self, uid: str) -> bool:
        """Whether an image is taken already, or answered by this engine."""
        row = self.database.row("SELECT * FROM images WHERE key = ?", key_of(uid))
        return row is not None and not (row["state"] == SENT and self._is_other(row))

    def _is_known(self, key: str, content: str) -> bool:
        row = self.database.row("SELECT * FROM images WHERE key = ?", key)
        if row is None:
            return False
        if row["content"] != content:
            raise ConflictError("another image with this SOP Instance UID was received before")
        return not (row["state"] == FAILED or (row["state"] == SENT and self._is_other(row)))

    def _is_other(self, row: sqlite3.Row) -> bool:
        return str(row["engine"]) != self.engine

    def _check_room(self, size: int) -> None:
        waiting, held = self.load()
        if waiting >= self.bounds.images:
            raise FullError(f"{waiting} images wait, the bound is {self.bounds.images}")
        if held + size > self.bounds.bytes:
            raise FullError(f"its files take {held / 1e9:.1f} GB, and the bound would be passed")
        if self.spool.free_bytes() < size + _RESERVE:
            raise FullError("the disk is nearly full")

    def fault(self) -> str:
        """Say why no image can be kept now; empty if one can, or could if fewer waited."""
        if not self.spool.waiting.is_dir():
            return "its folder is gone"
        return "the disk is nearly full" if self.spool.free_bytes() < _RESERVE else ""

    def load(self) -> tuple[int, int]:
        """Count the images that wait for an answer, and the bytes of all files."""
        row = self.database.row(
            "SELECT COALESCE(SUM(state IN (?, ?)), 0) AS waiting, "
            "COALESCE(SUM(bytes), 0) AS bytes FROM images WHERE state IN (?, ?, ?)",
            *WAITING,
            *(*WAITING, FAILED),
        )
        assert row is not None
        return int(row["waiting"]), int(row["bytes"])

    def states(self) -> dict[str, int]:
        """Count the images by state; without the states that none has."""
        rows = self.database.rows("SELECT state, COUNT(*) AS number FROM images GROUP BY state")
        return {row["state"]: row["number"] for row in rows}

    def _insert(self, key: str, content: str, aside: Path, size: int) -> None:
        """Take the image anew. Results that a destination already has are not sent to it again."""
        now = self.clock()
        before = self.database.row("SELECT * FROM images WHERE key = ?", key)
        if before is not None:
            self.spool.remove(key)
            if self._is_other(before):
                self.deliveries.forget(key)
        self.spool.keep_image(aside, key)
        self.database.change(
            "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, 0, 0, '', ?, ?)",
            *(key, content, self.engine, RECEIVED, size, now, now),
        )
        self.database.count("received")

    def next_received(self) -> Job | None:
        """Begin with the image that has waited longest; None if there is none.

        An image whose prediction has ended the process several times is failed instead.
        """
        while True:
            row = self.database.row(
                "SELECT * FROM images WHERE state = ? AND due <= ? ORDER BY received LIMIT 1",
                *(RECEIVED, self.clock()),
            )
            if row is None:
                return None
            key, attempts = str(row["key"]), int(row["attempts"]) + 1
            if attempts > _MOST_ATTEMPTS:
                last = row["reason"] or "the process ended each time"
                self.fail(key, f"predicted {_MOST_ATTEMPTS} times without an end: {last}")
                continue
            self.database.change("UPDATE images SET attempts = ? WHERE key = ?", attempts, key)
            return Job(key, self.spool.waiting / key / IMAGE, attempts)

    def predicted(self, key: str, files: Sequence[Path], destinations: Sequence[str]) -> None:
        """Note that an image's results are in its folder, and whom they are for."""
        size = sum(path.stat().st_size for path in (self.spool.waiting / key).iterdir())
        with self.database.transaction():
            before = self.database.row("SELECT * FROM images WHERE key = ?", key)
            if before is not None and self._is_other(before):
                self.deliveries.forget(key)
            self._set(key, PREDICTED)
            self.database.change(
                "UPDATE images SET engine = ?, bytes = ? WHERE key = ?", self.engine, size, key
            )
            self.deliveries.add(key, [file.name for file in files], destinations)
            self.database.count("predicted")
            done = self.deliveries.settle(key)
        if done == SENT:  # all of it had been sent before the image came again
            self.spool.remove(key)
        self.wake()

    def postpone(self, key: str, reason: str, pause_s: float) -> None:
        """Predict an image later."""
        self.database.change(
            "UPDATE images SET due = ?, reason = ? WHERE key = ?",
            *(self.clock() + pause_s, reason, key),
        )

    def fail(self, key: str, reason: str) -> None:
        """Give up on an image; its files go to the dead-letter folder."""
        with self.database.transaction():
            self.spool.fail(key, reason)
            self._set(key, FAILED, reason)
            self.database.count("failed")

    def _set(self, key: str, state: str, reason: str = "") -> None:
        self.database.change(
            "UPDATE images SET state = ?, reason = ?, due = 0, changed = ? WHERE key = ?",
            *(state, reason, self.clock(), key),
        )

    def wake(self) -> None:
        """Tell those who wait that there may be something to do."""
        with self._news:
            self._news.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait until there may be something to do; another process's changes are not told."""
        with self._news:
            self._news.wait(seconds)
