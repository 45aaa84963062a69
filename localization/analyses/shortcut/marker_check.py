"""Check the marker finder: score it on drawn images, and draw sheets to inspect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.images.markers import FoundMarkers, find_markers, remove_markers
from cxrloc.datasets.images.transforms import fitted
from cxrloc.datasets.phantoms.markers import Drawn
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.boxes import box_iou_matrix
from cxrloc.localization.diagnosis.canvas import Canvas, grey_picture, rgb, shortened

SAME = 0.3  # least IoU of a found and a drawn box of the same marker
IMAGES_PER_SHEET = 8
_IMAGE_PX, _ACROSS, _GAP, _TITLE_PX, _TEXT_PX = 384, 2, 8, 22, 13
_BOX = rgb("#E69F00")


@dataclass(frozen=True)
class MarkerScore:
    """Counts over images.

    Attributes:
        drawn: markers on the images.
        drawn_and_found: those that agree with a found box.
        found: boxes returned by `find_markers`.
        found_and_drawn: those that agree with a marker.
    """

    drawn: int
    drawn_and_found: int
    found: int
    found_and_drawn: int

    @property
    def precision(self) -> float:
        """Share of the found boxes that are markers; NaN if nothing was found."""
        return self.found_and_drawn / self.found if self.found else float("nan")

    @property
    def recall(self) -> float:
        """Share of the markers that are found; NaN if there are none."""
        return self.drawn_and_found / self.drawn if self.drawn else float("nan")


def score_markers(images: Iterable[Drawn]) -> MarkerScore:
    """Find the markers of images with known markers (see `marked_images`)."""
    counts = np.zeros(4, np.int64)
    for pixels, drawn in images:
        boxes = find_markers(pixels).boxes_xyxy
        same = box_iou_matrix(np.array(drawn).reshape(-1, 4), boxes) > SAME
        counts += len(drawn), same.any(axis=1).sum(), len(boxes), same.any(axis=0).sum()
    return MarkerScore(*counts.tolist())


def marker_sheet(images: Sequence[tuple[LoadedImage, FoundMarkers]], how: str) -> Canvas:
    """Each image with the boxes of its markers and, to its right, without the markers.

    Args:
        images: at least one and at most `IMAGES_PER_SHEET`, each with the markers found on it.
        how: see `remove_markers`.
    """
    rows = -(-len(images) // _ACROSS)
    cell_w, cell_h = 2 * _IMAGE_PX + 3 * _GAP, _IMAGE_PX + _TITLE_PX + _GAP
    canvas = Canvas(cell_w * min(_ACROSS, len(images)), cell_h * rows + _TITLE_PX)
    for i, (image, found) in enumerate(images):
        left, top = (i % _ACROSS) * cell_w + _GAP, (i // _ACROSS) * cell_h
        _draw_pair(canvas, image, found, how, left, top)
    canvas.text(_GAP, cell_h * rows + _TITLE_PX / 2, f"{RESEARCH_USE}.", _TEXT_PX)
    return canvas


def _draw_pair(
    canvas: Canvas, image: LoadedImage, found: FoundMarkers, how: str, left: int, top: int
) -> None:
    title = f"{image.image_id}: {len(found.boxes_xyxy)} found"
    title = shortened(title, _TEXT_PX, 2 * _IMAGE_PX)
    canvas.text(left, top + _TITLE_PX / 2, title, _TEXT_PX)
    size_wh = fitted(image.size_hw, _IMAGE_PX)
    scale, top = size_wh[0] / image.size_hw[1], top + _TITLE_PX
    canvas.paste(grey_picture(image.pixels, size_wh), left, top)
    for x1, y1, x2, y2 in np.rint(found.boxes_xyxy * scale).astype(int).tolist():
        # thinner than in Canvas.box, which would hide a letter at this size
        cv2.rectangle(canvas.pixels, (left + x1, top + y1), (left + x2, top + y2), _BOX)
    clean = remove_markers(image.pixels, how, found)
    canvas.paste(grey_picture(clean, size_wh), left + _IMAGE_PX + _GAP, top)
