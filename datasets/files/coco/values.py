"""Read ids, numbers and flags of a COCO file, which may be numbers or texts."""

from __future__ import annotations

import math
import re
from typing import Any

from cxrloc.datasets.files.checked import LONGEST_SIDE

Key = int | str
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]{0,17}))(?:\.0+)?")  # 12, "12" and "12.0"; "012" is a name
_NUMBERS = frozenset({int, float})
_FOUR_FLOATS = [float] * 4
_LARGEST = 2**53  # up to here a float is exact; no size, run or fold is larger
_FALSE = frozenset({"", "0", "0.0", "false", "no", "none", "null"})
_TRUE = frozenset({"1", "1.0", "true", "yes"})


def id_key(value: Any) -> Key | None:
    """The id by which entries are matched: 3, 3.0, "3" and "3.0" are one; None if it is none."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    whole = _WHOLE.fullmatch(text)
    return int(whole[1]) if whole else text or None


def number(value: Any) -> float | None:
    """A finite number, also from text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and no text or true."""
    return type(value) in _NUMBERS and number(value) is not None


def is_box(value: Any) -> bool:
    """Whether a value is a list of four finite numbers."""
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def is_plain_box(value: Any) -> bool:
    """Whether a value is four floats within any image, as in most files all are: told at once."""
    return (
        type(value) is list
        and list(map(type, value)) == _FOUR_FLOATS
        and math.isfinite(sum(value))
        and min(value) >= -LONGEST_SIDE
        and max(value) <= LONGEST_SIDE
    )


def whole(value: Any) -> int | None:
    """A whole number, also from text or a float; None for anything else."""
    if type(value) is int:
        return value if abs(value) < _LARGEST else None
    result = number(value)
    return (
        int(result)
        if result is not None and result.is_integer() and abs(result) < _LARGEST
        else None
    )


def flag(value: Any) -> bool | None:
    """A yes or no such as `iscrowd`: null and what is empty are no; None if it is neither."""
    if type(value) is int and value in (0, 1):
        return value == 1
    text = "" if value in (None, [], {}) else str(value).strip().casefold()
    if text not in _FALSE | _TRUE:
        return None
    return text in _TRUE


def shown(value: Any) -> str:
    """A value for a message, on one line and not longer than a line."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def some(items: list[str]) -> str:
    """The first three items, and how many there are in all."""
    return ", ".join(items[:3]) + (f" ... ({len(items)} in all)" if len(items) > 3 else "")
