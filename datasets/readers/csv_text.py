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
    text = io.StringIO(read_text(path))
    try:
        table: pd.DataFrame = pd.read_csv(text, dtype=str, keep_default_na=False, **options)
    except (ValueError, OverflowError) as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"cannot read {path} as CSV: {one_line(error)}") from error
    return table


def first_row(flags: pd.Series[bool]) -> int:
    """Position of the first flagged row, from 0."""
    return int(flags.to_numpy().argmax())


def named_file(root: Path, name: Path) -> Path:
    """The path itself if it is a file, otherwise the path below `root`, existing or not."""
    return name if name.is_file() else root / name
