"""A DICOM node: receiver, predictor, senders and status pages around one durable queue."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from cxrloc.tools.server.dicom_node.durable_queue.images import DurableQueue
from cxrloc.tools.server.dicom_node.loop import Loop
from cxrloc.tools.server.dicom_node.predictor import Predictor
from cxrloc.tools.server.dicom_node.sender import Destination, Sender

_LOG = logging.getLogger("cxrloc.node")
_POLL_S = 1.0  # how soon another process's `--requeue` is seen
STOP_S = 3.5  # to finish what is in hand


class Door(Protocol):
    """A way in, or a page: something that runs in threads of its own."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


@dataclass
class Node:
    """All parts of a node, to be run together.

    Attributes:
        queue: what passes between the parts.
        predictor: makes results.
        destinations: who gets them.
        doors: receivers, pollers, pages: started last, stopped first.
    """

    queue: DurableQueue
    predictor: Predictor
    destinations: Sequence[Destination]
    doors: Sequence[Door] = ()

    def __post_init__(self) -> None:
        self._open: list[Door] = []
        idle = partial(self.queue.wait, _POLL_S)
        self.loops = [Loop("predictor", self.predictor.step, idle)]
        for destination in self.destinations:
            sender = Sender(self.queue, destination)
            self.loops.append(Loop(f"sender to {destination.name}", sender.step, idle))

    def faults(self) -> list[str]:
        """Say what does not work now; a destination that does not answer is no fault of a node."""
        return [f"the {loop.name} fails: {loop.fault}" for loop in self.loops if loop.fault]

    def run(self) -> None:
        """Work until the main thread is interrupted; what is in hand is finished."""
        try:
            self.start()
            threading.Event().wait()
        finally:
            self.stop()

    def start(self) -> None:
        """Start all parts.

        Raises:
            OSError: for a port that cannot be listened on.
        """
        for loop in self.loops:
            loop.start()
        for door in self.doors:
            door.start()
            self._open.append(door)

    def stop(self) -> None:
        """Take nothing more, and finish what is in hand."""
        for loop in self.loops:
            loop.stop()
        self.queue.wake()
        until = time.monotonic() + STOP_S
        try:
            while self._open:
                self._open.pop().stop()
        finally:
            for loop in self.loops:
                loop.join(max(until - time.monotonic(), 0.0))
