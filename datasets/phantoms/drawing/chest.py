"""Draw one phantom image: a patient's chest, its findings, pose, exposure and markers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.datasets.phantoms.drawing.canvas import FRAME, Array, Canvas, Points
from cxrloc.datasets.phantoms.drawing.chest_anatomy import Anatomy, sample_anatomy
from cxrloc.datasets.phantoms.drawing.chest_findings import draw_sign, heart_size
from cxrloc.datasets.phantoms.drawing.chest_tissue import attenuation
from cxrloc.datasets.phantoms.drawing.exposure import Exposure, expose
from cxrloc.datasets.phantoms.drawing.sheet import Lungs, Rectangle, Sign, resized
from cxrloc.datasets.radiograph import Box

# Signs with a place fixed by the anatomy are drawn first; the others keep clear of them.
_ORDER = (
    "Cardiomegaly",
    "Effusion",
    "Pneumothorax",
    "Pneumonia",
    "Infiltration",
    "Mass",
    "Atelectasis",
    "Nodule",
)
_POSE, _EXPOSURE, _NOISE, _MARKERS, _FINDINGS = range(
    1, 6
)  # independent random streams of an image


@dataclass(frozen=True)
class Style:
    """How a hospital takes its images.

    Attributes:
        exposure: ranges of the exposure.
        turn_degrees, shift: spread of the pose, and the most it may be (pixels of the 1024 frame).
        share_ap: share of AP views; the others are PA.
        first_patient: lowest patient number; so no two styles share a patient.
    """

    exposure: Exposure
    turn_degrees: tuple[float, float]
    shift: tuple[float, float]
    share_ap: float
    first_patient: int


STYLES: dict[str, Style] = {
    "upright": Style(
        Exposure(gain=(1.0, 1.3), gamma=(0.9, 1.2), floor=(0, 14), white=(238, 254)),
        turn_degrees=(1.3, 3.5),
        shift=(12, 30),
        share_ap=0.4,
        first_patient=1,
    ),
    # of patients in bed: flat contrast, crooked, all AP; numbers beyond the 30,805 of NIH
    "bedside": Style(
        Exposure(gain=(0.6, 0.85), gamma=(0.6, 0.8), floor=(25, 55), white=(200, 228)),
        turn_degrees=(4.0, 9.0),
        shift=(25, 60),
        share_ap=1.0,
        first_patient=50_001,
    ),
}


@dataclass(frozen=True)
class PhantomImage:
    """A drawn image.

    Attributes:
        pixels: (size, size) uint8, bright = dense.
        boxes: one per disease, in the 1024 frame, in alphabetical order.
        markers_xyxy: boxes of the burned-in letters and words, in the 1024 frame.
    """

    pixels: npt.NDArray[np.uint8] = field(repr=False)
    boxes: tuple[Box, ...]
    sex: str
    age_years: int
    view: str
    markers_xyxy: tuple[Rectangle, ...] = ()


def render_image(
    diseases: Sequence[str] = (),
    *,
    seed: int = 0,
    patient: int = 1,
    image: int = 0,
    image_size: int = 512,
    style: str = "upright",
) -> PhantomImage:
    """Draw one image; chest, pose, exposure and noise depend on the numbers, not on `diseases`.

    So the images with and without a disease differ only by that disease's sign.

    Args:
        style: a key of `STYLES`.

    Raises:
        ValueError: for a disease unknown to the phantom.
    """
    unknown = [d for d in diseases if d not in NIH_BOXED_DISEASES]
    if unknown:
        names = ", ".join(NIH_BOXED_DISEASES)
        raise ValueError(f"the phantom cannot draw {', '.join(unknown)}; it draws {names}")
    key = (seed, patient, image)
    anatomy = sample_anatomy(np.random.default_rng((seed, patient)))
    taken = STYLES[style]
    pose = _pose(np.random.default_rng((*key, _POSE)), taken)
    anatomy, signs, boxes = _findings(anatomy, pose, diseases, key)
    canvas = Canvas(image_size, pose)
    transmission = np.ones((image_size, image_size), np.float32)
    for sign in signs:
        if sign.markings_gone is not None:
            transmission *= 1 - resized(sign.markings_gone, image_size)
    depth = attenuation(anatomy, canvas, transmission)
    for sign in signs:
        depth = sign.onto(depth)
    pixels, view, markers = _develop(depth, key, taken)
    return PhantomImage(pixels, boxes, anatomy.sex, anatomy.age_years, view, markers)


def _findings(
    anatomy: Anatomy, pose: Points, diseases: Sequence[str], key: tuple[int, int, int]
) -> tuple[Anatomy, list[Sign], tuple[Box, ...]]:
    """The chest (with an enlarged heart if needed), the signs and their boxes."""
    signs: list[Sign] = []
    boxes: dict[str, Rectangle] = {}
    for disease in (d for d in _ORDER if d in diseases):
        rng = np.random.default_rng((*key, _FINDINGS, NIH_BOXED_DISEASES.index(disease)))
        if disease == "Cardiomegaly":
            anatomy = anatomy.with_heart(*heart_size(anatomy, rng))
            boxes[disease] = _around(anatomy.heart() @ pose[:, :2].T + pose[:, 2])
            continue
        taken = [box for name, box in boxes.items() if name != "Cardiomegaly"]
        signs.append(draw_sign(disease, Lungs.of(anatomy, pose), taken, rng))
        boxes[disease] = signs[-1].box()
    return anatomy, signs, tuple(Box(name, boxes[name]) for name in sorted(boxes))


def _around(points: Points) -> Rectangle:
    (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def _pose(rng: np.random.Generator, style: Style) -> Points:
    spread, most = style.turn_degrees
    angle = np.deg2rad(np.clip(rng.normal(0, spread), -most, most))
    scale = rng.uniform(0.97, 1.07)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.full(2, FRAME / 2)
    spread, most = style.shift
    shift = centre + np.clip(rng.normal(0, spread, 2), -most, most) - turn @ centre
    return np.column_stack([turn, shift])


def _develop(
    depth: Array, key: tuple[int, int, int], style: Style
) -> tuple[npt.NDArray[np.uint8], str, tuple[Rectangle, ...]]:
    """Turn attenuation into an image: exposure, noise, collimation; also its view and markers."""
    rng = np.random.default_rng((*key, _EXPOSURE))
    view = "AP" if rng.random() < style.share_ap else "PA"
    pixels = expose(depth, style.exposure, rng, np.random.default_rng((*key, _NOISE)))
    return pixels, view, _mark(pixels, view, np.random.default_rng((*key, _MARKERS)))


def _mark(
    pixels: npt.NDArray[np.uint8], view: str, rng: np.random.Generator
) -> tuple[Rectangle, ...]:
    """Draw collimated edges, a side marker and sometimes a portable image's words, in place."""
    scale = len(pixels) / FRAME
    edges = (rng.integers(0, 34, 4) * (rng.random(4) < 0.3) * scale).astype(int)
    top, bottom, left, right = edges
    size = len(pixels)
    pixels[:top], pixels[size - bottom :] = 4, 4
    pixels[:, :left], pixels[:, size - right :] = 4, 4
    side = "L" if rng.random() < 0.8 else "R"
    x = int(rng.integers(880, 940) if side == "L" else rng.integers(40, 90))
    white = int(rng.integers(215, 250))
    y = int(rng.integers(70, 130)) + (0 if side == "L" else 90)  # clear of the words below
    boxes = [burn_in(pixels, side, (x, y), 1.7, white)]
    if view == "AP":
        x, y = int(rng.integers(30, 60)), int(rng.integers(45, 75))
        boxes.append(burn_in(pixels, "AP", (x, y), 0.8, white))
        if rng.random() < 0.6:
            boxes.append(burn_in(pixels, "PORTABLE", (x, y + 36), 0.8, white))
    return tuple(boxes)


def burn_in(
    pixels: npt.NDArray[np.uint8], text: str, at: tuple[int, int], height: float, white: int
) -> Rectangle:
    """Burn in a word with its baseline starting at `at`; return its box in the 1024 frame."""
    scale = len(pixels) / FRAME
    place = (round(at[0] * scale), round(at[1] * scale))
    thickness = max(1, round(2.5 * height * scale))
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(pixels, text, place, font, height * scale, white, thickness, cv2.LINE_AA)
    (width, rise), _ = cv2.getTextSize(text, font, height * scale, thickness)
    x1, y2, rim = place[0], place[1], thickness / 2
    corners = (x1 - rim, y2 - rise - rim, x1 + width + rim, y2 + rim)
    left, top, right, bottom = (float(np.clip(c / scale, 0, FRAME)) for c in corners)
    return left, top, right, bottom
