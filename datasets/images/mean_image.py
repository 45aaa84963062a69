"""Compute the mean and deviation of every pixel over many images, in one pass.

Welford's update (Technometrics 1962) of the mean and of the sum of squared differences. Each is
kept as a sum of two float64 numbers (Knuth's TwoSum), so rounding loses nothing: neither a tiny
variance next to a large mean, nor the late images of many. Memory holds four arrays of one image's
size, however many images there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.radiograph import FloatArray


@dataclass(frozen=True, eq=False)
class MeanImage:
    """Mean and population standard deviation (numpy's `std`) of each pixel, arrays of one shape."""

    mean: npt.NDArray[np.floating]
    deviation: npt.NDArray[np.floating]

    def __post_init__(self) -> None:
        if self.mean.shape != self.deviation.shape:
            raise ValueError(
                f"mean image {self.mean.shape} and deviation image {self.deviation.shape} differ "
                "in shape; expected the same shape"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MeanImage):
            return NotImplemented
        pairs = ((self.mean, other.mean), (self.deviation, other.deviation))
        return all(np.array_equal(a, b) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]


def mean_image(images: Iterable[npt.ArrayLike]) -> MeanImage:
    """Mean and deviation image of equally shaped images, each read once; float64.

    Raises:
        ValueError: without any image, for unequal shapes, or for values that are not finite.
    """
    mean = squares = None
    for count, image in enumerate(images, start=1):
        x = np.asarray(image, dtype=np.float64)
        if mean is None or squares is None:
            mean, squares = _Sum(x.shape), _Sum(x.shape)
        if x.shape != mean.high.shape:
            raise ValueError(f"image {count} has shape {x.shape}, the first {mean.high.shape}")
        if not np.isfinite(x).all():
            raise ValueError(f"image {count} has values that are not finite")
        delta = (x - mean.high) - mean.low
        mean.add(delta / count)
        squares.add(delta * delta * ((count - 1) / count))
    if mean is None or squares is None:
        raise ValueError("cannot average zero images; expected at least one")
    variance = np.maximum(squares.high + squares.low, 0) / count
    return MeanImage(mean.high + mean.low, np.sqrt(variance))


class _Sum:
    """A running sum as the unevaluated sum high + low, exact to twice the digits of float64."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.high, self.low = np.zeros(shape), np.zeros(shape)

    def add(self, x: FloatArray) -> None:
        total = self.high + x
        added = total - self.high
        self.low += (self.high - (total - added)) + (x - added)  # what `total` was rounded by
        self.high = total
