"""One shard: a Parquet file of some hundred films as squares, and how it is read without copies.

Schema, version 1 (`SCHEMA_VERSION`; every column is required, its meaning also in the file):

image_id        string
patient_id      string
height, width   int32   ORIGINAL frame in pixels, which boxes live in; not the square's
label_DISEASE   float32 1 present, 0 absent, NaN unknown; one column a disease, in order
pixels          raw: fixed_size_binary(size * size), the rows of the square `fit_square` makes,
                grey uint8; png: binary, the same square as a PNG file

The file's metadata holds under `cxrloc.shard` a JSON object: schema_version, size, encoding, split,
diseases and columns. Nothing is compressed, dictionary-encoded or described by statistics, and a
row group's raw pixels are one page: on a local disk they are mapped as one array, never copied.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cxrloc.datasets.radiograph import Radiograph, label_matrix
from cxrloc.datasets.storage import Storage

SCHEMA_VERSION = 1  # raise it when the same films would give other bytes
ROWS_PER_GROUP = 32  # 8 MiB of raw pixels at 512 px: what a reader holds at once
METADATA_KEY = b"cxrloc.shard"
LABEL_PREFIX = "label_"
REJECTS = "rejects.parquet"  # beside the sizes: films that cannot be read, and why
Encoding = Literal["raw", "png"]
ENCODINGS: tuple[Encoding, ...] = ("raw", "png")

Squares = npt.NDArray[np.uint8]

_COLUMNS = {
    "image_id": "the data set's name of the film",
    "patient_id": "the unit of splitting",
    "height": "of the original frame in pixels",
    "width": "of the original frame in pixels",
    "label_*": "1 present, 0 absent, NaN unknown",
    "pixels": "grey square, long side scaled to size, zeros right or below; raw rows or a PNG file",
}


@dataclass(frozen=True)
class ShardKind:
    """What all shards of one size have in common.

    Attributes:
        size: side of the squares in pixels.
        encoding: raw or png.
        diseases: label columns, in order.
    """

    size: int
    encoding: Encoding
    diseases: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 4096:
            raise ValueError(f"size: got {self.size}, expected 1 to 4096 pixels")
        if self.encoding not in ENCODINGS:
            raise ValueError(f"encoding: got {self.encoding!r}, expected {' or '.join(ENCODINGS)}")

    def schema(self, split: str) -> pa.Schema:
        """Columns and metadata of a shard of this kind."""
        pixels = pa.binary(self.size**2) if self.encoding == "raw" else pa.binary()
        columns: list[tuple[str, pa.DataType]] = [
            ("image_id", pa.string()),
            ("patient_id", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            *((LABEL_PREFIX + disease, pa.float32()) for disease in self.diseases),
            ("pixels", pixels),
        ]
        about = {"schema_version": SCHEMA_VERSION, **asdict(self), "split": split}
        metadata = {METADATA_KEY: json.dumps({**about, "columns": _COLUMNS})}
        fields = [pa.field(name, kind, nullable=False) for name, kind in columns]
        return pa.schema(fields, metadata=metadata)


def shard_name(size: int, split: str, number: int) -> str:
    """Path of a shard under the output folder: hive-style directories."""
    return f"size={size}/split={split}/part-{number:05d}.parquet"


def manifest_name(size: int) -> str:
    """Path of a size's manifest under the output folder."""
    return f"size={size}/_manifest.json"


