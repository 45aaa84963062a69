"""Write files atomically: under a temporary name in the same folder, then rename."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cxrloc.datasets.files.runs.temporaries import temporary_beside


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the suffix of `path`, renamed to it when the block succeeds.

    An error or an interrupt inside the block leaves `path` untouched and no temporary file. That
    of a killed process goes when the next one writes to the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(path) as temporary:
        try:
            yield temporary
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; what is none, in names of files, is escaped."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


class HashedFile:
    """A binary file that is being written, and the hash of what was written to it.

    Attributes:
        file: open for writing; all is written through `write`.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write bytes."""
        self._digest.update(data)
        return self.file.write(data)

    @property
    def sha256(self) -> str:
        """In hexadecimal digits."""
        return self._digest.hexdigest()
