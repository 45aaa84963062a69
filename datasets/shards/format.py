"""Define a shard: a Parquet file with some hundred images as squares, read without copies.

Schema, version 1 (`SCHEMA_VERSION`; every column is required; the file repeats the meanings):

image_id        string
patient_id      string
height, width   int32   ORIGINAL frame in pixels, the frame of boxes; not the square's size
label_DISEASE   float32 1 present, 0 absent, NaN unknown; one column per disease, in order
pixels          raw: fixed_size_binary(size * size), the rows of the square from `fit_square`, grey
                uint8; png: binary, the same square as a PNG file. For input enhanced, the three
                channels of `input_channels`: raw one after the other, png as the file's colours

The file's metadata contains a JSON object under `cxrloc.shard`: schema_version, size, encoding,
diseases, input, clahe_clip, split and columns. There is no compression, no dictionary encoding and
no statistics, and the raw pixels of a row group form one page: on a local disk they are mapped as
one array and never copied.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import IO, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cxrloc.datasets.files.parse import one_line, parse_json
from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.radiograph import Radiograph, label_matrix

SCHEMA_VERSION = 1  # increase it when the same images give different bytes
ROWS_PER_GROUP = 32  # 8 MiB of raw pixels at 512 px, the unit of reading
METADATA_KEY = b"cxrloc.shard"
LABEL_PREFIX = "label_"
REJECTS = "rejects.parquet"  # next to the sizes: unreadable images with the reason
Encoding = Literal["raw", "png"]
ENCODINGS: tuple[Encoding, ...] = ("raw", "png")
ShardInput = Literal["grey", "enhanced"]
INPUTS: tuple[ShardInput, ...] = ("grey", "enhanced")

Squares = npt.NDArray[np.uint8]

_COLUMNS = {
    "image_id": "the data set's name of the image",
    "patient_id": "the unit of splitting",
    "height": "of the original frame in pixels",
    "width": "of the original frame in pixels",
    "label_*": "1 present, 0 absent, NaN unknown",
    "pixels": "grey square, long side scaled to size, zeros right or below; raw rows or a PNG file",
}


@dataclass(frozen=True)
class ShardKind:
    """Properties shared by all shards of one size.

    Attributes:
        size: side of the squares in pixels.
        encoding: raw or png.
        diseases: label columns, in order.
        input: grey, the images unchanged, or enhanced, the three input channels of a network with
            `model.input` enhanced.
        clahe_clip: argument of `input_channels`, for enhanced.
    """

    size: int
    encoding: Encoding
    diseases: tuple[str, ...]
    input: ShardInput = "grey"
    clahe_clip: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 4096:
            raise ValueError(f"size: got {self.size}, expected 1 to 4096 pixels")
        if self.encoding not in ENCODINGS:
            raise ValueError(f"encoding: got {self.encoding!r}, expected {' or '.join(ENCODINGS)}")
        if self.input not in INPUTS:
            raise ValueError(f"input: got {self.input!r}, expected {' or '.join(INPUTS)}")
        if self.clahe_clip and self.input == "grey":
            raise ValueError(
                f"clahe_clip: got {self.clahe_clip}, expected 0 with input grey; "
                "training applies model.clahe_clip itself"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image's pixels."""
        return (3, self.size, self.size) if self.input == "enhanced" else (self.size, self.size)

    def schema(self, split: str) -> pa.Schema:
        """Columns and metadata of a shard of this kind."""
        pixels = pa.binary(math.prod(self.shape)) if self.encoding == "raw" else pa.binary()
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
def shard_writer(sink: IO[bytes], schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A Parquet writer whose output depends only on the batches."""
    with pq.ParquetWriter(
        sink,
        schema,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        data_page_size=1 << 30,  # one page per row group, mapped as one array
    ) as writer:
        yield writer


def image_batch(
    kind: ShardKind, split: str, images: Sequence[Radiograph], squares: Sequence[Squares]
) -> pa.RecordBatch:
    """One row group: these images with their squares, each of the kind's shape."""
    labels = label_matrix(images, kind.diseases).astype(np.float32)
    arrays = [
        pa.array([image.image_id for image in images], pa.string()),
        pa.array([image.patient_id for image in images], pa.string()),
        pa.array([image.size_hw[0] for image in images], pa.int32()),
        pa.array([image.size_hw[1] for image in images], pa.int32()),
        *(pa.array(column, pa.float32(), from_pandas=False) for column in labels.T),
        _pixels(kind, squares),
    ]
    return pa.record_batch(arrays, schema=kind.schema(split))


def _pixels(kind: ShardKind, squares: Sequence[Squares]) -> pa.Array:
    if kind.encoding == "png":
        images = (np.moveaxis(s, 0, -1) if s.ndim == 3 else s for s in squares)  # colours last
        return pa.array([cv2.imencode(".png", image)[1].tobytes() for image in images])
    data = pa.py_buffer(np.stack(squares).tobytes())
    each = pa.binary(math.prod(kind.shape))
    return pa.FixedSizeBinaryArray.from_buffers(each, len(squares), [None, data])


def kind_of(about: Mapping[str, Any]) -> ShardKind:
    """The kind stated in the metadata of a shard or the manifest of a size."""
    values = {field.name: about[field.name] for field in fields(ShardKind)}
    return ShardKind(**{**values, "diseases": tuple(about["diseases"])})


class ShardFile:
    """A shard opened for reading.

    Attributes:
        kind, split: as stated in the metadata.
        name: for messages.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is not a shard, or has another version.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self.name = f"{storage.url.rstrip('/')}/{name}"
        local = storage.local_path(name)
        try:
            self._file = pq.ParquetFile(storage.open(name) if local is None else local)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(f"{self.name} is not a Parquet file: {one_line(error)}") from error
        about = self._about()
        self.kind = kind_of(about)
        self.split: str = about["split"]
        self._memory: Squares | None = None
        if local is not None and self.kind.encoding == "raw":
            # copy on write: torch warns about read-only arrays
            self._memory = np.memmap(local, mode="c")

    @property
    def rows(self) -> int:
        return int(self._file.metadata.num_rows)

    @property
    def groups(self) -> dict[int, int]:
        """Row group -> number of images: `ROWS_PER_GROUP`, fewer in the last one."""
        about = self._file.metadata
        return {group: about.row_group(group).num_rows for group in range(about.num_row_groups)}

    def images(self) -> pa.Table:
        """All columns except the pixels."""
        names = [name for name in self._file.schema_arrow.names if name != "pixels"]
        return self._file.read(columns=names, use_threads=False)

    def mapped(self, group: int) -> Squares | None:
        """(n, *shape) raw pixels of a row group in the mapped file; writing does not change it.

        None in a store, for PNGs, and if another writer cut the group into pages.
        """
        if self._memory is None:
            return None
        column = self._file.metadata.row_group(group).column(self._file.metadata.num_columns - 1)
        length = column.num_values * math.prod(self.kind.shape)
        begin, end = column.data_page_offset, column.data_page_offset + column.total_compressed_size
        # The page header in Thrift's compact form: fields 1 to 3 are i32, each after a byte 0x15:
        # type (0, a data page), uncompressed size and compressed size.
        expected = b"\x15\x00" + 2 * (b"\x15" + _zigzag(length))
        if self._memory[begin : begin + len(expected)].tobytes() != expected:
            return None
        pixels: Squares = self._memory[end - length : end].reshape(-1, *self.kind.shape)
        return pixels

    def read(self, group: int) -> Squares | list[bytes]:
        """Read the pixels of a row group into memory: (n, *shape) raw, or PNG files."""
        table = self._file.read_row_group(group, columns=["pixels"], use_threads=False)
        column = table["pixels"].combine_chunks()
        if self.kind.encoding == "png":
            files: list[bytes] = column.to_pylist()
            return files
        data = np.frombuffer(column.buffers()[1], np.uint8)
        each = math.prod(self.kind.shape)
        begin, length = column.offset * each, len(column) * each
        return data[begin : begin + length].reshape(-1, *self.kind.shape).copy()

    def _about(self) -> dict[str, Any]:
        text = (self._file.schema_arrow.metadata or {}).get(METADATA_KEY, b"{}")
        about: dict[str, Any] = parse_json(text, f"{self.name}: its metadata")
        version = about.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"{self.name} has shard schema {version}, expected {SCHEMA_VERSION}; "
                "make it with cxrloc build-shards"
            )
        return about


def decode_square(data: bytes) -> Squares:
    """Decode the square, or the three channels, from a PNG in a shard."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    square = np.asarray(image, dtype=np.uint8)
    return np.ascontiguousarray(np.moveaxis(square, -1, 0)) if square.ndim == 3 else square


def _zigzag(value: int) -> bytes:
    """A positive i32 in Thrift's compact protocol: doubled, seven bits per byte."""
    value, out = 2 * value, bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
