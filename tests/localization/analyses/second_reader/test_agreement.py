"""The agreement of two readers, each in the role of the ground truth."""

from __future__ import annotations

from cxrloc.localization.analyses.second_reader.agreement import FIRST, Agreement, agreements
from cxrloc.localization.analyses.second_reader.scores import ALL, BOTH, MEAN
from localization.analyses.second_reader.readings import FAR, HALF, WHOLE, compared, reading

BOXED = [("a", "Pneumonia"), ("a", "Infiltration"), ("b", "Mass"), ("c", "Mass")]


def _mean(way: Agreement, part: str) -> tuple[int, float]:
    chosen = way.parts[part]
    return len(chosen.truth), chosen.figures(chosen.readers[0], MEAN).all_boxes.value


def test_each_side_is_once_the_truth() -> None:
    second = reading([("a", "Opacity", HALF), ("b", "Mass", WHOLE)], "abc")

    forth, back = agreements(compared({"second": second}, BOXED))["second"]

    assert (forth.truth, forth.answers) == (FIRST, "second")
    assert (back.truth, back.answers) == ("second", FIRST)
    # both names of the first are the reader's Opacity; c is missed
    assert _mean(forth, ALL) == (4, (0.5 + 0.5 + 1) / 4)
    assert _mean(forth, BOTH) == (3, 2 / 3)
    assert _mean(back, BOTH) == (2, 0.75)
    assert back.parts[ALL].truth.disease_names == ("Opacity", "Mass")


def test_what_only_the_second_marks_is_a_miss_of_the_first() -> None:
    second = reading([("b", "Mass", WHOLE), ("e", "Mass", FAR)], "bce", ("Mass",))

    _, back = agreements(compared({"second": second}, BOXED))["second"]

    assert _mean(back, ALL) == (2, 0.5)
    assert _mean(back, BOTH) == (1, 1.0)


def test_what_the_first_labels_without_a_box_is_no_miss() -> None:
    second = reading([("b", "Mass", WHOLE), ("e", "Opacity", FAR)], "bce")

    _, back = agreements(compared({"second": second}, BOXED, unboxed={"e": [3]}))["second"]

    assert _mean(back, ALL) == (1, 1.0)


def test_a_reader_without_any_box_has_no_way_back() -> None:
    second = reading([("a", "Opacity", HALF)], "a")
    silent = reading([], "a")

    ways = agreements(compared({"second": second, "silent": silent}, BOXED))

    assert dict(ways["silent"][1].parts) == {}
    assert _mean(ways["silent"][0], ALL) == (2, 0)
    assert BOTH not in ways["silent"][0].parts
