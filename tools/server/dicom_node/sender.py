"""Send results to a destination until it has them, with growing pauses."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cxrloc.tools.server.dicom_node.durable_queue.deliveries import Delivery
from cxrloc.tools.server.dicom_node.durable_queue.images import DurableQueue
from cxrloc.tools.server.dicom_node.durable_queue.reasons import describe

_LOG = logging.getLogger("cxrloc.node")


class UnreachableError(ConnectionError):
    """A destination that does not answer, or refuses the connection; the message says how."""


class Destination(Protocol):
    """Where results go; a node has a thread for each."""

    @property
    def name(self) -> str:
        """Its name in the queue, in `--status` and in messages: the same after a restart."""
        ...

    def send(self, files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
        """Store the files of one image; yields each with why it was not stored, empty if it was.

        A file that is yielded as stored is never sent again: yield each as soon as that is known.

        Raises:
            UnreachableError: when it cannot be reached; what was not yielded is sent later.
        """
        ...


@dataclass(frozen=True)
class Patience:
    """How long results are sent again, in seconds.

    Attributes:
        first: pause after the first failure; each further one is twice as long.
        longest: longest pause.
        refusals: refusals of an image after which it is given up.
        unreachable: time for which a destination may not be reached before an image is given up.
    """

    first: float = 5.0
    longest: float = 600.0
    refusals: int = 8
    unreachable: float = 3 * 24 * 3600.0

    def pause(self, failures: int) -> float:
        """Return the pause after so many failures in a row."""
        return float(min(self.longest, self.first * 2 ** min(failures - 1, 30)))


class Sender:
    """Sends what waits for one destination, one image after the other."""

    def __init__(
        self, queue: DurableQueue, destination: Destination, patience: Patience | None = None
    ) -> None:
        self.queue, self.destination = queue, destination
        self.patience = patience or Patience()
        self._silent = 0  # attempts in a row that did not reach it
        self.fault = ""  # why the last attempt failed

    def step(self) -> bool:
        """Send one image's files; returns False if nothing was due."""
        deliveries = self.queue.deliveries
        delivery = deliveries.next(self.destination.name)
        if delivery is None:
            return False
        refusals = []
        try:
            for file, reason in self.destination.send(delivery.files):
                if reason:
                    refusals.append(reason)
                else:
                    deliveries.sent(delivery, file)
        except UnreachableError as error:
            self._unreachable(delivery, str(error))
            return True
        except (OSError, ValueError) as error:  # of a file that is gone or damaged
            refusals.append(describe(error))
        self._silent, self.fault = 0, ""
        if refusals:
            self._refused(delivery, refusals[0])
        return True

    def _unreachable(self, delivery: Delivery, reason: str) -> None:
        name, deliveries = self.destination.name, self.queue.deliveries
        self._silent += 1
        self.fault = f"{name}: {reason}"
        pause = self.patience.pause(self._silent)
        _LOG.warning("%s: %s; again in %.0f s", name, reason, pause)
        hours = self.patience.unreachable / 3600
        for old in deliveries.older(name, self.queue.clock() - self.patience.unreachable):
            _LOG.error("%s: given up, %s: %s", old.key, name, reason)
            deliveries.give_up(old, f"not reached for {hours:.0f} hours: {reason}")
        deliveries.unreachable(delivery, reason, pause)

    def _refused(self, delivery: Delivery, reason: str) -> None:
        attempts = delivery.attempts + 1
        self.fault = f"{self.destination.name}: {reason}"
        if attempts >= self.patience.refusals:
            _LOG.error("%s: given up, %s: %s", delivery.key, self.destination.name, reason)
            self.queue.deliveries.give_up(delivery, f"refused {attempts} times: {reason}")
            return
        pause = self.patience.pause(attempts)
        _LOG.warning(
            "%s: %s: %s; again in %.0f s", delivery.key, self.destination.name, reason, pause
        )
        self.queue.deliveries.refused(delivery, reason, pause)
