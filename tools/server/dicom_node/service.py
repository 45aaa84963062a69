"""A DICOM node: receiver, predictor, senders and status pages around one durable queue."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from cxrloc.datasets.dicom.web.poller import Poller
from cxrloc.tools.server.dicom_node.durable_queue.images import DurableQueue
from cxrloc.tools.server.dicom_node.loop import Loop
from cxrloc.tools.server.dicom_node.predictor import Predictor
from cxrloc.tools.server.dicom_node.sender import Destination, Sender

_LOG = logging.getLogger("cxrloc.node")
_POLL_S = 1.0  # how soon another process's `--requeue` is seen
STOP_S = 3.0  # to finish what is in hand


class Door(Protocol):
    """A way in, or a page: something that runs in threads of its own.

    Attributes:
        fault: why it does not work; empty while it does.
    """

    @property
    def fault(self) -> str: ...

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
        self.senders = [Sender(self.queue, destination) for destination in self.destinations]
        for sender in self.senders:
            name = f"sender to {sender.destination.name}"
            self.loops.append(Loop(name, sender.step, idle))

    def faults(self) -> list[str]:
        """Say which parts of the node do not work now; for others' faults see `others`."""
        loops = [f"the {loop.name} fails: {loop.fault}" for loop in self.loops if loop.fault]
        doors = [door for door in self._open if not isinstance(door, Poller)]
        loops += [f"the {type(door).__name__}: {door.fault}" for door in doors if door.fault]
        return loops + [f"the queue: {fault}" for fault in [self.queue.fault()] if fault]

    def others(self) -> dict[str, dict[str, str]]:
        """Name those whom the node depends on, each with what fails there; empty if nothing does.

        A restart of the node would not mend it.
        """
        sources: dict[str, str] = {}
        for door in self.doors:
            if isinstance(door, Poller):  # one for each query
                sources[door.name] = sources.get(door.name) or door.fault
        destinations = {sender.destination.name: sender.fault for sender in self.senders}
        return {"sources": sources, "destinations": destinations}

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
        # at once: none may wait for what another waits for, such as a server that does not answer
        closing = [threading.Thread(target=door.stop, daemon=True) for door in self._open]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(max(until - time.monotonic(), 0.0))
        for loop in self.loops:
            loop.join(max(until - time.monotonic(), 0.0))
        self._open.clear()
