"""The box loss: targets by hand, boxes that follow their image, and what may teach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cxrloc.classification.network.classifier import build_classifier
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.batches import Changes
from cxrloc.classification.training.losses.boxes import (
    BoxLoss,
    BoxRegions,
    location_prior,
    union_mask,
)
from cxrloc.datasets.radiograph import Box, Radiograph

STILL: dict[str, Any] = {"rotation_degrees": 0.0, "shift": 0.0, "scale": 0.0, "brightness": 0.0}
GUIDED = TrainConfig(box_loss_weight=1, box_inside_weight=5, box_absent_weight=0.05)
NAN = float("nan")


def radiograph(*boxes: Box, size_hw: tuple[int, int] = (80, 80)) -> Radiograph:
    return Radiograph("a.png", None, "p", "PA", {"Mass": 1, "Nodule": 0}, boxes, size_hw)


def test_a_pixel_holds_the_share_of_it_that_lies_in_a_box() -> None:
    """A frame of 80 on 8 pixels: the box from 15 to 40 covers half of pixel 1, then 2 and 3."""
    mask = union_mask([Box("Mass", (15, 0, 40, 25))], 0.1, 8)
    across, down = [0, 0.5, 1, 1, 0, 0, 0, 0], [1, 1, 0.5, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(mask / 255, np.outer(down, across), atol=0.5 / 255)


def test_several_boxes_of_a_disease_are_their_union() -> None:
    mask = union_mask([Box("Mass", (0, 0, 40, 40)), Box("Mass", (20, 20, 80, 40))], 0.1, 8)
    assert (mask / 255).sum() == 4 * 4 + 4 * 2


def test_outlines_stand_for_their_box_and_may_overlap() -> None:
    """A triangle over half of a square of 40 x 40, twice."""
    triangle = (0.0, 0.0, 40.0, 0.0, 0.0, 40.0)
    mask = union_mask([Box("Mass", (0, 0, 40, 40), (triangle, triangle))], 0.1, 8) / 255
    assert mask.sum() == pytest.approx(8, abs=0.51)
    assert (mask[0, 0], mask[3, 3]) == (1, 0)
    np.testing.assert_allclose(mask[range(4), range(3, -1, -1)], 0.5, atol=0.13)  # the long side


def test_the_masks_of_a_batch_name_their_image_and_disease() -> None:
    boxes = Box("Mass", (0, 0, 80, 80)), Box("Edema", (0, 0, 9, 9)), Box("Nodule", (0, 0, 40, 80))
    regions = BoxRegions([radiograph(), radiograph(*boxes)], ("Nodule", "Mass"), 8)
    pairs, masks = regions.of_batch([0, 1, 0])
    assert pairs.tolist() == [[1, 1], [1, 0]]
    assert masks.dtype == torch.uint8
    assert masks.sum(dim=(1, 2)).tolist() == [64 * 255, 32 * 255]
    assert len(regions) == 2  # Edema is no output
    empty, none = regions.of_batch([0])
    assert (empty.shape, none.shape) == ((0, 2), (0, 8, 8))


def test_a_frame_that_is_not_square_is_scaled_as_its_pixels_are() -> None:
    box = Box("Mass", (0, 40, 40, 80))
    [mask] = BoxRegions([radiograph(box, size_hw=(160, 80))], ("Mass",), 8).of_batch([0])[1]
    assert np.argwhere(mask.numpy()).tolist() == [[y, x] for y in (2, 3) for x in (0, 1)]


def test_targets_and_weights_of_known_boxes() -> None:
    """Four images, two diseases, 2 x 2 cells of 4 pixels; the box covers 1 and a half cells."""
    labels = torch.tensor([[1, 0], [1, NAN], [NAN, 1], [0, 0.0]])
    mask = torch.zeros(1, 4, 4)
    mask[0, :2, :3] = 1
    targets, weights = BoxLoss(GUIDED).targets(
        torch.Size((4, 2, 2, 2)), labels, torch.tensor([[0, 0]]), mask
    )
    assert targets[0, 0].tolist() == [[1, 0.5], [0, 0]]
    assert targets.sum() == 1.5
    assert weights[0, 0].tolist() == [[5, 3], [1, 1]]
    expected = {
        (0, 1): 0.05,
        (1, 0): 0,
        (1, 1): 0,
        (2, 0): 0,
        (2, 1): 0,
        (3, 0): 0.05,
        (3, 1): 0.05,
    }
    for (row, column), weight in expected.items():
        np.testing.assert_allclose(weights[row, column], weight)


def test_the_loss_is_the_weighted_mean_of_the_cells_cross_entropy() -> None:
    cells = torch.tensor([[[[2.0, -1.0]]]])
    mask = torch.tensor([[[1.0, 0.0]]])
    loss, total = BoxLoss(GUIDED)(cells, torch.tensor([[1.0]]), torch.tensor([[0, 0]]), mask)
    inside, outside = np.log1p(np.exp(-2)), np.log1p(np.exp(-1))
    assert total == 6
    assert loss.item() == pytest.approx((5 * inside + outside) / 6)


@pytest.mark.parametrize("label", [0.0, NAN])
def test_a_box_whose_label_is_absent_or_unknown_teaches_nothing(label: float) -> None:
    cells = torch.zeros(1, 1, 2, 2, requires_grad=True)
    pairs = torch.tensor([[0, 0]])
    loss, total = BoxLoss(GUIDED)(cells, torch.tensor([[label]]), pairs, torch.ones(1, 4, 4))
    loss.backward()
    assert (loss.item(), total.item()) == (0, 0)
    assert cells.grad is not None
    assert not cells.grad.any()


@pytest.mark.parametrize(
    "change",
    [
        {"rotation_degrees": 30.0},
        {"shift": 0.2},
        {"scale": 0.4},
        {"flip": True},
        {"rotation_degrees": 30.0, "shift": 0.2, "scale": 0.4, "flip": True},
    ],
    ids=str,
)
def test_boxes_follow_their_image(change: dict[str, Any]) -> None:
    """The box is drawn into the image, white on black: both must move alike."""
    boxes = [Box("Mass", (8, 16, 44, 30), ()), Box("Mass", (50, 40, 60, 76))]
    images = [radiograph(), radiograph(boxes[0]), radiograph(), radiograph(*boxes)]
    regions = BoxRegions(images, ("Mass",), 80)
    drawn = torch.zeros(4, 80, 80)
    drawn[1], drawn[3] = (torch.from_numpy(union_mask(b, 1.0, 80)) for b in (boxes[:1], boxes))
    changes = Changes.draw(4, TrainConfig(**{**STILL, **change}), np.random.default_rng(0))
    pairs, masks = regions.of_batch(range(4))
    moved, expected = changes.of_masks(masks, pairs[:, 0]), changes.of_images(drawn)
    assert pairs[:, 0].tolist() == [1, 3]
    torch.testing.assert_close(moved, expected[[1, 3]] / 255, atol=1e-6, rtol=0)
    assert not torch.equal(moved, masks / 255)


def test_no_box_in_a_batch_is_no_mask() -> None:
    changes = Changes.draw(2, TrainConfig(), np.random.default_rng(0))
    pairs, masks = BoxRegions([radiograph()], ("Mass",), 8).of_batch([0, 0])
    assert changes.of_masks(masks, pairs[:, 0]).shape == (0, 8, 8)


def test_a_step_raises_the_cells_inside_and_lowers_those_outside() -> None:
    cells = torch.zeros(1, 1, 2, 2, requires_grad=True)
    mask = torch.zeros(1, 4, 4)
    mask[0, :2, :2] = 1
    BoxLoss(GUIDED)(cells, torch.tensor([[1.0]]), torch.tensor([[0, 0]]), mask)[0].backward()
    assert cells.grad is not None
    step = -cells.grad[0, 0]
    assert step[0, 0] > 0
    assert (step.flatten()[1:] < 0).all()
    assert step[0, 0] == pytest.approx(-5 * step[1, 1].item())


def test_the_mean_of_the_cells_logits_is_the_images() -> None:
    model = build_classifier("simple_cnn", 3)[0].eval()
    output = model(torch.rand(2, 3, 96, 64))
    cells = model.cell_logits(output.features)
    assert cells.shape == (2, 3, 3, 2)
    torch.testing.assert_close(cells.mean(dim=(2, 3)), output.logits)
    two_layer = build_classifier("simple_cnn", 3, "two_layer")[0]
    with pytest.raises(ValueError, match="not one linear layer, so its logits are no mean"):
        two_layer.cell_logits(output.features)


def test_the_prior_is_half_the_log_odds_of_the_training_boxes() -> None:
    """Boxes of half the image give its cells even odds; a disease without boxes adds nothing."""
    left, whole = Box("Mass", (0, 0, 40, 80)), Box("Mass", (0, 0, 80, 80))
    regions = BoxRegions([radiograph(left), radiograph(whole)], ("Mass", "Nodule"), 64)
    prior = location_prior(regions, 40)
    shares = torch.sigmoid(2 * prior)
    assert shares[0, 20, 2] == pytest.approx(2.5 / 3, abs=1e-5)
    assert shares[0, 20, 37] == pytest.approx(1.5 / 3, abs=1e-5)
    assert set(shares[1].flatten().tolist()) == {0.5}


def test_a_guided_network_adds_its_prior_to_its_cells_and_nothing_to_its_logits() -> None:
    model = build_classifier("simple_cnn", 2)[0].eval()
    images = torch.rand(1, 3, 96, 64)
    before = model(images)
    cells = model.cell_logits(before.features)
    model.guide(torch.arange(12.0).view(2, 3, 2))
    after = model(images)
    torch.testing.assert_close(after.logits, before.logits)
    added = model.cell_logits(after.features) - cells
    torch.testing.assert_close(added[0], torch.arange(12.0).view(2, 3, 2), atol=1e-5, rtol=0)
    model.guide(torch.full((2, 6, 4), 3.0))  # of another size: scaled to the map
    torch.testing.assert_close(model.cell_logits(after.features), cells + 3)
