"""No caller holds up the others: silent ones, slow handshakes, half messages, many at once."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.association import Association

from cxrloc.tools.server.dicom_node.receiving.callers import Callers, parse_caller
from cxrloc.tools.server.dicom_node.receiving.connections import Connections
from cxrloc.tools.server.dicom_node.receiving.receiver import Receiver
from cxrloc.tools.server.http.tls import client_context, server_context
from tools.server.dicom_node.waiting import PATIENCE_S, wait_until


class Clock:
    """Seconds that pass when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pairs() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    """`pairs()` is a connection: its caller's end, and the receiver's."""
    made: list[socket.socket] = []

    def pair() -> tuple[socket.socket, socket.socket]:
        both = socket.socketpair()
        made.extend(both)
        return both

    yield pair
    for each in made:
        each.close()


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has not hung up; nothing is to be read then."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False


def test_a_newcomer_takes_the_place_of_who_is_silent_longest(
    pairs: Callable[[], tuple[socket.socket, socket.socket]], clock: Clock
) -> None:
    lines = Connections(connections=2, clock=clock)
    (first, first_end), (second, second_end), (third, third_end) = pairs(), pairs(), pairs()
    for clock.now, end in enumerate((first_end, second_end)):
        lines.opened(end)
    clock.now = 2
    lines.heard(first_end)
    lines.opened(third_end)
    assert [is_open(caller) for caller in (first, second, third)] == [True, False, True]


def test_an_association_in_use_keeps_its_place(
    pairs: Callable[[], tuple[socket.socket, socket.socket]], clock: Clock
) -> None:
    lines = Connections(associations=1, clock=clock)
    (first, first_end), (second, second_end) = pairs(), pairs()
    for end in (first_end, second_end):
        lines.opened(end)
    assert lines.associate(first_end)
    clock.now = 9.0
    assert not lines.associate(second_end)
    assert is_open(first)
    clock.now = 11.0
    assert lines.associate(second_end)
    assert not is_open(first)
    assert is_open(second)


def test_silence_ends_a_connection_sooner_than_an_association(
    pairs: Callable[[], tuple[socket.socket, socket.socket]], clock: Clock
) -> None:
    lines = Connections(clock=clock)
    (silent, silent_end), (idle, idle_end) = pairs(), pairs()
    for end in (silent_end, idle_end):
        lines.opened(end)
    lines.associate(idle_end)
    open_at = {}
    for clock.now in (19.0, 21.0, 59.0, 61.0):
        lines.sweep()
        open_at[clock.now] = is_open(silent), is_open(idle)
    assert open_at == {
        19.0: (True, True),
        21.0: (False, True),
        59.0: (False, True),
        61.0: (False, False),
    }


# ---- over real sockets ------------------------------------------------------------------------


def connected(receiver: Receiver) -> socket.socket:
    """A caller that connects and says nothing."""
    return socket.create_connection(("127.0.0.1", receiver.port), timeout=PATIENCE_S)


def call(receiver: Receiver, tls: ssl.SSLContext | None = None) -> Association:
    entity = AE("XRAY1")
    entity.acse_timeout = entity.dimse_timeout = PATIENCE_S
    entity.add_requested_context("1.2.840.10008.1.1")
    secured = None if tls is None else (tls, "localhost")
    return entity.associate("127.0.0.1", receiver.port, ae_title="CXRLOC", tls_args=secured)


def stop_within_a_message(association: Any) -> None:
    association.dul.socket.socket.sendall(b"\x04\x00\x00\x00\xff\x00 half a message")


def test_strangers_are_hung_up_on_before_tls_begins(
    listening: Callable[..., Receiver], certificate: tuple[Path, Path]
) -> None:
    named = Callers([parse_caller("XRAY1@10.0.0.7")])
    receiver = listening(callers=named, tls=server_context(*certificate))
    strangers = [connected(receiver) for _ in range(3)]
    assert [stranger.recv(1) for stranger in strangers] == [b"", b"", b""]
    counts = receiver.intake.queue.database.counts
    wait_until(lambda: counts().get("turned_away") == 3)


