"""Teach each cell of the map whether it lies in a box of its disease: the box loss.

Grad-CAM learns from image labels alone. Where a training image has boxes, this loss shows the
network where the disease is: binary cross-entropy of each cell's logit (`cell_logits` of the
classifier: the linear head applied to every cell) against the share of the cell inside the boxes or
outlines of the disease, several of them as their union. Cells inside weigh more than those outside,
which are many. All cells of an image without the disease have target 0, at a small weight. Left out
are positives without a box, whose place is unknown, and unknown labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn import functional as F

from cxrloc.classification.train_config import TrainConfig
from cxrloc.datasets.images.outlines import outline_mask
from cxrloc.datasets.images.transforms import square_scale
from cxrloc.datasets.radiograph import Box, Radiograph

Mask = npt.NDArray[np.uint8]
_SMOOTH = 0.05  # sigma of the location prior, share of the side
_FINE = 4  # points of a pixel in each direction that are inside an outline or not


class BoxRegions:
    """Where the diseases are on some images: a mask of each image and disease with boxes.

    Args:
        radiographs: the images, with their boxes.
        diseases: columns of the labels; boxes of other diseases are left out.
        size: side S of the network's square.
    """

    def __init__(
        self, radiographs: Sequence[Radiograph], diseases: Sequence[str], size: int
    ) -> None:
        self.radiographs, self.diseases, self.size = tuple(radiographs), tuple(diseases), size

    def __len__(self) -> int:
        """Number of boxes."""
        return sum(len(boxes) for r in self.radiographs for boxes in self._boxes(r).values())

    def of_batch(self, positions: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Masks of the images at these positions.

        Returns:
            (P, 2) int64, row in the batch and column of the disease of each mask, and the masks
            (P, S, S) uint8: the share of each pixel inside, in 255ths.
        """
        pairs: list[tuple[int, int]] = []
        masks: list[Mask] = []
        for row, position in enumerate(positions):
            radiograph = self.radiographs[position]
            scale = square_scale(radiograph.size_hw, self.size)
            for column, boxes in self._boxes(radiograph).items():
                pairs.append((row, column))
                masks.append(union_mask(boxes, scale, self.size))
        stacked = np.stack(masks) if masks else np.zeros((0, self.size, self.size), np.uint8)
        return torch.tensor(pairs, dtype=torch.int64).view(-1, 2), torch.from_numpy(stacked)

    def with_boxes(self) -> Iterator[tuple[Radiograph, Mapping[int, list[Box]]]]:
        """Each image that has any, with its boxes by column of the disease."""
        for radiograph in self.radiographs:
            if boxes := self._boxes(radiograph):
                yield radiograph, boxes

    def _boxes(self, radiograph: Radiograph) -> Mapping[int, list[Box]]:
        boxes: dict[int, list[Box]] = {}
        for box in radiograph.boxes:
            if box.disease in self.diseases:
                boxes.setdefault(self.diseases.index(box.disease), []).append(box)
        return boxes


def union_mask(boxes: Sequence[Box], scale: float, size: int) -> Mask:
    """(size, size) uint8: the share of each pixel inside any of the boxes, in 255ths.

    A box with outlines stands for them. Where boxes meet within a pixel, the largest share counts.

    Args:
        boxes: in the original frame.
        scale: from the original frame to the square, see `square_scale`.
        size: side of the square.
    """
    shares = np.zeros((size, size))
    for box in boxes:
        inside = (
            _outlines_share(box.polygons, scale, size)
            if box.polygons
            else _box_share(box.box_xyxy, scale, size)
        )
        shares = np.maximum(shares, inside)
    return np.rint(255 * shares).astype(np.uint8)


def _box_share(
    box_xyxy: tuple[float, float, float, float], scale: float, size: int
) -> npt.NDArray[np.float64]:
    x1, y1, x2, y2 = (scale * edge for edge in box_xyxy)
    return _overlap(y1, y2, size)[:, None] * _overlap(x1, x2, size)


def _overlap(low: float, high: float, size: int) -> npt.NDArray[np.float64]:
    """(size,) share of each interval [i, i + 1] between two numbers."""
    start = np.arange(size)
    shared = np.minimum(start + 1, high) - np.maximum(start, low)
    return np.asarray(np.clip(shared, 0.0, 1.0))


def _outlines_share(
    polygons: Sequence[Sequence[float]], scale: float, size: int
) -> npt.NDArray[np.float64]:
    points = [np.reshape(outline, (-1, 2)) * (scale * _FINE) for outline in polygons]
    fine = outline_mask(points, _FINE * size).reshape(size, _FINE, size, _FINE)
    return np.asarray(fine.mean(axis=(1, 3)))


def location_prior(regions: BoxRegions, cells: int) -> torch.Tensor:
    """(D, cells, cells) half the log odds that a cell lies in the disease's boxes, 0 without any.

    To be added to the logits of cells of a trained network. With some hundred boxes it learns badly
    where a disease lies on all images; half, since it does learn a part of that. The shares are
    smoothed, and a half is added to each count.

    Args:
        regions: the boxes of the training images.
        cells: side of the map.
    """
    count = np.zeros(len(regions.diseases))
    inside = np.zeros((len(regions.diseases), cells, cells))
    for radiograph, boxes in regions.with_boxes():
        scale = square_scale(radiograph.size_hw, cells)
        for column, of_disease in boxes.items():
            count[column] += 1
            inside[column] += union_mask(of_disease, scale, cells) / 255
    smooth = gaussian_filter(inside, (0, *(2 * [_SMOOTH * cells])), mode="nearest")
    shares = (smooth + 0.5) / (count[:, None, None] + 1)
    return torch.from_numpy((np.log(shares / (1 - shares)) / 2).astype(np.float32))


class BoxLoss(nn.Module):
    """See the module.

    Args:
        config: `box_inside_weight` and `box_absent_weight`.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.inside, self.absent = config.box_inside_weight, config.box_absent_weight

    def forward(
        self,
        cells: torch.Tensor,
        labels: torch.Tensor,
        pairs: torch.Tensor,
        masks: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted mean over all cells of the batch, and the sum of its weights.

        Args:
            cells: (N, D, h, w) logits of the cells.
            labels: (N, D) in 0..1, NaN unknown.
            pairs: (P, 2) row and column of each mask.
            masks: (P, S, S) float in 0..1, changed as the images were.
        """
        targets, weights = self.targets(cells.shape, labels, pairs, masks)
        losses = F.binary_cross_entropy_with_logits(cells.float(), targets, reduction="none")
        total = weights.sum()
        return (losses * weights).sum() / total.clamp(min=torch.finfo().tiny), total

    def targets(
        self, shape: torch.Size, labels: torch.Tensor, pairs: torch.Tensor, masks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Targets and weights of all cells, (N, D, h, w) each; weight 0 leaves a cell out."""
        targets = torch.zeros(shape, device=labels.device)
        absent = self.absent * (labels == 0).float()
        weights = absent[:, :, None, None].expand(shape).clone()
        rows, columns = pairs.unbind(dim=1)
        inside = F.adaptive_avg_pool2d(masks, (shape[2], shape[3]))
        present = (labels[rows, columns] == 1).float()[:, None, None]
        targets[rows, columns] = inside * present
        # a box of a disease that the label denies is neither shown nor counted as absent
        weights[rows, columns] = (1 + (self.inside - 1) * inside) * present
        return targets, weights
