"""Find bright parts of a radiograph narrower than a marker's letters, and measure them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.datasets.images.body_mask import Mask

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

FRAME = 1024  # lengths are in pixels of the image scaled to this longer side
_WIDEST = 45  # anything wider (in the frame) is not a stroke: side of the top-hat's square
_SEED = 30  # least grey values above the surroundings for a part to be considered
_SQUARE3 = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class BrightParts:
    """Connected parts of an image brighter than their surroundings, as columns (K,).

    Attributes:
        x, y, w, h: box, in pixels of the image's 1024 frame.
        area: number of pixels in the image.
        stroke: mean width in pixels of the frame: twice the area over the outline's length.
        contrast: mean height above the surroundings (white top-hat), in grey values.
        sharp: share of the outline where the grey value changes by half the contrast or more
            within two pixels of the image.
        inside: share of the pixels on the body.
        labels: (H, W) number of each pixel's part, `label` in the columns; 0 is none.
        size_hw: size of the frame.
        scale: pixels of the image per pixel of the frame.
    """

    label: npt.NDArray[np.int64]
    x: Floats
    y: Floats
    w: Floats
    h: Floats
    area: Floats
    stroke: Floats
    contrast: Floats
    sharp: Floats
    inside: Floats
    labels: npt.NDArray[np.int32] = field(repr=False)
    size_hw: tuple[float, float]
    scale: float

    @property
    def boxes_xyxy(self) -> Floats:
        """(K, 4) in the frame."""
        return np.stack([self.x, self.y, self.x + self.w, self.y + self.h], axis=1)

    @property
    def fill(self) -> Floats:
        """Share of its box covered by each part."""
        return np.asarray(self.area / (self.w * self.h * self.scale**2))

    def select(self, keep: npt.NDArray[np.bool_]) -> BrightParts:
        """Keep some of the parts."""
        columns = [f.name for f in fields(self) if f.name not in ("labels", "size_hw", "scale")]
        return replace(self, **{name: getattr(self, name)[keep] for name in columns})

    def points(self, part: int) -> npt.NDArray[np.int32]:
        """(n, 2) x, y of the pixels of one part, in image coordinates."""
        x1, y1, x2, y2 = np.round(self.boxes_xyxy[part] * self.scale).astype(int).tolist()
        rows, columns = np.nonzero(self.labels[y1:y2, x1:x2] == self.label[part])
        return np.stack([columns + x1, rows + y1], axis=1).astype(np.int32)


def bright_parts(pixels: Grey, body: Mask) -> BrightParts:
    """Find the bright parts of grey uint8 pixels (H, W), each cut at half its own peak height.

    The cut separates a white letter from a grey bone that it touches.
    """
    scale = max(pixels.shape) / FRAME
    side = max(3, round(_WIDEST * scale)) | 1
    top_hat = cv2.morphologyEx(pixels, cv2.MORPH_TOPHAT, np.ones((side, side), np.uint8))
    height = np.asarray(top_hat, dtype=np.uint8)
    upper = _upper_halves(height)
    _, labels = _connected(upper)
    outline = np.flatnonzero(upper - cv2.erode(upper, _SQUARE3))
    gradient = np.asarray(cv2.morphologyEx(pixels, cv2.MORPH_GRADIENT, _SQUARE3), dtype=np.uint8)
    places = np.flatnonzero(upper)
    return _measured(
        labels, places, height.ravel()[places], body, outline, gradient.ravel()[outline], scale
    )


def _connected(flags: Grey) -> tuple[int, npt.NDArray[np.int32]]:
    """Number of 8-connected parts including the background, and the part of each pixel (H, W)."""
    count, labels = cv2.connectedComponents(flags, connectivity=8, ltype=cv2.CV_32S)
    return count, np.asarray(labels, dtype=np.int32)


def _upper_halves(height: Grey) -> Grey:
    """1 where a part above the seed's height reaches at least half of its peak."""
    seeds = (height >= _SEED).astype(np.uint8)
    count, labels = _connected(seeds)
    places = np.flatnonzero(seeds)
    label, value = labels.ravel()[places], height.ravel()[places]
    greatest = np.zeros(count, np.uint8)
    np.maximum.at(greatest, label, value)
    upper = np.zeros(height.size, np.uint8)
    upper[places] = value >= greatest[label] / 2
    return upper.reshape(height.shape)


def _measured(
    labels: npt.NDArray[np.int32],
    places: npt.NDArray[np.intp],
    height: Grey,
    body: Mask,
    outline: npt.NDArray[np.intp],
    change: Grey,
    scale: float,
) -> BrightParts:
    """Measure all parts at once; `places` are their pixels, `outline` their edge pixels."""
    rows, columns = np.divmod(places, labels.shape[1])
    label, edge = labels.ravel()[places] - 1, labels.ravel()[outline] - 1
    count = int(label.max(initial=-1)) + 1
    area = np.bincount(label, minlength=count).astype(np.float64)
    contrast = np.bincount(label, height, count) / area
    length = np.bincount(edge, minlength=count)
    x1, x2 = _extent(columns, label, count)
    y1, y2 = _extent(rows, label, count)
    return BrightParts(
        label=np.arange(1, count + 1),
        x=x1 / scale,
        y=y1 / scale,
        w=(x2 - x1) / scale,
        h=(y2 - y1) / scale,
        area=area,
        stroke=2 * area / length / scale,
        contrast=contrast,
        sharp=np.bincount(edge, change >= contrast[edge] / 2, count) / length,
        inside=np.bincount(label, body.ravel()[places], count) / area,
        labels=labels,
        size_hw=(labels.shape[0] / scale, labels.shape[1] / scale),
        scale=scale,
    )


def _extent(
    at: npt.NDArray[np.intp], label: npt.NDArray[np.int32], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First position of each part and the position after its last."""
    first, last = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    np.minimum.at(first, label, at)
    np.maximum.at(last, label, at + 1)
    return first, last
