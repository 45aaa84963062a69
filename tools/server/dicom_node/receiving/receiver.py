"""Receive images by C-STORE, and answer C-ECHO.

An object is acknowledged after the intake has it on the disk; what it refuses is answered by a
status with the reason. All storage classes are negotiated, so that one CT among the images of an
association is refused by itself.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from socketserver import BaseServer
from typing import TYPE_CHECKING, Any

from cxrloc.tools.server.dicom_node.durable_queue.reasons import describe
from cxrloc.tools.server.dicom_node.receiving.callers import Callers, Strangers
from cxrloc.tools.server.dicom_node.receiving.connections import (
    GREETING_S,
    IDLE_S,
    Connections,
    hanging_up,
    silence_libraries,
    speaks,
)
from cxrloc.tools.server.dicom_node.receiving.intake import Intake, Refusal, RefusedError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pynetdicom import AE
    from pynetdicom.events import Event
    from pynetdicom.transport import ThreadedAssociationServer

_LOG = logging.getLogger("cxrloc.node")
_SUCCESS, _FAULT, _MALFORMED = 0x0000, 0xA700, 0xC000
STATUSES = {  # PS3.4 B.2.3
    Refusal.other_class: 0x0122,  # SOP class not supported
    Refusal.mismatch: 0xA900,  # data set does not match SOP class
    Refusal.not_an_image: 0xC000,  # cannot understand
    Refusal.conflict: 0xC100,
    Refusal.full: 0xA700,  # out of resources
}
_COMMENT = 64  # characters of an Error Comment (LO)
_WATCH_S = 0.5  # how often it is looked who is silent
_ALL = 10_000  # the library's own bound counts callers that have gone; ours is in `Connections`
# those that the reader decodes; a caller that has others transcodes, or is told
TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # explicit little endian
    "1.2.840.10008.1.2",  # implicit
    "1.2.840.10008.1.2.2",  # explicit big endian
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",  # JPEG-LS
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",  # JPEG 2000
    "1.2.840.10008.1.2.4.91",
)


@dataclass
class Receiver:
    """A C-STORE receiver in threads of its own.

    Attributes:
        intake: takes what arrives.
        title: its AE title; a caller that asks for another one is turned away.
        host: address to listen on.
        port: port to listen on; 0 chooses one.
        callers: who may send.
        tls: for DICOM TLS; without it the port speaks plain DICOM.
        largest: bytes of one object; a caller that sends more is cut off.
    """

    intake: Intake
    title: str
    host: str
    port: int
    callers: Callers = field(default_factory=Callers)
    tls: ssl.SSLContext | None = None
    largest: int = 300_000_000

    def __post_init__(self) -> None:
        self.connections = Connections()
        self._stopped = threading.Event()
        self.strangers = Strangers()

    def start(self) -> None:
        """Listen from now on.

        Raises:
            OSError: when the port is taken or the address is not this machine's.
        """
        silence_libraries()
        try:
            self._server = _server(self._entity(), self._handlers(), self)
        except OSError as error:
            raise OSError(
                f"cannot listen on {self.host}:{self.port} for DICOM ({error.strerror}); choose "
                "another --port or --host"
            ) from None
        self.port = self._server.server_address[1]
        self._hook = threading.excepthook
        threading.excepthook = hanging_up(self._hook, _LOG.warning)
        self._threads = [
            threading.Thread(target=target, name=f"receiver: {target.__name__}", daemon=True)
            for target in (self._listen, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def fault(self) -> str:
        """Why it receives nothing; empty while it does."""
        return "" if all(each.is_alive() for each in self._threads) else "it does not listen"

    def stop(self) -> None:
        """Take nothing more; callers are cut off and send what was not acknowledged again."""
        self._stopped.set()
        self.connections.close()
        self._server.shutdown()
        self.connections.close()  # those that came meanwhile
        threading.excepthook = self._hook

    def _listen(self) -> None:
        self._server.serve_forever(poll_interval=0.1)

    def _watch(self) -> None:
        """Hang up on callers that are silent for too long, and tell who was turned away."""
        while not self._stopped.wait(_WATCH_S):
            self.connections.sweep()
            if number := self.strangers.tell():
                self._count("turned_away", number)

    def _count(self, name: str, number: int = 1) -> None:
        try:
            self.intake.queue.database.count(name, number)
        except Exception as error:  # of the disk: what is received matters more
            _LOG.error("could not count what was %s: %s", name, describe(error))

    def _entity(self) -> AE:
        from pynetdicom import AE, AllStoragePresentationContexts
        from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

        entity = AE(self.title)
        entity.require_called_aet = True
        entity.maximum_associations = _ALL
        entity.network_timeout = entity.dimse_timeout = IDLE_S
        entity.acse_timeout = GREETING_S
        entity.maximum_pdu_size = 131_072
        entity.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), list(TRANSFER_SYNTAXES))
        return entity

    def _handlers(self) -> list[tuple[Any, Callable[[Event], Any]]]:
        from pynetdicom import evt

        return [
            (evt.EVT_REQUESTED, self._check_caller),
            (evt.EVT_PDU_RECV, self._check_size),
            (evt.EVT_C_ECHO, lambda event: _SUCCESS),
            (evt.EVT_C_STORE, self._store),
        ]

    def _check_caller(self, event: Event) -> None:
        association: Any = event.assoc
        title, address = "a caller", "an unknown address"
        try:  # the library goes on after an error here, and would let the caller in
            address = str(association.requestor.address)
            title = str(association.requestor.primitive.calling_ae_title).strip()
            allowed = self.callers.may_send(title, address)
        except (ValueError, AttributeError):
            allowed = False
        if not allowed:
            self.strangers.add(f"{_printable(title)} at {address}")
            _reject(association, 0x01, 0x01, 0x03)  # calling AE title not recognised
            return
        connection = association.dul.socket.socket
        if connection is None or not self.connections.associate(connection):
            _reject(association, 0x02, 0x03, 0x02)  # local limit exceeded, for the moment

    def _check_size(self, event: Event) -> None:
        """Cut a caller off that sends an object which is too large for any image."""
        from pynetdicom.pdu import P_DATA_TF

        if not isinstance(event.pdu, P_DATA_TF):
            return
        association: Any = event.assoc
        self.connections.heard(association.dul.socket.socket)
        association.cxrloc_bytes = getattr(association, "cxrloc_bytes", 0) + event.pdu.pdu_length
        if association.cxrloc_bytes > self.largest:
            association.cxrloc_bytes = 0
            _LOG.warning("cut off %s: an object of more than %d bytes", _title(event), self.largest)
            self._count("refused_too_large")
            association.dul.socket.close()  # it does not wait for the thread that calls this

    def _store(self, event: Event) -> int | Dataset:
        association: Any = event.assoc
        association.cxrloc_bytes = 0
        try:
            data = event.encoded_dataset()
        except Exception as error:  # of its header: a UID that is none
            return _status(_MALFORMED, f"malformed request ({type(error).__name__})")
        try:
            self.intake.take(data)
        except RefusedError as error:
            _LOG.warning("refused an object from %s: %s", _title(event), error)
            return _status(STATUSES[error.kind], str(error))
        except Exception as error:  # of the disk: the caller sends it again later
            _LOG.error("could not keep an object from %s: %s", _title(event), describe(error))
            return _status(_FAULT, "the node could not keep it; send it again later")
        finally:
            self.connections.heard(association.dul.socket.socket)
        return _SUCCESS


def _server(entity: AE, handlers: Any, receiver: Receiver) -> ThreadedAssociationServer:
    """Listen; strangers are hung up on before they have said anything."""
    from pynetdicom.transport import ThreadedAssociationServer

    class Server(ThreadedAssociationServer):
        daemon_threads = True  # none is waited for at the end

        def get_request(self) -> Any:
            assert self.socket is not None
            return self.socket.accept()  # TLS begins later: it must not hold up the others

        def verify_request(self, request: Any, client_address: Any) -> bool:
            allowed = receiver.callers.may_connect(client_address[0])
            if not allowed:
                receiver.strangers.add(f"a caller at {client_address[0]}")
            return allowed

        def finish_request(self, request: Any, client_address: Any) -> None:
            """In a thread of its own."""
            request.settimeout(GREETING_S)
            if self.ssl_context is not None:
                request = self.ssl_context.wrap_socket(
                    request, server_side=True, do_handshake_on_connect=False
                )
            receiver.connections.opened(request)
            try:
                if self.ssl_context is not None:
                    request.do_handshake()
                if not speaks(request):  # an association costs more than a silent caller may
                    request.close()
                    return
                request.settimeout(IDLE_S)  # within a message, too
                super().finish_request(request, client_address)
            except BaseException:
                request.close()
                raise

        def shutdown(self) -> None:  # pynetdicom's is for servers that it has started itself
            BaseServer.shutdown(self)
            self.server_close()

        def handle_error(self, request: Any, client_address: Any) -> None:
            _LOG.warning("a connection from %s failed", client_address[0])

    server: ThreadedAssociationServer = entity.make_server(
        (receiver.host, receiver.port),
        ssl_context=receiver.tls,
        evt_handlers=handlers,
        server_class=Server,
    )
    return server


def _reject(association: Any, *reason: int) -> None:
    association.acse.send_reject(*reason)  # result, source and reason of PS3.8 9.3.4
    association.kill()


def _status(code: int, reason: str) -> Dataset:
    from pydicom import Dataset

    status = Dataset()
    status.Status = code
    comment = reason.encode("ascii", "replace").decode()
    status.ErrorComment = comment.replace("\\", "/")[:_COMMENT]
    return status


def _title(event: Event) -> str:
    """The caller's AE title, which it has chosen itself, as something that may be logged."""
    return _printable(str(event.assoc.requestor.ae_title))


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())
