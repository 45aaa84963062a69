"""PNG files, chunk by chunk."""

from __future__ import annotations

import struct
import zlib

Chunk = tuple[bytes, bytes]


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png(
    packed: bytes,
    *before: Chunk,
    size: tuple[int, int] = (3, 2),
    depth: int = 8,
    colour: int = 0,
    interlaced: int = 0,
    after: tuple[Chunk, ...] = (),
) -> bytes:
    """A grey image of 3 x 2 if nothing else is said; `before` and `after` its pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header), *before, (b"IDAT", packed), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)
