"""Files under one root, on a disk or in a store, read and written through fsspec.

A root is a local or shared path, or a URL of any file system that fsspec knows. Those of stores
need a package of their own: s3 needs s3fs, gs gcsfs, abfs adlfs, hdfs Hadoop's libhdfs.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

_TEMPORARY_SUFFIX = ".tmp"
_BLOCK = 1 << 22
_TIMES = ("mtime", "LastModified", "last_modified")  # of disks, gs and hdfs; of s3; of abfs


@dataclass(frozen=True)
class Storage:
    """A file system and a folder in it; names are relative to the folder, with `/`.

    Attributes:
        filesystem: fsspec's.
        root: the folder; empty where names are whole paths.
        url: as it was given, for messages.
    """

    filesystem: fsspec.AbstractFileSystem
    root: str
    url: str

    @classmethod
    def at(cls, url: str | Path) -> Storage:
        """The folder at a path or a URL; nothing is read or made.

        Raises:
            ValueError: for a URL that fsspec does not know, or whose package is not installed.
        """
        if "://" not in str(url):
            return cls(LocalFileSystem(), Path(url).absolute().as_posix(), str(url))
        try:  # without listings kept in memory: other processes write there too
            filesystem, root = fsspec.core.url_to_fs(str(url), use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise ValueError(
                f"cannot open {url}: {error}; expected a path, or a URL of fsspec whose package is "
                "installed"
            ) from error
        return cls(filesystem, root.rstrip("/"), str(url))

    @classmethod
    def of_paths(cls) -> Storage:
        """Names are local paths as they are."""
        return cls(LocalFileSystem(), "", "")

    def path(self, name: str) -> str:
        """The whole path of a name in `filesystem`."""
        return f"{self.root}/{name}" if self.root else name

    def local_path(self, name: str) -> Path | None:
        """The path of a name on a local disk; None in a store."""
        local = isinstance(self.filesystem, LocalFileSystem)
        return Path(self.path(name)) if local else None

    def states(self, names: Sequence[str]) -> list[tuple[int, str] | None]:
        """Size in bytes and time of change of each file; None where there is none.

        The time is empty where the store does not report it.
        """
        return [self._state(self.path(name)) for name in names]

    def _state(self, path: str) -> tuple[int, str] | None:
        try:
            info = self.filesystem.info(path)
        except FileNotFoundError:
            return None
        time = next((str(info[key]) for key in _TIMES if key in info), "")
        return (info["size"], time) if info["type"] == "file" else None

    def exists(self, name: str) -> bool:
        return self.states([name])[0] is not None

    def open(self, name: str) -> IO[bytes]:
        return cast(IO[bytes], self.filesystem.open(self.path(name), "rb"))

    def delete(self, name: str) -> None:
        self.filesystem.rm_file(self.path(name))

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

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
    def whole_file(self, name: str) -> Iterator[IO[bytes]]:
        """A stream to a temporary file next to `name`, renamed to it when the block ends well.

        The temporary name starts with `_`, which Spark and pyarrow leave out of a data set. What a
        killed run leaves of it is removed by `remove_temporaries`.
        """
        folder, _, base = self.path(name).rpartition("/")
        self.filesystem.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/_{base}.{uuid.uuid4().hex}{_TEMPORARY_SUFFIX}"
        try:
            with self.filesystem.open(temporary, "wb") as stream:
                yield stream
            if self.local_path(name) is None and self.exists(name):  # stores rename to new names
                self.delete(name)
            self.filesystem.mv(temporary, self.path(name))
        except BaseException:
            if self.filesystem.isfile(temporary):
                self.filesystem.rm_file(temporary)
            raise

    def write_json(self, name: str, value: Any) -> None:
        """Write JSON whole or not at all."""
        with self.whole_file(name) as stream:
            stream.write((json.dumps(value, indent=1, allow_nan=False) + "\n").encode())

    def remove_temporaries(self, folder: str) -> None:
        """Remove what killed runs began under a folder. No other run may be writing there."""
        for path in self.filesystem.find(self.path(folder)):
            base = path.rpartition("/")[2]
            if base.startswith("_") and base.endswith(_TEMPORARY_SUFFIX):
                self.filesystem.rm_file(path)
