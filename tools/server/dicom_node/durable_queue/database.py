"""Open the queue's SQLite file: its tables, transactions that survive a power cut, and counters.

Several threads share one connection, one at a time. Other processes (`cxrloc node --status`) may
read and write meanwhile.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FILE_NAME = "queue.sqlite"
_FORMAT = 1
_PATIENCE_S = 30.0  # for another process's transaction
_TABLES = """
CREATE TABLE images (
    key TEXT PRIMARY KEY,         -- of the image's SOP Instance UID, see spool.key_of
    content TEXT NOT NULL,        -- hash that tells another image of the same UID
    engine TEXT NOT NULL,         -- hash of models and settings that predict it, or did
    state TEXT NOT NULL,
    bytes INTEGER NOT NULL,       -- that its files take on the disk
    attempts INTEGER NOT NULL,    -- predictions begun
    due REAL NOT NULL,            -- time of the next one
    reason TEXT NOT NULL,         -- of the last failure
    received REAL NOT NULL,
    changed REAL NOT NULL
);
CREATE INDEX images_by_state ON images (state, bytes);
CREATE TABLE deliveries (
    key TEXT NOT NULL,
    destination TEXT NOT NULL,
    file TEXT NOT NULL,
    state TEXT NOT NULL,          -- waiting, sent or failed
    attempts INTEGER NOT NULL,    -- that the destination refused
    due REAL NOT NULL,
    since REAL NOT NULL,          -- when it began to wait
    reason TEXT NOT NULL,
    PRIMARY KEY (key, destination, file)
);
CREATE INDEX deliveries_by_destination ON deliveries (destination, state, due);
CREATE TABLE counts (name TEXT PRIMARY KEY, number INTEGER NOT NULL);
"""


class Database:
    """The queue's file, opened."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock = threading.RLock()
        try:
            # no implicit transactions: each has to say where it begins
            self._connection = sqlite3.connect(
                self.path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk
            self._check_format()
        except sqlite3.Error as error:
            raise ValueError(
                f"{self.path} cannot be opened as the queue of a node ({error}); give another "
                "--folder, or move this file away: images that wait there are then not answered"
            ) from None

    def _check_format(self) -> None:
        with self.transaction():
            [found] = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError("it is damaged")
            [number] = self._connection.execute("PRAGMA user_version").fetchone()
            if number == 0:
                for statement in _TABLES.split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {_FORMAT}")
            elif number != _FORMAT:
                raise ValueError(
                    f"{self.path} has format {number}, expected {_FORMAT}: it was written by "
                    "another version of cxrloc, or is not the queue of a node"
                )

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """Hold the file; what is changed within is on the disk afterwards, all of it or nothing."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> sqlite3.Row | None:
        """Return the first row of a query."""
        with self._lock:
            first: sqlite3.Row | None = self._connection.execute(query, values).fetchone()
            return first

    def change(self, query: str, *values: Any) -> int:
        """Run a statement; returns how many rows it changed."""
        with self._lock:
            return self._connection.execute(query, values).rowcount

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter, which outlives the process."""
        self.change(
            "INSERT INTO counts VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET number = number + excluded.number",
            name,
            number,
        )

    def counts(self) -> Mapping[str, int]:
        """Return all counters."""
        return {row["name"]: row["number"] for row in self.rows("SELECT * FROM counts")}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
