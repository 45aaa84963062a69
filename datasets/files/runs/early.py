"""What `cxrloc` does first: as long as there is nothing to tidy up, it may be ended at once.

Python's own handlers would print a traceback, or nothing.
"""

from __future__ import annotations

import atexit
import os
import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # what tells a program to stop


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Handler of Ctrl+C and SIGTERM."""
    how = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
    os.write(2, f"cxrloc: {how}; nothing was done\n".encode())
    os._exit(128 + number)


def may_be_ended() -> None:
    """Ctrl+C and SIGTERM end this process in one sentence, until the work begins."""
    for each in SIGNALS:
        if signal.getsignal(each) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(each, end_at_once)
    atexit.register(_leave)  # the first that is registered is the last that is called


def _leave() -> None:
    """All is done and said: a signal must not turn that into a death by signal.

    While it frees what libraries hold, the interpreter has no handlers any more.
    """
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
