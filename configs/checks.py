"""Check the values of settings: stated by their types, checked when the dataclass is created.

    lr: PositiveFloat = 5e-4
    optimizer: Literal["adamw", "sgd"] = "adamw"

The command line already refuses other choices and types; this module checks ranges, and settings
created by code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Expected:
    """A condition on a value, and its description for messages."""

    holds: Callable[[Any], bool]
    words: str


_MOST = 1_000_000_000  # below what a 32-bit integer holds
_LARGEST = 1e6

Count = Annotated[int, Expected(lambda v: 1 <= v <= _MOST, "at least 1 (and at most 10^9)")]
NonNegativeInt = Annotated[int, Expected(lambda v: 0 <= v <= _MOST, "0 or more (up to 10^9)")]
NonNegativeFloat = Annotated[
    float, Expected(lambda v: 0 <= v <= _LARGEST, "0 or more (up to 10^6)")
]
PositiveFloat = Annotated[
    float, Expected(lambda v: 0 < v <= _LARGEST, "more than 0 (and at most 10^6)")
]
Share = Annotated[float, Expected(lambda v: 0 <= v < 1, "a share in [0, 1)")]
Probability = Annotated[float, Expected(lambda v: 0 <= v <= 1, "a probability in [0, 1]")]
InnerShare = Annotated[float, Expected(lambda v: 0 < v < 1, "a share in (0, 1)")]


def require(ok: bool, key: str, value: object, expected: str) -> None:
    """Refuse a value.

    Raises:
        ValueError: naming key, value and expectation, unless `ok`.
    """
    if not ok:
        raise ValueError(f"{key}: got {value!r:.100}, expected {expected}")


def check_fields(settings: Any, prefix: str = "") -> None:
    """Check each field of a dataclass against its type.

    Args:
        settings: dataclass with the types above, `Literal`, or others, which are not checked.
        prefix: prefix of its keys in the configuration, for example `train.`.

    Raises:
        ValueError: for the first invalid field, see `require`.
    """
    hints = get_type_hints(type(settings), include_extras=True)
    for name, hint in hints.items():
        value = getattr(settings, name)
        for expected in _conditions(hint):
            require(expected.holds(value), f"{prefix}{name}", value, expected.words)


def _conditions(hint: Any) -> Iterator[Expected]:
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        yield Expected(choices.__contains__, f"one of {', '.join(map(str, choices))}")
    if get_origin(hint) is Annotated:
        yield from (extra for extra in hint.__metadata__ if isinstance(extra, Expected))
