"""Detections, the localizer around any backend, and the registry of backends."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from cxrloc.classification.bundle.file import write_bundle
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.detection import mask_rcnn
from cxrloc.detection.mask_rcnn import Detections, MaskRCNNLocalizer, load_backend, load_predictor
from cxrloc.localization.localizer import Localizer


def _detections() -> Detections:
    masks = np.zeros((3, 28, 28), np.float32)
    masks[0, :, :14] = 1.0  # left half
    masks[1] = 1.0
    boxes = np.array([[100, 200, 380, 480], [0, 0, 56, 28], [10, 10, 20, 20]], float)
    names = ("Mass", "Nodule", "Mass")
    return Detections("a", (500, 400), boxes, np.array([0.9, 0.5, 0.2]), names, masks)


class _Fixed:
    runtime = "by hand"

    def predict(self, images: Sequence[LoadedImage]) -> list[Detections]:
        return [_detections() for _ in images]


IMAGE = LoadedImage("a", np.zeros((50, 40), np.uint8), (500, 400))


def test_the_box_around_a_mask_is_the_part_of_the_box_that_it_fills() -> None:
    boxes = _detections().mask_boxes_xyxy()
    # the linear edge between the cells 13 (1) and 14 (0) crosses .5 at 14 of 28 cells
    np.testing.assert_allclose(boxes[0], [100, 200, 240, 480], atol=280 / 28 / 8)
    np.testing.assert_allclose(boxes[1], [0, 0, 56, 28])
    assert np.isnan(boxes[2]).all()  # empty mask


def test_a_pasted_mask_lies_where_the_mask_box_is() -> None:
    mask = _detections().pasted_mask(0)
    assert mask.shape == (500, 400)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max() + 1) == (200, 480)
    assert columns.min() == 100
    assert abs(columns.max() + 1 - 240) <= 1
    assert mask.sum() == pytest.approx(280 * 140, rel=0.01)
    assert not _detections().pasted_mask(2).any()


def test_a_mask_is_not_pasted_beyond_the_frame() -> None:
    masks = np.ones((1, 28, 28), np.float32)
    boxes = np.array([[390.5, 480.2, 400.0, 500.0]])
    mask = Detections("a", (500, 400), boxes, np.ones(1), ("Mass",), masks).pasted_mask(0)
    assert mask.sum() == 10 * 20


def test_arrays_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 diseases need boxes \(2, 4\)"):
        Detections("a", (9, 9), np.zeros((1, 4)), np.zeros(1), ("Mass", "Nodule"))
    with pytest.raises(ValueError, match=r"expected masks of shape \(0, cells, cells\)"):
        Detections(
            "a", (9, 9), np.zeros((0, 4)), np.zeros(0), (), np.zeros((1, 28, 28), np.float32)
        )


def test_the_localizer_returns_only_the_asked_diseases() -> None:
    localizer = MaskRCNNLocalizer(_Fixed())
    assert localizer.runtime == "by hand"
    boxes = localizer.localize([IMAGE], ["Nodule"]).boxes
    assert [(f.image_id, f.disease, f.box_xyxy, f.score) for f in boxes] == [
        ("a", "Nodule", (0.0, 0.0, 56.0, 28.0), 0.5)
    ]
    assert localizer.localize([IMAGE], []).boxes == ()
    assert localizer.localize([], ["Mass"]).boxes == ()


def test_the_mask_localizer_leaves_out_empty_masks() -> None:
    boxes = MaskRCNNLocalizer(_Fixed(), "mask").localize([IMAGE], ["Mass"]).boxes
    assert [f.score for f in boxes] == [0.9]
    assert boxes[0].box_xyxy[2] == pytest.approx(240, abs=1.3)


def test_masks_are_pasted_only_when_asked_for() -> None:
    assert MaskRCNNLocalizer(_Fixed()).localize([IMAGE], ["Mass"]).boxes[0].mask is None
    mask = MaskRCNNLocalizer(_Fixed(), with_masks=True).localize([IMAGE], ["Mass"]).boxes[0].mask
    assert mask is not None
    assert mask[300, 150]


def test_both_heads_are_localizers_of_their_own_name() -> None:
    box, mask = MaskRCNNLocalizer(_Fixed()), MaskRCNNLocalizer(_Fixed(), "mask")
    assert isinstance(box, Localizer)
    assert (box.name, mask.name) == ("mask_rcnn", "mask_rcnn_mask_box")
    with pytest.raises(ValueError, match="expected 'box' or 'mask'"):
        MaskRCNNLocalizer(_Fixed(), "both")  # type: ignore[arg-type]


def test_an_unknown_backend_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="expected one of torchvision, detectron2"):
        load_backend("yolo")


def test_a_missing_detectron2_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "detectron2" else find(name)
    )
    with pytest.raises(ImportError, match=r"--no-build-isolation git\+https"):
        load_backend("detectron2")


def test_every_registered_backend_is_a_module_of_this_package() -> None:
    for module in mask_rcnn.BACKENDS.values():
        assert importlib.util.find_spec(module) is not None


def test_a_classifier_bundle_is_no_detector(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    write_bundle(path, {"a": torch.zeros(1)}, {"kind": "classifier"})
    with pytest.raises(ValueError, match="maskrcnn"):
        load_predictor(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"anchor_ratios": [1.0]}}, "anchor_ratios"),  # a setting of another version
        ({"model": {}, "size": None}, "size: got None, expected a valid integer"),
        ({"model": {"fpn_channels": 2**40}}, "model.fpn_channels: got 1099511627776, expected"),
        ({}, "KeyError: 'model'"),
    ],
)
def test_a_bundle_of_another_version_is_named_with_what_to_do(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    path = tmp_path / "maskrcnn.safetensors"
    metadata = {"kind": "maskrcnn", "backend": "torchvision", "diseases": ["Mass"], "size": 64}
    write_bundle(path, {"a": torch.zeros(1)}, {**metadata, **changes})
    with pytest.raises(ValueError, match="train it again with cxrloc train-maskrcnn") as error:
        load_predictor(path)
    assert str(path) in str(error.value)
    assert said in str(error.value)
