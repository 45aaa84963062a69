"""A file is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.datasets.files.atomic import whole_file, write_text


def test_an_error_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.csv"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def interrupted(path: Path) -> None:
    with whole_file(path) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt


def test_the_temporary_file_has_the_same_ending(tmp_path: Path) -> None:
    with whole_file(tmp_path / "figure.svg") as temporary:
        assert temporary.suffix == ".svg"
        assert temporary.parent == tmp_path
        temporary.write_text("whole")
    assert (tmp_path / "figure.svg").read_text() == "whole"


def test_a_name_that_is_a_folder_is_an_error_that_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        write_text(tmp_path / "taken", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
