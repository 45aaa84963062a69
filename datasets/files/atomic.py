"""Write files atomically: under a temporary name in the same folder, then rename."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    """Write UTF-8 text atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
