"""What is still to be sent where: one row per image, destination and file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrloc.tools.server.dicom_node.durable_queue.database import Database
from cxrloc.tools.server.dicom_node.durable_queue.spool import Spool
from cxrloc.tools.server.dicom_node.durable_queue.states import FAILED, PENDING, PREDICTED, SENT


@dataclass(frozen=True)
class Delivery:
    """The files of one image that a destination still lacks.

    Attributes:
        key: the image.
        destination: whom they are for.
        files: not yet stored there.
        attempts: how often the destination has refused them.
    """

    key: str
    destination: str
    files: tuple[Path, ...]
    attempts: int


class Deliveries:
    """Deliveries of a queue, in its database."""

    def __init__(self, database: Database, spool: Spool, clock: Callable[[], float]) -> None:
        self.database, self.spool, self.clock = database, spool, clock

    def add(self, key: str, files: Sequence[str], destinations: Sequence[str]) -> None:
        """Let files wait for each destination; those that it already has stay sent."""
        self.database.change("DELETE FROM deliveries WHERE key = ? AND state != ?", key, SENT)
        for destination in destinations:
            for file in files:
                self.database.change(
                    "INSERT OR IGNORE INTO deliveries VALUES (?, ?, ?, ?, 0, 0, ?, '')",
                    *(key, destination, file, PENDING, self.clock()),
                )

    def forget(self, key: str) -> None:
        """Drop the deliveries of an image."""
        self.database.change("DELETE FROM deliveries WHERE key = ?", key)

    def next(self, destination: str) -> Delivery | None:
        """Return what is due for a destination first; None if nothing is."""
        first = self.database.row(
            "SELECT key FROM deliveries WHERE destination = ? AND state = ? AND due <= ? "
            "ORDER BY due, since, key LIMIT 1",
            *(destination, PENDING, self.clock()),
        )
        if first is None:
            return None
        return self._delivery(str(first["key"]), destination)

    def older(self, destination: str, time: float) -> list[Delivery]:
        """Return what has waited for a destination since before a time."""
        rows = self.database.rows(
            "SELECT DISTINCT key FROM deliveries WHERE destination = ? AND state = ? AND since < ?",
            *(destination, PENDING, time),
        )
        return [self._delivery(str(row["key"]), destination) for row in rows]

    def _delivery(self, key: str, destination: str) -> Delivery:
        rows = self.database.rows(
            "SELECT * FROM deliveries WHERE key = ? AND destination = ? AND state = ?",
            *(key, destination, PENDING),
        )
        files = tuple(self.spool.waiting / key / row["file"] for row in rows)
        attempts = max(int(row["attempts"]) for row in rows)
        return Delivery(key, destination, files, attempts)

    def waiting(self) -> dict[str, int]:
        """Count the files that each destination still lacks; without those that lack none."""
        rows = self.database.rows(
            "SELECT destination, COUNT(*) AS number FROM deliveries WHERE state = ? "
            "GROUP BY destination",
            PENDING,
        )
        return {row["destination"]: row["number"] for row in rows}

    def sent(self, delivery: Delivery, file: Path) -> None:
        """Note that a destination has stored a file."""
        self._end(delivery, SENT, "", file)

    def refused(self, delivery: Delivery, reason: str, pause_s: float) -> None:
        """Send what is left of a delivery later: the destination was reached and refused it."""
        self.database.change(
            "UPDATE deliveries SET attempts = attempts + 1, due = ?, reason = ? "
            "WHERE key = ? AND destination = ? AND state = ?",
            *(self.clock() + pause_s, reason),
            *(delivery.key, delivery.destination, PENDING),
        )

    def unreachable(self, delivery: Delivery, reason: str, pause_s: float) -> None:
        """Send everything for a destination later: it does not answer.

        Should it be this image that its answer breaks off at, the others come first then.
        """
        later = self.clock() + pause_s
        self.database.change(
            "UPDATE deliveries SET due = MAX(due, ? - 0.001 * (key != ?)), reason = ? "
            "WHERE destination = ? AND state = ?",
            *(later, delivery.key, reason, delivery.destination, PENDING),
        )

    def give_up(self, delivery: Delivery, reason: str) -> None:
        """Fail what is left of a delivery; the image fails when its other deliveries have ended."""
        self._end(delivery, FAILED, reason)

    def _end(self, delivery: Delivery, state: str, reason: str, file: Path | None = None) -> None:
        name = "%" if file is None else file.name
        with self.database.transaction():
            self.database.change(
                "UPDATE deliveries SET state = ?, reason = ? "
                "WHERE key = ? AND destination = ? AND file LIKE ? AND state = ?",
                *(state, reason, delivery.key, delivery.destination, name, PENDING),
            )
            done = self.settle(delivery.key)
        if done == SENT:
            self.spool.remove(delivery.key)

    def settle(self, key: str) -> str | None:
        """Set the state of an image whose deliveries have all ended; returns it."""
        rows = self.database.rows("SELECT * FROM deliveries WHERE key = ?", key)
        if any(row["state"] == PENDING for row in rows):
            return None
        failures = {row["destination"]: row["reason"] for row in rows if row["state"] == FAILED}
        state = FAILED if failures else SENT
        reason = "; ".join(f"not sent to {name}: {why}" for name, why in failures.items())
        if failures:
            self.spool.fail(key, reason)
        else:
            self.forget(key)
        self.database.change(
            "UPDATE images SET state = ?, reason = ?, changed = ?, bytes = bytes * ? "
            "WHERE key = ? AND state = ?",
            *(state, reason, self.clock(), int(state == FAILED), key, PREDICTED),
        )
        self.database.count(state)
        return state

    def only_to(self, destinations: Sequence[str]) -> None:
        """Fail what waits for destinations that are no longer given."""
        rows = self.database.rows(
            "SELECT DISTINCT key, destination FROM deliveries WHERE state = ?", PENDING
        )
        for row in rows:
            if row["destination"] not in destinations:
                delivery = Delivery(row["key"], row["destination"], (), 0)
                self.give_up(delivery, "the node no longer sends to it")
