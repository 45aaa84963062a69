"""A second reader scored as a localizer is, and the others on the same boxes."""

from __future__ import annotations

import numpy as np
import pytest

from cxrloc.localization.analyses.second_reader.scores import (
    ALL,
    BEST,
    BOTH,
    BY_CHANCE,
    MEAN,
    Part,
    reader_scores,
)
from cxrloc.localization.evaluation.detections import GATED
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.predictions.second_reader import SecondReading
from localization.analyses.second_reader.readings import (
    DISEASES,
    FAR,
    HALF,
    PATIENTS,
    WHOLE,
    compared,
    reading,
)


def _parts(second: SecondReading, evaluated: Evaluated | None = None) -> dict[str, Part]:
    [scores] = reader_scores(evaluated or compared({"second": second}))
    return dict(scores.parts)


def _means(part: Part) -> dict[str, float]:
    return {
        answer.label: part.figures(answer, MEAN).all_boxes.value
        for answer in part.answers
        if answer.setting != "control"
    }


def test_a_disease_not_marked_is_a_miss_and_both_sides_answer_the_same_boxes() -> None:
    parts = _parts(reading([("a", "Mass", WHOLE)], judged=("Mass",)))

    assert (len(parts[ALL].truth), len(parts[BOTH].truth)) == (4, 1)
    assert parts[ALL].truth.disease_names == ("Mass",)
    assert _means(parts[ALL]) == {"second": 0.25, "net": 0.5}
    assert _means(parts[BOTH]) == {"second": 1.0, "net": 0.5}
    second, net, *_ = parts[ALL].answers
    assert parts[ALL].difference(net, second, MEAN).all_boxes.value == 0.25


def test_images_that_were_not_read_and_diseases_that_are_not_judged_do_not_count() -> None:
    second = reading([("a", "Mass", WHOLE)], images="ab", judged=("Mass",))

    truth = _parts(second)[ALL].truth

    assert set(zip(truth.image_ids, truth.diseases, strict=True)) == {("a", "Mass"), ("b", "Mass")}


def test_a_label_without_a_box_is_neither_marked_nor_missed() -> None:
    pair = ("b", "Mass")
    second = reading([("a", "Mass", WHOLE)], judged=("Mass",), unboxed=frozenset([pair]))

    assert pair[0] not in _parts(second)[ALL].truth.image_ids


def test_one_box_under_a_common_name_answers_every_disease_of_that_name() -> None:
    part = _parts(reading([("a", "Opacity", WHOLE)], images="a"))[BOTH]

    assert part.truth.diseases == ("Infiltration", "Pneumonia")
    assert _means(part)["second"] == 1


def test_of_several_boxes_the_best_counts_or_each_equally_often() -> None:
    boxes = [("a", "Mass", box) for box in (FAR, WHOLE, HALF)]

    part = _parts(reading(boxes, images="a", judged=("Mass",)))[ALL]

    assert [reader.rule for reader in part.readers] == [BEST, BY_CHANCE]
    assert _means(part) == {"second": 1.0, "second, by chance": pytest.approx(0.5), "net": 0.5}


def test_several_boxes_on_both_sides_are_matched_one_to_one() -> None:
    boxed = [("a", "Mass"), ("a", "Mass"), ("b", "Mass")]
    second = reading(
        [("a", "Mass", HALF), ("a", "Mass", WHOLE), ("b", "Mass", WHOLE)], judged=("Mass",)
    )

    part = _parts(second, compared({"second": second}, boxed))[ALL]

    best = part.readers[0].values(MEAN)
    assert sorted(best.tolist()) == [0.5, 1.0, 1.0]


def test_gated_localizers_stand_beside_the_reader_and_the_reader_is_not_gated() -> None:
    gate = {(image, disease): image != "b" for image in (*PATIENTS, "e") for disease in DISEASES}
    second = reading([("a", "Mass", WHOLE)], judged=("Mass",))

    part = _parts(second, compared({"second": second}, gate=gate))[ALL]

    assert _means(part) == {"second": 0.25, "net": 0.5, "net, gated": 0.375}
    assert [answer.name for answer in part.answers if answer.setting == GATED] == ["net"]


def test_a_reader_of_the_truth_itself_is_perfect_and_equals_a_perfect_localizer() -> None:
    boxes = [(p, d, WHOLE) for p in PATIENTS for d in ("Opacity", "Mass")]

    part = _parts(reading(boxes), compared({"second": reading(boxes)}, localizer=WHOLE))[ALL]

    second, net, *_ = part.answers
    assert np.array_equal(second.values(MEAN), np.ones(12))
    assert part.difference(net, second, MEAN).all_boxes.high == 0


@pytest.mark.parametrize("name", ["net", "constant_box", " "])
def test_a_readers_name_is_nobody_elses(name: str) -> None:
    with pytest.raises(ValueError, match=r"rename one|belongs to a control|must not be empty"):
        compared({name: reading([("a", "Mass", WHOLE)])})
