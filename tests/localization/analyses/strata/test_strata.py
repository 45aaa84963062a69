"""Strata: which box is in which, their figures by hand, and what the section says of them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from builders import comparison, evaluated
from cxrloc.classification.report.tables import Cell, TableRow
from cxrloc.localization.analyses.strata.section import strata
from cxrloc.localization.analyses.strata.strata import (
    StratumScore,
    area_quarters,
    reference_of,
    score_strata,
    strata_of,
)
from cxrloc.localization.evaluation.comparison import Comparison
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.glossary import lookup


def _image(i: int, patient: str = "", **extra: Any) -> dict[str, Any]:
    image = {"id": i, "file_name": f"{i}.png", "width": 100, "height": 100}
    return image | {"patient_id": patient or f"p{i}"} | extra


def _coco(
    images: list[dict[str, Any]], boxes: list[tuple[int, int, float]], size: int = 3
) -> dict[str, Any]:
    """`boxes`: (image id, category id, side of the square at (10, 10))."""
    return {
        "images": images,
        "categories": [{"id": c, "name": n} for c, n in enumerate("ABC"[:size], start=1)],
        "annotations": [
            {"id": k, "image_id": i, "category_id": c, "bbox": [10, 10, side, side]}
            for k, (i, c, side) in enumerate(boxes)
        ],
    }


def _members(coco: dict[str, Any]) -> dict[str, list[str]]:
    """Stratum -> its boxes as `image/disease`."""
    truth = ground_truth_from_coco(coco)
    boxes = [f"{i[:-4]}/{d}" for i, d in zip(truth.image_ids, truth.diseases, strict=True)]
    return {
        s.name: [b for b, m in zip(boxes, s.members, strict=True) if m] for s in strata_of(truth)
    }


FOUR = _coco(
    [
        _image(1, view="AP", sex="F", age_years=39.9, labels=["A", "Hernia"]),
        _image(2, view="PA", sex="M", age_years=40, labels=["A"]),
        _image(3, view="PA", sex="F", age_years=60, labels=["A", "B"]),
        _image(4, view=None, sex="", age_years=None, labels=["B"]),
        _image(5, view="LATERAL", sex="M", age_years=20, labels=["C"]),  # no box: in no stratum
    ],
    [(1, 1, 10), (2, 1, 20), (3, 1, 30), (3, 2, 10), (4, 2, 10)],
)


def test_every_box_is_in_its_strata_and_what_holds_no_box_is_left_out() -> None:
    found = _members(FOUR)

    assert {name: boxes for name, boxes in found.items() if "area" not in name} == {
        "view AP": ["1/A"],
        "view PA": ["2/A", "3/A", "3/B"],
        "view unknown": ["4/B"],
        "sex F": ["1/A", "3/A", "3/B"],
        "sex M": ["2/A"],
        "sex unknown": ["4/B"],
        "age under 40": ["1/A"],
        "age 40 to 59": ["2/A"],
        "age 60 and over": ["3/A", "3/B"],
        "age unknown": ["4/B"],
        "one disease": ["2/A", "4/B"],
        "several diseases": ["1/A", "3/A", "3/B"],  # Hernia counts, boxed or not
    }
    bands = [name for name in found if name.startswith("age")]
    assert bands == ["age under 40", "age 40 to 59", "age 60 and over", "age unknown"]


def test_the_strata_of_a_kind_split_the_boxes() -> None:
    parts = strata_of(ground_truth_from_coco(FOUR))

    for kind in {s.kind for s in parts}:
        members = [s.members for s in parts if s.kind == kind]
        assert np.sum(members, axis=0).tolist() == [1] * 5


def test_a_kind_of_which_nothing_is_known_is_left_out_and_labels_fall_back_on_the_truth() -> None:
    bare = _coco(
        [_image(1), _image(2, not_exhaustive_category_ids=[2]), _image(3)],
        [(1, 1, 10), (2, 1, 10), (3, 1, 10), (3, 2, 10)],
    )

    found = _members(bare)

    assert {name.split()[0] for name in found} == {"box", "one", "several"}
    assert found["one disease"] == ["1/A"]
    assert found["several diseases"] == ["2/A", "3/A", "3/B"]


def test_quarters_of_area_are_within_the_disease_and_equal_areas_stay_together() -> None:
    sides = [10, 20, 30, 40]
    coco = _coco(
        [_image(i) for i in range(8)],
        [*((i, 1, s) for i, s in enumerate(sides)), *((i, 2, 2 * s) for i, s in enumerate(sides)),
         *((4 + i, 3, 10) for i in range(4))],
    )  # fmt: skip

    truth = ground_truth_from_coco(coco)
    quarters = area_quarters(truth)

    of = {name: quarters[truth.disease_index == i].tolist() for i, name in enumerate("ABC")}
    # the areas of B are four times those of A: over all boxes they would not share the quarters
    assert of == {"A": [0, 1, 2, 3], "B": [0, 1, 2, 3], "C": [0, 0, 0, 0]}


def test_area_is_a_share_of_the_image_so_its_size_in_pixels_changes_no_quarter() -> None:
    boxes: list[tuple[int, int, float]] = [(i, 1, 10 + 10 * i) for i in range(4)]
    plain = _coco([_image(i) for i in range(4)], boxes)
    scaled = _coco([_image(0) | {"width": 1000, "height": 1000}, *map(_image, range(1, 4))],
                   [(0, 1, 100), *boxes[1:]])  # fmt: skip

    assert _members(scaled) == _members(plain)


def _world(gated: bool = False) -> Evaluated:
    """24 patients: AP images are found with IoU .5, PA images with IoU 1, unknown views not at all.

    Half of the images have A, the other half B; all but the four unknown have age and sex.
    """
    views = ["AP"] * 10 + ["PA"] * 10 + [""] * 4
    images = [_image(i, view=v, sex="F", age_years=50) for i, v in enumerate(views)]
    coco = _coco(images, [(i, 1 + i % 2, 10 + i) for i in range(24)])
    found = [
        Localization(f"{i}.png", "AB"[i % 2], (10, 10, 20 + i, 10 + (10 + i) / (1 + (i < 10))), 0.5)
        for i in range(20)
    ]
    gate = {(f"{i}.png", "AB"[i % 2]): i >= 5 for i in range(24)} if gated else None
    return evaluated(coco, {"mine": found}, gate, resamples=100, seed=3)


def _scores(compared: Comparison) -> list[StratumScore]:
    return score_strata(compared, strata_of(compared.truth))


def _score(scores: list[StratumScore], stratum: str, label: str) -> StratumScore:
    return next(s for s in scores if (s.stratum.name, s.localizer.label) == (stratum, label))


def test_figures_are_macro_means_of_the_boxes_of_the_stratum() -> None:
    compared = _world(gated=True).comparison
    parts = strata_of(compared.truth)

    scores = score_strata(compared, parts)

    def values(stratum: str, label: str) -> list[float]:
        return [e.value for e in _score(scores, stratum, label).figures.values()]

    assert list(scores[0].figures) == ["mean_iou", "acc_iou@0.5"]
    assert values("view AP", "mine") == pytest.approx([0.5, 0])  # strictly greater: no hit
    assert values("view PA", "mine") == pytest.approx([1, 1])
    assert values("view unknown", "mine") == [0, 0]
    # the gate drops images 0 to 4: three of five of A, two of five of B
    assert values("view AP", "mine, gated") == pytest.approx([(0.2 + 0.3) / 2, 0])
    assert len(scores) == len(parts) * len(compared.localizers)


def test_a_disease_without_a_box_in_the_stratum_is_not_in_its_macro_mean() -> None:
    views = {1: "AP", 2: "AP", 3: "PA", 4: "PA"}
    images = [_image(i, view=view) for i, view in views.items()]
    coco = _coco(images, [(1, 1, 10), (2, 1, 10), (3, 2, 10), (4, 2, 10)])
    found = [Localization(f"{i}.png", "A", (10, 10, 20, 20), 0.5) for i in (1, 2)]

    scores = _scores(comparison(coco, {"mine": found}))

    assert _score(scores, "view AP", "mine").figures["mean_iou"].value == 1
    assert _score(scores, "view PA", "mine").figures["mean_iou"].value == 0


def test_under_ten_patients_there_is_a_figure_but_no_interval() -> None:
    scores = _scores(_world().comparison)

    ten, four = (_score(scores, s, "mine").figures["mean_iou"] for s in ("view AP", "view unknown"))
    assert ten.low <= ten.value <= ten.high
    assert np.isnan([four.low, four.high]).all()


def test_patients_not_boxes_are_counted_for_the_interval() -> None:
    images = [_image(i, patient=f"p{i % 9}", view="AP") for i in range(18)]
    coco = _coco(images, [(i, 1, 10) for i in range(18)])

    scores = _scores(comparison(coco, {}))

    assert np.isnan(scores[0].figures["mean_iou"].low)


def test_the_difference_to_the_reference_is_that_of_the_figures_and_none_for_itself() -> None:
    compared = _world().comparison
    reference = reference_of(compared)
    assert reference is not None
    assert reference.is_control

    scores = _scores(compared)

    for stratum in ("view AP", "view PA"):
        mine, base = (_score(scores, stratum, label) for label in ("mine", reference.name))
        assert base.over_reference is None
        assert mine.over_reference is not None
        for name, figure in mine.over_reference.items():
            expected = mine.figures[name].value - base.figures[name].value
            assert figure.value == pytest.approx(expected)
            assert figure.low <= figure.value <= figure.high


def test_the_reference_is_constant_box_and_else_prior_box() -> None:
    compared = _world().comparison
    rows = {row.name: row for row in compared.localizers}
    prior, other = rows["prior_box"], rows["random_map"]
    best = replace(prior, name="constant_box")

    def chosen(*localizers: Any) -> str | None:
        found = reference_of(replace(compared, localizers=localizers))
        return None if found is None else found.name

    assert chosen(prior, other, best) == "constant_box"
    assert chosen(other, prior) == "prior_box"
    assert chosen(other) is None
    # a localizer of that name that is no control does not count
    assert chosen(replace(best, setting="disease given"), prior) == "prior_box"


def test_the_section_prints_counts_differences_and_who_has_no_interval() -> None:
    world = _world(gated=True)

    section = strata(world)

    assert section.key == "strata"
    (table,) = section.tables
    blocks = list(dict.fromkeys(row.block for row in table.rows))
    assert blocks == ["view", "sex", "age", "box area", "diseases on the image"]
    row = next(r for r in table.rows if r.lead["stratum"] == "view unknown")
    assert row.trail == {"diseases": 2, "boxes": 4, "patients": 4}
    assert "no interval" in row.note
    notes = " ".join(table.notes)
    assert "Under 10 patients, so without interval: view unknown" in notes
    assert "within the disease" in notes
    assert "no test is done" in notes
    assert "no test is done" in section.paragraphs[0]
    reference = reference_of(world.comparison)
    assert reference is not None
    own = next(r for r in table.rows if r.lead["localizer"] == reference.name)
    assert own.cells["mean_iou minus reference"] == ""
    finding = section.paragraphs[1]
    assert finding.startswith("mine: mean IoU minus that of the reference control runs from")
    assert "view unknown" not in finding  # its four patients would make any extreme


def test_every_column_has_an_explanation() -> None:
    for row in strata(_world()).tables[0].rows:
        for column in (*row.lead, *row.cells, *row.trail):
            assert lookup(column).definition


def test_without_a_control_there_is_no_difference_and_one_panel() -> None:
    world = _world()
    world.comparison = replace(world.comparison, localizers=world.comparison.localizers[:1])

    section = strata(world)

    assert list(section.tables[0].rows[0].cells) == ["mean_iou", "acc_iou@0.5"]
    assert "There is no control to subtract" in section.tables[0].notes
    assert len(section.figures[0].figure.axes) == 1


def test_the_figure_has_a_line_per_stratum_and_marks_gated_twins_hollow() -> None:
    world = _world(gated=True)

    section = strata(world)

    figure = section.figures[0]
    left, right = figure.figure.axes
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names == [s.name for s in strata_of(world.truth)]
    legend = figure.figure.legends[0]
    reference = reference_of(world.comparison)
    assert reference is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["mine", "mine, gated", f"{reference.name} (control)"]
    mine, gated = legend.get_lines()[:2]
    assert mine.get_color() == gated.get_color() == mine.get_markerfacecolor()
    assert gated.get_markerfacecolor() == "white"
    assert "minus" in right.get_xlabel()
    assert all(paragraph in figure.alt for paragraph in section.paragraphs[1:])


def test_the_order_of_images_boxes_and_predictions_changes_no_figure() -> None:
    sides = np.random.default_rng(0).uniform(10, 60, 24).tolist()
    images = [_image(i, patient=f"p{i // 2}", view="AP" if i % 3 else "PA") for i in range(24)]
    coco = _coco(images, [(i, 1 + i % 2, side) for i, side in enumerate(sides)], size=2)
    found = [Localization(f"{i}.png", "AB"[i % 2], (12, 10, 40, 50), 0.5) for i in range(20)]
    mixed = {key: random.Random(1).sample(coco[key], len(coco[key])) for key in coco}

    plain, other = (
        strata(evaluated(c, {"mine": f})).tables[0]
        for c, f in ((coco, found), (mixed, found[::-1]))
    )

    assert [row.lead for row in plain.rows] == [row.lead for row in other.rows]
    for row, same in zip(plain.rows, other.rows, strict=True):
        assert _figures(row) == pytest.approx(_figures(same), nan_ok=True)


def _figures(row: TableRow) -> list[float]:
    """Values and intervals of all cells."""
    found = [cell.estimate for cell in row.cells.values() if isinstance(cell, Cell)]
    return [figure for e in found for figure in (e.value, e.low, e.high)]
