"""Keep the files of images that wait, each image's in a folder of its own.

    waiting/KEY/image.dcm, image.sr.dcm, image.pr.dcm, image.sc.dcm
    failed/KEY/...         the same, and reason.txt

Names tell nothing of a patient: KEY is a hash. A file is synced before it gets its name, and so is
the folder that the name stands in: after a power cut a file is there as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.runs.temporaries import temporary_beside

IMAGE = "image.dcm"
REASON = "reason.txt"


def key_of(uid: str) -> str:
    """Name an image by its SOP Instance UID, without telling it."""
    return hashlib.sha256(uid.encode()).hexdigest()[:24]


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Spool:
    """The folders of a node's files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting, self.failed = folder / "waiting", folder / "failed"
        for each in (self.waiting, self.failed):
            each.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def set_aside(self, key: str, data: bytes) -> Iterator[Path]:
        """Yield a synced file with the data, without its final name; removed if it keeps none."""
        with temporary_beside(self.waiting / f"{key}.dcm") as aside:
            try:
                aside.write_bytes(data)
                sync(aside)
                yield aside
            finally:
                aside.unlink(missing_ok=True)

    def keep_image(self, aside: Path, key: str) -> None:
        """Give a file that was set aside its final name."""
        folder = self.waiting / key
        folder.mkdir(exist_ok=True)
        aside.replace(folder / IMAGE)
        sync(folder)
        sync(self.waiting)

    def fail(self, key: str, reason: str) -> None:
        """Move an image's folder to the failed ones, with the reason."""
        before, after = self.waiting / key, self.failed / key
        moves = before.is_dir()
        # the reason comes first: if the disk is full, nothing has moved
        with whole_file((before if moves else after) / REASON) as temporary:
            temporary.write_text(f"{reason}\n", encoding="utf-8")
            sync(temporary)
        if moves:
            shutil.rmtree(after, ignore_errors=True)
            before.rename(after)
        sync(after)
        sync(self.failed)
        sync(self.waiting)

    def revive(self, key: str) -> None:
        """Move an image's folder back to those that wait."""
        before, after = self.failed / key, self.waiting / key
        if before.is_dir():
            shutil.rmtree(after, ignore_errors=True)
            before.rename(after)
            (after / REASON).unlink(missing_ok=True)
            sync(self.waiting)
            sync(self.failed)

    def remove(self, key: str) -> None:
        """Delete all files of an image."""
        for folder in (self.waiting, self.failed):
            shutil.rmtree(folder / key, ignore_errors=True)

    def keys(self, folder: Path) -> set[str]:
        """List the images that have a folder there; hidden names are those of files set aside."""
        return {e.name for e in folder.iterdir() if e.is_dir() and not e.name.startswith(".")}

    def free_bytes(self) -> int:
        """Return what is free on the disk."""
        return shutil.disk_usage(self.folder).free
