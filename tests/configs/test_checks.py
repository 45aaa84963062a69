"""A setting's type says which values it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from cxrloc.configs.checks import (
    Count,
    InnerShare,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    Share,
    check_fields,
)


@dataclass(frozen=True)
class Settings:
    count: Count = 1
    seed: NonNegativeInt = 0
    decay: NonNegativeFloat = 0.0
    lr: PositiveFloat = 1e-9
    share: Share = 0.0
    test: InnerShare = 0.5
    color: Literal["red", "blue"] = "red"
    name: str = ""

    def __post_init__(self) -> None:
        check_fields(self, "train.")


def test_values_at_the_ends_of_the_ranges_are_taken() -> None:
    assert Settings(share=0.999, color="blue", name="any").share == 0.999


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("count", 0, "at least 1"),
        ("seed", -1, "0 or more"),
        ("decay", -0.1, "0 or more"),
        ("lr", 0, "more than 0"),
        ("share", 1, r"a share in \[0, 1\)"),
        ("share", -0.1, r"a share in \[0, 1\)"),
        ("test", 0, r"a share in \(0, 1\)"),
        ("test", 1, r"a share in \(0, 1\)"),
        ("color", "green", "one of red, blue"),
        ("lr", float("nan"), "more than 0"),
        ("lr", float("inf"), "more than 0"),
        ("lr", 1e308, "more than 0"),
        ("decay", float("inf"), "0 or more"),
        ("count", 2**31, "at least 1"),
        ("seed", 10**400, "0 or more"),
    ],
)
def test_another_value_is_named_with_its_key_and_what_is_expected(
    key: str, value: Any, expected: str
) -> None:
    with pytest.raises(ValueError, match=rf"train\.{key}: got .*, expected {expected}") as error:
        Settings(**{key: value})
    assert repr(value)[:80] in str(error.value)
