"""A DICOM image at a window that the viewer chooses, in the units that its file states.

The page's picture has 8 bits of the 10 to 16 that an image may store. A radiologist sets centre and
width in the stored values after the modality LUT: they are kept, and turned to grey by the code
that reads images (`datasets/dicom/grayscale.py`), the window apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from cxrloc.datasets.dicom import attributes, grayscale
from cxrloc.datasets.dicom.header import is_dicom, parse_header
from cxrloc.datasets.dicom.reader import stored_values

_LEAST_RANGE = 16  # fewer steps than that are no slider


@dataclass(frozen=True)
class Window:
    """Centre and width, in the values after the modality LUT."""

    name: str
    center: float
    width: float


@dataclass(frozen=True)
class StoredImage:
    """What a DICOM image stores.

    Attributes:
        values: (H, W) stored values, perhaps of a smaller copy.
        header: attributes that turn them into grey; without the pixels.
        low, high: least and greatest value of the image after the modality LUT.
    """

    values: npt.NDArray[np.integer] = field(repr=False)
    header: Dataset = field(repr=False)
    low: float
    high: float

    def grey(self, center: float, width: float) -> npt.NDArray[np.uint8]:
        """The image at this window, as reading it would give it if its file had no other.

        Raises:
            ValueError: for a width that the image's VOI LUT Function does not allow.
        """
        header = Dataset()
        header.update({e.tag: e for e in self.header if e.keyword != "VOILUTSequence"})
        header.WindowCenter, header.WindowWidth = f"{center:.9g}", f"{width:.9g}"
        if grayscale.usable_window(header) is None:
            raise ValueError(f"window width {width:g}, expected 1 or more")
        return grayscale.to_grey(self.values, header)

    @property
    def windows(self) -> list[Window]:
        """Windows that the file states, and the whole range of the image."""
        pairs = zip(self._numbers("WindowCenter"), self._numbers("WindowWidth"), strict=False)
        stated = [
            Window(f"window {i} of the file", center, width)
            for i, (center, width) in enumerate(pairs, start=1)
            if width >= 1
        ]
        # a linear window of width w reaches over w - 1, its centre lies half a value higher
        center, width = (self.low + self.high + 1) / 2, self.high - self.low + 1
        return [*stated, Window("whole range", center, width)]

    def _numbers(self, keyword: str) -> list[float]:
        return [float(str(value)) for value in attributes.values(self.header, keyword)]


def stored_image(
    data: bytes, shrunk: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> StoredImage | None:
    """The stored values of an image that can be read; None of a PNG or JPEG.

    Args:
        data: a file.
        shrunk: makes the pixels as small as the page shows them.
    """
    if not is_dicom(data):
        return None
    header = parse_header(data)
    values = grayscale.plain_values(stored_values(header, data), header)  # means need whole values
    low, high = grayscale.own_range(values, header)
    del header.PixelData
    return StoredImage(shrunk(values), header, low, high) if high - low >= _LEAST_RANGE else None
