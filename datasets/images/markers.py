"""Find burned-in text and side markers on a radiograph, and mask them or paint them over.

    found = find_markers(pixels)                     # found.boxes_xyxy, found.mask
    clean = remove_markers(pixels, "inpaint")        # or "mask"

A letter, made of lead or by the console, is a plateau: much brighter than its surroundings, with an
edge of one or two pixels and narrow strokes. Bones and vessels have wide edges. Wires, clips and
electrodes look like letters, so a marker must also lie outside the body or near the image's border;
a line of text may lie deeper. This is classical image processing: no training, always the same
boxes. It misses letters that are darker than their surroundings, blurred, or deep inside the body.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar, get_args

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.datasets.images.body_mask import Mask, body_mask
from cxrloc.datasets.images.bright_parts import FRAME, BrightParts, Grey, bright_parts
from cxrloc.datasets.radiograph import LoadedImage

Removal = Literal["mask", "inpaint"]
Markers = Literal["keep", Removal]
REMOVALS: tuple[str, ...] = get_args(Removal)
MARKERS: tuple[str, ...] = get_args(Markers)
MARKERS_VERSION = 1  # increase it when the result for the same image changes: caches depend on it
Boxes = npt.NDArray[np.float64]
_Flags = npt.NDArray[np.bool_]
AnyGrey = TypeVar("AnyGrey", npt.NDArray[np.uint8], npt.NDArray[np.uint16])


@dataclass(frozen=True)
class MarkerRule:
    """What counts as a glyph (letter, digit, arrow, ring), and where; lengths in the 1024 frame.

    Attributes:
        contrast: least mean brightness of a glyph above its surroundings, in grey values.
        sharp: least share of the outline with a sharp edge (see `BrightParts`).
        stroke_px: greatest mean stroke width.
        size_px: limits of the longer side of the box.
        alone_px: least longer side of a glyph without neighbours.
        shortest_px: least shorter side.
        aspect: greatest ratio of the sides.
        fill: least share of the box covered by the glyph; a wire covers little.
        side, top, bottom: depth of the strips along the borders in which a glyph may lie on the
            body, as shares of the image's width and height.
        text_glyphs: this many neighbouring glyphs of similar height are text.
        text_reach: how much deeper text may lie than a glyph.
        gap: neighbours are closer than this times the size of the smaller one.
        weak_contrast, weak_sharp, weak_fill: limits for parts that count only as neighbours of a
            glyph (a letter half over bone, a ring around a letter).
        rim_px: margin of the mask around the glyphs, for their halo.
    """

    contrast: float = 50.0
    sharp: float = 0.7
    stroke_px: float = 30.0
    size_px: tuple[float, float] = (11.0, 170.0)
    alone_px: float = 18.0
    shortest_px: float = 4.0
    aspect: float = 4.5
    fill: float = 0.2
    side: float = 0.2
    top: float = 0.14
    bottom: float = 0.1
    text_glyphs: int = 3
    text_reach: float = 1.6
    gap: float = 0.6
    weak_contrast: float = 30.0
    weak_sharp: float = 0.55
    weak_fill: float = 0.09
    rim_px: float = 5.0


RULE = MarkerRule()


@dataclass(frozen=True)
class FoundMarkers:
    """The markers of an image.

    Attributes:
        boxes_xyxy: (N, 4) pixels of the image, one per letter, line or cluster, top to bottom.
        mask: (H, W) bool, the convex hull of each with a rim.
    """

    boxes_xyxy: Boxes
    mask: Mask = field(repr=False)


def find_markers(pixels: Grey, body: Mask | None = None) -> FoundMarkers:
    """Find the markers on grey uint8 pixels (H, W), bright where dense.

    Args:
        body: the image's `body_mask`, if already computed.
    """
    parts = bright_parts(pixels, body_mask(pixels) if body is None else body)
    shaped = _shaped(parts)
    glyphs = shaped & (parts.contrast >= RULE.contrast) & (parts.sharp >= RULE.sharp)
    glyphs &= (parts.fill >= RULE.fill) & (_aspect(parts) <= RULE.aspect)
    weak = shaped & (parts.contrast >= RULE.weak_contrast) & (parts.sharp >= RULE.weak_sharp)
    weak &= parts.fill >= RULE.weak_fill
    strong = parts.select(glyphs)
    placed = strong.select(_placed(strong, _clusters(strong.boxes_xyxy, RULE.gap)))
    every = parts.select(weak)
    every = every.select(_beside(every.boxes_xyxy, placed.boxes_xyxy, RULE.gap))
    return _found(every, _clusters(every.boxes_xyxy, RULE.gap), pixels.shape)


def remove_markers(pixels: AnyGrey, how: str, found: FoundMarkers | None = None) -> AnyGrey:
    """Remove the markers: a copy, or `pixels` itself if nothing changes.

    Args:
        how: `keep` changes nothing; `mask` fills each marker with the median grey around it;
            `inpaint` continues the surroundings inwards (Telea 2004).
        found: the result of `find_markers`; it may be left out for pixels of 8 bits.

    Raises:
        ValueError: for any other value of `how`.
    """
    check_markers(how)
    if how == "keep":
        return pixels
    found = find_markers(pixels.astype(np.uint8, copy=False)) if found is None else found
    if not found.mask.any():
        return pixels
    if how == "mask":
        return _filled(pixels, found.mask)
    radius = max(2.0, 3.0 * max(pixels.shape) / FRAME)
    painted = cv2.inpaint(pixels, found.mask.astype(np.uint8), radius, cv2.INPAINT_TELEA)
    return np.asarray(painted, dtype=pixels.dtype)


def without_markers(image: LoadedImage, how: str) -> LoadedImage:
    """The image, its pixels processed by `remove_markers`; a copy if they change."""
    check_markers(how)
    if how == "keep":
        return image
    found = find_markers(image.pixels)
    deep = None if image.deep is None else remove_markers(image.deep, how, found)
    return replace(image, pixels=remove_markers(image.pixels, how, found), deep=deep)


def check_markers(how: str) -> None:
    """Raise ValueError for an unknown kind of removal."""
    if how not in MARKERS:
        raise ValueError(f"markers {how!r}: expected one of {', '.join(MARKERS)}")


def _shaped(parts: BrightParts) -> _Flags:
    longer, shorter = np.maximum(parts.w, parts.h), np.minimum(parts.w, parts.h)
    return np.asarray(
        (longer >= RULE.size_px[0])
        & (longer <= RULE.size_px[1])
        & (shorter >= RULE.shortest_px)
        & (parts.stroke <= RULE.stroke_px)
    )


def _aspect(parts: BrightParts) -> npt.NDArray[np.float64]:
    return np.asarray(np.maximum(parts.w, parts.h) / np.minimum(parts.w, parts.h))


def _clusters(boxes: Boxes, gap: float) -> npt.NDArray[np.intp]:
    """(K,) cluster of each box; neighbours share one."""
    if not len(boxes):
        return np.zeros(0, np.intp)
    from scipy.sparse.csgraph import connected_components  # slow to import

    return np.asarray(connected_components(_near(boxes, boxes, gap))[1], dtype=np.intp)


def _near(some: Boxes, others: Boxes, gap: float) -> _Flags:
    """(K, L) whether the gap between two boxes is at most `gap` times the smaller box's size."""
    a, b = some[:, None], others[None]
    between = np.maximum(a[..., :2], b[..., :2]) - np.minimum(a[..., 2:], b[..., 2:])
    sizes = [(box[..., 2:] - box[..., :2]).max(axis=-1) for box in (a, b)]
    return np.asarray(between.max(axis=-1) <= gap * np.minimum(*sizes))


