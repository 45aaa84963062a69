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

from cxrloc.tools.server.dicom_node.callers import Callers
from cxrloc.tools.server.dicom_node.intake import Intake, Refusal, RefusedError
from cxrloc.tools.server.dicom_node.loop import describe

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
_ASSOCIATIONS = 16
_IDLE_S = 60  # without a message; an association is ended then
_HANDSHAKE_S = 5
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
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether it listens."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Take nothing more; callers are cut off and send what was not acknowledged again."""
        self._server.shutdown()
        for association in self._server.active_associations:
            association.abort()

    def _entity(self) -> AE:
        from pynetdicom import AE, AllStoragePresentationContexts
        from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

        entity = AE(self.title)
        entity.require_called_aet = True
        entity.maximum_associations = _ASSOCIATIONS
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = _IDLE_S
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
            association.acse.send_reject(0x01, 0x01, 0x03)  # calling AE title not recognised
            association.kill()
            self._turned_away(_printable(title), address)

    def _turned_away(self, title: str, address: str) -> None:
        _LOG.warning("turned away %s at %s: no --from names it", title, address)
        self.intake.queue.database.count("turned_away")

    def _check_size(self, event: Event) -> None:
        """Cut a caller off that sends an object which is too large for any image."""
        from pynetdicom.pdu import P_DATA_TF

        if not isinstance(event.pdu, P_DATA_TF):
            return
        association: Any = event.assoc
        association.cxrloc_bytes = getattr(association, "cxrloc_bytes", 0) + event.pdu.pdu_length
        if association.cxrloc_bytes > self.largest:
            association.cxrloc_bytes = 0
            _LOG.warning("cut off %s: an object of more than %d bytes", _title(event), self.largest)
            self.intake.queue.database.count("refused_too_large")
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
        return _SUCCESS


def silence_libraries() -> None:
    """Let pydicom and pynetdicom log nothing: their messages quote what they read."""
    for name in ("pydicom", "pynetdicom"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False


def _server(entity: AE, handlers: Any, receiver: Receiver) -> ThreadedAssociationServer:
    """Listen; strangers are hung up on before they have said anything."""
    from pynetdicom.transport import ThreadedAssociationServer

    class Server(ThreadedAssociationServer):
        def get_request(self) -> Any:
            assert self.socket is not None
            connection, address = self.socket.accept()
            if self.ssl_context is not None:  # who does not finish it must not hold up the others
                connection.settimeout(_HANDSHAKE_S)
                connection = self.ssl_context.wrap_socket(connection, server_side=True)
                connection.settimeout(_IDLE_S)
            return connection, address

        def verify_request(self, request: Any, client_address: Any) -> bool:
            allowed = receiver.callers.may_connect(client_address[0])
            if not allowed:
                receiver._turned_away("a caller", client_address[0])
            return allowed

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
