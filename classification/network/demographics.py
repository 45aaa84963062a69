"""Encode age, sex and view as numbers: an optional late-fusion input, off by default.

Leakage warning. Age, sex and view tell who gets imaged and how: a bedside image (AP) shows a
patient too ill to stand, and hospitals image some ages and sexes more often for one disease than
for another. A network that receives them may answer from them instead of the image: its AUC rises
within one data set and may fall in the next hospital. Never use them to compare localizers: a gate
that opens because of the bed says nothing about the box.

The numbers per image, for the requested demographics:

    age   (years - 50) / 20, and a flag that is 1 if the age is unknown (the first is then 0)
    sex   one of F, M, unknown
    view  one of PA, AP, LATERAL, unknown

Age is centred by constants instead of the training images: the next layer is linear, so it can
learn the same functions, and a bundle needs no statistics of its patients. A value that never
occurs in training (for example unknown age) keeps its initial weight 0 and has no effect later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

SEXES, VIEWS = ("F", "M"), ("PA", "AP", "LATERAL")
WIDTHS = {"age": 2, "sex": len(SEXES) + 1, "view": len(VIEWS) + 1}
_OLDEST = 120  # a higher age is a typing error


class Person(Protocol):
    """Facts about the patient of a `Radiograph` or `LoadedImage`; empty or NaN means unknown."""

    @property
    def age_years(self) -> float: ...

    @property
    def sex(self) -> str: ...

    @property
    def view(self) -> str: ...


def width(asked: Sequence[str]) -> int:
    """Number of values per image for the requested demographics."""
    return sum(WIDTHS[name] for name in asked)


def encode(asked: Sequence[str], people: Sequence[Person]) -> npt.NDArray[np.float32]:
    """(N, `width`) values for N images, with the demographics in the requested order."""
    rows = [[number for name in asked for number in _ENCODERS[name](p)] for p in people]
    return np.array(rows, dtype=np.float32).reshape(len(people), width(asked))


def unknown(asked: Sequence[str]) -> npt.NDArray[np.float32]:
    """(`width`,) values for an image without any known demographics."""
    numbers = {"age": [0.0, 1.0], "sex": _one_of(SEXES, ""), "view": _one_of(VIEWS, "")}
    return np.array([number for name in asked for number in numbers[name]], dtype=np.float32)


def missing_demographics(asked: Sequence[str], person: Person) -> tuple[str, ...]:
    """The requested demographics that are unknown for a person."""
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
