"""End a program that is told to stop, by Ctrl+C or SIGTERM: soon, and with all that it started.

The first signal raises `Stopped` in the main thread, and the work is tidied up on the way out. What
does not end by itself within `GRACE` seconds (a long step in a library, a library that drops the
exception) is ended by a thread that waits for signals: children first, then the process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from cxrloc.datasets.files.runs.early import SIGNALS, end_at_once
from cxrloc.datasets.files.runs.temporaries import stat_fields

GRACE = 1.5
_CHILDREN_GRACE = 0.6
_STEP_OF = "CXRLOC_STEP_OF"  # process whose step this one is; it speaks for it


class Stopped(KeyboardInterrupt):
    """The program was told to stop."""


class Stop:
    """What is known of the order to stop.

    Attributes:
        number: the signal, once it has come.
        owns_process: whether the process may be ended; not if a caller goes on after the tool.
        sentences: the last is said; its {} becomes "interrupted" or "ended by SIGTERM".
        folder: the process's temporary folder.
        tidies: whether the work may leave something to tidy up; otherwise it is ended at once.
        grace: seconds that it has for that.
        tidied: set when there is nothing left to tidy up, and the process may be ended.
        outcome: exit status of the work that is done.
    """

    def __init__(self, owns_process: bool) -> None:
        self.number: int | None = None
        self.owns_process = owns_process
        self.sentences: list[str] = []
        self.tidies = False
        self.grace = GRACE
        self.tidied = threading.Event()
        self.outcome = 1
        self._said = False
        self._saying = threading.RLock()
        self.folder: Path | None = None
        parent = os.getppid()  # what a step itself starts inherits the variable
        self._parent = parent if os.environ.get(_STEP_OF) == str(parent) else 0
        self._reader = self._writer = -1

    def open(self) -> int:
        """Open the pipe; returns where the interpreter writes the numbers of signals to come."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        return self._writer

    def status_of(self, error: BaseException) -> int | None:
        """128 + the signal if the program was told to stop; None for any other error.

        Libraries turn a `Stopped` into errors of their own: after a signal, every error counts.
        """
        if self.number is None and isinstance(error, KeyboardInterrupt):
            self.number = int(signal.SIGINT)  # by a handler of a library
        return None if self.number is None else 128 + self.number

    def say(self) -> None:
        """Say it once. A step leaves it to the process that it is a step of."""
        if not self._saying.acquire(timeout=0.5):
            return
        try:
            if self._said or self.number is None or self._parent:
                return
            self._said = True
            how = "interrupted" if self.number == signal.SIGINT else "ended by SIGTERM"
            with contextlib.suppress(OSError, ValueError):
                print(self.sentences[-1].format(how), file=sys.stderr, flush=True)
        finally:
            self._saying.release()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handler of the signals: later ones change nothing, since it ends anyway."""
        if self.number is None:
            self.number = number
            if self.owns_process:
                logging.disable()  # libraries log the exception, with its traceback
                if not self.tidies:
                    self.end()
            raise Stopped

    def done(self, number: int, frame: FrameType | None) -> None:
        """Handler of the signals once the work is done: the interpreter need not end in order."""
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(self.outcome)

    def end(self) -> None:
        """End the process: children first."""
        end_children()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.say()
        os._exit(128 + (self.number or 0))

    def unraisable(self, lost: Any) -> None:
        """Hook for exceptions that Python drops, in finalizers: raise ours again a moment later."""
        if not isinstance(lost.exc_value, Stopped) or self.number is None:
            sys.__unraisablehook__(lost)
            return
        number, self.number = self.number, None
        again = threading.Timer(0.02, os.kill, [os.getpid(), number])
        again.daemon = True
        again.start()

    def died(self, thread: threading.ExceptHookArgs) -> None:
        """Hook for exceptions in threads, which are of no interest while all of it ends."""
        if self.number is None:
            threading.__excepthook__(thread)

    def watch(self) -> None:
        """In a thread of its own: end the process when its time is over."""
        number = self._wait()
        if number == 0:
            os.close(self._reader)
            return
        self.tidied.wait(self.grace)
        if not self.owns_process:
            return
        self.number = number
        self.end()

    def _wait(self) -> int:
        """The first of our signals; 0 when there is nothing to wait for any more."""
        while True:
            ready, _, _ = select.select([self._reader], [], [], 1.0 if self._parent else None)
            if not ready and os.getppid() != self._parent:
                os.kill(os.getpid(), signal.SIGTERM)  # whoever waits for this step is gone
                self._parent = os.getppid()
            for number in os.read(self._reader, 64) if ready else b"":
                if number in (0, *SIGNALS):
                    return number

    def dismiss(self) -> None:
        """End the thread, if no signal has come."""
        os.write(self._writer, b"\0")
        os.close(self._writer)


_current: Stop | None = None


@contextlib.contextmanager
def stopping(
    sentence: str, owns_process: bool, tidies: bool = True, grace: float = GRACE
) -> Iterator[Stop]:
    """Within, the signals stop the work.

    Args:
        sentence: what to say, with {} for how it was stopped.
        owns_process: end the process if it does not end by itself.
        tidies: raise `Stopped` in the process that is owned; otherwise end it at once.
        grace: seconds that it may take to tidy up.
    """
    global _current
    if threading.current_thread() is not threading.main_thread():
        yield Stop(owns_process=False)  # only the main thread may handle signals
        return
    outer = _current
    stop = _current = outer or Stop(owns_process)
    stop.sentences.append(sentence)
    stop.tidies, stop.grace = tidies, grace
    try:
        with contextlib.nullcontext() if outer else _handled(stop):
            yield stop
    finally:
        _current = outer


@contextlib.contextmanager
def _handled(stop: Stop) -> Iterator[None]:
    """Signals that the shell or a caller handles in another way (nohup) are left to it."""
    usual = (signal.SIG_DFL, signal.default_int_handler, end_at_once)
    before = {each: signal.getsignal(each) for each in SIGNALS if signal.getsignal(each) in usual}
    hooks = sys.unraisablehook, threading.excepthook
    fd = signal.set_wakeup_fd(stop.open(), warn_on_full_buffer=False)
    threading.Thread(target=stop.watch, name="stop", daemon=True).start()
    for each in before:
        signal.signal(each, stop.handle)
    sys.unraisablehook, threading.excepthook = stop.unraisable, stop.died
    try:
        yield
    finally:
        if not (stop.owns_process and stop.number):  # until the process has ended
            sys.unraisablehook, threading.excepthook = hooks
            for each, handler in before.items():
                signal.signal(each, stop.done if stop.owns_process else handler)
            signal.set_wakeup_fd(fd)
            stop.dismiss()


def tidied() -> None:
    """Say that the work has tidied up: a process that was told to stop is ended at once.

    The interpreter's own end takes seconds where large libraries are loaded.
    """
    if _current is not None and _current.number is not None:
        _current.tidied.set()


def _in_child() -> None:
    """A forked worker is ended by its parent, and must not wake the parent's thread."""
    global _current
    if _current is not None:
        _current = None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def step_environment() -> dict[str, str]:
    """Environment of a command that is a step of this process: it ends with it, and silently."""
    return {**os.environ, _STEP_OF: str(os.getpid())}


# once found, since those whose parent has ended are no longer below this process
_to_end: set[int] = set()


def end_children() -> None:
    """End all processes that this one has started, and theirs: SIGTERM, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _to_end.update(descendants())
        children = list(filter(_command, tuple(_to_end)))
        for child in children:
            with contextlib.suppress(OSError):
                os.kill(child, number)
        until = time.monotonic() + _CHILDREN_GRACE
        while children and time.monotonic() < until:
            time.sleep(0.02)
            children = list(filter(_command, children))
        if not children:
            return


def descendants() -> list[int]:
    """Running processes below this one; none where the system has no /proc.

    Without Python's resource tracker: it ends by itself, and would be started again.
    """
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdecimal() and (fields := stat_fields(int(name))):
            children.setdefault(int(fields[1]), []).append(int(name))
    below, queue = [], [os.getpid()]
    while queue:
        more = children.get(queue.pop(), [])
        below += more
        queue += more
    commands = {each: _command(each) for each in below}
    return [each for each, words in commands.items() if words and b"resource_tracker" not in words]


def _command(process: int) -> bytes:
    """The command line of a running process; empty when it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
