"""Masks of boxes and outlines as the network is taught them."""

from __future__ import annotations

import dataclasses
import hashlib

import cv2
import numpy as np
import pytest
import torch

from cxrloc.datasets.images.outlines import outline_mask
from cxrloc.datasets.radiograph import Box
from cxrloc.detection.config import AugmentConfig, DetectorConfig
from cxrloc.detection.data import DetectionSet
from cxrloc.detection.torchvision_backend.data import training_batch
from cxrloc.detection.torchvision_backend.masks import rectangle_masks


def _moved(config: DetectorConfig) -> DetectorConfig:
    train = dataclasses.replace(config.train, augment=AugmentConfig(flip=0.5))
    return dataclasses.replace(config, train=train)


def _targets(data: DetectionSet, config: DetectorConfig) -> list[dict[str, torch.Tensor]]:
    batches = [training_batch(data, range(len(data)), config, epoch)[1] for epoch in range(2)]
    return [target for batch in batches for target in batch]


def test_the_mask_of_a_box_is_its_filled_rectangle() -> None:
    masks = rectangle_masks(np.array([[1.4, 2.6, 3.6, 5.0]], np.float32), 8)
    expected = torch.zeros(1, 8, 8, dtype=torch.uint8)
    expected[0, 3:5, 1:4] = 1  # centres 1.5 2.5 3.5 across, 3.5 4.5 down
    assert torch.equal(masks, expected)
    assert rectangle_masks(np.zeros((0, 4), np.float32), 8).shape == (0, 8, 8)


def test_boxes_alone_give_the_targets_that_they_gave_before_there_were_outlines(
    rectangles: DetectionSet, small_config: DetectorConfig
) -> None:
    digest = hashlib.sha256()
    for target in _targets(rectangles, _moved(small_config)):
        for key in ("boxes", "labels", "masks"):
            digest.update(target[key].numpy().tobytes())
    assert digest.hexdigest() == "b9b377a5cdb69d16e85dcad6d81f4b04da2da61b51ee177713afc2d2702c4b1c"


def test_the_outline_of_a_rectangle_teaches_the_same_mask_wherever_it_is_moved(
    rectangles: DetectionSet, small_config: DetectorConfig
) -> None:
    outlined = []
    for radiograph in rectangles.radiographs:
        (box,) = radiograph.boxes
        x1, y1, x2, y2 = box.box_xyxy
        corners = (x1, y1, x1, y2, x2, y2, x2, y1)
        outlined.append(
            dataclasses.replace(radiograph, boxes=(dataclasses.replace(box, polygons=(corners,)),))
        )
    with_outlines = dataclasses.replace(rectangles, radiographs=tuple(outlined))
    config = _moved(small_config)
    pairs = zip(_targets(rectangles, config), _targets(with_outlines, config), strict=True)
    for plain, drawn in pairs:
        assert torch.equal(plain["boxes"], drawn["boxes"])
        assert torch.equal(plain["masks"], drawn["masks"])


def test_a_triangle_is_taught_as_a_triangle(
    rectangles: DetectionSet, small_config: DetectorConfig
) -> None:
    triangle = Box("Mass", (0, 0, 512, 512), ((0.0, 0.0, 512.0, 0.0, 0.0, 512.0),))
    radiograph = dataclasses.replace(rectangles.radiographs[0], boxes=(triangle,))
    data = dataclasses.replace(rectangles, radiographs=(radiograph,))
    _, (target,) = training_batch(data, [0], small_config, 0)
    centres = np.arange(128) + 0.5  # eight pixels of the original to one of the square
    assert (target["masks"][0].numpy() == (np.add.outer(centres, centres) < 64)).all()
    assert target["boxes"].tolist() == [[0, 0, 64, 64]]


@pytest.mark.parametrize("seed", range(4))
def test_a_pixel_is_in_an_outline_if_its_centre_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    radii = rng.uniform(4, 18, (9, 1))  # partly outside of the square
    star = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii + [14.3, 15.1]
    contour = star.astype(np.float32)[:, None]
    expected = [
        [cv2.pointPolygonTest(contour, (x + 0.5, y + 0.5), False) > 0 for x in range(32)]
        for y in range(32)
    ]
    assert outline_mask((star,), 32).tolist() == np.array(expected, np.uint8).tolist()
    assert outline_mask((star[::-1],), 32).tolist() == outline_mask((star,), 32).tolist()


def test_the_parts_of_one_finding_are_united() -> None:
    left = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    mask = outline_mask((left, left + 2), 8)
    assert mask.sum() == 16 + 16 - 4
    assert outline_mask((left + 100,), 8).sum() == 0
