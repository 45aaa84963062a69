"""AP of localizers in the report: which images, both bounds, masks of a smaller frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import evaluated
from cxrloc.classification.report.tables import TableRow
from cxrloc.datasets.provenance.sidecar import Provenance
from cxrloc.localization.analyses.average_precision import average_precision
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.masks import MaskResult, encode_mask
from cxrloc.localization.report.glossary import lookup

BOX = (10.0, 10.0, 50.0, 50.0)
COCO: dict[str, Any] = {
    "categories": [{"id": 1, "name": "Mass"}, {"id": 2, "name": "Nodule"}],
    "images": [
        {"id": 1, "file_name": "a", "width": 64, "height": 64},
        {"id": 2, "file_name": "b", "width": 64, "height": 64, "not_exhaustive_category_ids": [1]},
        {"id": 3, "file_name": "c", "width": 64, "height": 64},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "bbox": [10, 10, 40, 40],
            "segmentation": [[10, 10, 50, 10, 50, 50, 10, 50]],
            "area": 1600,
        },
    ],
}


def _rows(
    boxes: Sequence[Localization], looked_at: str = "abc", masks: Sequence[MaskResult] = ()
) -> tuple[TableRow, ...]:
    """The table of one localizer, which has looked at these images."""
    sidecar = Provenance(Path("mine.manifest.json"), {"all": tuple(looked_at)})
    inputs: dict[str, Any] = {"provenances": {"mine": sidecar}}
    inputs |= {"masks": {"mine": masks}} if masks else {}
    return average_precision(evaluated(COCO, {"mine": boxes}, **inputs)).tables[0].rows


def _row(rows: tuple[TableRow, ...], iou: str, bound: str, block: str = "box AP") -> TableRow:
    lead = {"localizer": "mine", "IoU thresholds": iou, "unboxed positives": bound}
    return next(r for r in rows if r.block == block and lead.items() <= r.lead.items())


def test_a_stronger_box_on_a_labelled_image_without_a_box_is_ignored_or_halves_the_precision() -> (
    None
):
    boxes = [Localization("a", "Mass", BOX, 0.5), Localization("b", "Mass", BOX, 0.9)]

    rows = _rows(boxes)

    assert _row(rows, ".5", "ignored").cells["Mass"] == pytest.approx(1.0)
    assert _row(rows, ".5", "counted").cells["Mass"] == pytest.approx(0.5)
    assert np.isnan(float(_row(rows, ".5", "counted").cells["Nodule"]))  # type: ignore[arg-type]
    assert _row(rows, ".5", "counted").cells["macro mean"] == pytest.approx(0.5)
    assert _row(rows, ".5", "counted").trail == {"boxes": 1, "images": 3}


def test_images_that_a_localizer_has_not_looked_at_are_not_held_against_it() -> None:
    wrong = [Localization("a", "Mass", BOX, 0.5), Localization("c", "Mass", BOX, 0.9)]

    looked = _rows(wrong)
    not_looked = _rows(wrong, "ab")

    assert _row(looked, ".5", "ignored").cells["Mass"] == pytest.approx(0.5)
    assert _row(not_looked, ".5", "ignored").cells["Mass"] == pytest.approx(1.0)
    assert _row(not_looked, ".5", "ignored").trail["images"] == 2


@pytest.mark.parametrize("side", [64, 32])
def test_masks_are_scored_in_their_own_frame(side: int) -> None:
    mask = np.zeros((side, side), bool)
    low, high = 10 * side // 64, 50 * side // 64
    mask[low:high, low:high] = True
    results = [MaskResult("a", "Mass", 0.5, encode_mask(mask, (side, side)))]

    rows = _rows([], masks=results)

    assert _row(rows, ".5:.05:.95", "ignored", "mask AP").cells["Mass"] == pytest.approx(1.0)


def test_no_boxes_at_all_score_zero_and_every_column_is_explained() -> None:
    rows = _rows([])

    assert _row(rows, ".5", "ignored").cells["Mass"] == 0.0
    for row in rows:
        for column in {**row.lead, **row.cells, **row.trail}.keys() - {"Mass", "Nodule"}:
            assert lookup(column).definition
