"""Controls: they never see the pixels, nor the boxes of the patient they are scored on."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest

from builders import coco_ground_truth, detections_list
from cxrloc.classification.inference.gate_table import GateRow
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.boxes import iou
from cxrloc.localization.evaluation.controls import (
    CenterBox,
    ConstantBox,
    OtherPatients,
    PriorBox,
    RandomMap,
    boxed_controls,
    controls_everywhere,
    random_map,
)
from cxrloc.localization.evaluation.detections import Detections
from cxrloc.localization.evaluation.gate_decisions import gate_decisions
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco
from cxrloc.localization.evaluation.typical_boxes.constant_box import best_constant_box
from cxrloc.localization.localizer import Localization, Localizer

Row = tuple[str, str, str, list[float]]  # image, patient, disease, xywh


def truth_of(rows: list[Row], size_hw: tuple[int, int] = (100, 200)) -> GroundTruth:
    patients = {image: patient for image, patient, _, _ in rows}
    diseases = list(dict.fromkeys(disease for _, _, disease, _ in rows))
    boxes = [(image, disease, box) for image, _, disease, box in rows]
    height, width = size_hw
    return ground_truth_from_coco(
        coco_ground_truth(diseases, boxes, size_wh=(width, height), patient_of=patients.__getitem__)
    )


ROWS: list[Row] = [
    ("a1", "a", "Mass", [0, 0, 50, 50]),
    ("a2", "a", "Mass", [0, 0, 50, 50]),
    ("b1", "b", "Mass", [10, 10, 20, 30]),
    ("c1", "c", "Mass", [30, 20, 40, 40]),
    ("d1", "d", "Mass", [20, 60, 100, 20]),
    ("d1", "d", "Nodule", [5, 5, 4, 4]),
]


def with_boxes_of_a(box: list[float]) -> GroundTruth:
    """The same ground truth, but for the boxes of patient a."""
    return truth_of([(i, p, d, box if p == "a" else xywh) for i, p, d, xywh in ROWS])


def as_lists(box: dict[str, Detections]) -> dict[str, list[Localization]]:
    return {name: detections_list(detections) for name, detections in box.items()}


def blank(
    image_id: str, patient_id: str = "", size_hw: tuple[int, int] = (100, 200)
) -> LoadedImage:
    return LoadedImage(image_id, np.zeros((1, 1), np.uint8), size_hw, patient_id)


def test_prior_box_is_the_median_of_each_side_over_the_other_patients() -> None:
    (box,) = PriorBox(truth_of(ROWS)).localize([blank("a1")], ["Mass"]).boxes
    # b, c, d: left 10 30 20, top 10 20 60, right 30 70 120, bottom 40 60 80
    assert box.box_xyxy == pytest.approx((20, 20, 70, 60))
    assert (box.image_id, box.disease, box.score) == ("a1", "Mass", 1.0)


def test_no_box_of_the_same_patient_is_used_whichever_the_image() -> None:
    """a has two boxed images: with one of them left in, the median would be another."""
    images = [blank("a1"), blank("a2")]
    first = PriorBox(truth_of(ROWS)).localize(images, ["Mass"]).boxes
    second = PriorBox(with_boxes_of_a([90, 90, 5, 5])).localize(images, ["Mass"]).boxes
    assert first == second
    assert first[0].box_xyxy == first[1].box_xyxy


def test_a_image_outside_the_ground_truth_is_known_by_its_own_patient() -> None:
    prior = PriorBox(truth_of(ROWS))
    (of_a,) = prior.localize([blank("new", patient_id="a")], ["Mass"]).boxes
    (of_nobody,) = prior.localize([blank("new")], ["Mass"]).boxes
    assert of_a.box_xyxy == pytest.approx((20, 20, 70, 60))
    assert of_nobody.box_xyxy == pytest.approx((10, 10, 50, 50))  # medians over all five


def test_boxes_scale_with_the_frame() -> None:
    prior = PriorBox(truth_of(ROWS))
    (box,) = prior.localize([blank("new", "a", size_hw=(1000, 1000))], ["Mass"]).boxes
    assert box.box_xyxy == pytest.approx((100, 200, 350, 600))  # widths x 5, heights x 10


def test_center_box_is_centred_and_has_the_median_size_of_the_others() -> None:
    (box,) = CenterBox(truth_of(ROWS)).localize([blank("a1")], ["Mass"]).boxes
    # b, c, d: width 20 40 100, height 30 40 20
    assert box.box_xyxy == pytest.approx((80, 35, 120, 65))


def test_constant_box_chooses_a_place_where_the_median_lies_between_two() -> None:
    """Two boxes left, one right: the median's left side is the left box's, its right side too."""
    left, right = [0.0, 20.0, 40.0, 60.0], [120.0, 20.0, 40.0, 60.0]
    truth = truth_of(
        [
            ("a1", "a", "Mass", left),
            ("b1", "b", "Mass", left),
            ("c1", "c", "Mass", right),
            ("d1", "d", "Mass", right),
            ("e1", "e", "Mass", left),
        ]
    )
    constant, prior = ConstantBox(truth), PriorBox(truth)
    (of_a,) = constant.localize([blank("a1")], ["Mass"]).boxes
    (of_c,) = constant.localize([blank("c1")], ["Mass"]).boxes
    assert of_c.box_xyxy == pytest.approx((0, 20, 40, 80))  # left 3 times, right once
    assert of_a.box_xyxy in ((0.0, 20.0, 40.0, 80.0), (120.0, 20.0, 160.0, 80.0))  # 2 to 2
    (between,) = prior.localize([blank("a1")], ["Mass"]).boxes
    assert between.box_xyxy == pytest.approx((60, 20, 100, 80))  # on neither
    assert (of_a.image_id, of_a.disease, of_a.score) == ("a1", "Mass", 1.0)


def test_constant_box_of_a_patient_does_not_depend_on_that_patients_boxes() -> None:
    images = [blank("a1"), blank("a2"), blank("b1")]
    first = ConstantBox(truth_of(ROWS)).localize(images, ["Mass"]).boxes
    second = ConstantBox(with_boxes_of_a([90, 50, 60, 40])).localize(images, ["Mass"]).boxes
    assert first[:2] == second[:2]
    assert first[2] != second[2]  # but that of the others does


def test_a_patient_without_the_disease_gets_the_best_box_of_all_patients() -> None:
    constant = ConstantBox(truth_of(ROWS))
    box = constant.localize([blank("new"), blank("newer", "z", (1000, 1000))], ["Mass"]).boxes
    boxes = np.array(
        [
            [x / 200, y / 100, (x + w) / 200, (y + h) / 100]
            for x, y, w, h in (row[3] for row in ROWS[:5])
        ]
    )
    best = best_constant_box(boxes)
    assert box[0].box_xyxy == pytest.approx(tuple(best * [200, 100, 200, 100]))
    assert box[1].box_xyxy == pytest.approx(tuple(best * 1000))  # fractions of each side


def test_the_only_patient_of_a_class_gets_no_box_and_it_is_said() -> None:
    prior = PriorBox(truth_of(ROWS))
    with pytest.warns(
        UserWarning, match="Nodule: no patient except 'd' has a box, so the controls predict none"
    ):
        assert prior.localize([blank("d1")], ["Nodule"]).boxes == ()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(prior.localize([blank("a1")], ["Nodule"]).boxes) == 1


def test_random_maps_depend_on_seed_image_and_disease_alone() -> None:
    truth = truth_of(ROWS)
    images = [blank("a1"), blank("b1"), blank("c1")]
    forward = RandomMap(7, truth).localize(images, ["Mass"]).boxes
    backward = RandomMap(7, truth).localize(images[::-1], ["Mass"]).boxes
    assert forward == backward[::-1]
    first = random_map(0, "a", "Mass")
    for other in (random_map(1, "a", "Mass"), random_map(0, "b", "Mass"), random_map(0, "a", "X")):
        assert not np.allclose(first, other)


def test_random_maps_are_the_same_on_any_machine() -> None:
    heat = random_map(0, "00000001_000.png", "Mass")
    np.testing.assert_allclose(heat[0, :3], [-0.0456958, -0.0195525, 0.0097754], rtol=1e-4)


def test_random_maps_do_not_gather_at_the_border() -> None:
    peaks = np.array(
        [np.unravel_index(random_map(0, str(i), "Mass").argmax(), (32, 32)) for i in range(400)]
    )
    at_border = ((peaks < 4) | (peaks >= 28)).any(axis=1).mean()
    assert at_border == pytest.approx(1 - (24 / 32) ** 2, abs=0.08)  # as often as anywhere


def test_all_controls_answer_for_every_boxed_image_and_disease_once() -> None:
    truth = truth_of([row for row in ROWS if row[2] == "Mass"])
    boxes_of = as_lists(boxed_controls(OtherPatients(truth), seed=0))
    assert list(boxes_of) == ["prior_box", "constant_box", "center_box", "random_map"]
    for boxes in boxes_of.values():
        assert [(b.image_id, b.disease) for b in boxes] == [
            (image, "Mass") for image in ("a1", "a2", "b1", "c1", "d1")
        ]


def test_a_class_methods_controls_agree_with_the_pixel_free_call() -> None:
    truth = truth_of(ROWS[:5])
    images = [blank(image) for image in truth.images.image_ids]
    boxes_of = as_lists(boxed_controls(OtherPatients(truth), seed=3))
    for control in (PriorBox(truth), ConstantBox(truth), CenterBox(truth), RandomMap(3, truth)):
        assert isinstance(control, Localizer)
        assert control.localize(images, ["Mass"]).boxes == tuple(boxes_of[control.name])


def test_controls_that_share_the_other_patients_are_those_of_the_ground_truth() -> None:
    truth = truth_of(ROWS)
    others, images = OtherPatients(truth), [blank("a1"), blank("c1"), blank("new")]
    for control in (PriorBox, ConstantBox, CenterBox):
        shared = control(others).localize(images, ["Mass"])
        assert shared == control(truth).localize(images, ["Mass"])


def test_an_unknown_disease_is_named() -> None:
    with pytest.raises(
        ValueError, match="unknown disease 'Hernia'; the ground truth has Mass, Nod"
    ):
        PriorBox(truth_of(ROWS)).localize([blank("a1")], ["Hernia"])


def test_on_nihs_boxes_the_prior_reaches_what_the_design_says(shared_data: Path) -> None:
    """A box that never looks is good on Cardiomegaly."""
    with (shared_data / "nih" / "BBox_List_2017.csv").open(newline="") as handle:
        lines = list(csv.reader(handle))[1:]
    rows: list[Row] = [(r[0], r[0][:8], r[1], [float(v) for v in r[2:6]]) for r in lines]
    truth = {(image, d): [x, y, x + w, y + h] for image, _, d, (x, y, w, h) in rows}
    boxes_of = as_lists(boxed_controls(OtherPatients(truth_of(rows, (1024, 1024))), seed=0))
    means = {}
    for name, boxes in boxes_of.items():
        assert len(boxes) == 984
        heart = [b for b in boxes if b.disease == "Cardiomegaly"]
        pairs = [b.box_xyxy for b in heart], [truth[b.image_id, b.disease] for b in heart]
        means[name] = float(iou(*pairs).mean())
    assert means["prior_box"] == pytest.approx(0.639, abs=0.001)
    assert means["constant_box"] == pytest.approx(0.64, abs=0.001)
    assert means["center_box"] == pytest.approx(0.495, abs=0.001)
    assert means["random_map"] < 0.15


def test_controls_everywhere_box_every_disease_on_every_image_with_the_gates_probability() -> None:
    boxes = [(f"{i}.png", "Mass", (8, 8, 16, 16)) for i in (1, 2)]
    coco = coco_ground_truth(("Mass", "Nodule"), boxes, images=["3.png"])
    truth = ground_truth_from_coco(coco)
    others = OtherPatients(truth)
    gate = gate_decisions(truth.images, [GateRow("1.png", "1", "Mass", 0.75, 0.5, True)])

    boxes_of = as_lists(controls_everywhere(others, gate))

    assert list(boxes_of) == ["prior_box", "constant_box"]
    for placed in boxes_of.values():  # nobody has a box of a nodule, so there is none to place
        assert [(b.image_id, b.disease, b.score) for b in placed] == [
            ("1.png", "Mass", 0.75),
            ("2.png", "Mass", 0.0),
            ("3.png", "Mass", 0.0),
        ]
        assert {b.box_xyxy for b in placed} == {(8.0, 8.0, 24.0, 24.0)}
    assert set(controls_everywhere(others)["prior_box"].score.tolist()) == {1.0}
