"""The connections of a receiver: none holds up the others, whatever its caller does or leaves.

A caller may say nothing, not end its TLS handshake, stop within a message, or open connections
without end. Each is hung up on after a while, and earlier where another caller needs its place:
first those that have not asked for an association.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from cxrloc.tools.server.dicom_node.durable_queue.reasons import describe

Hook = Callable[[threading.ExceptHookArgs], None]
Say = Callable[[str], object]

GREETING_S = 10.0  # for the TLS handshake, and again for the request for an association
IDLE_S = 60.0  # without a whole message
MOST_CONNECTIONS, MOST_ASSOCIATIONS = 64, 16
_BUSY_S = 10.0  # an association that was heard since then keeps its place


def speaks(connection: socket.socket) -> bool:
    """Wait whether a caller says something; those that look whether a port is open do not."""
    secured = isinstance(connection, ssl.SSLSocket)
    if secured and connection.pending():  # type: ignore[attr-defined]
        return True
    ready, _, _ = select.select([connection], [], [], GREETING_S)
    return bool(ready) and (secured or bool(connection.recv(1, socket.MSG_PEEK)))


def silence_libraries() -> None:
    """Let pydicom and pynetdicom log nothing: their messages quote what they read."""
    for name in ("pydicom", "pynetdicom"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False


def hanging_up(otherwise: Callable[[threading.ExceptHookArgs], object], say: Say) -> Hook:
    """Hook for exceptions in threads: those of the library die of some malformed requests.

    The caller is hung up on, and what else the library runs for it ends.

    Args:
        otherwise: hook for all other threads.
        say: called with a sentence.
    """
    # of the package, not of its modules: the sender's thread may be importing it now
    from pynetdicom import association as associations
    from pynetdicom import dul

    def hook(lost: threading.ExceptHookArgs) -> None:
        thread = lost.thread
        if not isinstance(thread, associations.Association | dul.DULServiceProvider):
            otherwise(lost)
            return
        association = thread if isinstance(thread, associations.Association) else thread.assoc
        why = "" if lost.exc_value is None else f" ({describe(lost.exc_value)})"
        say(f"hung up on a caller whose request is malformed{why}")
        if association.dul.socket is not None:
            association.dul.socket.close()
        association.dul.kill_dul()

    return hook


@dataclass
class Line:
    """What is known of a connection.

    Attributes:
        heard: when its last message was whole; at first, when it was opened.
        associated: whether its caller has asked for an association.
    """

    heard: float
    associated: bool = False


class Connections:
    """All connections of a receiver; several threads use it at once.

    They are hung up on from outside: the thread that waits for one sees its end, and tidies up.

    Args:
        connections: how many may be open without an association.
        associations: how many associations there may be.
        clock: tells the time in seconds.
    """

    def __init__(
        self,
        connections: int = MOST_CONNECTIONS,
        associations: int = MOST_ASSOCIATIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connections, self.associations, self.clock = connections, associations, clock
        self._lock = threading.Lock()
        # weak: the library drops a socket without closing it where its caller has gone
        self._lines: WeakKeyDictionary[socket.socket, Line] = WeakKeyDictionary()

    def opened(self, connection: socket.socket) -> None:
        """Note a new connection; the one without an association that is silent longest may go."""
        with self._lock:
            self._make_room(self.connections, associated=False, silent_for=0.0)
            self._lines[connection] = Line(self.clock())

    def associate(self, connection: socket.socket) -> bool:
        """Note that a caller asks for an association.

        Returns:
            False if there are too many, and all of them in use.
        """
        with self._lock:
            line = self._lines.get(connection)
            if line is None:  # hung up on meanwhile
                return False
            if not self._make_room(self.associations, associated=True, silent_for=_BUSY_S):
                return False
            line.heard, line.associated = self.clock(), True
            return True

    def heard(self, connection: socket.socket | None) -> None:
        """Note that a whole message has come, or was answered."""
        with self._lock:
            line = None if connection is None else self._lines.get(connection)
            if line is not None:
                line.heard = self.clock()

    def sweep(self) -> None:
        """Hang up on those that have been silent for too long."""
        with self._lock:
            for connection, line in self._open():
                patience = IDLE_S if line.associated else 2 * GREETING_S
                if self.clock() - line.heard > patience:
                    self._hang_up(connection)

    def close(self) -> None:
        """Hang up on all."""
        with self._lock:
            for connection, _ in self._open():
                self._hang_up(connection)

    def _open(self) -> list[tuple[socket.socket, Line]]:
        return [pair for pair in self._lines.items() if pair[0].fileno() != -1]

    def _make_room(self, most: int, associated: bool, silent_for: float) -> bool:
        lines = [pair for pair in self._open() if pair[1].associated == associated]
        if len(lines) < most:
            return True
        connection, line = min(lines, key=lambda pair: pair[1].heard)
        if self.clock() - line.heard < silent_for:
            return False
        self._hang_up(connection)
        return True

    def _hang_up(self, connection: socket.socket) -> None:
        """End it without freeing its number, which another thread may be waiting for."""
        self._lines.pop(connection, None)
        with contextlib.suppress(OSError):  # its caller was faster
            connection.shutdown(socket.SHUT_RDWR)
