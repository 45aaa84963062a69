"""Differences, tests and skill of pairs of localizers: what stands where."""

from __future__ import annotations

import pytest

import builders
from cxrloc.classification.report.tables import Cell, to_csv, to_latex, to_markdown
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.report.pair_tables import difference_table, paired_test_table, skill_table
from localization.report.half_comparison import half_comparison, half_evaluated, records, tables_of


def test_differences_of_all_measures_say_whether_the_interval_excludes_zero() -> None:
    rows = records(difference_table(half_comparison()))

    controls = ["prior_box", "constant_box", "center_box", "random_map"]
    assert [r["minus"] for r in rows] == controls * 11
    assert [r["measure"] for r in rows[::4]][:2] == [
        "mean_iou difference",
        "acc_iou@0.1 difference",
    ]
    # `half` has IoU .5, .5, 0; the prior box, the same on all patients, is always right
    assert float(rows[0]["macro mean"]) == pytest.approx(1 / 3 - 1, abs=1e-5)
    assert rows[0]["macro mean excludes zero"] == "yes"
    assert float(rows[0]["macro mean high"]) < 0
    assert "noninferior" not in rows[0]


def test_with_a_margin_differences_say_where_a_localizer_is_not_inferior() -> None:
    table = difference_table(half_comparison(("Mass", "Nodule"), margin=0.99))
    rows = {(r["measure"], r["minus"]): r for r in records(table)}

    # hits at .1 are 1, 1, 0 against 1, 1, 1; three patients: some resamples miss all, -1 < -.99
    lost = rows["acc_iou@0.1 difference", "prior_box"]
    assert (lost["noninferior"], lost["noninferior in"]) == ("no", "none")
    # the centre box (27 to 37) does not touch the ground truth (10 to 20)
    beaten = rows["mean_iou difference", "center_box"]
    assert (beaten["noninferior"], beaten["noninferior in"]) == ("yes", "Mass, Nodule")
    assert "lies above -0.99" in table.notes[-1]


def test_paired_tests_count_boxes_and_patients_and_refuse_to_test_three() -> None:
    table = paired_test_table(half_comparison(("Mass", "Nodule")))
    mass, _, macro = records(table)[:3]

    assert (mass["localizer"], mass["minus"], mass["disease"]) == ("half", "prior_box", "Mass")
    assert (mass["boxes"], mass["patients"], mass["ties"]) == ("3", "3", "0")
    assert float(mass["mean IoU difference"]) == pytest.approx(-2 / 3, abs=1e-5)
    assert mass["mean IoU difference low"] != ""
    assert (mass["hits first only"], mass["hits second only"]) == ("0", "3")
    assert (mass["tested"], mass["Wilcoxon p"], mass["McNemar Holm p"]) == ("no", "", "")
    assert (macro["disease"], macro["boxes"], macro["patients"]) == ("macro mean", "6", "3")
    assert "No test under 10 patients: p and effect are undefined there" in table.notes
    assert "A box is hit when its IoU is over 0.5" in table.notes


def test_skill_stands_beside_every_mean_and_with_intervals_in_a_table_of_its_own() -> None:
    compared = half_evaluated(("Mass", "Nodule"))
    rows = {
        (r["measure"], r["localizer"], r["control"]): r
        for r in records(skill_table(compared.comparison))
    }

    # the centre box has IoU 0, so skill over it is the mean itself; the prior box leaves nothing
    assert float(rows["mean_iou skill", "half", "center_box"]["Mass"]) == pytest.approx(
        1 / 3, abs=1e-5
    )
    assert rows["mean_iou skill", "half", "prior_box"]["macro mean"] == ""
    assert ("mean_iou skill", "center_box", "constant_box") in rows
    assert ("mean_iou skill", "center_box", "prior_box") not in rows
    (table,) = (table for table in tables_of(compared) if table.name == "mean_iou")
    for row in table.rows:
        figures = [*row.cells.values(), row.trail["macro mean, any"]]
        is_reference = row.lead["localizer"] == "constant_box"
        assert all(isinstance(c, Cell) and (c.skill is None) == is_reference for c in figures)


def test_without_localizers_there_are_controls_and_an_empty_table_of_differences() -> None:
    boxes = [(name, "Mass", (1, 1, 4, 4)) for name in "ab"]
    coco = builders.coco_ground_truth(["Mass"], boxes, size_wh=(9, 9))
    table = difference_table(builders.comparison(coco, {}, resamples=10))

    assert table.rows == ()
    assert to_csv(table) == "note\n"
    assert to_latex(table).endswith("\\end{itemize}\n")
    assert RESEARCH_USE in to_markdown(table)
