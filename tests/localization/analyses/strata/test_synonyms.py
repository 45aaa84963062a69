"""Strict and merged names: which boxes count, by hand, and what the section prints."""

from __future__ import annotations

import random

import numpy as np
import pytest

from builders import coco_ground_truth, detections_list, evaluated
from cxrloc.classification.report.tables import Cell
from cxrloc.localization.analyses.strata.synonyms import (
    groups_of,
    merge_names,
    strict_and_merged_iou,
    synonyms,
)
from cxrloc.localization.evaluation.detections import DISEASE_GIVEN, GATED, place
from cxrloc.localization.evaluation.ground_truth import (
    FloatArray,
    GroundTruth,
    ground_truth_from_coco,
)
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.glossary import lookup
from cxrloc.localization.report.sections import Section

BOX = (10.0, 10.0, 20.0, 20.0)
HALF = (10.0, 10.0, 20.0, 15.0)  # IoU .5 with BOX
FAR = (30.0, 30.0, 40.0, 40.0)
DISEASES = ("Mass", "Nodule", "Effusion")


def _truth(pairs: list[tuple[str, str]]) -> GroundTruth:
    boxes = [(image, disease, (10, 10, 10, 10)) for image, disease in pairs]
    return ground_truth_from_coco(coco_ground_truth(DISEASES, boxes))


# a: the mass is boxed as a nodule; b: the nodule's own half box outranks the mass's good one;
# c: the effusion has no synonym
TRUTH = _truth([("a", "Mass"), ("b", "Nodule"), ("c", "Effusion")])
FOUND = [
    Localization("a", "Mass", FAR, 0.3),
    Localization("a", "Nodule", BOX, 0.6),
    Localization("b", "Nodule", HALF, 0.8),
    Localization("b", "Mass", BOX, 0.2),
    Localization("c", "Effusion", HALF, 0.5),
    Localization("c", "Mass", BOX, 0.9),
]


def _ious(gate: dict[tuple[str, str], bool] | None = None) -> tuple[FloatArray, FloatArray]:
    """IoU of `FOUND` where the gate lets it pass, names strict and merged."""
    compared = evaluated(TRUTH, {"mine": FOUND}, gate)
    setting = DISEASE_GIVEN if gate is None else GATED
    return strict_and_merged_iou(compared, "mine", setting, groups_of(DISEASES))


def test_a_group_needs_two_of_its_diseases() -> None:
    assert groups_of(["Mass", "Effusion", "Pneumonia"]) == {}
    assert groups_of(["Mass", "Nodule", "Pneumonia"]) == {
        "Nodule": ("Nodule", "Mass"),
        "Mass": ("Nodule", "Mass"),
    }
    three = groups_of(["Consolidation", "Infiltration"])
    assert three == dict.fromkeys(three, ("Infiltration", "Consolidation"))


def test_merging_gives_a_box_every_name_of_its_group_and_leaves_others_alone() -> None:
    under_all_names = merge_names(place(TRUTH, FOUND[3:5]), groups_of(DISEASES))

    assert [(box.disease, box.box_xyxy) for box in detections_list(under_all_names)] == [
        ("Nodule", BOX),
        ("Mass", BOX),
        ("Effusion", HALF),
    ]


def test_merged_takes_the_highest_score_of_the_group_also_where_that_is_the_worse_box() -> None:
    strict, merged = _ious()

    assert strict.tolist() == [0, 0.5, 0.5]
    assert merged.tolist() == [1, 0.5, 0.5]


def test_gated_a_pair_passes_when_the_gate_passes_any_disease_of_the_group_that_it_knows() -> None:
    gate = {
        ("a", "Mass"): False,
        ("a", "Nodule"): True,
        ("b", "Nodule"): False,
        ("c", "Effusion"): True,
    }

    strict, merged = _ious(gate)

    # b: the gate does not know the mass there, so the mass's box does not count
    assert strict.tolist() == [0, 0, 0.5]
    assert merged.tolist() == [1, 0, 0.5]
    _, with_mass = _ious(gate | {("b", "Mass"): True})
    # and here the nodule's box, refused, no longer outranks it
    assert with_mass.tolist() == [1, 1, 0.5]


@pytest.mark.parametrize("truth", [TRUTH, _truth([("a", "Mass")])])
def test_a_gate_without_a_decision_for_a_box_is_refused(truth: GroundTruth) -> None:
    gate = {("b", "Nodule"): True, ("c", "Effusion"): True}

    with pytest.raises(ValueError, match="no decision for Mass on a"):
        synonyms(evaluated(truth, {"mine": []}, gate))


def _figures(section: Section, measure: str, names: str, setting: str) -> dict[str, float]:
    (row,) = (
        row
        for row in section.tables[0].rows
        if row.lead == {"measure": measure, "localizer": "mine", "setting": setting, "names": names}
    )
    return {k: c.estimate.value for k, c in row.cells.items() if isinstance(c, Cell)}


