"""Files under one root, on a disk or in a store, read and written through pyarrow.fs.

A root is a local or shared path, a URL that pyarrow.fs knows (file, s3, gs, abfs, hdfs where
Hadoop's libhdfs is installed), or a URL of any file system that fsspec knows.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

_TEMPORARY_SUFFIX = ".tmp"
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Storage:
    """A file system and a folder in it; names are relative to the folder, with `/`.

    Attributes:
        filesystem: pyarrow's.
        root: the folder; empty where names are whole paths.
        url: as it was given, for messages.
    """

    filesystem: fs.FileSystem
    root: str
    url: str

    @classmethod
    def at(cls, url: str | Path) -> Storage:
        """The folder at a path or a URL; nothing is read or made.

        Raises:
            ValueError: for a URL that neither pyarrow nor fsspec knows.
        """
        if "://" not in str(url):
            return cls(fs.LocalFileSystem(), Path(url).absolute().as_posix(), str(url))
        try:
            filesystem, root = fs.FileSystem.from_uri(str(url))
        except pa.ArrowInvalid:
            filesystem, root = _fsspec(str(url))
        return cls(filesystem, root.rstrip("/"), str(url))

    @classmethod
    def of_paths(cls) -> Storage:
        """Names are local paths as they are."""
        return cls(fs.LocalFileSystem(), "", "")

    def path(self, name: str) -> str:
        """The whole path of a name in `filesystem`."""
        return f"{self.root}/{name}" if self.root else name

    def local_path(self, name: str) -> Path | None:
        """The path of a name on a local disk; None in a store."""
        local = isinstance(self.filesystem, fs.LocalFileSystem)
        return Path(self.path(name)) if local else None

    def states(self, names: Sequence[str]) -> list[tuple[int, int] | None]:
        """Size in bytes and time of change in nanoseconds of each file; None where there is none.

        The time is 0 where the store does not tell it.
        """
        infos = self.filesystem.get_file_info([self.path(name) for name in names])
        return [(i.size, i.mtime_ns or 0) if i.type == fs.FileType.File else None for i in infos]

    def exists(self, name: str) -> bool:
        return self.states([name])[0] is not None

    def open(self, name: str) -> pa.NativeFile:
        return self.filesystem.open_input_file(self.path(name))

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            data: bytes = file.read()
        return data

    def read_json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def sha256(self, name: str) -> str:
        """Hex SHA-256 of a file's bytes, read block by block."""
        digest = hashlib.sha256()
        with self.open(name) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    @contextmanager
    def whole_file(self, name: str) -> Iterator[pa.NativeFile]:
        """A stream to a temporary file beside `name`, renamed to it when the block ends well.

        The temporary name starts with `_`, which Spark and pyarrow leave out of a data set. What a
        killed run leaves of it is removed by `remove_temporaries`.
        """
        folder, _, base = self.path(name).rpartition("/")
        self.filesystem.create_dir(folder, recursive=True)
        temporary = f"{folder}/_{base}.{uuid.uuid4().hex}{_TEMPORARY_SUFFIX}"
        try:
            with self.filesystem.open_output_stream(temporary) as stream:
                yield stream
            if self.local_path(name) is None and self.exists(name):  # stores rename to new names
                self.filesystem.delete_file(self.path(name))
            self.filesystem.move(temporary, self.path(name))
        except BaseException:
            if self.filesystem.get_file_info(temporary).type == fs.FileType.File:
                self.filesystem.delete_file(temporary)
            raise

    def write_json(self, name: str, value: Any) -> None:
        """Write JSON whole or not at all."""
        with self.whole_file(name) as stream:
            stream.write((json.dumps(value, indent=1, allow_nan=False) + "\n").encode())

    def remove_temporaries(self, folder: str) -> None:
        """Remove what killed runs began under a folder. No other run may be writing there."""
        found = fs.FileSelector(self.path(folder), recursive=True, allow_not_found=True)
        for info in self.filesystem.get_file_info(found):
            if info.base_name.startswith("_") and info.base_name.endswith(_TEMPORARY_SUFFIX):
                self.filesystem.delete_file(info.path)


def _fsspec(url: str) -> tuple[fs.FileSystem, str]:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise ValueError(
            f"cannot open {url}: {error}; expected a path, or a URL of pyarrow.fs or fsspec whose "
            "package is installed"
        ) from error
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), root
