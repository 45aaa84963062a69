"""The answer in sentences: what it claims, and that it claims no more than the intervals hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from builders import coco_ground_truth, evaluated
from cxrloc.localization.analyses.taxonomy.taxonomy import taxonomies
from cxrloc.localization.comparison_report.answer import conclusion
from cxrloc.localization.evaluation.comparison import Comparison
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.localizer import Localization

DISEASES = ("Mass", "Nodule")
Box = tuple[float, float, float, float]
WHOLE: Box = (20, 20, 40, 40)  # IoU 1 with every ground-truth box
HALF: Box = (20, 20, 40, 30)  # IoU .5
THIRD: Box = (30, 20, 50, 40)  # IoU 1/3


def _coco(patients: int) -> dict[str, Any]:
    names = [f"{i}.png" for i in range(patients)]
    return coco_ground_truth(DISEASES, [(n, d, (20, 20, 20, 20)) for n in names for d in DISEASES])


def _boxes(patients: int, box: Callable[[int, str], Box | None]) -> list[Localization]:
    pairs = [(i, d, box(i, d)) for i in range(patients) for d in DISEASES]
    return [Localization(f"{i}.png", d, corners, 0.5) for i, d, corners in pairs if corners]


def _evaluated(
    patients: int = 12,
    gate: Mapping[tuple[str, str], bool] | None = None,
    margin: float | None = None,
    **localizers: Callable[[int, str], Box | None],
) -> Evaluated:
    boxes = {name: _boxes(patients, box) for name, box in localizers.items()}
    return evaluated(_coco(patients), boxes, gate, resamples=200, noninferiority_margin=margin)


def _comparison(
    patients: int = 12,
    gate: Mapping[tuple[str, str], bool] | None = None,
    margin: float | None = None,
    **localizers: Callable[[int, str], Box | None],
) -> Comparison:
    return _evaluated(patients, gate, margin, **localizers).comparison


def test_the_better_one_is_named_with_both_means_the_difference_and_the_diseases() -> None:
    first = conclusion(_comparison(half=lambda i, d: HALF, whole=lambda i, d: WHOLE))[0]

    assert first == (
        "On 24 boxes of 12 patients, told which disease is there, whole is better than half: "
        "macro mean IoU 1.000 [1.000, 1.000] against .500 [.500, .500], a difference of "
        ".500 [.500, .500]. It is better for Mass (.500 [.500, .500]) and Nodule "
        "(.500 [.500, .500])."
    )


def test_what_zero_lies_in_is_not_called_a_difference() -> None:
    first = conclusion(
        _comparison(
            even=lambda i, d: WHOLE if i % 2 == 0 else None,
            odd=lambda i, d: WHOLE if i % 2 else None,
        )
    )[0]

    assert "even is not distinguishable from odd: macro mean IoU .500" in first
    assert "For Mass and Nodule the two are not distinguishable." in first
    assert "better" not in first
    assert "worse" not in first


def test_better_over_all_but_worse_for_a_disease_is_said() -> None:
    first = conclusion(
        _comparison(
            a=lambda i, d: WHOLE if d == "Mass" else THIRD,
            b=lambda i, d: THIRD if d == "Mass" else HALF,
        )
    )[0]

    assert "a is better than b: macro mean IoU .667" in first
    assert "It is better for Mass (.667 [.667, .667])." in first
    assert "It is worse for Nodule (-.167 [-.167, -.167])." in first


def test_with_few_patients_no_disease_is_named_and_why_is_said() -> None:
    first = conclusion(_comparison(3, whole=lambda i, d: WHOLE, half=lambda i, d: HALF))[0]

    assert "It is better" not in first
    assert "Not tested, for there are fewer than 10 patients: Mass and Nodule." in first


def test_with_one_patient_the_missing_interval_is_said() -> None:
    with pytest.warns(UserWarning, match="controls predict none"):
        comparison = _comparison(1, whole=lambda i, d: WHOLE, half=lambda i, d: HALF)

    first = conclusion(comparison)[0]
    assert "whole cannot be compared, for want of an interval, with half" in first
    assert "a difference of .500 [undefined]" in first
    assert "2 boxes of 1 patient," in first


def test_of_three_the_best_is_set_against_each_and_diseases_against_the_next_alone() -> None:
    first = conclusion(
        _comparison(third=lambda i, d: THIRD, half=lambda i, d: HALF, whole=lambda i, d: WHOLE)
    )[0]

    assert "whole is better than half" in first
    assert "whole is better than third: macro mean IoU 1.000" in first
    assert "half is better than third" not in first
    assert first.count("It is better for") == 1


def test_the_controls_that_beat_a_localizer_are_named() -> None:
    paragraphs = conclusion(_comparison(third=lambda i, d: THIRD, whole=lambda i, d: WHOLE))

    # all boxes are equal, so the boxes of other patients are perfect; so is the localizer `whole`
    against = paragraphs[1]
    assert against.startswith("Against the controls, which never look at the image: whole beats")
    assert "whole beats center_box" in against
    assert "; equals, in three decimals, prior_box (.000 [.000, .000]) and constant_box" in against
    assert "loses to prior_box (-.667 [-.667, -.667]), constant_box (-.667" in against
    assert (
        "It loses to constant_box for Mass (-.667 [-.667, -.667]) and Nodule "
        "(-.667 [-.667, -.667])."
    ) in against


def test_of_two_heads_that_agree_in_print_none_is_called_better_and_the_next_one_is_compared() -> (
    None
):
    def nearly(i: int, d: str) -> Box:  # IoU .99999: surely less than 1, and printed as 1.000
        return (20, 20, 40, 39.9998)

    first = conclusion(
        _comparison(box_head=lambda i, d: WHOLE, mask_head=nearly, third=lambda i, d: THIRD)
    )[0]

    assert "box_head is better than third" in first
    assert "It is better for Mass" in first
    assert "box_head equals, in three decimals, mask_head: macro mean IoU 1.000" in first
    assert "better than mask_head" not in first


def test_one_localizer_has_only_the_controls_to_be_compared_with() -> None:
    paragraphs = conclusion(_comparison(half=lambda i, d: HALF))

    assert "half has a macro mean IoU of .500 [.500, .500]" in paragraphs[0]
    assert "no other localizer" in paragraphs[0]
    assert "loses to prior_box" in paragraphs[1]


def test_controls_alone_say_that_nothing_is_compared() -> None:
    (only,) = conclusion(_comparison())

    assert only.startswith("No localizer was given, so nothing is compared.")
    assert "prior_box comes furthest on 24 boxes of 12 patients: macro mean IoU 1.000" in only


def test_behind_a_gate_the_answer_is_given_again_with_how_many_pass() -> None:
    gate = {(f"{i}.png", d): d == "Mass" for i in range(12) for d in DISEASES}
    paragraphs = conclusion(
        _comparison(gate=gate, whole=lambda i, d: WHOLE, half=lambda i, d: HALF)
    )

    assert paragraphs[2].startswith(
        "Behind the gate, which lets 12 of the 24 boxes pass, whole, gated is better than half, "
        "gated: macro mean IoU .500 [.500, .500] against .250 [.250, .250]"
    )
    assert "For Nodule the two are not distinguishable." in paragraphs[2]
    assert len(paragraphs) == 5


def test_the_largest_class_of_loss_is_named_when_it_is_given() -> None:
    compared = _evaluated(third=lambda i, d: THIRD, whole=lambda i, d: WHOLE)

    against = conclusion(compared.comparison, taxonomies(compared))[1]

    assert "It hits every box." in against
    # THIRD is as large as the truth and off by half: it is neither larger nor smaller
    assert "It hits 0 % of the boxes; the largest class of loss is 'tight', 100 %." in against


@pytest.mark.parametrize(
    ("margin", "words"),
    [(0.6, "half is not inferior to whole"), (0.4, "half is not shown to be not inferior to")],
)
def test_within_a_margin_the_second_is_not_inferior(margin: float, words: str) -> None:
    comparison = _comparison(margin=margin, whole=lambda i, d: WHOLE, half=lambda i, d: HALF)

    first = conclusion(comparison)[0]
    assert words in first
    assert f"(margin .{margin * 10:.0f})" in first


def test_how_sure_is_said_last_with_level_and_resamples() -> None:
    last = conclusion(_comparison(half=lambda i, d: HALF))[-1]

    assert last.startswith("In brackets: 95 % intervals over 200 resamples of patients")
    assert "p < .05" in last
    assert "not the training seed" in last
