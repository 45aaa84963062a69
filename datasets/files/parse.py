"""Read text, JSON, YAML and CSV; whatever is wrong becomes one sentence with the file's name.

    parse_json(b"[1, 2", "boxes.json")
    ValueError: boxes.json is not JSON: EOF while parsing a list at line 1 column 5

A damaged or foreign file never ends in another error than ValueError or OSError: text that is no
UTF-8, NUL characters, lists nested by the thousand, numbers of a thousand digits, keys given twice.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import from_json

_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"7z": "7z", b"BZh": "bzip2"}
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_MOST_VALUES = 1_000_000  # of a YAML file; a few lines of aliases can stand for billions


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: naming the file, if it is no such text.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not a text file in UTF-8: {error}; save it as UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(f"{path} is not a text file: it contains NUL characters")
    return text


def read_json(path: Path) -> Any:
    """Parse a JSON file: UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        ValueError: naming the file and where it stops being JSON.
    """
    return parse_json(path.read_bytes(), str(path))


def parse_json(data: bytes | str, where: str) -> Any:
    """Parse JSON; NaN and Infinity are read as numbers.

    Args:
        where: what `data` is, to begin the message.

    Raises:
        ValueError: as `read_json`.
    """
    if isinstance(data, bytes):
        for start, kind in _COMPRESSED.items():
            if data.startswith(start):
                raise ValueError(f"{where} is not JSON: it is compressed ({kind}); unpack it first")
    try:
        text = data.decode(json.detect_encoding(data)) if isinstance(data, bytes) else data
        value = from_json(text)  # limits the depth, and refuses halves of surrogate pairs
    except ValueError as error:
        fault = str(error).replace("recursion limit exceeded", "nested too deeply")
        raise ValueError(f"{where} is not JSON: {fault}{_hint(data)}") from error
    if "\\u0000" in text and _NUL.search(text):
        raise ValueError(f"{where} is damaged: a text in it contains a NUL character")
    return value


def _hint(data: bytes | str) -> str:
    start = data.strip()[:100_000]
    text = start if isinstance(start, str) else start.decode("utf-8", "replace")
    lines = text.split("\n", 2)
    if not text:
        return " (the file is empty)"
    if len(lines) > 1 and all(line.strip().endswith("}") for line in lines[:2]):
        return " (one JSON object per line? Write one list: `jq -s . FILE`)"
    return ""


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Within, a ValueError that does not say where begins with it."""
    try:
        yield
    except ValueError as error:
        if where in str(error):
            raise
        raise ValueError(f"{where}: {error}") from error


def one_line(error: Exception) -> str:
    """What an error of a library says, which may have several lines."""
    return " ".join(str(error).split())


class _Loader(yaml.SafeLoader):
    """YAML without code, in which a key stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Parse a YAML file.

    Raises:
        ValueError: naming the file and where it stops being YAML.
    """
    text = read_text(path)
    try:
        value = yaml.load(text, _Loader)
        _check_values(value)
    except RecursionError as error:
        raise ValueError(f"{path} is not YAML that can be read: it is nested too deeply") from error
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError) as error:
        # PyYAML lets through what int(), datetime() and its own tables say of a tagged value
        raise ValueError(f"{path} is not YAML: {one_line(error)}") from error
    return value


def _check_values(value: Any) -> None:
    waiting, count = [value], 0
    while waiting:
        inner = waiting.pop()
        count += 1
        if count > _MOST_VALUES:
            raise ValueError(f"it holds more than {_MOST_VALUES:,} values")
        if isinstance(inner, str) and _NO_TEXT.search(inner):
            raise ValueError("a text in it contains a NUL character or half of a surrogate pair")
        if isinstance(inner, dict):
            waiting += [*inner.keys(), *inner.values()]
        elif isinstance(inner, list | tuple | set):
            waiting += inner


def csv_rows(lines: Iterable[str], where: str, separator: str = ",") -> Iterator[list[str]]:
    """The cells of each row of a CSV text.

    Raises:
        ValueError: naming the line that is no CSV.
    """
    reader = csv.reader(lines, delimiter=separator)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{where}, line {reader.line_num}: not CSV: {error}") from error
        if row is None:
            return
        yield row


def csv_table(lines: Iterable[str], columns: tuple[str, ...], where: str) -> list[dict[str, str]]:
    """The rows of a CSV text that has exactly these columns; blank lines are skipped.

    Raises:
        ValueError: for another header, or a row with more or fewer cells.
    """
    rows = csv_rows(lines, where)
    header = tuple(next(rows, ()))
    if header != columns:
        raise ValueError(f"{where}: columns {list(header)}, expected {list(columns)}")
    table = []
    for number, row in enumerate(filter(None, rows), start=1):
        if len(row) != len(columns):
            raise ValueError(f"{where}, row {number}: expected {len(columns)} cells, got {row}")
        table.append(dict(zip(columns, row, strict=True)))
    return table
