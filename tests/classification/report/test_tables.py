"""Cells and numbers as they are printed in every table."""

from __future__ import annotations

import math

import pytest

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.classification.report.tables import (
    Cell,
    cell_text,
    value_text,
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Cell(Estimate(0.4534, 0.4, 0.5021)), ".453 [.400, .502]"),
        (Cell(Estimate(1.0, 1.0, 1.0)), "1.000 [1.000, 1.000]"),
        (Cell(Estimate(-0.0212, -0.03, 0.001)), "-.021 [-.030, .001]"),
        (Cell(Estimate(0.5, 0.4, 0.6), beside=0.256), ".500 [.400, .600] (.26)"),
        (Cell(Estimate(0.5, 0.4, 0.6), skill=0.123), ".500 [.400, .600], skill .12"),
        (Cell(Estimate(0.5, 0.4, 0.6), 0.256, skill=-0.5), ".500 [.400, .600] (.26), skill -.50"),
        (Cell(Estimate(0.5, math.nan, math.nan)), ".500 [undefined]"),
        (Cell(Estimate(math.nan, math.nan, math.nan)), "undefined"),
        (Cell(Estimate(0.4227, math.nan, math.nan), printed="0.4227"), ".4227"),
    ],
)
def test_cells_are_printed_as(cell: Cell, text: str) -> None:
    assert cell_text(cell) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0004, "<.001"), (0.0312, ".031"), (0.0, ".000"), (math.nan, "undefined")]
)
def test_plain_figures_and_small_p_values_are_printed_as(value: float, text: str) -> None:
    assert value_text(value) == text
