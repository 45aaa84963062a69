"""The torchvision backend learns, gives one result for one seed, and its bundle predicts alike."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from cxrloc.classification.bundle.file import read_bundle
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.detection.config import DetectorConfig, Init
from cxrloc.detection.data import DetectionSet
from cxrloc.detection.mask_rcnn import MaskRCNNLocalizer, load_predictor
from cxrloc.detection.torchvision_backend.backend import train_detector
from cxrloc.detection.torchvision_backend.data import training_batch
from cxrloc.detection.validation import best_ious, image_of, images_of, validation_scores
from cxrloc.localization.boxes import iou


def _train(
    config: DetectorConfig, data: DetectionSet, out: Path, epochs: int, **values: object
) -> Path:
    train = dataclasses.replace(config.train, epochs=epochs, **values)  # type: ignore[arg-type]
    config = dataclasses.replace(config, train=train)
    return train_detector(config, data, None, out, Init(), {"fold": 2})


def test_a_batch_is_the_same_for_the_same_seed_epoch_and_image(
    rectangles: DetectionSet, small_config: DetectorConfig
) -> None:
    first, _ = training_batch(rectangles, [3, 5], small_config, 1)
    again, targets = training_batch(rectangles, [3, 5], small_config, 1)
    assert torch.equal(first, again)
    boxes, labels = rectangles.boxes(5)
    assert targets[1]["boxes"].numpy() == pytest.approx(boxes)
    assert targets[1]["labels"].tolist() == labels.tolist()


def test_a_image_from_a_cached_square_has_its_padding_cut_off(rectangles: DetectionSet) -> None:
    radiograph = dataclasses.replace(rectangles.radiographs[0], boxes=(), size_hw=(500, 1000))
    image = image_of(radiograph, rectangles.squares, 128)
    assert image.pixels.shape == (64, 128)


@pytest.mark.slow
def test_one_seed_gives_one_result(
    rectangles: DetectionSet, small_config: DetectorConfig, tmp_path: Path
) -> None:
    first, two = (
        read_bundle(_train(small_config, rectangles, tmp_path / name, 1))[0] for name in "ab"
    )
    assert all(torch.equal(first[name], two[name]) for name in first)


@pytest.mark.slow
def test_sixteen_images_are_learned_by_heart(
    rectangles: DetectionSet, small_config: DetectorConfig, tmp_path: Path
) -> None:
    bundle = _train(small_config, rectangles, tmp_path, 22, precision="auto")
    predictor, metadata = load_predictor(bundle)
    assert metadata["train_boxes"] == {"Effusion": 8, "Mass": 8}
    assert (metadata["backend"], metadata["fold"], metadata["kept"]) == ("torchvision", 2, "last")
    scores = validation_scores(predictor, rectangles)
    assert scores.mean_iou > 0.7
    assert scores.average_precision > 0.7
    images = list(images_of(rectangles))
    detections = predictor.predict(images)
    masks = [
        value
        for radiograph, first in zip(rectangles.radiographs, detections, strict=True)
        for value in best_ious(radiograph, first, first.mask_boxes_xyxy(), rectangles.diseases)
    ]
    assert np.mean(masks) > 0.7
    _check_frames(predictor, images[0])
    _check_bfloat16(bundle, images)
    _check_files(bundle, small_config, rectangles, tmp_path)


def _check_frames(predictor: object, image: LoadedImage) -> None:
    # the same pixels said to be of a frame half as large: boxes half as large
    half = dataclasses.replace(image, size_hw=(512, 512))
    whole, halved = predictor.predict([image, half])  # type: ignore[attr-defined]
    assert whole.boxes_xyxy == pytest.approx(2 * halved.boxes_xyxy, abs=0.5)
    assert set(whole.diseases) == {"Effusion", "Mass"}
    localizations = MaskRCNNLocalizer(predictor).localize([image], ["Mass"]).boxes  # type: ignore[arg-type]
    assert {first.disease for first in localizations} == {"Mass"}


def _check_bfloat16(bundle: Path, images: list[LoadedImage]) -> None:
    # the tolerance that holds for 98 % of real images' boxes: see `torchvision_backend`
    exact, rounded = (load_predictor(bundle, "cpu", number)[0] for number in ("fp32", "bf16"))
    assert (exact.runtime, rounded.runtime) == ("torch fp32 on cpu", "torch bf16 on cpu")
    pairs = list(zip(exact.predict(images), rounded.predict(images), strict=True))
    assert any(a.scores.tolist() != b.scores.tolist() for a, b in pairs)
    for first, other in pairs:  # the strongest box of each image
        assert first.diseases[0] == other.diseases[0]
        assert abs(first.scores[0] - other.scores[0]) < 0.1
        assert iou(first.boxes_xyxy[:1], other.boxes_xyxy[:1])[0] > 0.8


def _check_files(bundle: Path, config: DetectorConfig, data: DetectionSet, out: Path) -> None:
    assert not (out / "checkpoints").exists()
    written = bundle.stat().st_mtime_ns
    assert _train(config, data, out, 22, precision="auto").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="another config or other images"):
        _train(config, data, out, 23, precision="auto")


def test_without_training_images_the_run_stops(
    small_config: DetectorConfig, tmp_path: Path
) -> None:
    none = DetectionSet((), {}, 128, small_config.diseases)
    with pytest.raises(ValueError, match="no training image"):
        train_detector(small_config, none, None, tmp_path, Init(), {})
