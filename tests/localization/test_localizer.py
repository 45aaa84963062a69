"""The box that counts for an image and a disease."""

from __future__ import annotations

from cxrloc.localization.localizer import Localization, best_by_score


def _box(image: str, disease: str, score: float, left: float = 0.0) -> Localization:
    return Localization(image, disease, (left, 0.0, left + 1, 1.0), score)


def test_the_highest_score_counts_and_of_equal_ones_the_first() -> None:
    weak, first, second = _box("a", "Mass", 0.2), _box("a", "Mass", 0.9, 1), _box("a", "Mass", 0.9)
    other, elsewhere = _box("a", "Nodule", 0.1), _box("b", "Mass", 0.3)

    best = best_by_score([weak, first, second, other, elsewhere])

    assert best == {("a", "Mass"): first, ("a", "Nodule"): other, ("b", "Mass"): elsewhere}
    assert best_by_score([]) == {}


def test_diseases_of_one_name_compete() -> None:
    effusion, fluid = _box("a", "Effusion", 0.4), _box("a", "Pleural Effusion", 0.6)

    assert best_by_score([effusion, fluid], lambda _: "fluid") == {("a", "fluid"): fluid}
