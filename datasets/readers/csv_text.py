"""Helpers of the readers for label files: CSV as text, the first faulty row, a file by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd


def read_text_columns(path: Path, **options: Any) -> pd.DataFrame:
    """Read a CSV file with every field as unchanged text; empty fields are empty strings.

    Args:
        options: further options of `pandas.read_csv`.

    Raises:
        ValueError: naming the file, if it cannot be read as CSV.
    """
    try:
        table: pd.DataFrame = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", **options
        )
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"cannot read {path} as CSV: {error}") from error
    return table


def first_row(flags: pd.Series[bool]) -> int:
    """Position of the first flagged row, from 0."""
    return int(flags.to_numpy().argmax())


def named_file(root: Path, name: Path) -> Path:
    """The path itself if it is a file, otherwise the path below `root`, existing or not."""
    return name if name.is_file() else root / name
