"""RoIAlign by matrix products gives torchvision's numbers and gradients."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from cxrloc.detection.torchvision_backend.roi_align import FastRoIAlign, interpolation_matrix


def _boxes(count: int) -> torch.Tensor:
    corner = torch.rand(count, 2) * 250
    boxes = torch.cat([corner, (corner + torch.rand(count, 2) * 200 + 1).clamp(max=320)], 1)
    # the whole image, a region smaller than a cell, and one in the last cell
    boxes[:3] = torch.tensor([[0, 0, 320, 320], [300, 310, 303, 311], [317, 318, 320, 320]])
    return boxes


@pytest.mark.parametrize("bins", [7, 14])
def test_values_and_gradients_equal_those_of_torchvision(bins: int) -> None:
    torch.manual_seed(0)
    maps = {str(i): torch.randn(2, 8, 40 >> i, 40 >> i, requires_grad=True) for i in range(3)}
    boxes, sizes = [_boxes(30), _boxes(11)], [(320, 320)] * 2
    expected = MultiScaleRoIAlign(list("012"), bins, 2, canonical_scale=90)(maps, boxes, sizes)
    ours = FastRoIAlign((3, 4, 5), bins, 90)(maps, boxes, sizes)
    torch.testing.assert_close(ours, expected, atol=5e-5, rtol=1e-4)
    weight = torch.randn_like(expected)
    for grown, other in zip(
        torch.autograd.grad((ours * weight).sum(), list(maps.values())),
        torch.autograd.grad((expected * weight).sum(), list(maps.values())),
        strict=True,
    ):
        torch.testing.assert_close(grown, other, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("inner_hw", [(320, 320), (140, 320), (320, 140)])
def test_regions_are_where_they_are_whatever_part_of_the_square_the_image_fills(
    inner_hw: tuple[int, int],
) -> None:
    # the value of a cell is its line: a region from y1 to y2 has the mean line (y1 + y2) / 2
    lines = torch.arange(40.0)[:, None].expand(1, 1, 40, 40)
    boxes = torch.tensor([[16.0, 32.0, 96.0, 112.0]])
    [[[[pooled]]]] = FastRoIAlign((3,), 1)({"0": lines}, [boxes], [inner_hw])
    assert pooled.item() == pytest.approx((32 + 112) / 2 / 8)


def test_no_region_gives_no_features() -> None:
    maps = {"0": torch.randn(1, 8, 10, 10)}
    pooled = FastRoIAlign((3,), 7)(maps, [torch.zeros(0, 4)], [(80, 80)])
    assert pooled.shape == (0, 8, 7, 7)


def test_the_samples_of_a_bin_average_the_cells_between_which_they_lie() -> None:
    # one bin from 0 to 2 cells: samples at 0.5 and 1.5, so (.5 + .5) / 2, (.5 + .5) / 2 of each
    weights = interpolation_matrix(torch.tensor([0.0]), torch.tensor([2.0]), 1, 4)
    assert weights.tolist() == [[[0.25, 0.5, 0.25, 0.0]]]
