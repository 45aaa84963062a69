"""What the readers share to read label files: CSV as text, the first faulty row, a file by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd


def read_text_columns(path: Path, **options: Any) -> pd.DataFrame:
    """A CSV file with every field as text, as it is written; empty fields are empty strings.

    Args:
        options: further ones of `pandas.read_csv`.

    Raises:
        ValueError: with the file, when it cannot be read as CSV.
    """
    try:
        table: pd.DataFrame = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", **options
        )
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"cannot read {path} as CSV: {error}") from error
    return table


def first_row(flags: pd.Series[bool]) -> int:
    """Position of the first row that is flagged, from 0."""
    return int(flags.to_numpy().argmax())


def named_file(root: Path, name: Path) -> Path:
    """The file of this name, or else the one of this name in `root`, whether it is there or not."""
    return name if name.is_file() else root / name
