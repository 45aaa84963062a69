"""Do one thing after the other in a thread, for as long as the node runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from cxrloc.tools.server.dicom_node.durable_queue.reasons import describe

_LOG = logging.getLogger("cxrloc.node")
_FIRST_S, _LONGEST_S = 5.0, 60.0


class Loop:
    """A thread that calls `step` until it is told to stop.

    An error does not end it: it is logged, and the step is tried again after pauses that grow.

    Attributes:
        name: what it does.
        step: does one thing; returns False if there was nothing to do.
        idle: waits until there may be something to do.
        fault: the error of the last step; empty if it went well.
    """

    def __init__(self, name: str, step: Callable[[], bool], idle: Callable[[], None]) -> None:
        self.name, self.step, self.idle, self.fault = name, step, idle, ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step in hand."""
        self._stop.set()

    def join(self, seconds: float) -> bool:
        """Wait for the end; returns whether it has come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause = _FIRST_S
        while not self._stop.is_set():
            try:
                busy = self.step()
                self.fault, pause = "", _FIRST_S
            except Exception as error:
                self.fault = describe(error)
                _LOG.error("the %s fails: %s; again in %.0f s", self.name, self.fault, pause)
                self._stop.wait(pause)
                pause = min(2 * pause, _LONGEST_S)
                continue
            if not busy and not self._stop.is_set():
                self.idle()
