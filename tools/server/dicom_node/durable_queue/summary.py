"""What `cxrloc node --status` prints of a queue."""

from __future__ import annotations

import time
from collections.abc import Iterator

from cxrloc.tools.server.dicom_node.durable_queue.images import DurableQueue
from cxrloc.tools.server.dicom_node.durable_queue.states import FAILED, PENDING, STATES

_LISTED = 20


def summary(queue: DurableQueue) -> str:
    """Describe states, destinations, counts and dead letters; nothing of a patient."""
    return "\n".join(_lines(queue))


def _lines(queue: DurableQueue) -> Iterator[str]:
    states = queue.states()
    numbers = ", ".join(f"{states.get(state, 0)} {state}" for state in STATES)
    yield f"Images: {numbers}. Their files take {queue.load()[1] / 1e9:.3f} GB."
    yield from _destinations(queue)
    counts = ", ".join(f"{name} {n}" for name, n in sorted(queue.database.counts().items()))
    yield f"Counted since the first start: {counts or 'nothing yet'}."
    failed = queue.database.rows(
        "SELECT key, reason, changed FROM images WHERE state = ? ORDER BY changed DESC", FAILED
    )
    if failed:
        yield f"Failed; their files are in {queue.spool.failed}, `--requeue` tries them again:"
    for row in failed[:_LISTED]:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["changed"]))
        yield f"  {row['key']}  {when}  {row['reason']}"
    if len(failed) > _LISTED:
        yield f"  and {len(failed) - _LISTED} more"


def _destinations(queue: DurableQueue) -> Iterator[str]:
    rows = queue.database.rows(
        "SELECT destination, COUNT(*) AS files, MIN(due) AS due, MAX(reason) AS reason "
        "FROM deliveries WHERE state = ? GROUP BY destination",
        PENDING,
    )
    for row in rows:
        pause = max(row["due"] - queue.clock(), 0.0)
        why = f"; next try in {pause:.0f} s: {row['reason']}" if row["reason"] else ""
        yield f"To send to {row['destination']}: {row['files']} files{why}."
