"""Draw a picture directly in pixels: images, boxes and text.

matplotlib takes half a second to draw an image, most of the time of a prediction; OpenCV and Pillow
do the same in a few milliseconds.
"""

from __future__ import annotations

import importlib.util
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.images.transforms import resized

Rgb = tuple[int, int, int]
Line = Literal["solid", "dashed", "dotted"]
Pixels = npt.NDArray[np.uint8]

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
_DASHES: dict[str, tuple[float, float]] = {"dashed": (15, 8), "dotted": (3, 5)}  # px on, px off
_BOX_PX, _HALO_PX = 3, 2
# full colour resolution: thin coloured lines stay sharp
_JPEG = (
    *(cv2.IMWRITE_JPEG_QUALITY, 92),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
)


@dataclass(frozen=True)
class Place:
    """Left, top, right and bottom in pixels of the picture."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Place) -> float:
        """Area that both cover, in px."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)


class Canvas:
    """White RGB pixels to draw on; clips at the border.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
        texts: texts written so far, with their places.
    """

    def __init__(self, width: int, height: int) -> None:
        # one number for all channels: filling with a colour would be 100 x slower
        self.pixels: Pixels = np.full((height, width, 3), 255, np.uint8)
        self.texts: list[tuple[str, Place]] = []

    def paste(self, pixels: Pixels, left: int, top: int) -> None:
        """Paste an (h, w, 3) picture."""
        height, width = pixels.shape[:2]
        self.pixels[top : top + height, left : left + width] = pixels

    def fill(self, place: Place, colour: Rgb, alpha: float = 1.0) -> None:
        """Fill a rectangle; `alpha` 1 hides the pixels under it."""
        rows, columns = _slices(place)
        area = self.pixels[rows, columns]
        area[:] = np.rint(area * (1 - alpha) + np.array(colour) * alpha) if alpha < 1 else colour

    def line(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        colour: Rgb,
        line: Line = "solid",
        width: int = _BOX_PX,
    ) -> None:
        """Draw a straight line from (x, y) to (x, y)."""
        for first, last in _strokes(np.array(start), np.array(end), line):
            begin, stop = ([round(float(v)) for v in point] for point in (first, last))
            cv2.line(self.pixels, begin, stop, colour, width)

    def box(self, place: Place, colour: Rgb, line: Line) -> None:
        """Draw an outline with a dark halo, to be visible on bright images."""
        corners = (
            (place.left, place.top),
            (place.right, place.top),
            (place.right, place.bottom),
            (place.left, place.bottom),
        )
        sides = list(zip(corners, (*corners[1:], corners[0]), strict=True))
        reach = _BOX_PX / 2 + _HALO_PX
        for (x1, y1), (x2, y2) in sides:
            across = Place(
                min(x1, x2) - reach, min(y1, y2) - reach, max(x1, x2) + reach, max(y1, y2) + reach
            )
            self.fill(across, BLACK, 0.4)
        for start, end in sides:
            self.line(start, end, colour, line)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int,
        colour: Rgb = BLACK,
        *,
        bold: bool = False,
        anchor: Literal["left", "middle"] = "left",
    ) -> Place:
        """Write one line of text, `y` the middle of its capitals; return its place."""
        mask, rise = _mask(text, size, bold)
        height, width = mask.shape
        left = round(x - width / 2) if anchor == "middle" else round(x)
        top = round(y - rise)
        place = Place(left, top, left + width, top + height)
        self.texts.append((text, place))
        rows, columns = _slices(place)
        area = self.pixels[rows, columns]
        part = mask[max(0, -top) :, max(0, -left) :][: area.shape[0], : area.shape[1], None]
        area[:] = np.rint(area + (np.array(colour, np.float32) - area) * part)
        return place

    def encoded(self, suffix: str) -> bytes:
        """Encode the picture: ".png", lossless, or ".jpg", a fifth of the time and of the size."""
        bgr = cv2.cvtColor(self.pixels, cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode(suffix, bgr, _JPEG if suffix == ".jpg" else ())
        assert done, suffix
        return bytes(data.tobytes())

    def save(self, path: Path) -> None:
        """Write as .png or .jpg (atomically)."""
        with whole_file(path) as temporary:
            temporary.write_bytes(self.encoded(path.suffix))


def text_width(text: str, size: int, *, bold: bool = False) -> int:
    """Width of a line of text in px."""
    return int(_mask(text, size, bold)[0].shape[1])


@lru_cache(maxsize=1024)  # most texts occur on every picture
def shortened(text: str, size: int, width: float, *, bold: bool = False) -> str:
    """Shorten the text in its middle to at most `width` px."""
    text, font = _printable(text), _font(size, bold)
    if font.getlength(text) <= width:
        return text

    def cut(kept: int) -> str:
        return f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"

    fitting = bisect_right(range(len(text)), width, key=lambda kept: font.getlength(cut(kept)))
    return cut(max(0, fitting - 1))


def grey_picture(pixels: Pixels, size_wh: tuple[int, int]) -> Pixels:
    """Convert a grey image (H, W) to colour (h, w, 3), resized."""
    return np.asarray(cv2.cvtColor(resized(pixels, size_wh), cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def rgb(colour: str) -> Rgb:
    """Convert "#RRGGBB" to red, green and blue in 0..255."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def _slices(place: Place) -> tuple[slice, slice]:
    left, top, right, bottom = (
        max(0, round(v)) for v in (place.left, place.top, place.right, place.bottom)
    )
    return slice(top, bottom), slice(left, right)


def _strokes(start: Any, end: Any, line: Line) -> Iterator[tuple[Any, Any]]:
    length = float(np.hypot(*(end - start)))
    on, off = _DASHES.get(line, (max(length, 1.0), 1.0))
    for at in np.arange(0, max(length, 1e-9), on + off):
        unit = (end - start) / max(length, 1e-9)
        yield start + unit * at, start + unit * min(at + on, length)


@lru_cache(maxsize=64)
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(_matplotlib_data() / "fonts" / "ttf" / name, size)


def _matplotlib_data() -> Path:
    """matplotlib ships the font, so letters are the same on every machine.

    Found without importing it, which takes longer than the prediction of an image.
    """
    found = importlib.util.find_spec("matplotlib")
    beside = Path((found and found.origin) or "").with_name("mpl-data")
    if beside.is_dir():
        return beside
    import matplotlib as mpl  # a distribution has moved its data

    return Path(mpl.get_data_path())


@lru_cache(maxsize=4096)
def _mask(text: str, size: int, bold: bool) -> tuple[npt.NDArray[np.float32], float]:
    """(h, w) coverage in 0..1 of a line of text, and the middle of its capitals from the top."""
    text, font = _printable(text), _font(size, bold)
    left, top, right, bottom = (round(v) for v in font.getbbox(text, anchor="ls"))
    image = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), text, 255, font, anchor="ls")
    capitals = -font.getbbox("H", anchor="ls")[1]
    return np.asarray(image, dtype=np.float32) / np.float32(255), -top - capitals / 2


def _printable(text: str) -> str:
    """Make one line: file names may contain line breaks and bytes that are not letters."""
    return "".join(c if c.isprintable() else "?" for c in text)
