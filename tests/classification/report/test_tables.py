"""The one table: what its writers make of figures, numbers, words and characters."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.classification.report.tables import (
    Cell,
    CellParts,
    ResultTable,
    TableRow,
    cell_parts,
    cell_text,
    page_markdown,
    to_latex,
    to_text,
    value_text,
    write_records,
)

FIGURE = Estimate(0.4534, 0.401, 0.5)
TABLE = ResultTable(
    "auc",
    "AUC",
    (
        TableRow("", {"disease": "Mass"}, {"images": 1234, "AUC": Cell(FIGURE), "p": 0.04}),
        TableRow("", {"disease": "Hernia"}, {"images": 2, "p": 0.0001}),
    ),
    ("Read it",),
)


@pytest.mark.parametrize(
    ("cell", "parts", "text"),
    [
        (Cell(FIGURE), CellParts(".453", "[.401, .500]"), ".453 [.401, .500]"),
        (
            Cell(FIGURE, beside=0.61, skill=0.12),
            CellParts(".453", "[.401, .500]", "(.61)", "skill .12"),
            ".453 [.401, .500] (.61), skill .12",
        ),
        (
            Cell(FIGURE, skill=math.nan),
            CellParts(".453", "[.401, .500]", "", "skill undefined"),
            ".453 [.401, .500], skill undefined",
        ),
        (
            Cell(Estimate(1.0, 1.0, 1.0)),
            CellParts("1.000", "[1.000, 1.000]"),
            "1.000 [1.000, 1.000]",
        ),
        (
            Cell(Estimate(-0.0212, -0.03, 0.001), skill=-0.5),
            CellParts("-.021", "[-.030, .001]", "", "skill -.50"),
            "-.021 [-.030, .001], skill -.50",
        ),
        (Cell(Estimate(-0.02)), CellParts("-.020", "[undefined]"), "-.020 [undefined]"),
        (Cell(Estimate(math.nan)), CellParts("undefined"), "undefined"),
        (
            Cell(Estimate(math.nan, reason="no positive image")),
            CellParts("undefined: no positive image"),
            "undefined: no positive image",
        ),
        (Cell(Estimate(0.47), printed="0.4700"), CellParts(".4700"), ".4700"),
    ],
)
def test_a_figure_is_made_of_its_parts(cell: Cell, parts: CellParts, text: str) -> None:
    assert cell_parts(cell) == parts
    assert cell_text(cell) == text


def test_a_page_of_tables_has_a_heading_each_and_none_for_rows_without_a_block() -> None:
    assert page_markdown("Run", [TABLE]).splitlines() == [
        "# Run",
        "",
        "**Research use only, never a diagnosis.**",
        "",
        "## AUC",
        "",
        "- Read it.",
        "",
        "| disease | images | AUC | p |",
        "| --- | --- | --- | --- |",
        "| Mass | 1,234 | .453 [.401, .500] | .040 |",
        "| Hernia | 2 |  | <.001 |",
    ]


def test_on_a_terminal_words_stand_left_and_numbers_right() -> None:
    assert to_text(TABLE).splitlines() == [
        "AUC",
        "disease  images                AUC      p",
        "Mass      1,234  .453 [.401, .500]   .040",
        "Hernia        2                     <.001",
        "Read it.",
    ]


def test_latex_gets_no_character_that_it_would_read_as_a_command() -> None:
    table = ResultTable("t", r"50 % of a_b & c^d ~ e\f {g} #1 $2", TABLE.rows, ("[x] < ± > −",))
    lines = to_latex(table).splitlines()
    title = (
        r"50 \% of a\_b \& c\textasciicircum{}d \textasciitilde{} e\textbackslash{}f \{g\} \#1 \$2"
    )
    assert f"\\caption{{{title}. Research use only, never a diagnosis.}}\\\\" in lines
    assert r"\item {[}x{]} $<$ $\pm$ $>$ $-$." in lines
    assert r"Mass & 1,234 & .453 {[}.401, .500{]} & .040 \\" in lines


def test_records_are_written_in_full_and_what_is_undefined_is_empty(tmp_path: Path) -> None:
    write_records(tmp_path / "r.csv", [{"auc": 1 / 3, "low": math.nan, "note": None}])
    with (tmp_path / "r.csv").open(newline="") as handle:
        assert list(csv.DictReader(handle)) == [{"auc": str(1 / 3), "low": "", "note": ""}]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0004, "<.001"), (0.0312, ".031"), (0.0, ".000"), (math.nan, "undefined")]
)
def test_plain_figures_and_small_p_values_are_printed_as(value: float, text: str) -> None:
    assert value_text(value) == text
