"""The forest plot's axis and the colours of the localizers."""

from __future__ import annotations

import pytest

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.classification.report.plots import COLOURS
from cxrloc.localization.report.first_screen import (
    Forest,
    ForestRow,
    axis_of,
    swatches,
    tick_text,
)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 0.85, (0.0, 0.2, 0.4, 0.6, 0.8)),
        (-0.35, 0.39, (-0.2, 0.0, 0.2, 0.4)),
        (0.0, 0.0, (0.0, 0.01, 0.02)),  # all level: still an axis
        (-1.0, 1.0, (-1.0, -0.5, 0.0, 0.5, 1.0)),
    ],
)
def test_an_axis_has_round_ticks_with_zero_among_them(
    low: float, high: float, ticks: tuple[float, ...]
) -> None:
    axis = axis_of(low, high)

    assert axis.ticks == ticks
    assert axis.at(axis.low) == "0.00%"
    assert axis.at(axis.high) == "100.00%"
    assert axis.at((axis.low + axis.high) / 2) == "50.00%"


def test_the_axis_of_a_forest_holds_zero_every_interval_and_what_has_none() -> None:
    sure = ForestRow("Mass", 9, Estimate(0.3, 0.2, 0.5), sure=True)
    alone = ForestRow("Nodule", 1, Estimate(0.7), sure=False)

    axis = Forest("a", "b", "", "", (sure, alone), sure).axis

    assert axis.low < 0
    assert axis.high > 0.7


def test_ticks_are_written_as_the_figures_are() -> None:
    assert [tick_text(v) for v in (-0.05, 0.0, 0.2, 1.0)] == ["-.05", "0", "+.2", "+1"]


def test_each_localizer_has_a_colour_and_a_line_in_the_order_of_the_predictions() -> None:
    drawn = swatches(["a", "b", "c", "d"])

    assert [swatch.colour for swatch in drawn.values()] == list(COLOURS[:4])
    assert len({swatch.dashes for swatch in drawn.values()}) == 4