def test_handshakes_that_do_not_end_hold_up_nobody(
    listening: Callable[..., Receiver], certificate: tuple[Path, Path]
) -> None:
    receiver = listening(tls=server_context(*certificate))
    silent = [connected(receiver) for _ in range(5)]
    association = call(receiver, client_context(None, None, certificate[0]))
    assert association.is_established
    assert association.send_c_echo().Status == 0
    assert all(map(is_open, silent))  # it was served beside them, not after them
    association.release()


def test_callers_that_leave_or_say_nothing_hold_up_nobody(
    listening: Callable[..., Receiver],
) -> None:
    receiver = listening()
    for _ in range(20):  # as monitors do that look whether the port is open
        connected(receiver).close()
    silent = [connected(receiver) for _ in range(20)]
    association = call(receiver)
    assert association.send_c_echo().Status == 0
    assert all(map(is_open, silent))
    association.release()


def test_callers_that_stop_within_a_message_lose_their_place(
    listening: Callable[..., Receiver], clock: Clock
) -> None:
    receiver = listening()
    receiver.connections = Connections(associations=2, clock=clock)
    stuck = [call(receiver), call(receiver)]
    for association in stuck:
        stop_within_a_message(association)
    refused = call(receiver)
    assert refused.is_rejected
    assert refused.acceptor.primitive is not None
    assert refused.acceptor.primitive.result == 2  # for the moment
    clock.now = 11.0
    served = call(receiver)
    assert served.send_c_echo().Status == 0
    wait_until(lambda: sum(each.is_established for each in stuck) == 1)
    clock.now = 80.0
    receiver.connections.sweep()
    wait_until(lambda: not any(each.is_established for each in (*stuck, served)))
    wait_until(lambda: not receiver._server.active_associations)


def test_a_receiver_stops_at_once_whatever_its_callers_do(
    listening: Callable[..., Receiver],
) -> None:
    receiver = listening()
    silent, stuck = connected(receiver), call(receiver)
    stop_within_a_message(stuck)
    receiver.stop()
    wait_until(lambda: not is_open(silent))
    wait_until(lambda: not receiver._server.active_associations)


def item(kind: int, content: bytes) -> bytes:
    """An item of a request for an association (PS3.8, 9.3.2)."""
    return struct.pack(">BBH", kind, 0, len(content)) + content


def request(context_id: int, syntaxes: Sequence[bytes]) -> bytes:
    """A request for an association with one presentation context."""
    names = [item(0x30, b"1.2.840.10008.1.1"), *(item(0x40, each) for each in syntaxes)]
    context = item(0x20, struct.pack(">BBBB", context_id, 0, 0, 0) + b"".join(names))
    user = item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3"))
    titles = b"CXRLOC".ljust(16) + b"XRAY1".ljust(16) + bytes(32)
    application = item(0x10, b"1.2.840.10008.3.1.1.1")
    body = struct.pack(">HH", 1, 0) + titles + application + context + user
    return struct.pack(">BBI", 1, 0, len(body)) + body


@pytest.mark.parametrize(
    ("context_id", "syntaxes"), [(2, [b"1.2.840.10008.1.2"]), (0, [b"1.2.840.10008.1.2"]), (1, [])]
)
def test_a_request_that_the_library_dies_of_ends_in_a_sentence(
    context_id: int,
    syntaxes: list[bytes],
    listening: Callable[..., Receiver],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    receiver = listening()
    with caplog.at_level(logging.WARNING), connected(receiver) as caller:
        caller.sendall(request(context_id, syntaxes))
        assert caller.recv(1) == b""
    assert "hung up on a caller whose request is malformed (" in caplog.text
    assert "Traceback" not in capfd.readouterr().err
    association = call(receiver)
    assert association.send_c_echo().Status == 0
    association.release()


BOTH_IMPORT = """
import sys, threading
from cxrloc.tools.server.dicom_node.receiving.connections import hanging_up
failed = []
threading.excepthook = lambda lost: failed.append(lost.exc_value)
def sends():
    from pynetdicom import AE
sender = threading.Thread(target=sends)
sender.start()
while "pynetdicom" not in sys.modules:
    pass
hanging_up(print, print)
sender.join()
assert not failed, failed
"""


def test_sender_and_receiver_may_import_the_library_at_once() -> None:
    """Python hands out half a module where two threads import a circle from different ends."""
    subprocess.run([sys.executable, "-c", BOTH_IMPORT], check=True)
