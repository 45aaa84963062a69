"""The pointing game by hand: peaks, centres, ties, tolerance, controls and published rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from builders import coco_ground_truth, evaluated
from cxrloc.classification.report.tables import Cell
from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.localization.analyses.ladder.pointing import (
    ALL_PAIRS,
    ANY_POINT,
    CENTRE,
    OVER,
    PEAK,
    pointing,
)
from cxrloc.localization.analyses.ladder.points import Pairs, peaks
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco
from cxrloc.localization.localizer import Localization

Map = npt.NDArray[np.float32]
BOX = (20.0, 40.0, 20.0, 10.0)  # x from 20 to 40, y from 40 to 50
PAIRS = [("a", "Mass", BOX), ("b", "Mass", BOX), ("b", "Nodule", (70.0, 70.0, 10.0, 10.0))]


def _cells(*hot: tuple[int, int]) -> Map:
    """Ten cells a side, 10 px each on 100 px; `hot` are (column, row)."""
    cells = np.zeros((10, 10), np.float32)
    for column, row in hot:
        cells[row, column] = 1
    return cells


def _maps(maps: Mapping[tuple[str, str], Map], *, aligned: bool = False) -> HeatMaps:
    return HeatMaps.of(maps, name="cam", aligned=aligned)


def _pairs(boxes: list[tuple[str, str, tuple[float, float, float, float]]]) -> Pairs:
    coco = coco_ground_truth(("Mass", "Nodule"), boxes, size_wh=(100, 100))
    return Pairs.of(ground_truth_from_coco(coco))


def _share(cells: Map, *tolerances: float, aligned: bool = False) -> list[float]:
    pairs = _pairs([("a", "Mass", BOX)])
    hits = pairs.hits_of_cells(lambda *_: cells, tolerances or (0,), aligned=aligned)
    return [float(share) for share in hits.shares[0]]


def test_a_peak_in_the_box_hits_and_one_beside_it_does_not() -> None:
    assert _share(_cells((2, 4))) == [1]  # its centre is (25, 45)
    assert _share(_cells((4, 4))) == [0]  # (45, 45) is 5 px to the right of the box
    assert _share(_cells((2, 6))) == [0]


def test_a_tolerance_is_a_distance_to_the_box() -> None:
    # peak pixels 44.5 and 45.5: 4.5 and 5.5 px to the right
    assert _share(_cells((4, 4)), 4, 5, 6) == [0, 0.5, 1]
    # (45, 65) is (5, 15) px away: 15.8 px, not 15; pixels at 64.5 are (4.5, 14.5): 15.2 px
    assert _share(_cells((4, 6)), 15, 17) == [0, 1]


def test_equal_peaks_count_by_their_share_in_the_box() -> None:
    assert _share(_cells((2, 4), (8, 8))) == [0.5]
    assert _share(_cells((2, 4), (3, 4), (8, 8))) == [pytest.approx(2 / 3, abs=0.34)]


@pytest.mark.parametrize("cells", [_cells(), np.full((10, 10), 3, np.float32), _cells() * np.nan])
def test_a_blank_map_points_nowhere_and_misses(cells: Map) -> None:
    assert len(peaks(cells, (100, 100))) == 0
    hits = _pairs([("a", "Mass", BOX)]).hits_of_cells(lambda *_: cells, (0,))
    assert (hits.shares.tolist(), hits.pointless) == ([[0]], 1)


def test_the_peak_is_where_the_map_lies_in_the_frame() -> None:
    """The image is at the top left of the square; aligned cells lie half a cell further left."""
    points = peaks(_cells((2, 4), (2, 9)), (60, 100))
    assert points.mean(axis=0) == pytest.approx([25, 45])  # the other one is in the padding
    moved = peaks(_cells((2, 4)), (100, 100), aligned=True)
    assert moved.mean(axis=0) == pytest.approx([20, 40])


def test_one_of_several_boxes_is_enough_and_they_are_one_pair() -> None:
    pairs = _pairs([("a", "Mass", BOX), ("a", "Mass", (60.0, 60.0, 20.0, 20.0))])
    hits = pairs.hits_of_cells(lambda *_: _cells((6, 6)), (0,))
    assert hits.shares.tolist() == [[1]]
    assert pairs.chance == pytest.approx([(200 + 400) / 10_000])


def test_a_point_on_the_border_of_a_box_is_in_it_and_no_point_is_a_miss() -> None:
    pairs = _pairs(PAIRS)
    points = np.array([[40.0, 50.0], [40.1, 50.0], [np.nan, np.nan]])
    hits = pairs.hits_of_points(points, (0, 1))
    assert hits.shares.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert hits.pointless == 1


def _compared(diseases: tuple[str, ...] = ("Mass", "Nodule"), **inputs: Any) -> Evaluated:
    boxes = [
        (f"{i}", d, (10.0 * c + 5, 20.0, 30.0, 20.0))
        for i in range(6)
        for c, d in enumerate(diseases)
    ]
    coco = coco_ground_truth(diseases, boxes, size_wh=(200, 200))
    right = [Localization(i, d, (x, 20, x + 30, 40), 0.5) for i, d, (x, _, _, _) in boxes]
    wrong = [Localization(i, d, (150, 150, 160, 160), 0.9) for i, d, _ in boxes[::2]]
    maps = {(i, d): np.eye(4, dtype=np.float32) for i, d, _ in boxes}
    found = {"cam": [*wrong, *right], "detector": right}
    return evaluated(coco, found, maps={"cam": _maps(maps)}, **inputs)


def test_the_section_holds_maps_centres_and_controls_at_both_tolerances() -> None:
    section = pointing(_compared())
    assert section is not None
    (table,) = section.tables
    rows = [(r.lead["localizer"], r.lead["point"], r.lead["tolerance px"]) for r in table.rows]

    strict = [("cam", PEAK), ("cam", CENTRE), ("detector", CENTRE), ("constant_box", CENTRE)]
    assert [row[:2] for row in rows if row[2] == 0][:4] == strict
    assert (ANY_POINT, ANY_POINT, 0) in rows
    assert [row[:2] for row in rows if row[2] == 15][:4] == strict
    by_row = dict(zip(rows, table.rows, strict=True))
    detector, of_cam = by_row["detector", CENTRE, 0], by_row["cam", CENTRE, 0]
    assert _value(detector.cells["macro mean"]) == 1
    assert _value(of_cam.cells["Mass"]) == 0  # its best boxes are the wrong ones
    assert _value(of_cam.cells["Nodule"]) == 1
    assert _value(of_cam.trail[ALL_PAIRS]) == 0.5
    constant = _value(by_row["constant_box", CENTRE, 0].cells["macro mean"])
    assert _value(detector.trail[OVER]) == pytest.approx(1 - constant)
    assert "detector 1.000" in section.finding
    assert "cam, peak of the map: macro mean" in section.paragraphs[1]


def test_published_figures_stand_beside_nihs_diseases_only() -> None:
    def published(diseases: tuple[str, ...], **inputs: object) -> dict[str, object]:
        section = pointing(_compared(diseases, **inputs))
        assert section is not None
        rows = [row for row in section.tables[0].rows if row.lead["setting"] == "published"]
        return {str(row.lead["localizer"]): row for row in rows}

    assert published(("Mass", "Fracture")) == {}
    assert published(NIH_BOXED_DISEASES, published=False) == {}
    whole = published(NIH_BOXED_DISEASES)
    assert {n: _value(r.trail[ALL_PAIRS]) for n, r in whole.items()} == {  # type: ignore[attr-defined]
        "PYLON": 0.62,
        "CAM": 0.45,
        "PYLON, repository": 0.616,
    }
    part = published(("Mass", "Nodule"))["PYLON, repository"]
    assert part.trail[ALL_PAIRS] == ""  # type: ignore[attr-defined]
    assert _value(part.cells["macro mean"]) == pytest.approx((0.673 + 0.466) / 2)  # type: ignore[attr-defined]


def test_without_a_localizer_there_is_no_section() -> None:
    coco = coco_ground_truth(("Mass",), [("a", "Mass", BOX)], size_wh=(100, 100))
    assert pointing(evaluated(coco, {})) is None


def _value(cell: object) -> float:
    assert isinstance(cell, Cell)
    return cell.estimate.value
