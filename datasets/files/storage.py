"""Read and write files under one root, on a disk or in a store, through fsspec.

A root is a local or shared path, or a URL of any file system that fsspec supports. Stores need an
extra package: s3 needs s3fs, gs gcsfs, abfs adlfs, hdfs Hadoop's libhdfs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from cxrloc.datasets.files.parse import parse_json
from cxrloc.datasets.files.runs.temporaries import left_behind, temporary_tag

_BLOCK = 1 << 22
_REQUESTS = 32  # to a store, at a time
_TIMES = ("mtime", "LastModified", "last_modified")  # disks, gs and hdfs; s3; abfs


@dataclass(frozen=True)
class Storage:
    """A file system and a folder in it; names are relative to the folder and use `/`.

    Attributes:
        filesystem: the fsspec file system.
        root: the folder; empty if names are whole paths.
        url: the path or URL as given, for messages.
    """

    filesystem: fsspec.AbstractFileSystem
    root: str
    url: str

    @classmethod
    def at(cls, url: str | Path) -> Storage:
        """Open a path or URL; nothing is read or created.

        Raises:
            ValueError: for a URL that fsspec does not support or whose package is not installed.
        """
        if "://" not in str(url):
            return cls(LocalFileSystem(), Path(url).absolute().as_posix(), str(url))
        try:  # no cached listings: other processes write there too
            filesystem, root = fsspec.core.url_to_fs(str(url), use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise ValueError(
                f"cannot open {url}: {error}; expected a path, or an fsspec URL whose package is "
                "installed"
            ) from error
        return cls(filesystem, root.rstrip("/"), str(url))

    @classmethod
    def of_paths(cls) -> Storage:
        """A storage in which names are local paths, unchanged."""
        return cls(LocalFileSystem(), "", "")

    def path(self, name: str) -> str:
        """The whole path of a name within `filesystem`; "" is the root."""
        return f"{self.root}/{name}" if self.root and name else name or self.root

    def local_path(self, name: str) -> Path | None:
        """The path of a name on a local disk; None if it is in a store."""
        local = isinstance(self.filesystem, LocalFileSystem)
        return Path(self.path(name)) if local else None

    def states(self, names: Sequence[str]) -> list[tuple[int, str] | None]:
        """Size in bytes and modification time of each file; None for a missing file.

        The time is empty if the store does not report one. A store is asked for several at a time:
        it answers each after a while.
        """
        paths = [self.path(name) for name in names]
        if len(paths) < 2 or isinstance(self.filesystem, LocalFileSystem):
            return [self._state(path) for path in paths]
        from cxrloc.datasets.files.runs.workers import thread_pool  # and OpenCV with it

        with thread_pool(_REQUESTS) as pool:
            return list(pool.map(self._state, paths))

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

    def files_below(self) -> list[str]:
        """Names of all files below the root, sorted; the root itself, as "", if it is a file."""
        paths = self.filesystem.find(self.root)
        return sorted(path.removeprefix(self.root).lstrip("/") for path in paths)

    def names(self, folder: str) -> list[str]:
        """Names in a folder, without it; none if it is missing."""
        try:
            paths = self.filesystem.ls(self.path(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in paths)

    def url_of(self, name: str) -> str:
        """The whole URL, or path, of a name."""
        return f"{self.url.rstrip('/')}/{name}" if name else self.url

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

    def read_json(self, name: str) -> Any:
        """Parse a JSON file.

        Raises:
            ValueError: naming the file, if it is no JSON.
        """
        return parse_json(self.read(name), f"{self.url.rstrip('/')}/{name}")

    def sha256(self, name: str) -> str:
        """Hex SHA-256 of a file's bytes, read block by block."""
        digest = hashlib.sha256()
        with self.open(name) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    @contextmanager
    def whole_file(self, name: str) -> Iterator[IO[bytes]]:
        """Yield a stream to a temporary file next to `name`, renamed when the block succeeds.

        The temporary name starts with `_`, which Spark and pyarrow ignore in a data set.
        `remove_temporaries` deletes what a killed run leaves behind.

        Raises:
            OSError: also for a store that cannot be written to.
        """
        folder, _, base = self.path(name).rpartition("/")
        self.filesystem.makedirs(folder, exist_ok=True)
        with temporary_tag() as tag:
            temporary = f"{folder}/_{base}.{tag}"
            try:
                with self.filesystem.open(temporary, "wb") as stream:
                    yield stream
                if self.local_path(name) is None and self.exists(name):  # stores only rename to new
                    self.delete(name)
                self.filesystem.mv(temporary, self.path(name))
            except BaseException as error:
                if self.filesystem.isfile(temporary):
                    self.filesystem.rm_file(temporary)
                if isinstance(error, NotImplementedError):  # http, zip
                    raise OSError(f"{self.url} can only be read; choose another place") from error
                raise

    def write_json(self, name: str, value: Any) -> None:
        """Write JSON atomically."""
        with self.whole_file(name) as stream:
            stream.write((json.dumps(value, indent=1, allow_nan=False) + "\n").encode())

    def remove_temporaries(self, folder: str) -> None:
        """Delete unfinished files of killed runs in a folder, not those of runs that go on."""
        for path, info in self.filesystem.find(self.path(folder), detail=True).items():
            if left_behind(path.rpartition("/")[2], _written(info)):
                self.filesystem.rm_file(path)


def _written(info: Mapping[str, Any]) -> float | None:
    """When a file was last written, in seconds since 1970; None if the store does not say."""
    time = next((info[key] for key in _TIMES if key in info), None)
    if isinstance(time, datetime):
        return time.timestamp()
    return float(time) if isinstance(time, int | float) else None
