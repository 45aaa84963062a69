"""Kill a DICOM node at random moments while it is sent images, and count what is answered.

Four callers send at once; each sends an image again until it is acknowledged. The node is killed
(SIGKILL) and started again. Then every image must have been answered by three objects, once: a
second answer would have UIDs of its own. That a file arrives a second time under the same UID is
counted too: it happens where the kill falls between the archive's word and the note of it.

Or the node takes the images up from a DICOMweb server, and stores the results there.
"""

from __future__ import annotations

import hashlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrloc.tools.experiments.benchmarks.dicom_images import write_images
from cxrloc.tools.experiments.benchmarks.images_in_store import images_in

if TYPE_CHECKING:
    from pydicom import Dataset

CALLERS, OBJECTS = 4, 3
_WAITING = 24  # images that the node takes at once, so that it is killed while it receives
_PATIENCE_S = 600.0  # for a start, and without progress
_STOP_S, _AFTER_S = 5.0, 2.0  # it goes on for a while: it might answer something again


@dataclass
class Outcome:
    """What a campaign found.

    Attributes:
        images: sent by the callers.
        kills: moments at which the node was killed: seconds since the begin.
        answers: image -> UID of each result that the archive has -> hash of its bytes.
        arrived: files that the archive was sent; 0 for a DICOMweb server, which does not tell.
        changed: files that arrived again under the same UID with other bytes.
        acknowledged: sendings that the node has acknowledged.
        refused: sendings that it has put off, being full.
        seconds: of all.
        stop_seconds: from SIGTERM to the end.
        status: the exit status then.
    """

    images: int
    kills: list[float] = field(default_factory=list)
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    arrived: int = 0
    changed: int = 0
    acknowledged: int = 0
    refused: int = 0
    seconds: float = 0.0
    stop_seconds: float = 0.0
    status: int = 0

    def __post_init__(self) -> None:
        self.lock = threading.Lock()

    def note(self, acknowledged: int = 0, refused: int = 0) -> None:
        """Count answers of the node; callers do it at once."""
        with self.lock:
            self.acknowledged += acknowledged
            self.refused += refused

    @property
    def answered(self) -> int:
        """Images with all their results."""
        return sum(len(uids) >= OBJECTS for uids in list(self.answers.values()))

    @property
    def twice(self) -> int:
        """Images with more results than one answer has."""
        return sum(len(uids) > OBJECTS for uids in list(self.answers.values()))

    @property
    def repeated(self) -> int:
        """Files that arrived again under the same UID."""
        return self.arrived - sum(map(len, list(self.answers.values())))

    @property
    def good(self) -> bool:
        """Whether each image was answered once, and the node stopped when it was told to."""
        stopped = self.stop_seconds <= _STOP_S and self.status == 128 + signal.SIGTERM
        whole = self.answered == self.images == len(self.answers)
        return whole and not self.twice and not self.changed and stopped

    def table(self) -> str:
        """Describe it in lines."""
        way = f"by {CALLERS} associations at once" if self.arrived else "on a DICOMweb server"
        lines = [
            f"{self.images} images {way}, {len(self.kills)} kills, {self.seconds:.0f} s",
            f"answered {self.answered}, lost {self.images - self.answered}, "
            f"answered twice {self.twice}",
            f"acknowledged {self.acknowledged} times, put off {self.refused} times (full)",
            f"files that arrived again under the same UID: {self.repeated}, "
            f"with other bytes: {self.changed}",
            f"stopped {self.stop_seconds:.1f} s after SIGTERM with status {self.status}",
        ]
        return "\n".join(lines if self.arrived else [*lines[:2], lines[-1]])


def kill_campaign(
    gate: Path, images: int, kills: int, seed: int, dicomweb: str | None = None
) -> Outcome:
    """Have images answered by a node that is killed at random moments.

    Args:
        gate: bundle of the gate.
        images: how many.
        kills: how often.
        seed: of the moments.
        dicomweb: URL of a server that gets the images; otherwise they are sent to the node.

    Raises:
        RuntimeError: when nothing moves any more.
    """
    outcome, began = Outcome(images), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder, ports = Path(name), _free_ports(2)
        files = write_images(folder / "images", images)
        if dicomweb is None:
            way: Any = _calls(ports[0], files, outcome)
        else:
            way = images_in(dicomweb, files, OBJECTS, outcome.answers)
        with way as words:
            node = _Node(folder, gate, ports, words)
            try:
                node.start()
                _kill(node, kills, random.Random(seed), outcome, began)
                _wait_for(outcome, images)
                time.sleep(_AFTER_S)
                outcome.stop_seconds, outcome.status = node.stop()
            finally:
                node.kill()
    outcome.seconds = time.monotonic() - began
    return outcome


