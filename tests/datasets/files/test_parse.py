"""Whatever is wrong with a text, JSON, YAML or CSV is one sentence with its name."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from typing_extensions import TypedDict

from cxrloc.datasets.files.checked import Count, Share, checked
from cxrloc.datasets.files.coco.masks import polygons
from cxrloc.datasets.files.parse import csv_table, read_json, read_text, read_yaml

NAMES = "abcdefghi"
LAUGHS = "a0: &a [x, x]\n" + "".join(
    f"{new}0: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in itertools.pairwise(NAMES)
)


class Rule(TypedDict):
    threshold: Share
    boxes: Count


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": "\\u0000"}', "a text in it contains a NUL character"),
        (b'{"a": "\\ud800"}', "is not JSON"),
        (b"[" * 300 + b"]" * 300, "is not JSON: nested too deeply"),
        (b"[1, 2", "is not JSON: EOF while parsing a list at line 1 column 5"),
    ],
)
def test_json_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_json(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(error.value)


def test_json_of_another_encoding_and_a_text_that_looks_like_nul(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes('{"ä": "\\\\u0000", "n": 0.1}'.encode("utf-16"))
    assert read_json(tmp_path / "a.json") == {"ä": "\\u0000", "n": 0.1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\na: 2\n", "the key 'a' is given twice"),
        ("a: !!bool x\n", "is not YAML"),
        ("a: 2024-13-45\n", "month must be in 1..12"),
        ("[" * 2000, "nested too deeply"),
        (LAUGHS, "more than 1,000,000 values"),
        ('"a\\0": 1\n', "a text in it contains a NUL"),
        ('- ["\\ud800"]\n', "half of a surrogate pair"),
    ],
)
def test_yaml_that_is_none(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_yaml(tmp_path / "a.yaml")
    assert str(tmp_path / "a.yaml") in str(error.value)


def test_text_and_tables_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,\0\n")
    with pytest.raises(ValueError, match=r"a\.csv is not a text file: it contains NUL"):
        read_text(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"t, row 2: expected 2 cells, got \['3'\]"):
        csv_table(["a,b\n", "1,2\n", "3\n"], ("a", "b"), "t")
    with pytest.raises(ValueError, match=r"t, line 2: not CSV: field larger than field limit"):
        csv_table(["a,b\n", f"1,{'2' * 200_000}\n"], ("a", "b"), "t")
    (tmp_path / "a.yaml").write_bytes("a: 1".encode("utf-16"))
    with pytest.raises(
        ValueError, match=r"a\.yaml is not a text file in UTF-8: .* save it as UTF-8"
    ):
        read_yaml(tmp_path / "a.yaml")
    assert csv_table(["a,b\n", "\n", "1,2\n"], ("a", "b"), "t") == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"threshold": 7.5, "boxes": 1}, "f: threshold: got 7.5, expected a number less than or"),
        ({"threshold": float("nan"), "boxes": 1}, "f: threshold: got nan, expected a finite"),
        ({"threshold": "0.5", "boxes": 1}, "f: threshold: got '0.5', expected a valid number"),
        ({"threshold": 0.5, "boxes": True}, "f: boxes: got True, expected a valid integer"),
        ({"threshold": 0.5, "boxes": 2**31}, "f: boxes: got 2147483648, expected a number less"),
        ({"boxes": 1}, "f: the key 'threshold' is missing; write it again"),
        ([], r"f: got \[\], expected a valid dictionary"),
    ],
)
def test_a_value_of_another_kind_is_named_with_its_key(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked(value, Rule, "f", "write it again")


def test_a_value_of_the_kind_comes_back_without_other_keys() -> None:
    found: Rule = checked({"threshold": 1, "boxes": 3, "more": [1]}, Rule, "f")
    assert found == {"threshold": 1.0, "boxes": 3}


@pytest.mark.parametrize("far", [1e9, 2.0**31, -(2.0**31), 1e308])
def test_an_outline_far_outside_is_refused_before_it_is_drawn(far: float) -> None:
    with pytest.raises(ValueError, match=r"entry 3: segmentation has a coordinate of .*64 x 32"):
        polygons([[1.0, 1.0, far, 1.0, 5.0, 5.0]], "entry 3", (32, 64))
    assert polygons([[1.0, 1.0, 70.0, 1.0, 5.0, 5.0]], "entry 3", (32, 64))


def test_an_absurdly_long_outline_is_refused() -> None:
    zigzag = [float(v) for _ in range(200) for v in (0, 0, 64, 32)]
    with pytest.raises(ValueError, match=r"an outline of 28[0-9]{3} pixels"):
        polygons([zigzag], "entry 3", (32, 64))
