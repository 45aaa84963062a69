"""A second reader on the first screen, in the answer, in the terminal and in the files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from cxrloc.localization.analyses.second_reader.section import second_reader
from cxrloc.localization.comparison_report.build import ComparisonReport, build_report
from cxrloc.localization.comparison_report.files import terminal_text, write_results
from cxrloc.localization.report.glossary import lookup
from cxrloc.tools.compare_localizers import main
from localization.analyses.second_reader.readings import (
    DISEASES,
    FAR,
    PATIENTS,
    WHOLE,
    Box,
    compared,
    reading,
)

GATE = {(image, d): image != "b" for image in (*PATIENTS, "e") for d in DISEASES}
BOXES: list[tuple[str, str, Box]] = [("a", "Mass", FAR), ("a", "Mass", WHOLE), ("b", "Mass", WHOLE)]


@pytest.fixture(scope="module")
def report() -> ComparisonReport:
    second = reading(BOXES, judged=("Mass",), notes=("scaled",))
    inputs = compared({"Dr B": second}, gate=GATE, resamples=200).inputs
    return build_report(inputs, analyses=(second_reader,))


def test_the_board_has_the_reader_the_localizers_and_the_control(report: ComparisonReport) -> None:
    [board] = report.answer.readers

    rows = [(row.name, row.note, [cell.text for cell in row.cells]) for row in board.rows]
    assert rows[:4] == [
        ("Dr B", "second reader, best of several", [".500", "1.000", "–", "–"]),
        ("Dr B", "second reader, by chance", [".375", ".750", "–", "–"]),
        ("net", "told the disease", [".500", ".500", ".000", ".125"]),
        ("net", "behind the gate", [".375", ".250", "-.125", ".000"]),
    ]
    assert [(row.name, row.is_control) for row in board.rows[4:]] == [("constant_box", True)]
    assert [column.beneath for column in board.columns[1:3]] == ["4 boxes", "mean IoU, 2 boxes"]


def test_the_basis_and_the_words_say_how_far_the_reader_agrees(report: ComparisonReport) -> None:
    assert report.answer.basis.endswith(
        "A second reader, Dr B, has a mean IoU of .500 (.375 if one of several boxes counts by "
        "chance) over the 4 boxes that it could have drawn; net .500 there."
    )
    agrees, against = report.answer.words[-3:-1]
    assert agrees.startswith("Dr B, a second reader, agrees with the ground truth")
    assert "On the 2 boxes of diseases that both marked: 1.000" in agrees
    assert agrees.endswith("In its file: scaled.")
    assert "net, told the disease, is not distinguishable from Dr B: .500 against .500" in against
    assert "net, behind the gate, is not distinguishable from Dr B: .375 against .500" in against
    assert "constant_box " in against


def test_the_terminal_has_the_readers_lines(report: ComparisonReport) -> None:
    lines = terminal_text(report, Path("out")).splitlines()

    start = next(i for i, line in enumerate(lines) if line.startswith("A second reader: Dr B."))
    text = "\n".join(lines[start:])
    assert "Minus reader, by chance" in text
    assert "Dr B (second reader, best of several)  .500 [" in text
    assert "net (behind the gate)                  .375 [" in text


def test_tables_figure_and_summary_are_written(report: ComparisonReport, tmp_path: Path) -> None:
    write_results(report, {}, tmp_path)

    with (tmp_path / "second_reader_agreement.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    means = [
        (row["boxes of"], row["rule"], row["boxes counted"], row["all diseases"], row["boxes"])
        for row in rows
        if row["measure"] == "mean_iou"
    ]
    assert means == [
        ("ground truth", "best of several", "all", "0.5", "4"),
        ("ground truth", "by chance", "all", "0.375", "4"),
        ("Dr B", "best of several", "all", "0.666667", "3"),
        ("ground truth", "best of several", "marked by both", "1", "2"),
        ("ground truth", "by chance", "marked by both", "0.75", "2"),
        ("Dr B", "best of several", "marked by both", "0.666667", "3"),
    ]
    assert (tmp_path / "second_reader_1.png").stat().st_size > 10_000
    summary = json.loads((tmp_path / "summary.json").read_text())["second_readers"]
    first = summary["second_reader"][0]
    assert (first["localizer"], first["boxes"], first["all_boxes"]["value"]) == ("Dr B", 4, 0.5)
    assert "Dr B" in (tmp_path / "report.html").read_text()


def test_every_column_is_explained(report: ComparisonReport) -> None:
    [section] = report.sections
    for table in section.tables:
        for row in table.rows:
            for column in {**row.lead, **row.cells, **row.trail}.keys() - set(DISEASES):
                assert lookup(column).definition, (table.name, column)
    for term in ("second reader", "best of several", "by chance", "marked by both"):
        assert lookup(term).definition


def test_a_reader_with_one_box_for_each_needs_no_second_line() -> None:
    inputs = compared({"Dr B": reading([("a", "Mass", WHOLE)], judged=("Mass",))}).inputs

    [board] = build_report(inputs, analyses=()).answer.readers

    assert [row.note for row in board.rows[:2]] == ["second reader", "told the disease"]
    assert [column.beneath for column in board.columns[3:]] == [""]


def test_without_a_reader_nothing_is_said_of_one() -> None:
    report = build_report(compared({}).inputs, analyses=(second_reader,))

    assert (report.sections, report.answer.readers) == ((), ())
    assert "reader" not in " ".join([*report.answer.words, report.answer.basis])


def test_a_map_for_a_reader_who_is_not_there_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--ground-truth", "gt.json", "--out", str(tmp_path / "out")]

    assert main([*words, "--second-reader-labels", "names.yaml"]) == 2
    assert "is given without --second-reader NAME=FILE" in capsys.readouterr().err
