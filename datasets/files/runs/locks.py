"""One run at a time writes a folder or a file: a second is refused, and told which process it is.

The lock is the kernel's (POSIX record locks), so a killed process holds none. It works between
machines on NFS if the server supports locks; where the file system has none, the run goes on with a
warning. Stores (s3:// and the like) have no locks: there it is up to the user.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from cxrloc.datasets.files.runs.temporaries import sweep

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_FOLDER_LOCK = ".cxrloc.lock"
_TAKEN = (errno.EACCES, errno.EAGAIN)
_held: set[str] = set()  # a process's second lock on a file would replace its first


class BeingWrittenError(OSError):
    """Another run is writing there."""


@contextlib.contextmanager
def writes_folder(out: Path) -> Iterator[None]:
    """Hold a folder, and sweep below it what killed runs have left.

    A missing folder is made; it goes again if nothing is written into it.

    Raises:
        BeingWrittenError: if another run holds it; the message names its process.
        PermissionError: if nothing can be written there, or another user's run may hold it.
    """
    if out.exists() and not out.is_dir():
        yield  # whoever writes into it says what is expected
        return
    with _made(out), _held_by(out / _FOLDER_LOCK, out):
        sweep(out, below=True)
        yield


@contextlib.contextmanager
def writes_file(*outs: Path | None) -> Iterator[None]:
    """Hold files, and sweep next to them what killed runs have left. Raises as `writes_folder`."""
    with contextlib.ExitStack() as held:
        for out in filter(None, outs):
            held.enter_context(_made(out.parent))
            held.enter_context(_held_by(out.with_name(f".{out.name}.lock"), out))
            sweep(out.parent)
        yield


def while_holding(
    hold: Callable[[Any], contextlib.AbstractContextManager[None]],
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorate a function to hold what `hold` makes of its first argument while it runs."""

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @functools.wraps(function)
        def held(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            with hold(args[0]):
                return function(*args, **kwargs)

        return held

    return decorate


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder; it and its parents go again if they are new and nothing is written there."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise type(error)(
            f"{folder} can be no folder: it or one above it is a file, or a link that leads "
            "nowhere; choose another place"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for each in new:
                each.rmdir()  # only an empty folder


@contextlib.contextmanager
def _held_by(lock: Path, out: Path) -> Iterator[None]:
    name = os.path.realpath(lock)
    if fcntl is None or name in _held:  # by a caller of whoever holds it again
        yield
        return
    file = _locked(lock, out)
    _held.add(name)
    try:
        yield
    finally:
        _held.discard(name)
        with contextlib.suppress(OSError):
            lock.unlink()  # before it is released: whoever waits finds that it is gone
        os.close(file)


def _locked(lock: Path, out: Path) -> int:
    """An open file that holds the lock."""
    while True:
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError as error:
            raise PermissionError(_not_ours(lock, out)) from error
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                holder = _holder(file)
                os.close(file)
                raise BeingWrittenError(_refusal(out, holder)) from None
            print(
                f"warning: {out}: its file system has no locks ({error.strerror}); make sure that "
                "no other run writes there",
                file=sys.stderr,
            )
        if _is_still_there(lock, file):
            os.ftruncate(file, 0)
            os.pwrite(file, _this_run().encode(), 0)
            return file
        os.close(file)


def _is_still_there(lock: Path, file: int) -> bool:
    """False if the run that held the lock has ended, and removed the file, in the meantime."""
    try:
        return os.path.samestat(os.stat(lock), os.fstat(file))
    except FileNotFoundError:
        return False


def _this_run() -> str:
    program = " ".join([Path(sys.argv[0]).name, *map(shlex.quote, sys.argv[1:2])])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} ({program}, since {since})"


def _holder(file: int) -> str:
    for _ in range(20):  # it may have been locked this very moment
        if text := os.pread(file, 1000, 0).decode(errors="replace"):
            return text
        time.sleep(0.01)
    return "another process"


def _refusal(out: Path, holder: str) -> str:
    return f"{out} is being written by {holder}; wait until it ends, or choose another --out"


def _not_ours(lock: Path, out: Path) -> str:
    """Why a lock cannot be taken: it is another user's, or nothing can be written there."""
    if not os.path.lexists(lock):
        return f"{out} cannot be written to (permission denied); choose another --out"
    try:
        holder = lock.read_text(encoding="utf-8", errors="replace").strip() or "another process"
    except OSError:
        holder = "another process"
    return (
        f"{out} is being written, or was until it was killed, by another user's {holder}; choose "
        f"another --out or, if that process has ended, have its user delete {lock}"
    )