def _beside(some: Boxes, glyphs: Boxes, gap: float) -> _Flags:
    return np.asarray(_near(some, glyphs, gap).any(axis=1))


def _placed(parts: BrightParts, cluster: npt.NDArray[np.intp]) -> _Flags:
    """Which glyphs lie where markers belong, cluster by cluster."""
    keep = np.zeros(len(cluster), np.bool_)
    for number in range(int(cluster.max(initial=-1)) + 1):
        in_cluster = cluster == number
        size = np.maximum(parts.w, parts.h)[in_cluster]
        text = np.count_nonzero((size > 0.6 * np.median(size)) & (size < 1.7 * np.median(size)))
        if len(size) == 1 and size[0] < RULE.alone_px:
            continue
        reach = RULE.text_reach if text >= RULE.text_glyphs else 1.0
        keep[in_cluster] = parts.inside[in_cluster].mean() < 0.5 or _at_border(
            parts, in_cluster, reach
        )
    return keep


def _at_border(parts: BrightParts, in_cluster: _Flags, reach: float) -> bool:
    boxes, (height, width) = parts.boxes_xyxy[in_cluster], parts.size_hw
    x1, y1 = boxes[:, :2].min(axis=0)
    x2, y2 = boxes[:, 2:].max(axis=0)
    x, y = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
    sides = min(x, 1 - x) <= RULE.side * reach
    return bool(sides or y <= RULE.top * reach or 1 - y <= RULE.bottom)


def _found(
    parts: BrightParts,
    cluster: npt.NDArray[np.intp],
    size_hw: tuple[int, ...],
) -> FoundMarkers:
    """Boxes and hulls of the clusters."""
    mask = np.zeros(size_hw[:2], np.uint8)
    rim = RULE.rim_px * max(size_hw) / FRAME
    boxes = []
    for number in range(int(cluster.max(initial=-1)) + 1):
        points = np.concatenate(
            [parts.points(k) for k in np.flatnonzero(cluster == number).tolist()]
        )
        cv2.fillConvexPoly(mask, cv2.convexHull(points), 1)
        boxes.append([*(points.min(axis=0) - rim), *(points.max(axis=0) + 1 + rim)])
    side = 2 * round(rim) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    wide = np.asarray(cv2.dilate(mask, disc), dtype=np.bool_)
    limits = np.array([size_hw[1], size_hw[0]] * 2)
    clipped = np.clip(np.array(sorted(boxes, key=lambda b: (b[1], b[0]))).reshape(-1, 4), 0, limits)
    return FoundMarkers(clipped, wide)


def _filled(pixels: AnyGrey, mask: Mask) -> AnyGrey:
    """Fill each part of the mask with the median of a ring around it."""
    filled = pixels.copy()
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    ring = max(3, round(8 * max(pixels.shape) / FRAME))
    for number in range(1, count):
        x, y, w, h = stats[number, :4].tolist()
        rows, columns = slice(max(0, y - ring), y + h + ring), slice(max(0, x - ring), x + w + ring)
        around = pixels[rows, columns][~mask[rows, columns]]
        filled[rows, columns][labels[rows, columns] == number] = (
            np.median(around) if around.size else 0
        )
    return filled
