r"""Answer images that a modality or archive sends, with DICOM objects: a DICOM node.

    cxrloc node --aet CXRLOC --port 11112 --send-to ARCHIVE@127.0.0.1:4242 \
        --gate classifier.safetensors
    cxrloc node --aet CXRLOC --port 11112 --host 0.0.0.0 --from XRAY1@10.0.0.7 \
        --send-to ARCHIVE@10.0.0.5:104 --gate classifier.safetensors
    cxrloc node --dicomweb https://pacs.example/dicom-web --query Modality=DX \
        --every 30 --dicomweb-token token.txt --gate classifier.safetensors
    cxrloc node --status
    cxrloc node --requeue

It takes CR, DX and secondary capture images by C-STORE and sends a structured report, a
presentation state and a secondary capture of each to every --send-to. An image is acknowledged when
it is on the disk in --folder: from then on it is answered, whatever ends the process, and started
again it goes on. An image that is sent again is answered once. What is no chest radiograph (a CT,
a limb, an object without pixels) is refused by a status that says why.

--dicomweb stores results by STOW-RS at a DICOMweb server, too. With --query the node also looks
there for images and takes those that it has not answered: all that match, old ones too, so bound it
by a date where you mean new ones (Modality=DX&StudyDate=20261101-).

Results that a destination does not take are sent again with growing pauses; after 8 refusals, or 3
days without an answer, the image goes to FOLDER/failed with the reason. --status lists those, and
--requeue sends them on their way again; both work while the node runs.

--port answers this machine only, unless --host names another address, which requires --from.
/healthz and /metrics are at --health-port, on --host if there is a --token-file, else on this
machine. With --certificate and --key both ports speak TLS; tls://AET@HOST:PORT is sent to by TLS.

Needs the extras dicom and serve. Research use only, never a diagnosis (docs/how-to/dicom.md).
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib
import json
import logging
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cxrloc.configs.command_line import run_tool
from cxrloc.datasets.dicom.web.options import pollers, server_of
from cxrloc.datasets.files.addresses import LOOPBACK
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.files.runs.locks import BeingWrittenError, writes_folder
from cxrloc.datasets.files.runs.stopping import tidied
from cxrloc.localization.dicom_output.c_store import parse_peer
from cxrloc.tools.server.dicom_node.durable_queue.database import FILE_NAME
from cxrloc.tools.server.dicom_node.durable_queue.images import Bounds, DurableQueue
from cxrloc.tools.server.dicom_node.durable_queue.repair import repair, requeue
from cxrloc.tools.server.dicom_node.durable_queue.summary import summary
from cxrloc.tools.server.dicom_node.options import TLS, node_parser
from cxrloc.tools.server.dicom_node.receiving.callers import Callers, check_callers
from cxrloc.tools.server.dicom_node.receiving.intake import Intake

if TYPE_CHECKING:
    from cxrloc.datasets.dicom.web.server import DicomWebServer
    from cxrloc.localization.diagnosis.diagnoser import Diagnoser
    from cxrloc.localization.dicom_output.origin import Origin
    from cxrloc.tools.server.dicom_node.receiving.receiver import Receiver
    from cxrloc.tools.server.dicom_node.sender import Destination
    from cxrloc.tools.server.dicom_node.service import Node
    from cxrloc.tools.server.dicom_node.status_pages import NodeMetrics, StatusServer

_GRACE_S = 3.5  # of SIGTERM, for what is in hand; its child processes may take a second more


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until stopped, or look at its queue; returns the exit status."""
    return run_tool(
        "node",
        lambda: _run(node_parser(__doc__).parse_args(argv)),
        "what was acknowledged is in its folder; the same command goes on",
        grace=_GRACE_S,
    )


def _run(arguments: argparse.Namespace) -> int:
    if arguments.status or arguments.requeue is not None:
        return _operate(arguments)
    if arguments.query and arguments.dicomweb is None:
        raise ValueError("--query needs --dicomweb URL")
    for option in ("gate",) if arguments.dicomweb else ("gate", "send_to"):
        if not getattr(arguments, option):
            raise ValueError(f"--{option.replace('_', '-')} is missing: the node needs it to run")
    try:
        with writes_folder(arguments.folder):
            return _serve(arguments)
    except BeingWrittenError as error:
        raise ValueError(str(error).replace("--out", "--folder")) from None
    except sqlite3.Error as error:  # while it starts; later each part tries again
        raise ValueError(f"{arguments.folder / FILE_NAME}: {error}") from None


