"""Read a JSON file of any tool: UTF-8, UTF-16 or UTF-32, with or without a byte order mark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"7z": "7z", b"BZh": "bzip2"}


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        ValueError: naming the file and where it stops being JSON.
    """
    data = path.read_bytes()
    for start, kind in _COMPRESSED.items():
        if data.startswith(start):
            raise ValueError(f"{path} is not JSON: it is compressed ({kind}); unpack it first")
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError(f"{path} is not JSON that can be read: it is nested too deeply") from error
    except ValueError as error:  # of the decoder, of the encoding, of a number with 5,000 digits
        hint = _hint(data)
        raise ValueError(f"{path} is not JSON: {error}{hint}") from error


def _hint(data: bytes) -> str:
    lines = data.strip().split(b"\n", 2)
    if not data.strip():
        return " (the file is empty)"
    if len(lines) > 1 and all(line.strip().endswith(b"}") for line in lines[:2]):
        return " (one JSON object per line? Write one list: `jq -s . FILE`)"
    return ""
