"""Batches, their order and the random changes of an image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.batches import (
    EpochBatches,
    ImageBatches,
    augment,
    make_loader,
    mean_box_sizes,
)
from cxrloc.classification.training.samplers import Uniform
from cxrloc.datasets.images.transforms import fit_square
from cxrloc.datasets.radiograph import Box, LoadedImage, Radiograph

STILL: dict[str, Any] = {"rotation_degrees": 0.0, "shift": 0.0, "scale": 0.0, "brightness": 0.0}


def make_images(count: int) -> ImageBatches:
    radiographs = [Radiograph(f"i{n}", None, f"p{n}", "PA", {"Mass": n % 2}) for n in range(count)]
    cache = {r.image_id: np.full((4, 4), n, np.uint8) for n, r in enumerate(radiographs)}
    return ImageBatches(cache, radiographs, ("Mass", "Nodule"))  # type: ignore[arg-type]


def test_a_batch_holds_the_images_asked_for_with_unknown_labels_as_nan() -> None:
    squares, labels = make_images(5)[[3, 0]]
    assert squares.dtype == torch.uint8
    assert squares[:, 0, 0].tolist() == [3, 0]
    assert labels[:, 0].tolist() == [1, 0]
    assert labels[:, 1].isnan().all()


def test_validation_batches_hold_every_image_once_in_order() -> None:
    assert list(EpochBatches(5, 2)) == [[0, 1], [2, 3], [4]]
    assert len(EpochBatches(5, 2)) == 3


def test_training_batches_are_shuffled_by_seed_and_epoch_and_full() -> None:
    first, second = EpochBatches(50, 8, Uniform(50, 1)), EpochBatches(50, 8, Uniform(50, 1))
    assert list(first) == list(second)
    second.set_epoch(1)
    assert list(first) != list(second)
    assert [len(batch) for batch in second] == [8] * 6
    assert len({i for batch in second for i in batch}) == 48


def test_fewer_images_than_a_batch_still_make_one() -> None:
    assert [sorted(batch) for batch in EpochBatches(3, 8, Uniform(3, 0))] == [[0, 1, 2]]


def test_the_loader_hands_out_whole_batches() -> None:
    batches = list(make_loader(make_images(5), 2))
    assert [len(squares) for squares, _ in batches] == [2, 2, 1]
    assert batches[2][0][0, 0, 0] == 4


def test_a_cached_image_is_equalised_in_training_exactly_as_a_image_is_later() -> None:
    pixels = np.random.default_rng(0).integers(90, 120, (100, 80)).astype(np.uint8)
    cache = {"a": fit_square(pixels, 64)}
    radiograph = Radiograph("a", None, "p", "PA", {"Mass": 1})
    images = ImageBatches(cache, [radiograph], ("Mass",), clahe_clip=2.0)  # type: ignore[arg-type]
    later = Preprocessing(64, clahe_clip=2.0).squares([LoadedImage("a", pixels, (100, 80))])
    np.testing.assert_array_equal(images.squares([0]), later)
    assert later.max() > 150  # of 119


def test_without_changes_a_image_stays_what_it_is() -> None:
    grey = torch.rand(2, 16, 16) * 255
    same = augment(grey, TrainConfig(**STILL), np.random.default_rng(0))
    torch.testing.assert_close(same, grey, atol=0.01, rtol=0)


def test_flip_mirrors_some_images_and_is_off_by_default() -> None:
    grey = (torch.arange(16.0) * 10).expand(20, 16, 16)
    config = TrainConfig(**STILL, flip=True)
    changed = augment(grey, config, np.random.default_rng(0))
    mirrored = changed[:, 0, 0] > 100
    assert 0 < mirrored.sum() < 20
    torch.testing.assert_close(changed[mirrored][0], grey[0].flip(1), atol=0.01, rtol=0)
    assert not TrainConfig().flip


def test_brightness_stays_within_its_bounds_and_is_the_same_for_one_seed() -> None:
    grey = torch.full((200, 8, 8), 100.0)
    config = TrainConfig(**{**STILL, "brightness": 0.2})
    changed = augment(grey, config, np.random.default_rng(3))
    assert 80 <= changed.min() < 85
    assert 115 < changed.max() <= 120.001
    assert torch.equal(changed, augment(grey, config, np.random.default_rng(3)))


def test_a_shift_moves_the_content_by_at_most_its_share() -> None:
    grey = torch.zeros(100, 41, 41)
    grey[:, 20, 20] = 255
    config = TrainConfig(**{**STILL, "shift": 0.1})
    changed = augment(grey, config, np.random.default_rng(0))
    mass = changed / changed.sum((1, 2), keepdim=True)
    row = (mass.sum(2) * torch.arange(41.0)).sum(1) - 20
    assert 3 < row.abs().max() <= 4.2


def test_a_rotation_turns_both_ways_by_at_most_its_degrees() -> None:
    grey = torch.zeros(200, 101, 101)
    grey[:, 50, 90] = 255  # 40 pixels to the right of the centre
    config = TrainConfig(**{**STILL, "rotation_degrees": 7.0})
    changed = augment(grey, config, np.random.default_rng(0))
    mass = changed / changed.sum((1, 2), keepdim=True)
    down = (mass.sum(2) * torch.arange(101.0)).sum(1) - 50
    right = (mass.sum(1) * torch.arange(101.0)).sum(1) - 50
    degrees = torch.rad2deg(torch.atan2(down, right))
    assert -7.1 < degrees.min() < -6
    assert 6 < degrees.max() < 7.1


def test_mean_box_sizes_are_fractions_of_the_long_side() -> None:
    boxes = (Box("Mass", (0, 0, 100, 50)), Box("Edema", (0, 0, 10, 10)))
    images = [
        Radiograph("a", None, "1", "PA", {}, boxes, size_hw=(500, 1000)),
        Radiograph("b", None, "2", "PA", {}, (Box("Mass", (0, 0, 60, 10)),), size_hw=(200, 100)),
    ]
    sizes = mean_box_sizes(images, ("Mass", "Nodule"))
    assert list(sizes) == ["Mass"]
    assert sizes["Mass"] == pytest.approx((0.2, 0.05))
    assert not any(math.isnan(v) for wh in sizes.values() for v in wh)
