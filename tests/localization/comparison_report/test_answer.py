"""The answer in sentences: what it claims, and that it claims no more than the intervals hold."""

from __future__ import annotations

import pytest

from cxrloc.localization.comparison_report.answer import conclusion
from localization.comparison_report.drawn import DISEASES, HALF, THIRD, WHOLE, Box, drawn


def test_the_better_one_is_named_with_both_means_the_difference_and_the_diseases() -> None:
    first = conclusion(drawn(half=lambda i, d: HALF, whole=lambda i, d: WHOLE))[0]

    assert first == (
        "On 24 boxes of 12 patients, told which disease to box, whole is better than half: "
        "macro mean IoU 1.000 [1.000, 1.000] against .500 [.500, .500], a difference of "
        ".500 [.500, .500]. It is better for Mass (.500 [.500, .500]) and Nodule "
        "(.500 [.500, .500])."
    )


def test_what_zero_lies_in_is_not_called_a_difference() -> None:
    first = conclusion(
        drawn(
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
        drawn(
            a=lambda i, d: WHOLE if d == "Mass" else THIRD,
            b=lambda i, d: THIRD if d == "Mass" else HALF,
        )
    )[0]

    assert "a is better than b: macro mean IoU .667" in first
    assert "It is better for Mass (.667 [.667, .667])." in first
    assert "It is worse for Nodule (-.167 [-.167, -.167])." in first


def test_with_few_patients_no_disease_is_named_and_why_is_said() -> None:
    first = conclusion(drawn(3, whole=lambda i, d: WHOLE, half=lambda i, d: HALF))[0]

    assert "It is better" not in first
    assert "Too few patients to test (under 10): Mass and Nodule." in first


def test_with_one_patient_the_missing_interval_is_said() -> None:
    compared = drawn(1, whole=lambda i, d: WHOLE, half=lambda i, d: HALF)

    with pytest.warns(UserWarning, match="controls predict none"):
        first = conclusion(compared)[0]

    assert "whole cannot be compared (too few patients for an interval) with half" in first
    assert "a difference of .500 [undefined]" in first
    assert "2 boxes of 1 patient," in first


def test_of_three_the_best_is_set_against_each_and_diseases_against_the_next_alone() -> None:
    first = conclusion(
        drawn(third=lambda i, d: THIRD, half=lambda i, d: HALF, whole=lambda i, d: WHOLE)
    )[0]

    assert "whole is better than half" in first
    assert "whole is better than third: macro mean IoU 1.000" in first
    assert "half is better than third" not in first
    assert first.count("It is better for") == 1


def test_the_controls_that_beat_a_localizer_are_named() -> None:
    paragraphs = conclusion(drawn(third=lambda i, d: THIRD, whole=lambda i, d: WHOLE))

    # all boxes are equal, so the boxes of other patients are perfect; so is the localizer `whole`
    whole, third = paragraphs[1:3]
    assert whole.startswith("whole beats center_box")
    assert "; equals (to three decimals) prior_box (.000 [.000, .000]) and constant_box" in whole
    assert "loses to prior_box (-.667 [-.667, -.667]), constant_box (-.667" in third
    assert (
        "It loses to constant_box for Mass (-.667 [-.667, -.667]) and Nodule "
        "(-.667 [-.667, -.667])."
    ) in third


def test_of_two_heads_that_draw_the_same_none_is_called_better_and_the_next_one_is_compared() -> (
    None
):
    def nearly(i: int, d: str) -> Box:  # IoU .99999: surely less than 1, and printed as 1.000
        return (20, 20, 40, 39.9998)

    paragraphs = conclusion(
        drawn(box_head=lambda i, d: WHOLE, mask_head=nearly, third=lambda i, d: THIRD)
    )

    first = paragraphs[0]
    assert "box_head is better than third" in first
    assert "It is better for Mass" in first
    assert first.endswith(
        "mask_head draws the same boxes as box_head, to the eye and in the figures."
    )
    assert "better than mask_head" not in first
    assert not [text for text in paragraphs if text.startswith("mask_head")]


def test_one_localizer_has_only_the_controls_to_be_compared_with() -> None:
    paragraphs = conclusion(drawn(half=lambda i, d: HALF))

    assert "half has a macro mean IoU of .500 [.500, .500]" in paragraphs[0]
    assert "no other localizer" in paragraphs[0]
    assert "loses to prior_box" in paragraphs[1]


def test_controls_alone_say_that_nothing_is_compared() -> None:
    (only,) = conclusion(drawn())

    assert only.startswith("No localizer was given, so nothing is compared.")
    assert "prior_box comes furthest on 24 boxes of 12 patients: macro mean IoU 1.000" in only


def test_behind_a_gate_the_answer_is_given_again_with_how_many_pass() -> None:
    gate = {(f"{i}.png", d): d == "Mass" for i in range(12) for d in DISEASES}
    paragraphs = conclusion(drawn(gate=gate, whole=lambda i, d: WHOLE, half=lambda i, d: HALF))

    assert paragraphs[3].startswith(
        "Behind the gate, which lets 12 of the 24 boxes pass, gated whole is better than gated "
        "half: macro mean IoU .500 [.500, .500] against .250 [.250, .250]"
    )
    assert "For Nodule the two are not distinguishable." in paragraphs[3]
    assert [text.split(" ")[1] for text in paragraphs[4:6]] == ["whole", "half"]
    assert len(paragraphs) == 7


def test_the_largest_class_of_loss_is_named_when_it_is_given() -> None:
    _, whole, third, _ = conclusion(drawn(third=lambda i, d: THIRD, whole=lambda i, d: WHOLE))

    assert whole.endswith("It hits every box.")
    # THIRD is as large as the truth and off by half: it is neither larger nor smaller
    assert "It hits 0 % of the boxes; the largest class of loss is 'tight', 100 %." in third


@pytest.mark.parametrize(
    ("margin", "words"),
    [(0.6, "half is non-inferior to whole"), (0.4, "half is not shown to be non-inferior to")],
)
def test_within_a_margin_the_second_is_not_inferior(margin: float, words: str) -> None:
    compared = drawn(
        inputs={"noninferiority_margin": margin}, whole=lambda i, d: WHOLE, half=lambda i, d: HALF
    )

    first = conclusion(compared)[0]
    assert words in first
    assert f"(margin .{margin * 10:.0f})" in first


def test_how_sure_is_said_last_with_level_and_resamples() -> None:
    last = conclusion(drawn(half=lambda i, d: HALF))[-1]

    assert last.startswith("In brackets: 95 % intervals over 200 resamples of patients")
    assert "p < .05" in last
    assert "not the training seed" in last
