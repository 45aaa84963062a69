"""Check what a file holds against a type: keys, kinds, ranges, finite numbers.

    class Rule(TypedDict):
        threshold: Share
        boxes: Count

    checked({"threshold": 7.5, "boxes": 3}, Rule, "rules.yaml")
    ValueError: rules.yaml: threshold: got 7.5, expected a number less than or equal to 1

A loader of our own files states what the writer writes as a type, and checks the whole of it here.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

Checked = TypeVar("Checked")

LARGEST = 2**31 - 1  # of a whole number in our files; ids, counts, pixels and seeds
MAX_FOLDS = 100_000
LONGEST_NAME = 1000
LONGEST_SIDE = 2**16 - 1  # of an image; no format of radiographs has more
Text = Annotated[str, Field(strict=True, max_length=LONGEST_NAME)]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=LONGEST_NAME)]
FileName = Annotated[str, Field(strict=True, pattern=r"^[^/\x00]{1,250}$")]
# with folders; no characters that end a line
PathName = Annotated[
    str, Field(strict=True, pattern=r"^[^\x00-\x1f\x7f\u{85}\u{2028}\u{2029}]{1,1000}$")
]
Flag = Annotated[bool, Field(strict=True)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Part = Annotated[float, Field(strict=True, gt=0, le=1)]  # of a side
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0, le=LARGEST)]
AtLeastOne = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]
FoldNumber = Annotated[int, Field(strict=True, ge=0, lt=MAX_FOLDS)]
Sha256 = Annotated[str, Field(strict=True, pattern="^[0-9a-f]{64}$")]


def checked(value: Any, kind: type[Checked] | Any, where: str, advice: str = "") -> Checked:
    """The value, if it is of a kind; numbers are not read from texts, nor flags from numbers.

    Args:
        value: parsed JSON or YAML.
        kind: a type with the ranges above, most often a TypedDict; keys that it does not name
            are left out of the result.
        where: begins the message.
        advice: ends it.

    Raises:
        ValueError: naming the first key that is missing or wrong.
    """
    try:
        result: Checked = _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{where}: {sentence(error)}{advice and f'; {advice}'}") from error
    return result


def checked_text(value: Any, kind: type[Checked] | Any, where: str, advice: str = "") -> Checked:
    """Like `checked`, where numbers are texts, as in CSV."""
    try:
        result: Checked = _adapter(kind).validate_strings(value)
    except ValidationError as error:
        raise ValueError(f"{where}: {sentence(error)}{advice and f'; {advice}'}") from error
    return result


_OF_KEYS = {"missing": "missing", "extra_forbidden": "unknown"}


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def sentence(error: ValidationError) -> str:
    """The first of the errors, and how many more there are."""
    first = error.errors(include_url=False, include_context=False)[0]
    others = error.error_count() - 1
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] in _OF_KEYS:
        text = f"the key {key!r} is {_OF_KEYS[first['type']]}"
    else:
        text = f"got {_shown(first['input'])}, expected {_expected(first['msg'])}"
        text = f"{key}: {text}" if key else text
    return text + (f" (and {others} more)" if others else "")


def _expected(message: str) -> str:
    expected = message.removeprefix("Input should be ").replace("String should have", "a text of")
    return f"a number {expected}" if expected.startswith(("less", "greater")) else expected


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
