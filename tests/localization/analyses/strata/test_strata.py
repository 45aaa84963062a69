"""Strata: which box is in which, and their figures by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from builders import comparison
from cxrloc.localization.analyses.strata.strata import (
    StratumScore,
    area_quarters,
    reference_of,
    score_strata,
    strata_of,
)
from cxrloc.localization.evaluation.comparison import Comparison
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco
from cxrloc.localization.localizer import Localization
from localization.analyses.strata.view_world import coco_of, image_of, view_world


def _members(coco: dict[str, Any]) -> dict[str, list[str]]:
    """Stratum -> its boxes as `image/disease`."""
    truth = ground_truth_from_coco(coco)
    boxes = [f"{i[:-4]}/{d}" for i, d in zip(truth.image_ids, truth.diseases, strict=True)]
    return {
        s.name: [b for b, m in zip(boxes, s.members, strict=True) if m] for s in strata_of(truth)
    }


FOUR = coco_of(
    [
        image_of(1, view="AP", sex="F", age_years=39.9, labels=["A", "Hernia"]),
        image_of(2, view="PA", sex="M", age_years=40, labels=["A"]),
        image_of(3, view="PA", sex="F", age_years=60, labels=["A", "B"]),
        image_of(4, view=None, sex="", age_years=None, labels=["B"]),
        image_of(5, view="LATERAL", sex="M", age_years=20, labels=["C"]),  # no box: in no stratum
    ],
    [(1, 1, 10), (2, 1, 20), (3, 1, 30), (3, 2, 10), (4, 2, 10)],
)


def test_every_box_is_in_its_strata_and_what_holds_no_box_is_left_out() -> None:
    members = _members(FOUR)

    assert {name: boxes for name, boxes in members.items() if "area" not in name} == {
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
    bands = [name for name in members if name.startswith("age")]
    assert bands == ["age under 40", "age 40 to 59", "age 60 and over", "age unknown"]


def test_the_strata_of_a_kind_split_the_boxes() -> None:
    parts = strata_of(ground_truth_from_coco(FOUR))

    for kind in {s.kind for s in parts}:
        members = [s.members for s in parts if s.kind == kind]
        assert np.sum(members, axis=0).tolist() == [1] * 5


def test_a_kind_of_which_nothing_is_known_is_left_out_and_labels_fall_back_on_the_truth() -> None:
    bare = coco_of(
        [image_of(1), image_of(2, not_exhaustive_category_ids=[2]), image_of(3)],
        [(1, 1, 10), (2, 1, 10), (3, 1, 10), (3, 2, 10)],
    )

    members = _members(bare)

    assert {name.split()[0] for name in members} == {"box", "one", "several"}
    assert members["one disease"] == ["1/A"]
    assert members["several diseases"] == ["2/A", "3/A", "3/B"]


def test_quarters_of_area_are_within_the_disease_and_equal_areas_stay_together() -> None:
    sides = [10, 20, 30, 40]
    coco = coco_of(
        [image_of(i) for i in range(8)],
        [
            *((i, 1, s) for i, s in enumerate(sides)),
            *((i, 2, 2 * s) for i, s in enumerate(sides)),
            *((4 + i, 3, 10) for i in range(4)),
        ],
    )

    truth = ground_truth_from_coco(coco)
    quarters = area_quarters(truth)

    of = {name: quarters[truth.disease_index == i].tolist() for i, name in enumerate("ABC")}
    # the areas of B are four times those of A: over all boxes they would not share the quarters
    assert of == {"A": [0, 1, 2, 3], "B": [0, 1, 2, 3], "C": [0, 0, 0, 0]}


def test_area_is_a_share_of_the_image_so_its_size_in_pixels_changes_no_quarter() -> None:
    boxes: list[tuple[int, int, float]] = [(i, 1, 10 + 10 * i) for i in range(4)]
    plain = coco_of([image_of(i) for i in range(4)], boxes)
    scaled = coco_of(
        [image_of(0) | {"width": 1000, "height": 1000}, *map(image_of, range(1, 4))],
        [(0, 1, 100), *boxes[1:]],
    )

    assert _members(scaled) == _members(plain)


def _scores(compared: Comparison) -> list[StratumScore]:
    return score_strata(compared, strata_of(compared.truth))


def _score(scores: list[StratumScore], stratum: str, label: str) -> StratumScore:
    return next(s for s in scores if (s.stratum.name, s.localizer.label) == (stratum, label))


def test_figures_are_macro_means_of_the_boxes_of_the_stratum() -> None:
    compared = view_world(gated=True).comparison
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
    images = [image_of(i, view=view) for i, view in views.items()]
    coco = coco_of(images, [(1, 1, 10), (2, 1, 10), (3, 2, 10), (4, 2, 10)])
    boxes = [Localization(f"{i}.png", "A", (10, 10, 20, 20), 0.5) for i in (1, 2)]

    scores = _scores(comparison(coco, {"mine": boxes}))

    assert _score(scores, "view AP", "mine").figures["mean_iou"].value == 1
    assert _score(scores, "view PA", "mine").figures["mean_iou"].value == 0


def test_under_ten_patients_there_is_a_figure_but_no_interval() -> None:
    scores = _scores(view_world().comparison)

    ten, four = (_score(scores, s, "mine").figures["mean_iou"] for s in ("view AP", "view unknown"))
    assert ten.low <= ten.value <= ten.high
    assert np.isnan([four.low, four.high]).all()


def test_patients_not_boxes_are_counted_for_the_interval() -> None:
    images = [image_of(i, patient=f"p{i % 9}", view="AP") for i in range(18)]
    coco = coco_of(images, [(i, 1, 10) for i in range(18)])

    scores = _scores(comparison(coco, {}))

    assert np.isnan(scores[0].figures["mean_iou"].low)


def test_the_difference_to_the_reference_is_that_of_the_figures_and_none_for_itself() -> None:
    compared = view_world().comparison
    reference = reference_of(compared)
    assert reference is not None
    assert reference.is_control

    scores = _scores(compared)

    for stratum in ("view AP", "view PA"):
        scored, base = (_score(scores, stratum, label) for label in ("mine", reference.name))
        assert base.over_reference is None
        assert scored.over_reference is not None
        for name, figure in scored.over_reference.items():
            expected = scored.figures[name].value - base.figures[name].value
            assert figure.value == pytest.approx(expected)
            assert figure.low <= figure.value <= figure.high


def test_the_reference_is_constant_box_and_else_prior_box() -> None:
    compared = view_world().comparison
    rows = {row.name: row for row in compared.localizers}
    prior, other = rows["prior_box"], rows["random_map"]
    best = replace(prior, name="constant_box")

    def chosen(*localizers: Any) -> str | None:
        reference = reference_of(replace(compared, localizers=localizers))
        return None if reference is None else reference.name

    assert chosen(prior, other, best) == "constant_box"
    assert chosen(other, prior) == "prior_box"
    assert chosen(other) is None
    # a localizer of that name that is no control does not count
    assert chosen(replace(best, setting="disease given"), prior) == "prior_box"
