"""The first screen of a comparison: forest plot, scoreboard, and the same in a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builders import coco_ground_truth, evaluated
from cxrloc.localization.comparison_report.build import ComparisonReport, build_report
from cxrloc.localization.comparison_report.files import terminal_text, write_results
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.first_screen import Scoreboard
from localization.comparison_report.drawn import DISEASES, Drawn, drawn, scattered, shifted

GATE = {(f"{i}.png", d): d == "Mass" for i in range(12) for d in DISEASES}


def _report(gated: bool = False, **localizers: Drawn) -> ComparisonReport:
    compared = drawn(12, GATE if gated else None, scattered, None, **localizers)
    return build_report(compared.inputs, analyses=())


def _board(report: ComparisonReport) -> Scoreboard:
    assert report.answer.scoreboard is not None
    return report.answer.scoreboard


def test_the_scoreboard_ranks_localizers_then_controls_and_joins_twins() -> None:
    board = _board(_report(far=shifted(10), near=shifted(0), twin=shifted(0.01)))

    assert [row.name for row in board.rows[:2]] == ["near", "far"]
    assert board.rows[0].note == "twin: the same boxes to the eye"
    assert [row.is_control for row in board.rows] == [False, False, True, True, True, True]
    near = [cell.text for cell in board.rows[0].cells]
    assert (near[0], near[1], near[-1]) == ("1.000", "1.000", "not known")
    assert {row.cells[-1].text for row in board.rows[2:]} == {"blind"}
    reference = next(row for row in board.rows if row.name == "constant_box")
    assert reference.cells[2].text == "–"  # no skill over itself


def test_false_boxes_are_those_at_the_gates_point_where_there_is_a_gate() -> None:
    # the gate passes Mass alone: half of the boxes of `far` count, on 12 images, and each is wrong
    gated = _board(_report(gated=True, far=shifted(10)))
    plain = _board(_report(far=shifted(10)))

    assert gated.columns[4].beneath == "per boxed image, at the gate's point"
    assert gated.rows[0].cells[3].text == "1.000"
    assert plain.rows[0].cells[3].text == "–"  # boxed images alone, and no gate


def test_without_a_gate_every_disease_is_asked_on_every_image() -> None:
    box = (8.0, 8.0, 28.0, 28.0)
    coco = coco_ground_truth(("Mass",), [("a", "Mass", (8, 8, 20, 20))], images=("b", "c"))
    boxes = [Localization(image, "Mass", box, 0.5) for image in ("a", "b")]

    with pytest.warns(UserWarning, match="controls predict none"):
        board = _board(build_report(evaluated(coco, {"mine": boxes}).inputs, analyses=()))

    assert board.columns[4].beneath == "per image, every disease asked"
    assert board.rows[0].cells[3].text == ".333"  # one false box on three images


def test_the_forest_sets_the_best_against_its_rival_disease_by_disease() -> None:
    report = _report(
        left=lambda i, d: scattered(i, d),
        right=lambda i, d: scattered(i, d) if d == "Mass" else None,
    )

    forest = report.answer.forest
    assert forest is not None
    assert (forest.first, forest.second) == ("left", "right")
    assert [(row.name, row.boxes, row.sure) for row in forest.rows] == [
        ("Mass", 12, False),
        ("Nodule", 12, True),
    ]
    assert (forest.total.boxes, forest.total.difference.value) == (24, 0.5)
    assert forest.finding == "left is better for Nodule; 1 cannot be told apart."
    assert _report().answer.forest is None


def test_the_forest_says_who_is_better_for_all_or_none_and_who_has_too_few_patients() -> None:
    level = _report(
        even=lambda i, d: scattered(i, d) if i % 2 else None,
        odd=lambda i, d: None if i % 2 else scattered(i, d),
    ).answer.forest
    everywhere = _report(near=shifted(0), far=shifted(10)).answer.forest
    few = drawn(3, None, scattered, None, near=shifted(0), far=shifted(10))
    untested = build_report(few.inputs, analyses=()).answer.forest

    assert everywhere is not None
    assert everywhere.finding == "near is better than far for every disease."
    assert level is not None
    assert level.finding == "For no disease can even and odd be told apart."
    assert untested is not None
    assert untested.finding == "Mass and Nodule have too few patients to test."


def test_the_terminal_shows_the_sentence_the_scoreboard_and_the_place_of_the_report() -> None:
    text = terminal_text(_report(near=shifted(0), far=shifted(10)), Path("out"))

    lines = text.splitlines()
    assert lines[0].startswith("near localizes better than far: its mean IoU of 1.000 is .667")
    header = next(i for i, line in enumerate(lines) if line.startswith("Localizer"))
    assert [line.split()[0] for line in lines[header + 1 : header + 3]] == ["near", "far"]
    at = lines[header].index("Mean IoU")
    assert lines[header + 2][at:].startswith(".333 [.333, .333]")
    assert "constant_box (control)" in text
    assert lines[-1] == "Report: out/report.html. Research use only, never a diagnosis."
    assert len(lines) < 16


def test_the_summary_has_the_headline_with_its_figures(tmp_path: Path) -> None:
    write_results(_report(near=shifted(0), far=shifted(10)), {}, tmp_path)

    summary = json.loads((tmp_path / "summary.json").read_text())
    said = summary["headline"]
    assert (said["winner"], said["runner_up"], said["control"]) == ("near", "far", "constant_box")
    assert said["difference"]["value"] == pytest.approx(2 / 3)
    assert said["over_control"]["verdict"] == "better"
    assert summary["answer"][0].startswith("On 24 boxes of 12 patients")
