"""How far apart two gates are: counted on answers that are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cxrloc.classification.bundle.classifier import ClassifierBundle
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.datasets.phantoms.drawing.chest import render_image
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.analyses.runtimes.agreement import (
    RuntimePrediction,
    agreement,
    overlaps,
    predict,
)

DISEASES = ("Mass", "Effusion")
IMAGES = [
    LoadedImage(f"{seed}.png", render_image(DISEASES, seed=seed, image_size=128).pixels, (128, 128))
    for seed in range(3)
]


def _gate(threshold: float = 0.0, **changes: Any) -> Gate:
    model = build_classifier("resnet18", len(DISEASES), seed=3)[0].eval()
    thresholds = dict.fromkeys(DISEASES, threshold)
    bundle = ClassifierBundle(model, DISEASES, thresholds, Preprocessing(128), {}, {}, {})
    return Gate(replace(bundle, **changes), "cpu", "fp32")


def test_a_gate_agrees_with_itself() -> None:
    agreed = agreement(_gate(), _gate(), iter(IMAGES))

    assert (agreed.images, agreed.decisions, agreed.turned, agreed.boxes) == (3, 6, 0, 6)
    assert (agreed.mean_difference, agreed.largest_difference) == (0, 0)
    assert (agreed.same_box, agreed.median_iou) == (1, 1)
    assert "0 of 6 turned (0.00%)" in str(agreed)
    assert "100.0% of 6 overlap" in str(agreed)


def test_turned_decisions_and_differences_are_counted() -> None:
    first, other = _gate(), _gate(thresholds={"Mass": 0.0, "Effusion": None})
    with torch.no_grad():
        other.bundle.model.get_parameter("head.bias").add_(1)
    probabilities = first(IMAGES).probabilities, other(IMAGES).probabilities
    differences = np.abs(probabilities[0] - probabilities[1])

    agreed = agreement(first, other, IMAGES)

    assert agreed.turned == len(IMAGES)
    assert agreed.boxes == len(IMAGES)
    assert agreed.mean_difference == pytest.approx(differences.mean())
    assert agreed.largest_difference == pytest.approx(differences.max())
    assert agreed.same_box == 1


def test_another_map_is_another_box() -> None:
    other = _gate()
    with torch.no_grad():
        other.bundle.model.get_parameter("head.weight").mul_(-1)

    agreed = agreement(_gate(), other, IMAGES)

    assert agreed.median_iou is not None
    assert agreed.median_iou < 0.8
    assert agreed.same_box is not None
    assert agreed.same_box < 1


def test_a_box_that_one_gate_alone_has_overlaps_by_nothing() -> None:
    other = _gate()
    network = other.network
    other.network = replace(network, backbone=lambda x: 0 * network.backbone(x))

    agreed = agreement(_gate(), other, IMAGES)

    assert (agreed.boxes, agreed.same_box, agreed.median_iou) == (6, 0, 0)


def test_nothing_present_has_no_boxes_and_no_images_are_refused() -> None:
    agreed = agreement(_gate(1.0), _gate(1.0), IMAGES)
    assert (agreed.boxes, agreed.same_box, agreed.median_iou) == (0, None, None)
    assert "boxes: none to compare" in str(agreed)
    with pytest.raises(ValueError, match="no images"):
        agreement(_gate(), _gate(), [])


def test_overlaps_are_of_diseases_present_for_both() -> None:
    whole, half = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 5.0)
    nothing = np.zeros(3)
    first = RuntimePrediction(nothing, frozenset("abcd"), {"a": whole, "b": whole, "d": whole})
    second = RuntimePrediction(nothing, frozenset("abce"), {"a": half, "e": half})
    # of c neither has a box, of d and e one alone calls it present
    assert overlaps(first, second) == overlaps(second, first) == [0.5, 0.0]


def test_no_finding_turns_as_a_disease_does_and_has_no_box() -> None:
    """It may be one of a network's outputs."""
    names = ("Mass", "No Finding")
    calls, does_not = (
        _gate(diseases=names, thresholds={"Mass": 0.0, "No Finding": threshold})
        for threshold in (0.0, 1.0)
    )
    assert predict(calls, IMAGES[0]).present == {"Mass", "No Finding"}
    assert set(predict(calls, IMAGES[0]).boxes) == {"Mass"}
    agreed = agreement(calls, does_not, IMAGES)
    assert (agreed.turned, agreed.decisions, agreed.boxes) == (3, 6, 3)