@contextmanager
def _calls(port: int, files: Sequence[Path], outcome: Outcome) -> Iterator[list[str]]:
    """Send files to a node from now on; yields its options, by which an archive gets results."""
    with _archive(outcome) as archive:
        for n in range(CALLERS):
            sent = port, files[n::CALLERS], outcome
            threading.Thread(target=_call, args=sent, daemon=True).start()
        yield ["--send-to", f"ARCHIVE@127.0.0.1:{archive}"]


def _kill(node: _Node, kills: int, rng: random.Random, outcome: Outcome, began: float) -> None:
    """Kill after random numbers of answers and a random moment more; some while it starts."""
    after = sorted(rng.sample(range(outcome.images), kills))
    for number in after:
        _wait_for(outcome, number)
        time.sleep(rng.uniform(0, 1))
        node.kill()
        outcome.kills.append(time.monotonic() - began)
        node.start(wait=rng.random() < 0.8)


def _wait_for(outcome: Outcome, images: int) -> None:
    until, last = time.monotonic() + _PATIENCE_S, -1
    while outcome.answered < images:
        if outcome.answered > last:
            until, last = time.monotonic() + _PATIENCE_S, outcome.answered
        if time.monotonic() > until:
            raise RuntimeError(f"{last} of {outcome.images} images are answered, and no more come")
        time.sleep(0.05)


@dataclass
class _Node:
    """The real tool in a process of its own."""

    folder: Path
    gate: Path
    ports: Sequence[int]
    words: Sequence[str]
    process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> None:
        words = ["--gate", self.gate, *self.words]
        words += ["--port", self.ports[0], "--health-port", self.ports[1], "--queue", _WAITING]
        log = (self.folder / "node.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cxrloc.tools.cli", "node", *map(str, words)],
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _PATIENCE_S
        while wait and not self._is_up():
            if self.process.poll() is not None or time.monotonic() > until:
                last = (self.folder / "node.log").read_text(errors="replace")[-500:]
                raise RuntimeError(f"the node does not start: {last}")
            time.sleep(0.1)

    def _is_up(self) -> bool:
        with (
            suppress(OSError),
            urllib.request.urlopen(
                f"http://127.0.0.1:{self.ports[1]}/healthz", timeout=10
            ) as answer,
        ):
            return bool(answer.status == 200)
        return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> tuple[float, int]:
        """Stop it as a system does; returns the seconds that it took, and the exit status."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        return time.monotonic() - began, status


def _call(port: int, files: Sequence[Path], outcome: Outcome) -> None:
    """Send files until each is acknowledged, as a modality does."""
    from pynetdicom import AE

    entity = AE("CALLER")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.1.1")
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = 30
    waiting = list(files)
    while waiting:
        association = entity.associate("127.0.0.1", port, ae_title="CXRLOC")
        while waiting and association.is_established:
            status: Any = None
            with suppress(ValueError, RuntimeError, OSError):  # the node has gone
                status = association.send_c_store(waiting[0])
            code = None if status is None else status.get("Status")
            if code == 0:
                waiting.pop(0)
                outcome.note(acknowledged=1)
            elif code is not None:
                outcome.note(refused=1)
                break
        if association.is_established:
            association.release()
        time.sleep(0.5 if waiting else 0)


@contextmanager
def _archive(outcome: Outcome) -> Iterator[int]:
    """An archive that counts what it is sent; yields its port."""
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    def store(event: Any) -> int:
        made = event.dataset
        digest = hashlib.sha256(event.encoded_dataset(include_meta=False)).hexdigest()
        with outcome.lock:
            results = outcome.answers.setdefault(_source(made), {})
            before = results.setdefault(made.SOPInstanceUID, digest)
            outcome.arrived += 1
            outcome.changed += before != digest
        return 0

    entity = AE("ARCHIVE")
    entity.supported_contexts = AllStoragePresentationContexts
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        entity.shutdown()


def _source(made: Dataset) -> str:
    """The image that a result is about: each has a study of its own."""
    return str(made.StudyInstanceUID)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
