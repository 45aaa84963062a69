"""Fusions of two localizers, each fold by a rule that its own boxes did not choose."""

from __future__ import annotations

import numpy as np
import pytest

from cxrloc.localization.evaluation.box_scores import score_boxes
from cxrloc.localization.evaluation.detections import place
from cxrloc.localization.evaluation.ground_truth import GroundTruth
from cxrloc.localization.fusion.fuse import Fusion, FusionRule, fuse, grid, macro_iou
from localization.fusion.world import FOLDS, IMAGES, shifted, truth


def _fusion(of: GroundTruth, **shifts: list[float]) -> Fusion:
    return fuse(of, {name: place(of, shifted(s.__getitem__)) for name, s in shifts.items()})


def test_two_that_err_to_opposite_sides_are_better_together() -> None:
    of = truth()
    fusion = _fusion(of, left=[-0.2] * IMAGES, right=[0.2] * IMAGES)

    assert {rule.weights for rule in fusion.rules} == {(1, 1)}
    assert macro_iou(of, place(of, shifted(lambda _: 0.2))) == pytest.approx(0.8 / 1.2)
    assert macro_iou(of, fusion.detections) > 0.95  # their scores weight them nearly equally
    assert len(fusion.detections) == IMAGES


def test_a_localizer_that_only_spoils_the_other_is_left_out() -> None:
    of = truth()
    spoils = np.random.default_rng(0).uniform(0.1, 0.3, IMAGES).tolist()
    fusion = _fusion(of, right=[0.0] * IMAGES, spoils=spoils)

    assert {rule.weights for rule in fusion.rules} <= {(1, 0), (3, 0)}
    assert score_boxes(fusion.detections).iou == pytest.approx(np.ones(len(of)))


def test_no_box_of_a_fold_influences_how_its_images_are_fused() -> None:
    """Moving the true boxes of fold 0 changes nothing there, but the rule of the others."""
    of, shifts = (
        truth(),
        {"a": [i % 5 / 9 for i in range(IMAGES)], "b": [-i % 4 / 7 for i in range(IMAGES)]},
    )
    moved = np.array([int(name[:2]) % FOLDS == 0 for name in of.image_ids])
    boxes = np.where(moved[:, None], of.boxes_xyxy + np.array([80, 0, 80, 0]), of.boxes_xyxy)
    other = GroundTruth(
        of.images, of.image_ids, of.patient_ids, of.diseases, boxes, of.disease_names
    )
    first, second = _fusion(of, **shifts), _fusion(other, **shifts)

    mine = [f.detections.where(f.detections.image % FOLDS == 0) for f in (first, second)]
    np.testing.assert_array_equal(mine[0].boxes_xyxy, mine[1].boxes_xyxy)
    np.testing.assert_array_equal(mine[0].score, mine[1].score)
    assert first.rules[0] == second.rules[0]
    assert first.mean_iou[1] != second.mean_iou[1]


def test_a_ground_truth_without_folds_is_parted_by_patients() -> None:
    fusion = _fusion(truth(None), left=[-0.2] * IMAGES, right=[0.2] * IMAGES)

    assert "5 parts by a hash of the patient" in fusion.parts.source
    assert len(fusion.detections) == IMAGES


def test_the_grid_has_no_rule_twice_and_starts_with_the_plainest() -> None:
    rules = grid(2)

    assert rules[0] == FusionRule((1, 1), 0.5, "mean")
    assert {rule.weights for rule in rules} == {(1, 1), (1, 3), (3, 1), (1, 0), (0, 1)}
    assert len(set(rules)) == len(rules) == 5 * 2 * 3
    assert (1, 1, 1) in {rule.weights for rule in grid(3)}
    assert (3, 3, 3) not in {rule.weights for rule in grid(3)}


def test_one_localizer_is_no_fusion() -> None:
    with pytest.raises(ValueError, match="a fusion needs two localizers or more, got 1"):
        _fusion(truth(), alone=[0.0] * IMAGES)
