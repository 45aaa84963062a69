"""Put files and states in order when a node starts, and send dead letters on their way again."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from cxrloc.tools.server.dicom_node.durable_queue.images import DurableQueue
from cxrloc.tools.server.dicom_node.durable_queue.spool import IMAGE, Spool
from cxrloc.tools.server.dicom_node.durable_queue.states import (
    FAILED,
    PENDING,
    PREDICTED,
    RECEIVED,
    WAITING,
)


def repair(queue: DurableQueue, destinations: Sequence[str]) -> None:
    """Make files and states agree again, whatever ended the process before.

    Files that no state knows were never acknowledged, or have been sent: they go. An image whose
    folder among the failed was deleted by hand is forgotten.
    """
    database, spool = queue.database, queue.spool
    with database.transaction():
        images = {row["key"]: row for row in database.rows("SELECT * FROM images")}
        for key in spool.keys(spool.waiting) | spool.keys(spool.failed):
            _place(spool, key, images.get(key))
        for key, row in images.items():
            _check_files(queue, key, row["state"])
    queue.deliveries.only_to(destinations)


def _place(spool: Spool, key: str, row: sqlite3.Row | None) -> None:
    """Move an image's folder to where its state has it."""
    state = None if row is None else row["state"]
    if state in WAITING:
        if not (spool.waiting / key / IMAGE).is_file():
            spool.revive(key)
    elif state == FAILED and row is not None:
        if not (spool.failed / key).is_dir():
            spool.fail(key, row["reason"])
    else:
        spool.remove(key)


def _check_files(queue: DurableQueue, key: str, state: str) -> None:
    """Predict again where results are missing; forget what somebody deleted."""
    if state in WAITING and not (queue.spool.waiting / key / IMAGE).is_file():
        _set(queue, key, FAILED, "its file is missing")
        queue.spool.fail(key, "its file is missing")
    elif state == PREDICTED and not _has_results(queue, key, PENDING):
        _set(queue, key, RECEIVED)
    elif state == FAILED and not (queue.spool.failed / key).is_dir():
        forget(queue, key)


def _has_results(queue: DurableQueue, key: str, state: str) -> bool:
    """Whether an image has deliveries in this state, and the files of them all."""
    rows = queue.database.rows(
        "SELECT file FROM deliveries WHERE key = ? AND state = ?", key, state
    )
    folder = queue.spool.waiting / key
    return bool(rows) and all((folder / row["file"]).is_file() for row in rows)


def _set(queue: DurableQueue, key: str, state: str, reason: str = "") -> None:
    queue.database.change(
        "UPDATE images SET state = ?, attempts = 0, due = 0, reason = ?, changed = ? WHERE key = ?",
        *(state, reason, queue.clock(), key),
    )


def forget(queue: DurableQueue, key: str) -> None:
    """Drop all that is known of an image."""
    queue.database.change("DELETE FROM images WHERE key = ?", key)
    queue.deliveries.forget(key)


def requeue(queue: DurableQueue, keys: Sequence[str] = ()) -> list[str]:
    """Send failed images on their way again: all of them, or those named; returns their keys.

    Raises:
        ValueError: for a name that no failed image has.
    """
    rows = queue.database.rows("SELECT key FROM images WHERE state = ? ORDER BY changed", FAILED)
    failed = [row["key"] for row in rows]
    unknown = [key for key in keys if key not in failed]
    if unknown:
        raise ValueError(f"no failed image is called {unknown[0]}; `--status` lists them")
    chosen = [key for key in failed if not keys or key in keys]
    for key in chosen:
        with queue.database.transaction():
            _requeue(queue, key)
    queue.wake()
    return chosen


def _requeue(queue: DurableQueue, key: str) -> None:
    """Go on where the image failed: with its deliveries if it has results, else from the start."""
    queue.spool.revive(key)
    _set(queue, key, PREDICTED if _has_results(queue, key, FAILED) else RECEIVED)
    queue.database.change(
        "UPDATE deliveries SET state = ?, attempts = 0, due = 0, since = ?, reason = '' "
        "WHERE key = ? AND state = ?",
        *(PENDING, queue.clock(), key, FAILED),
    )
