"""Draw images with known markers, to score `markers.find_markers` on.

    for pixels, words_xyxy in marked_images("chest", 30, image_size=512): ...

Each is a phantom with its own side letter and words of a portable image, plus more words burned in
at difficult places and contrasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.datasets.phantoms.drawing.canvas import FRAME
from cxrloc.datasets.phantoms.drawing.chest import render_image
from cxrloc.datasets.phantoms.drawing.limb import FINDINGS, LimbImage, draw_limb
from cxrloc.datasets.phantoms.drawing.limb_anatomy import LIMBS

Grey = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]
Drawn = tuple[Grey, list[Box]]

WORDS = ("L", "R", "AP", "PORTABLE", "SUPINE", "L JFC", "R 12", "PA", "UPRIGHT", "SCAR")
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX)


def marked_images(
    kind: str, count: int, *, image_size: int = 512, words: int = 3, seed: int = 1
) -> Iterator[Drawn]:
    """Yield images with the boxes xyxy of all their markers, in pixels of the image.

    Args:
        kind: a key of `KINDS`.
        count: number of images, each of another patient.
        image_size: longer side in pixels.
        words: number of words burned in besides the image's own.
        seed: seed of the words; image n uses seed + n.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown phantom {kind!r}; expected one of {', '.join(KINDS)}")
    for n in range(count):
        pixels, drawn_markers = KINDS[kind](101 + n, image_size)
        image, more = burn_in_words(
            pixels, words, np.random.default_rng(seed + n), clear_of=drawn_markers
        )
        yield image, [*more, *drawn_markers]


def _chest(patient: int, image_size: int) -> Drawn:
    image = render_image(patient=patient, image_size=image_size)
    boxes = np.array(image.markers_xyxy) * image_size / FRAME
    return image.pixels, [tuple(box) for box in boxes.tolist()]


def _limb(patient: int, image_size: int) -> Drawn:
    names = list(LIMBS)
    finding = ("", *FINDINGS)[patient % (1 + len(FINDINGS))]  # plates and screws are not letters
    part = names[patient % len(names)]
    image = LimbImage(part, finding, patient % 2 == 0, (0, patient, 1), 0)
    pixels, marker = draw_limb(image, image_size)
    return pixels, [] if marker is None else [marker]


KINDS: dict[str, Callable[[int, int], Drawn]] = {"chest": _chest, "limb": _limb}


def burn_in_words(
    pixels: Grey, count: int, rng: np.random.Generator, clear_of: list[Box] | None = None
) -> Drawn:
    """Burn `count` words near the borders of a copy; return it and the words' boxes xyxy.

    Words are 60 to 180 grey values brighter than the median below them and 20 to 70 px high on an
    image of 1,024 px. They are upright, tilted or rotated by 90 degrees, and sometimes mirrored, as
    by a cassette held the wrong way.

    Args:
        clear_of: boxes that the words must avoid.

    Raises:
        ValueError: if there is not enough room.
    """
    image, boxes, taken = pixels.copy(), list[Box](), list(clear_of or ())
    for _ in range(200 * count):
        if len(boxes) == count:
            break
        word = _word(max(image.shape) / FRAME, rng)
        box = _place(word.shape, image.shape, rng)
        gap = 0.06 * len(image)
        if box is None or any(_touch(box, other, gap) for other in [*taken, *boxes]):
            continue
        if _burn(image, word, box, rng):
            boxes.append(box)
    if len(boxes) < count:
        raise ValueError(f"an image of {pixels.shape} has room for {len(boxes)} of {count} words")
    return image, boxes


def _burn(image: Grey, word: Grey, box: Box, rng: np.random.Generator) -> bool:
    """Burn in a word in place; return False and do nothing if the image is too bright there."""
    x1, y1, x2, y2 = (int(v) for v in box)
    below = image[y1:y2, x1:x2].astype(np.float64)
    white = float(np.median(below) + rng.uniform(60, 180))
    if white > 255 or below.max() > white - 40:
        return False
    image[y1:y2, x1:x2] = np.round(below + word / 255 * (white - below)).astype(np.uint8)
    return True


def _word(scale: float, rng: np.random.Generator) -> Grey:
    """A random word, cropped to its ink: 255 where opaque."""
    text, font = str(rng.choice(WORDS)), int(rng.choice(FONTS))
    height = (rng.uniform(30, 70) if len(text) == 1 else rng.uniform(20, 36)) * scale
    size = height / 22  # Hershey capitals are 22 px high at size 1
    thickness = max(1, round(height / rng.uniform(6, 10)))
    canvas = np.zeros((600, 600), np.uint8)
    cv2.putText(canvas, text, (120, 300), font, size, 255, thickness, cv2.LINE_AA)
    angle = float(rng.choice((0, 0, 90, -90, rng.uniform(-35, 35))))
    turn = cv2.getRotationMatrix2D((300, 300), angle, 1)
    turned = np.asarray(cv2.warpAffine(canvas, turn, (600, 600)), dtype=np.uint8)
    if rng.random() < 0.2:
        turned = turned[:, ::-1]
    rows, columns = np.flatnonzero(turned.any(axis=1)), np.flatnonzero(turned.any(axis=0))
    return turned[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _place(
    word_hw: tuple[int, ...], image_hw: tuple[int, ...], rng: np.random.Generator
) -> Box | None:
    """A place near the left, right or upper border; None if the word is too large for the image."""
    (h, w), (height, width) = word_hw, image_hw
    if w > 0.3 * width or h > 0.3 * height:
        return None
    x, y = rng.uniform(0.02, 0.95) * width, rng.uniform(0.02, 0.95) * height
    near = min(x + w / 2, width - x - w / 2) < 0.14 * width or y + h / 2 < 0.1 * height
    if not near or x + w > 0.99 * width or y + h > 0.99 * height:
        return None
    return float(int(x)), float(int(y)), float(int(x) + w), float(int(y) + h)


def _touch(a: Box, b: Box, gap: float) -> bool:
    apart = max(max(a[0], b[0]) - min(a[2], b[2]), max(a[1], b[1]) - min(a[3], b[3]))
    return apart < gap