def _operate(arguments: argparse.Namespace) -> int:
    """Look at a queue, or requeue its dead letters; the node may be running."""
    if not (arguments.folder / FILE_NAME).is_file():
        raise FileNotFoundError(
            f"{arguments.folder}: no node has run here; give the --folder that it was started with"
        )
    queue = DurableQueue(arguments.folder)
    if arguments.requeue is not None:
        keys = requeue(queue, arguments.requeue)
        print(f"{len(keys)} images are on their way again.")
    if arguments.status:
        print(summary(queue))
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("cxrloc.node").setLevel(logging.INFO)
    node = build_node(arguments)
    gc.freeze()  # what is loaded stays loaded: it is not searched for garbage at the end
    print(
        f"{arguments.aet} listens on {arguments.host}:{arguments.port}, and for /healthz on port "
        f"{arguments.health_port} (end with Ctrl+C).",
        flush=True,
    )
    try:
        node.run()
    finally:
        tidied()
    return 0


def build_node(arguments: argparse.Namespace) -> Node:
    """The node, its models loaded and its queue in order.

    Raises:
        OSError, ValueError, ImportError: for bundles, addresses or files that cannot be used.
    """
    from cxrloc.localization.dicom_output.output import require_highdicom
    from cxrloc.tools.server.http.tls import check_pair

    require_highdicom()
    importlib.import_module("highdicom")  # takes seconds, which the first image need not wait
    check_pair(arguments.certificate, arguments.key)
    check_callers(arguments.host, Callers(arguments.callers))
    web = server_of(arguments) if arguments.dicomweb else None
    archives = _archives(arguments, web)

    from cxrloc.tools.server.dicom_node.predictor import Predictor
    from cxrloc.tools.server.dicom_node.service import Node
    from cxrloc.tools.server.dicom_node.status_pages import NodeMetrics

    diagnoser, origin = _engine(arguments)
    bounds = Bounds(arguments.queue, int(arguments.gigabytes * 1e9))
    queue = DurableQueue(arguments.folder, bounds, _digest(diagnoser, origin))
    names = [archive.name for archive in archives]
    repair(queue, names)
    metrics = NodeMetrics(queue)
    predictor = Predictor(queue, diagnoser, origin, names, arguments.any_body_part, metrics.observe)
    node = Node(queue, predictor, archives)
    node.doors = [_receiver(arguments, queue), _pages(arguments, node, metrics)]
    if web:
        intake = Intake(queue, arguments.any_body_part)
        node.doors += pollers(arguments, web, queue.holds, intake.take_fetched)
    return node


def _archives(arguments: argparse.Namespace, web: DicomWebServer | None) -> list[Destination]:
    from cxrloc.tools.server.dicom_node.archive import Archive, DicomWebArchive
    from cxrloc.tools.server.http.tls import client_context

    archives: dict[str, Destination] = {} if web is None else {web.url: DicomWebArchive(web)}
    for word in dict.fromkeys(arguments.send_to):
        peer = parse_peer(word.removeprefix(TLS))
        tls = (
            client_context(arguments.certificate, arguments.key, arguments.trusted)
            if word.startswith(TLS)
            else None
        )
        if str(peer) in archives:
            raise ValueError(f"--send-to {peer} is given with {TLS} and without; expected one")
        archives[str(peer)] = Archive(peer, arguments.aet, tls)
    return list(archives.values())


def _engine(arguments: argparse.Namespace) -> tuple[Diagnoser, Origin]:
    from cxrloc.detection.load_diagnoser import diagnoser_of
    from cxrloc.localization.dicom_output.origin import Origin

    diagnoser, bundles = diagnoser_of(arguments)
    return diagnoser, Origin({name: file_sha256(path) for name, path in bundles.items()})


def _digest(diagnoser: Diagnoser, origin: Origin) -> str:
    """Hash of what the UIDs of results derive from, apart from the image."""
    return hashlib.sha256(json.dumps([origin.uid(), diagnoser.runtime]).encode()).hexdigest()


def _receiver(arguments: argparse.Namespace, queue: DurableQueue) -> Receiver:
    from cxrloc.tools.server.dicom_node.receiving.receiver import Receiver
    from cxrloc.tools.server.http.tls import server_context

    tls = (
        server_context(arguments.certificate, arguments.key, arguments.trusted)
        if arguments.certificate
        else None
    )
    intake = Intake(queue, arguments.any_body_part)
    callers = Callers(arguments.callers)
    return Receiver(intake, arguments.aet, arguments.host, arguments.port, callers, tls)


def _pages(arguments: argparse.Namespace, node: Node, metrics: NodeMetrics) -> StatusServer:
    from cxrloc.tools.server.dicom_node.status_pages import StatusServer, status_app
    from cxrloc.tools.server.http.access import read_token

    token = None if arguments.token_file is None else read_token(arguments.token_file)
    host = arguments.host if token or arguments.host in LOOPBACK else LOOPBACK[0]
    metrics.watch(node.others)
    app = status_app(node.queue, metrics, node.faults, node.others, token)
    return StatusServer(app, host, arguments.health_port, arguments.certificate, arguments.key)


if __name__ == "__main__":
    raise SystemExit(main())