def test_the_section_shows_affected_diseases_and_a_macro_mean_over_all() -> None:
    section = synonyms(evaluated(TRUTH, {"mine": FOUND}))

    given = "disease given"
    assert section.key == "synonyms"
    assert _figures(section, "mean_iou", "strict", given) == {
        "Mass": 0,
        "Nodule": 0.5,
        "macro mean": pytest.approx(1 / 3),
    }
    assert _figures(section, "mean_iou", "merged", given)["macro mean"] == pytest.approx(2 / 3)
    difference = _figures(section, "mean_iou", "merged - strict", given)
    assert difference == {"Mass": 1, "Nodule": 0, "macro mean": pytest.approx(1 / 3)}
    # strictly greater: the half box is no hit at .5
    assert _figures(section, "acc_iou@0.5", "merged", given)["Nodule"] == 0
    assert _figures(section, "acc_iou@0.3", "merged", given)["Nodule"] == 1
    blocks = list(dict.fromkeys(row.block for row in section.tables[0].rows))
    assert blocks == ["mean_iou", "acc_iou@0.1", "acc_iou@0.3", "acc_iou@0.5"]
    assert "macro mean IoU 0.333 with strict names, 0.667 with merged ones" in section.paragraphs[1]


def test_the_difference_is_paired_so_its_interval_is_a_point_where_every_patient_gains_alike() -> (
    None
):
    images = [f"{i}" for i in range(12)]
    rng = np.random.default_rng(0)
    boxes = []
    for image in images:
        side = float(rng.uniform(2, 8))  # IoU side * side / 100: it differs, the gain does not
        boxes.append(Localization(image, "Mass", (10, 10, 10 + side, 20), 0.3))
        boxes.append(Localization(image, "Nodule", (10, 10, 11 + side, 20), 0.6))
    truth = _truth([(image, "Mass") for image in images])

    section = synonyms(evaluated(truth, {"mine": boxes}, resamples=200, seed=1))

    rows = {row.lead["names"]: row for row in section.tables[0].rows if row.block == "mean_iou"}
    cell, strict = rows["merged - strict"].cells["Mass"], rows["strict"].cells["Mass"]
    assert isinstance(cell, Cell)
    assert isinstance(strict, Cell)
    estimate = cell.estimate
    assert [estimate.low, estimate.value, estimate.high] == pytest.approx([0.1, 0.1, 0.1])
    assert strict.estimate.high - strict.estimate.low > 0.05


def test_the_order_of_predictions_changes_nothing_and_every_column_is_explained() -> None:
    gate = {(image, d): True for image in "abc" for d in DISEASES}
    plain = synonyms(evaluated(TRUTH, {"mine": FOUND}, gate))
    mixed = random.Random(3).sample(FOUND, len(FOUND))

    other = synonyms(evaluated(TRUTH, {"mine": mixed}, gate))

    assert [row.lead for row in other.tables[0].rows] == [row.lead for row in plain.tables[0].rows]
    for row, same in zip(plain.tables[0].rows, other.tables[0].rows, strict=True):
        assert str(row.cells) == str(same.cells)  # as text: NaN is not equal to itself
        for column in {*row.lead, *row.cells, *row.trail} - {*DISEASES}:
            assert lookup(column).definition


def test_all_gates_open_gated_figures_are_those_with_the_disease_given() -> None:
    gate = {(image, d): True for image in "abc" for d in DISEASES}

    section = synonyms(evaluated(TRUTH, {"mine": FOUND}, gate))

    for names in ("strict", "merged", "merged - strict"):
        gated = _figures(section, "acc_iou@0.3", names, "gated")
        assert gated == _figures(section, "acc_iou@0.3", names, "disease given")


@pytest.mark.parametrize(
    ("diseases", "boxes"),
    [
        (("Effusion", "Mass"), []),  # one of a group alone
        (("Effusion",), [Localization("a", d, BOX, 0.5) for d in ("Mass", "Nodule")]),
    ],
)
def test_without_two_names_of_a_group_the_section_says_so_and_has_no_table(
    diseases: tuple[str, ...], boxes: list[Localization]
) -> None:
    truth = _truth([("a", disease) for disease in diseases])

    section = synonyms(evaluated(truth, {"mine": boxes}))

    assert section.tables == ()
    assert section.finding.startswith("Nothing to merge: no group has two")


def test_a_name_that_only_the_predictions_hold_is_merged_too_and_silence_is_a_miss() -> None:
    truth = _truth([("a", "Mass"), ("b", "Mass")])
    boxes = [Localization("a", "Nodule", BOX, 0.5)]

    section = synonyms(evaluated(truth, {"mine": boxes}))

    given = "disease given"
    assert _figures(section, "mean_iou", "strict", given) == {"Mass": 0, "macro mean": 0}
    assert _figures(section, "mean_iou", "merged", given) == {"Mass": 0.5, "macro mean": 0.5}


def test_without_any_localizer_there_is_no_table() -> None:
    assert synonyms(evaluated(TRUTH, {})).tables == ()
