"""Tables of text: what pandas fills in on its own is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.datasets.readers.csv_text import read_text_columns


@pytest.mark.parametrize("end", ["4,5,6", "4,5,6\n", "4\n"])
def test_whole_files_are_read_with_and_without_a_last_line_break(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"a,b,c\n1,2,3\n{end}")
    table = read_text_columns(path)
    assert table["a"].tolist() == ["1", "4"]


@pytest.mark.parametrize("text", ["a,b,c\n1,2,3\n4", "a,b,c\n1,2,3\n4,5", "a;b\n1;2\n3"])
def test_a_file_that_ends_within_a_row_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.csv ends within a row .*is the copy complete"):
        read_text_columns(path, sep=";" if ";" in text else ",")
