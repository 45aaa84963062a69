"""Published figures: the integers that they claim to be, each under its true criterion."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.localization.report.published import PublishedRow, comparable_rows, published_rows

# Deep MedIA's .833 is no multiple of 1/17 as its other Mass figures are; Wang's AFP of 1.0090 would
# be 992.86 / 984. Both stand as printed.
ODD = {
    ("Deep MedIA 2021, Mask R-CNN", 0.1, "Mass", 0.833),
    ("Wang et al. 2017, ChestX-ray8 model", 0.7, "Effusion", 1.009),
}


@pytest.mark.parametrize(
    "row", published_rows(), ids=lambda r: f"{r.study}, {r.measure}_{r.criterion}@{r.threshold}"
)
def test_hits_over_boxes_give_the_printed_figures(row: PublishedRow) -> None:
    last_digit = 1e-3 if row.study.startswith("Deep MedIA") else 1e-4
    for disease, printed in row.values.items():
        if (row.study, row.threshold, disease, printed) in ODD:
            continue
        boxes = row.boxes[disease]
        hits = round(printed * boxes)
        # they rounded or cut off: either way less than one unit of the last digit away
        assert abs(hits / boxes - printed) < last_digit, (disease, printed, boxes)


def test_accuracies_of_wang_are_of_all_984_boxes_and_deep_medias_of_199() -> None:
    accuracies = [row for row in published_rows() if row.measure == "acc"]

    sums = {(row.study.split()[0], sum(row.boxes.values())) for row in accuracies}

    assert sums == {("Wang", 984), ("Deep", 199)}


def test_deep_media_is_iou_and_wang_is_any() -> None:
    for row in published_rows():
        if row.study.startswith("Deep MedIA"):
            assert (row.criterion, row.rule) == ("iou", "not stated")
        else:
            assert row.rule == "any"


def test_wangs_infiltration_is_the_figure_that_wang_printed() -> None:
    row = comparable_rows("iobb", 0.5, NIH_BOXED_DISEASES)[0]

    assert row.values["Infiltration"] == 0.4227  # Deep MedIA quotes it as .4277
    assert row.macro_mean(NIH_BOXED_DISEASES) == pytest.approx(sum(row.values.values()) / 8)


@pytest.mark.parametrize(
    ("criterion", "threshold", "studies"),
    [
        ("iou", 0.5, ["Wang et al. 2017, ChestX-ray8 model", "Deep MedIA 2021, Mask R-CNN"]),
        ("iou", 0.75, ["Deep MedIA 2021, Mask R-CNN"]),
        (
            "iobb",
            0.9,
            ["Wang et al. 2017, ChestX-ray8 model", "Wang et al. 2017, ChestX-ray14 model"],
        ),
        ("iobb", 0.3, []),
    ],
)
def test_rows_stand_where_they_belong(criterion: str, threshold: float, studies: list[str]) -> None:
    rows = comparable_rows(criterion, threshold, NIH_BOXED_DISEASES)

    assert [row.study for row in rows] == studies


def test_nothing_published_is_shown_beside_other_diseases() -> None:
    assert comparable_rows("iou", 0.5, ["Mass", "Fracture"]) == ()


def test_our_file_holds_every_figure_of_the_shared_one(shared_data: Path) -> None:
    source = shared_data / "published" / "nih_localization.csv"
    if not source.is_file():
        pytest.skip(f"{source} is absent")
    in_our_file = {
        (r.criterion, r.measure, r.threshold, disease, value, r.boxes[disease])
        for r in published_rows()
        for disease, value in r.values.items()
    }
    with source.open(newline="") as handle:
        in_shared_file = {
            (
                r["criterion"],
                r["measure"],
                float(r["threshold"]),
                r["disease"],
                float(r["value"]),
                int(r["denominator"]),
            )
            for r in csv.DictReader(handle)
        }

    assert in_our_file == in_shared_file
