"""Age, sex and view as numbers with the image: a late-fusion input that is off by default.

Leakage warning. Age, sex and view say who gets imaged and how: a bedside image (AP) is of a patient
too ill to stand, and hospitals image some ages and sexes more for one disease than for another. A
network that is given them may answer from them and not from the image: its AUC rises within one
data set and may fall in the next hospital. Never use it where localizers are compared: a gate that
opens because of the bed says nothing about the box.

The numbers, per image, of what is asked for:

    age   (years - 50) / 20, and a flag that is 1 where the age is unknown (the first is 0 then)
    sex   one of F, M, unknown
    view  one of PA, AP, LATERAL, unknown

Age is centred by constants and not by the training images: the layer behind it is linear, so the
same functions can be learned, and a bundle needs no statistics of its patients. What no training
image was (of unknown age, say) keeps the weight 0 that it began with, and adds nothing later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

SEXES, VIEWS = ("F", "M"), ("PA", "AP", "LATERAL")
WIDTHS = {"age": 2, "sex": len(SEXES) + 1, "view": len(VIEWS) + 1}
_OLDEST = 120  # an older patient is a typing error


class Person(Protocol):
    """What a `Radiograph` and a `LoadedImage` know of their patient; empty or NaN is unknown."""

    @property
    def age_years(self) -> float: ...

    @property
    def sex(self) -> str: ...

    @property
    def view(self) -> str: ...


def width(asked: Sequence[str]) -> int:
    """Numbers per image of the demographics asked for."""
    return sum(WIDTHS[name] for name in asked)


def encode(asked: Sequence[str], people: Sequence[Person]) -> npt.NDArray[np.float32]:
    """(N, `width`) numbers of N images, the demographics in the order asked for."""
    rows = [[number for name in asked for number in _ENCODERS[name](p)] for p in people]
    return np.array(rows, dtype=np.float32).reshape(len(people), width(asked))


def unknown(asked: Sequence[str]) -> npt.NDArray[np.float32]:
    """(`width`,) numbers of an image of which nothing is known."""
    numbers = {"age": [0.0, 1.0], "sex": _one_of(SEXES, ""), "view": _one_of(VIEWS, "")}
    return np.array([number for name in asked for number in numbers[name]], dtype=np.float32)


def missing_demographics(asked: Sequence[str], person: Person) -> tuple[str, ...]:
    """Which of the demographics asked for are not known of a person."""
    return tuple(name for name in asked if _ENCODERS[name](person)[-1])  # the last is the flag


def _age(person: Person) -> list[float]:
    plausible = 0 <= person.age_years <= _OLDEST  # not NaN
    return [(person.age_years - 50) / 20, 0.0] if plausible else [0.0, 1.0]


def _one_of(names: Sequence[str], value: str) -> list[float]:
    return [float(value == name) for name in names] + [float(value not in names)]


_ENCODERS: dict[str, Callable[[Person], list[float]]] = {
    "age": _age,
    "sex": lambda person: _one_of(SEXES, person.sex),
    "view": lambda person: _one_of(VIEWS, person.view.upper()),
}