@contextmanager
def shard_writer(sink: pa.NativeFile, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A Parquet writer whose bytes depend on the batches alone."""
    with pq.ParquetWriter(
        sink,
        schema,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        data_page_size=1 << 30,  # one page a row group, which can be mapped as one array
    ) as writer:
        yield writer


def film_batch(
    kind: ShardKind, split: str, films: Sequence[Radiograph], squares: Sequence[Squares]
) -> pa.RecordBatch:
    """One row group: these films with their (size, size) squares."""
    labels = label_matrix(films, kind.diseases).astype(np.float32)
    arrays = [
        pa.array([film.image_id for film in films], pa.string()),
        pa.array([film.patient_id for film in films], pa.string()),
        pa.array([film.size_hw[0] for film in films], pa.int32()),
        pa.array([film.size_hw[1] for film in films], pa.int32()),
        *(pa.array(column, pa.float32(), from_pandas=False) for column in labels.T),
        _pixels(kind, squares),
    ]
    return pa.record_batch(arrays, schema=kind.schema(split))


def _pixels(kind: ShardKind, squares: Sequence[Squares]) -> pa.Array:
    if kind.encoding == "png":
        return pa.array([cv2.imencode(".png", square)[1].tobytes() for square in squares])
    data = pa.py_buffer(np.stack(squares).tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(kind.size**2), len(squares), [None, data])


class ShardFile:
    """A shard that is open for reading.

    Attributes:
        kind, split: what the metadata say it holds.
        name: for messages.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is no shard, or one of another version.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self.name = f"{storage.url.rstrip('/')}/{name}"
        local = storage.local_path(name)
        try:
            self._file = pq.ParquetFile(storage.open(name) if local is None else local)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{self.name} is no Parquet file: {error}") from error
        about = self._about()
        self.kind = ShardKind(about["size"], about["encoding"], tuple(about["diseases"]))
        self.split: str = about["split"]
        self._memory: Squares | None = None
        if local is not None and self.kind.encoding == "raw":
            # copy on write: torch warns of arrays that it may not write to
            self._memory = np.memmap(local, mode="c")

    @property
    def rows(self) -> int:
        return int(self._file.metadata.num_rows)

    @property
    def groups(self) -> dict[int, int]:
        """Row group -> its films: `ROWS_PER_GROUP`, in the last one the rest."""
        about = self._file.metadata
        return {group: about.row_group(group).num_rows for group in range(about.num_row_groups)}

    def films(self) -> pa.Table:
        """All columns but the pixels."""
        names = [name for name in self._file.schema_arrow.names if name != "pixels"]
        return self._file.read(columns=names, use_threads=False)

    def mapped(self, group: int) -> Squares | None:
        """(n, size, size) raw pixels of a row group in the mapped file, which no write changes.

        None in a store, for PNGs, and where another writer has cut the group into pages.
        """
        if self._memory is None:
            return None
        column = self._file.metadata.row_group(group).column(self._file.metadata.num_columns - 1)
        size = self.kind.size
        length = column.num_values * size**2
        begin, end = column.data_page_offset, column.data_page_offset + column.total_compressed_size
        # The page's header in Thrift's compact form: fields 1 to 3 are i32, each after a byte 0x15:
        # type (0, a data page), uncompressed size and compressed size.
        expected = b"\x15\x00" + 2 * (b"\x15" + _zigzag(length))
        if self._memory[begin : begin + len(expected)].tobytes() != expected:
            return None
        pixels: Squares = self._memory[end - length : end].reshape(-1, size, size)
        return pixels

    def read(self, group: int) -> Squares | list[bytes]:
        """The pixels of a row group in memory: (n, size, size) raw, or PNG files."""
        table = self._file.read_row_group(group, columns=["pixels"], use_threads=False)
        column = table["pixels"].combine_chunks()
        if self.kind.encoding == "png":
            files: list[bytes] = column.to_pylist()
            return files
        data = np.frombuffer(column.buffers()[1], np.uint8)
        begin, length = column.offset * self.kind.size**2, len(column) * self.kind.size**2
        return data[begin : begin + length].reshape(-1, self.kind.size, self.kind.size).copy()

    def _about(self) -> dict[str, Any]:
        about: dict[str, Any] = json.loads(
            (self._file.schema_arrow.metadata or {}).get(METADATA_KEY, b"{}")
        )
        version = about.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"{self.name} has shard schema {version}, expected {SCHEMA_VERSION}; "
                "make it with tools/build_shards.py"
            )
        return about


def decode_square(data: bytes) -> Squares:
    """The square of a PNG out of a shard."""
    square = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(square, dtype=np.uint8)


def _zigzag(value: int) -> bytes:
    """A positive i32 as Thrift's compact protocol writes it: doubled, seven bits a byte."""
    value, out = 2 * value, bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
