"""Say why something failed, for the queue, the log and the pages: nothing of a patient."""

from __future__ import annotations

import errno
import sqlite3
import traceback
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def describe(error: BaseException) -> str:
    """Say what an error is and where it was raised, not its message, which may quote a file."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    why = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    if is_full(error):
        why = " (the disk is full)"
    return f"{type(error).__name__}{why}{where}"


def is_full(error: BaseException) -> bool:
    """Whether the disk, or what this user may have of it, is full."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in _FULL
