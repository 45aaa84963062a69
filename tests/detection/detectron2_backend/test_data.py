"""What detectron2 is taught: polygons of outlines, and of boxes without one."""

from __future__ import annotations

import numpy as np

from cxrloc.detection.data import Sample
from cxrloc.detection.detectron2_backend.data import polygons_of


def test_a_finding_is_its_outline_or_else_its_box() -> None:
    boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    parts = (np.array([[5.0, 6], [7, 6], [7, 8]]), np.array([[5.0, 7], [6, 7], [6, 8]]))
    sample = Sample(np.zeros((8, 8), np.uint8), boxes, np.array([1, 1]), ((), parts))
    box, outline = polygons_of(sample)
    assert [polygon.tolist() for polygon in box] == [[1, 2, 3, 2, 3, 4, 1, 4]]
    assert [polygon.tolist() for polygon in outline] == [[5, 6, 7, 6, 7, 8], [5, 7, 6, 7, 6, 8]]
