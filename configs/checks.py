"""Values that a setting takes: stated by its type, checked when its dataclass is made.

    lr: PositiveFloat = 5e-4
    optimizer: Literal["adamw", "sgd"] = "adamw"

A command line refuses another choice or type by itself; the ranges, and settings that code makes,
are checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Expected:
    """A condition that a value meets, and the words for it in a message."""

    holds: Callable[[Any], bool]
    words: str


Count = Annotated[int, Expected(lambda v: v >= 1, "at least 1")]
NonNegativeInt = Annotated[int, Expected(lambda v: v >= 0, "0 or more")]
NonNegativeFloat = Annotated[float, Expected(lambda v: v >= 0, "0 or more")]
PositiveFloat = Annotated[float, Expected(lambda v: v > 0, "more than 0")]
Share = Annotated[float, Expected(lambda v: 0 <= v < 1, "a share in [0, 1)")]
InnerShare = Annotated[float, Expected(lambda v: 0 < v < 1, "a share in (0, 1)")]


def require(ok: bool, key: str, value: object, expected: str) -> None:
    """Refuse a value.

    Raises:
        ValueError: naming the key, the value and what is expected, unless `ok`.
    """
    if not ok:
        raise ValueError(f"{key}: got {value!r}, expected {expected}")


def check_fields(settings: Any, prefix: str = "") -> None:
    """Check each field of a dataclass against its type.

    Args:
        settings: whose types are those above, `Literal`, or anything else, which is not checked.
        prefix: of its keys in the configuration, such as `train.`.

    Raises:
        ValueError: see `require`, for the first field that does not fit.
    """
    hints = get_type_hints(type(settings), include_extras=True)
    for name, hint in hints.items():
        value = getattr(settings, name)
        for expected in _conditions(hint):
            require(expected.holds(value), f"{prefix}{name}", value, expected.words)


def _conditions(hint: Any) -> Iterator[Expected]:
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        yield Expected(choices.__contains__, f"one of {', '.join(choices)}")
    if get_origin(hint) is Annotated:
        yield from (extra for extra in hint.__metadata__ if isinstance(extra, Expected))
