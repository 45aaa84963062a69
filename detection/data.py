"""Provide a detector's training images: squares with boxes and outlines, augmentation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.datasets.images.transforms import square_scale
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.detection.config import AugmentConfig

Square = npt.NDArray[np.uint8]
# polygons (n, 2) of x, y that together outline a finding; none where only its box is known
Outline = tuple[npt.NDArray[np.float64], ...]
Positions = npt.NDArray[np.int64]


class Squares(Protocol):
    """Source of squares (`PixelCache`, or a dict): image id -> (size, size) uint8."""

    def __getitem__(self, image_id: str, /) -> Square: ...


@dataclass(frozen=True)
class Sample:
    """A square with its findings, in the square's pixels.

    Attributes:
        square: (size, size) uint8.
        boxes: (n, 4) xyxy.
        labels: (n,) classes from 1.
        outlines: one per box; they may leave the square, which cuts them off.
    """

    square: Square
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    outlines: tuple[Outline, ...]


@dataclass(frozen=True)
class DetectionSet:
    """Radiographs with their squares: the data for training or validating a backend.

    Attributes:
        radiographs: those without a box of `diseases` are negatives.
        squares: image id -> (size, size) uint8, made by
            `cxrloc.datasets.images.transforms.fit_square`.
        size: side of the squares in pixels.
        diseases: boxes of other diseases are ignored.
        negatives: most negatives of a training epoch per image with a box; each epoch draws others.
    """

    radiographs: tuple[Radiograph, ...]
    squares: Squares
    size: int
    diseases: tuple[str, ...]
    negatives: float = math.inf

    def __len__(self) -> int:
        return len(self.radiographs)

    def boxes(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """One radiograph's boxes (n, 4) xyxy in the square's pixels, and classes (n,) from 1."""
        scale = square_scale(self.radiographs[index].size_hw, self.size)
        of_diseases = self._of_diseases(index)
        boxes = (
            np.array([box.box_xyxy for box in of_diseases], dtype=np.float32).reshape(-1, 4) * scale
        )
        labels = np.array(
            [self.diseases.index(box.disease) + 1 for box in of_diseases], dtype=np.int64
        )
        return boxes.astype(np.float32), labels

    def outlines(self, index: int) -> tuple[Outline, ...]:
        """The outline of each of these boxes, in the square's pixels."""
        scale = square_scale(self.radiographs[index].size_hw, self.size)
        return tuple(
            tuple(np.reshape(polygon, (-1, 2)) * scale for polygon in box.polygons)
            for box in self._of_diseases(index)
        )

    def order(self, seed: int) -> EpochOrder:
        """The images of each training epoch: all with a box, and the share of the negatives."""
        has_box = np.array([bool(self._of_diseases(i)) for i in range(len(self))], dtype=bool)
        boxed, clean = np.flatnonzero(has_box), np.flatnonzero(~has_box)
        count = min(self.negatives * len(boxed), len(clean)) if len(boxed) else len(clean)
        return EpochOrder(boxed, clean, round(count), seed)

    def sample(self, index: int, augment: AugmentConfig, seed: int, epoch: int) -> Sample:
        """One radiograph, augmented for this epoch."""
        square = np.asarray(self.squares[self.radiographs[index].image_id])
        rng = np.random.default_rng([seed, epoch, index])
        whole = Sample(square, *self.boxes(index), self.outlines(index))
        return augmented(whole, augment, rng)

    def _of_diseases(self, index: int) -> list[Box]:
        return [box for box in self.radiographs[index].boxes if box.disease in self.diseases]


def augmented(sample: Sample, augment: AugmentConfig, rng: np.random.Generator) -> Sample:
    """Randomly zoom, shift, change grey (and flip) a square together with its findings.

    Boxes with less than half their area inside the square are dropped, others are clipped to it.
    """
    square, boxes, outlines = sample.square, sample.boxes, sample.outlines
    size = square.shape[0]
    zoom, (dx, dy), (add, gain), flip = _draw(augment, rng)
    if flip:
        square, boxes = (
            square[:, ::-1],
            boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [size, 0, size, 0],
        )
        outlines = tuple(tuple(p * [-1, 1] + [size, 0] for p in outline) for outline in outlines)
    offset = np.array([dx, dy]) * size + size / 2 * (1 - zoom)
    # cv2 places pixel centres at integers, boxes place them at halves
    shift = offset + 0.5 * zoom - 0.5
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    moved = cv2.warpAffine(np.ascontiguousarray(square), matrix, (size, size))
    moved = cv2.convertScaleAbs(np.maximum(moved * gain + add * 255.0, 0))
    full = boxes * zoom + np.tile(offset, 2)
    inside = np.clip(full, 0, size)
    keep = _area(inside) >= 0.5 * _area(full)
    kept = (outline for outline, kept in zip(outlines, keep, strict=True) if kept)
    return Sample(
        moved,
        inside[keep].astype(np.float32),
        sample.labels[keep],
        tuple(tuple(polygon * zoom + offset for polygon in outline) for outline in kept),
    )


def _draw(
    augment: AugmentConfig, rng: np.random.Generator
) -> tuple[float, tuple[float, float], tuple[float, float], bool]:
    values = rng.uniform(-1, 1, size=5)
    return (
        1 + augment.scale * values[0],
        (augment.translate * values[1], augment.translate * values[2]),
        (augment.brightness * values[3], 1 + augment.contrast * values[4]),
        bool(rng.uniform() < augment.flip),
    )


def _area(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).astype(np.float64)


@dataclass(frozen=True)
class EpochOrder:
    """Positions of an epoch's images, shuffled (a `cxrloc.classification...samplers.Order`).

    Attributes:
        boxed: positions of the images that every epoch has.
        clean: positions of all negatives.
        count: negatives of an epoch.
        seed: epochs differ, runs with one seed do not.
    """

    boxed: Positions
    clean: Positions
    count: int
    seed: int

    def __len__(self) -> int:
        return len(self.boxed) + self.count

    def positions(self, epoch: int) -> Positions:
        """The images of an epoch in order; depends only on the seed and the epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        drawn = rng.permutation(self.clean)[: self.count]
        return rng.permutation(np.concatenate([self.boxed, drawn]))


def training_images(
    radiographs: Sequence[Radiograph], diseases: Sequence[str], negatives: bool
) -> tuple[Radiograph, ...]:
    """The images with a box of these diseases, in the given order.

    With `negatives` also those without any finding.
    An image with a finding but no box of it is no negative, nor is one where a disease is unknown:
    they are left out. (A boxed image may also have such a label. It is kept, since leaving those
    out would cost most of NIH's boxed images: 521 of 880.)
    """
    return tuple(
        r
        for r in radiographs
        if any(box.disease in diseases for box in r.boxes)
        or (negatives and is_negative(r, diseases))
    )


def is_negative(radiograph: Radiograph, diseases: Sequence[str]) -> bool:
    """Whether an image has no finding: no box, no label that is present, none unknown."""
    unknown = any(math.isnan(radiograph.labels.get(disease, 0.0)) for disease in diseases)
    return not radiograph.boxes and not radiograph.positives and not unknown


def class_counts(data: DetectionSet) -> Mapping[str, int]:
    """Number of boxes per disease, for the log and the manifest."""
    counts = dict.fromkeys(data.diseases, 0)
    for radiograph in data.radiographs:
        for box in radiograph.boxes:
            if box.disease in counts:
                counts[box.disease] += 1
    return counts
