"""Helpers of the readers for label files: CSV as text, the first faulty row, a file by name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd

from cxrloc.datasets.files.parse import one_line, read_text


def read_text_columns(path: Path, **options: Any) -> pd.DataFrame:
    """Read a CSV file with every field as unchanged text; empty fields are empty strings.

    Args:
        options: further options of `pandas.read_csv`.

    Raises:
        ValueError: naming the file, if it cannot be read as CSV.
    """
    text = read_text(path)
    try:
        table: pd.DataFrame = pd.read_csv(
            io.StringIO(text), dtype=str, keep_default_na=False, **options
        )
    except (ValueError, OverflowError) as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"cannot read {path} as CSV: {one_line(error)}") from error
    _check_end(path, text, options.get("sep", ","))
    return table


def _check_end(path: Path, text: str, separator: str) -> None:
    """Refuse a file that ends within a row; pandas fills in what is missing."""
    header, last = text.partition("\n")[0], text.rpartition("\n")[2]
    if last.strip() and last.count(separator) < header.count(separator):
        raise ValueError(
            f"{path} ends within a row ({last[:100]!r}); is the copy complete? If it is, end the "
            "last line with a line break"
        )


def first_row(flags: pd.Series[bool]) -> int:
    """Position of the first flagged row, from 0."""
    return int(flags.to_numpy().argmax())


def named_file(root: Path, name: Path) -> Path:
    """The path itself if it is a file, otherwise the path below `root`, existing or not."""
    return name if name.is_file() else root / name
