"""Several readers' boxes of one disease on one image become one set of boxes."""

from __future__ import annotations

import itertools

import pytest

from cxrloc.datasets.readers.box_sets.several_readers import (
    Drawn,
    joined,
    present,
    rule_or_reader,
)

READERS = ("R1", "R2", "R3")
# R1 and R2 overlap by 80 of 120 columns (IoU .67), R3 boxes something else
FIRST, SECOND, ELSEWHERE = (0, 0, 100, 50), (20, 0, 120, 50), (300, 300, 340, 340)
DRAWN = (Drawn("R1", FIRST), Drawn("R2", SECOND), Drawn("R3", ELSEWHERE))
MEAN = (10, 0, 110, 50)


@pytest.mark.parametrize(
    ("rule", "boxes"),
    [
        ("union", [FIRST, SECOND, ELSEWHERE]),
        ("majority", [MEAN]),
        ("wbf", [MEAN, ELSEWHERE]),
        ("R1", [FIRST, SECOND, ELSEWHERE]),  # the caller passes one reader's boxes alone
    ],
)
def test_each_rule(rule: str, boxes: list[tuple[float, ...]]) -> None:
    assert joined(rule, DRAWN, READERS) == boxes


def test_the_order_of_the_boxes_does_not_matter() -> None:
    near = (*DRAWN, Drawn("R3", (10, 0, 112, 50)))
    expected = joined("wbf", near, READERS)
    for order in itertools.permutations(near):
        assert joined("wbf", order, READERS) == expected
    assert expected == [(10, 0, 332 / 3, 50), ELSEWHERE]


def test_two_boxes_of_one_reader_are_two_findings() -> None:
    twins = (Drawn("R1", FIRST), Drawn("R1", SECOND))
    assert joined("wbf", twins, READERS) == [FIRST, SECOND]
    assert joined("majority", twins, READERS) == []


def test_agreement_needs_more_than_the_criterion_of_the_challenge() -> None:
    inside = Drawn("R2", (0, 0, 40, 50))  # IoU .4 with the first
    assert joined("majority", (Drawn("R1", FIRST), inside), READERS) == []
    more = Drawn("R2", (0, 0, 41, 50))
    assert joined("majority", (Drawn("R1", FIRST), more), READERS) == [(0, 0, 70.5, 50)]


def test_one_reader_of_one_is_a_majority_and_one_of_two_is_not() -> None:
    assert joined("majority", DRAWN[:1], ("R1",)) == [FIRST]
    assert joined("majority", DRAWN[:1], ("R1", "R2")) == []
    assert [present("majority", READERS[:n], READERS) for n in range(4)] == [0, 0, 1, 1]
    assert [present("wbf", READERS[:n], READERS) for n in range(2)] == [0, 1]


def test_an_unknown_rule_lists_the_known_ones() -> None:
    assert rule_or_reader("") == "majority"
    assert rule_or_reader("R17") == "R17"
    with pytest.raises(ValueError, match=r"'mean': expected union, majority, wbf, or one reader"):
        rule_or_reader("mean")
