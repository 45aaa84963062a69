"""Names of temporary files that say whose they are, and the sweep of those whose process is gone.

A name such as `.boxes.cxr-1a2b3c-4711-2.tmp.json` tells the machine and the process that writes it.
A file is swept if that process has ended. Another machine's processes cannot be seen from here (nor
another container's), so their files are swept a day after they were last written.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import multiprocessing
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_TAG = re.compile(r"cxr-([0-9a-f]{6})-([0-9]+)-([0-9]+)\.tmp")
_LONGEST_STEM = 100  # of a file's name, so that the temporary one is no longer than 255 bytes
_DAY = 24 * 3600
_CLOCKS = 3600  # by so much may two machines' clocks differ, or one that was set
_MOST = 10**6  # numbers of one process
_numbers = itertools.count(1)
_in_use: set[str] = set()  # tags of this process
_swept: set[str] = set()  # folders that this process has swept


@contextlib.contextmanager
def temporary_tag() -> Iterator[str]:
    """A part of a name that is this process's alone: `cxr-MACHINE-RUN-NUMBER.tmp`.

    RUN is the process itself or, in a worker, the one that started it: with it the work has ended.
    """
    parent = multiprocessing.parent_process()
    run = os.getpid() if parent is None else parent.pid
    tag = f"cxr-{_machine()}-{run}-{os.getpid() * _MOST + next(_numbers) % _MOST}.tmp"
    _in_use.add(tag)
    try:
        yield tag
    finally:
        _in_use.discard(tag)


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A hidden path next to `path` with its suffix; nothing is made or removed there.

    The first one in a folder sweeps what dead processes have left in it.
    """
    sweep_once(path.parent)
    with temporary_tag() as tag:
        yield path.with_name(f".{path.stem[:_LONGEST_STEM]}.{tag}{path.suffix}")


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for everything that this process and its libraries write to the system's own.

    Removed at the end; those of dead processes are swept first. A step's is beside that of the
    process whose step it is: sockets are opened in it, whose paths may have 107 bytes.
    """
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    base = Path(tempfile.gettempdir())
    while _TAG.fullmatch(base.name):
        base = base.parent
    sweep(base)
    with temporary_tag() as tag:
        folder = base / tag
        folder.mkdir(mode=0o700)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        try:
            yield folder
        finally:
            tempfile.tempdir = before
            os.environ.pop("TMPDIR")
            if variable is not None:
                os.environ["TMPDIR"] = variable
            shutil.rmtree(folder, ignore_errors=True)


def sweep_once(folder: Path) -> None:
    """`sweep` a folder, unless this process has done so."""
    name = os.path.abspath(folder)
    if name not in _swept:
        _swept.add(name)
        sweep(folder)


def sweep(folder: Path, *, below: bool = False) -> None:
    """Delete the temporary files and folders of dead processes.

    Args:
        folder: may be missing.
        below: in its subfolders too.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if _TAG.search(entry.name):
                _sweep_entry(entry, is_folder)
            elif below and is_folder:
                sweep(Path(entry.path), below=True)


def _sweep_entry(entry: os.DirEntry[str], is_folder: bool) -> None:
    with contextlib.suppress(OSError):  # another run may sweep it too, or it is another user's
        if not left_behind(entry.name, entry.stat(follow_symlinks=False).st_mtime):
            return
        if is_folder:
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            os.unlink(entry.path)


def left_behind(name: str, written: float | None) -> bool:
    """Whether the process that `name` tells has left this temporary file.

    Args:
        name: of the file.
        written: time of its last change; None if unknown.
    """
    tag = _TAG.search(name)
    if tag is None:
        return False
    if tag[1] != _machine():
        return written is not None and time.time() - written > _DAY
    run, writer = int(tag[2]), int(tag[3]) // _MOST
    if writer == os.getpid():
        return tag[0] not in _in_use
    if not is_alive(run) or (run == os.getpid() and not is_alive(writer)):
        return True
    # its number may have been another process's before
    return written is not None and _begun(run) - written > _CLOCKS


def is_alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def stat_fields(process: int) -> list[bytes]:
    """What the system says of a process, from its state on (proc(5), field 3); empty for none."""
    try:
        stat = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return []
    return stat.rpartition(b")")[2].split()


def _begun(process: int) -> float:
    """When a process began, in seconds since 1970; 0 where the system does not say."""
    fields = stat_fields(process)
    if not fields:
        return 0.0
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + int(fields[19]) / os.sysconf("SC_CLK_TCK")  # ticks since the start


def _machine() -> str:
    """Short name of this machine and, in a container, of its processes' numbering."""
    try:
        numbering = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbering = ""
    return hashlib.sha256(f"{socket.gethostname()} {numbering}".encode()).hexdigest()[:6]
