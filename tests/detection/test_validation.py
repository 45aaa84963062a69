"""Scores of a detector in training, and the stages at which it loses a finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.detection.data import DetectionSet
from cxrloc.detection.mask_rcnn import Candidates, Detections
from cxrloc.detection.validation import stage_table, validation_scores, write_stages


class _Predictor:
    """Boxes the finding rightly, but gives a box elsewhere a higher score on the first images."""

    runtime = "test"

    def __init__(self, data: DetectionSet, wrong: int) -> None:
        self.truth = {r.image_id: r.boxes[0] for r in data.radiographs}
        self.wrong = {r.image_id for r in data.radiographs[:wrong]}

    def predict(self, images: Sequence[LoadedImage]) -> list[Detections]:
        return [self._detections(image) for image in images]

    def _detections(self, image: LoadedImage) -> Detections:
        box = self.truth[image.image_id]
        boxes = [(0.0, 0.0, 9.0, 9.0), box.box_xyxy]
        rows = [0, 1] if image.image_id in self.wrong else [1]
        scores = np.array([0.9, 0.4])[rows]
        return Detections(
            image.image_id,
            image.size_hw,
            np.array(boxes)[rows],
            scores,
            (box.disease,) * len(rows),
        )


class _Explained(_Predictor):
    """Its regions cover the left half of each finding, its boxes all of it."""

    def candidates(self, images: Sequence[LoadedImage]) -> Iterator[Candidates]:
        for image in images:
            x1, y1, x2, y2 = self.truth[image.image_id].box_xyxy
            proposals = np.array([[x1, y1, (x1 + x2) / 2, y2], [0, 0, 9, 9]])
            boxes = np.array([[[x1, y1, x2, y2]] * 2, [[0, 0, 9, 9]] * 2])
            yield Candidates(proposals, boxes, np.full((2, 2), 0.5))


def test_a_score_counts_what_is_found_first_and_what_is_found_at_all(
    rectangles: DetectionSet,
) -> None:
    right = validation_scores(_Predictor(rectangles, wrong=0), rectangles)
    assert (right.average_precision, right.mean_iou) == pytest.approx((1, 1))
    half = validation_scores(_Predictor(rectangles, wrong=8), rectangles)
    assert half.mean_iou == pytest.approx(0.5)
    assert 0 < half.average_precision < 1
    unboxed = replace(rectangles, diseases=("Nodule",))
    assert validation_scores(_Predictor(rectangles, 0), unboxed).average_precision == 0


def test_each_stage_says_what_it_still_finds(rectangles: DetectionSet) -> None:
    table = stage_table(_Explained(rectangles, wrong=4), rectangles)
    assert [row.lead for row in table.rows] == [
        {"disease": "Effusion", "n": 8},
        {"disease": "Mass", "n": 8},
        {"disease": "macro mean", "n": 16},
    ]
    for row in table.rows:  # each disease has two of the four images with a wrong first box
        assert row.cells == pytest.approx(
            {
                "proposals IoU > 0.3": 1,
                "boxes IoU > 0.3": 1,
                "kept IoU > 0.3": 1,
                "first IoU > 0.3": 0.75,
                "proposals IoU > 0.5": 0,
                "boxes IoU > 0.5": 1,
                "kept IoU > 0.5": 1,
                "first IoU > 0.5": 0.75,
                "proposals mean IoU": 0.5,
                "boxes mean IoU": 1,
                "kept mean IoU": 1,
                "first mean IoU": 0.75,
            },
            abs=1e-6,
        )


def test_the_page_is_written_where_candidates_are_shown(
    rectangles: DetectionSet, tmp_path: Path
) -> None:
    write_stages(tmp_path / "a.md", _Predictor(rectangles, 0), rectangles)
    write_stages(tmp_path / "b.md", _Explained(rectangles, 0), replace(rectangles, radiographs=()))
    write_stages(tmp_path / "c.md", _Explained(rectangles, 0), rectangles)
    assert [path.name for path in tmp_path.iterdir()] == ["c.md"]
    assert "best region that the first stage proposes" in (tmp_path / "c.md").read_text()
