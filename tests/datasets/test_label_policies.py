"""Every policy against labels written by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cxrloc.datasets.label_policies import (
    PARENTS,
    UNCERTAIN_CLASS,
    LabelCounts,
    LabelRules,
    ancestors,
    count_labels,
    counts_text,
)
from cxrloc.datasets.radiograph import Radiograph

NAN = math.nan
DISEASES = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Consolidation",
    "Pneumonia",
)
U, B = "uncertain", NAN  # B: blank
# one image a row, one column a disease of DISEASES
PUBLISHED: tuple[tuple[float | str, ...], ...] = (
    (B, 1.0, 0.0, U, 1.0),  # cardiomegaly and pneumonia: three parents follow
    (U, 0.0, B, B, U),  # a negative and an uncertain finding say nothing of their parents
    (0.0, U, 1.0, 0.0, B),
)


def image(number: int, row: tuple[float | str, ...]) -> Radiograph:
    values_of = dict(zip(DISEASES, row, strict=True))
    uncertain = tuple(d for d, value in values_of.items() if value == U)
    labels = {d: NAN if value == U else float(value) for d, value in values_of.items()}
    return Radiograph(f"{number}.jpg", None, str(number), "AP", labels, uncertain=uncertain)


IMAGES = [image(i, row) for i, row in enumerate(PUBLISHED)]


def trained_on(rules: LabelRules, seed: int = 0) -> np.ndarray:
    return rules.training_labels(rules.meaning(IMAGES), DISEASES, seed)


def scored(rules: LabelRules) -> list[list[float]]:
    return [list(r.labels.values()) for r in rules.meaning(IMAGES)]


C = UNCERTAIN_CLASS


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (LabelRules("ignore"), [(B, 1, 0, B, 1), (B, 0, B, B, B), (0, B, 1, 0, B)]),
        (LabelRules("ones"), [(B, 1, 0, 1, 1), (1, 0, B, B, 1), (0, 1, 1, 0, B)]),
        (LabelRules("zeros"), [(B, 1, 0, 0, 1), (0, 0, B, B, 0), (0, 0, 1, 0, B)]),
        (LabelRules("three_class"), [(B, 1, 0, C, 1), (C, 0, B, B, C), (0, C, 1, 0, B)]),
        (LabelRules("ignore", "negative"), [(0, 1, 0, B, 1), (B, 0, 0, 0, B), (0, B, 1, 0, 0)]),
        (LabelRules("ones", "negative"), [(0, 1, 0, 1, 1), (1, 0, 0, 0, 1), (0, 1, 1, 0, 0)]),
        (
            LabelRules("zeros", "unknown", closure=True),
            [(1, 1, 1, 1, 1), (0, 0, B, B, 0), (0, 0, 1, 0, B)],
        ),
        (
            LabelRules("ignore", "unknown", closure=True),
            [(1, 1, 1, 1, 1), (B, 0, B, B, B), (0, B, 1, 0, B)],
        ),
        (
            LabelRules("three_class", "negative", closure=True),
            [(1, 1, 1, 1, 1), (C, 0, 0, 0, C), (0, C, 1, 0, 0)],
        ),
        # made present by a policy, cardiomegaly in the last row says nothing of its parent
        (
            LabelRules("ones", "negative", closure=True),
            [(1, 1, 1, 1, 1), (1, 0, 0, 0, 1), (0, 1, 1, 0, 0)],
        ),
    ],
)
def test_training_labels_are_what_the_rules_say(
    rules: LabelRules, expected: list[tuple[float, ...]]
) -> None:
    np.testing.assert_array_equal(trained_on(rules), np.array(expected, dtype=float))


@pytest.mark.parametrize("policy", ["ones", "zeros", "three_class", "smoothed_ones"])
def test_no_policy_lets_an_uncertain_label_be_scored(policy: str) -> None:
    expected = [(1, 1, 1, B, 1), (B, 0, 0, 0, B), (0, B, 1, 0, 0)]
    np.testing.assert_array_equal(scored(LabelRules(policy, "negative", True)), expected)


@pytest.mark.parametrize(
    ("policy", "low", "high"), [("smoothed_ones", 0.55, 0.85), ("smoothed_zeros", 0.0, 0.3)]
)
def test_smoothed_labels_lie_in_their_range_and_all_others_stay(
    policy: str, low: float, high: float
) -> None:
    drawn, ignored = trained_on(LabelRules(policy)), trained_on(LabelRules("ignore"))
    smoothed = drawn[[0, 1, 1, 2], [3, 0, 4, 1]]
    assert ((smoothed >= low) & (smoothed < high)).all()
    assert len(set(smoothed)) == 4
    np.testing.assert_array_equal(drawn[~np.isnan(ignored)], ignored[~np.isnan(ignored)])
    assert np.isnan(drawn).sum() == 4  # the blank ones


# By coreutils alone, printf '0\0%s\0%s' IMAGE DISEASE | sha256sum; the first 8 bytes,
# little-endian, over 2^64 are the share of the way from the lower to the upper end:     0.jpg
# Consolidation               a2a36aeb3c91e7d9: .851190 -> .805357 or .255357     1.jpg Enlarged
# Cardiomediastinum  cf639f16a9a7b130: .190211 -> .607063 or .057063     1.jpg Pneumonia
# 0a1738750c0f21e7: .902848 -> .820854 or .270854     2.jpg Cardiomegaly
# e799b2573115f4a0: .628724 -> .738617 or .188617
@pytest.mark.parametrize(
    ("policy", "consolidation", "enlarged", "pneumonia", "cardiomegaly"),
    [
        ("smoothed_ones", 0.805357, 0.607063, 0.820854, 0.738617),
        ("smoothed_zeros", 0.255357, 0.057063, 0.270854, 0.188617),
    ],
)
@pytest.mark.parametrize("closure", [False, True])
def test_smoothed_labels_of_seed_0_by_hand(
    policy: str,
    consolidation: float,
    enlarged: float,
    pneumonia: float,
    cardiomegaly: float,
    closure: bool,
) -> None:
    # pneumonia of the first image is present: closure makes its uncertain consolidation so
    first = (1, 1, 1, 1, 1) if closure else (B, 1, 0, consolidation, 1)
    expected = [first, (enlarged, 0, B, B, pneumonia), (0, cardiomegaly, 1, 0, B)]
    values = trained_on(LabelRules(policy, closure=closure), seed=0)
    np.testing.assert_allclose(values, np.array(expected, dtype=float), atol=1e-6)


def test_smoothed_labels_fill_their_range_evenly() -> None:
    images = [image(i, (B, U, B, B, U)) for i in range(1000)]
    drawn = LabelRules("smoothed_ones").training_labels(images, ("Cardiomegaly", "Pneumonia"), 3)
    assert drawn.mean() == pytest.approx(0.70, abs=0.01)  # its standard error is .002
    assert (drawn.min(), drawn.max()) == pytest.approx((0.55, 0.85), abs=0.001)
    assert abs(np.asarray(np.corrcoef(drawn.T))[0, 1]) < 0.1


def test_a_smoothed_label_depends_on_seed_image_and_disease_alone() -> None:
    rules = LabelRules("smoothed_ones")
    backwards = rules.training_labels(IMAGES[::-1], DISEASES[::-1], 0)[::-1, ::-1]
    np.testing.assert_array_equal(trained_on(rules), backwards)
    assert (trained_on(rules, seed=1) != trained_on(rules))[0, 3]


def test_a_grandparent_follows_from_a_grandchild() -> None:
    assert ancestors({"Pneumonia": 1.0}) == ("Consolidation", "Lung Opacity")
    assert ancestors({"Pneumonia": 0.0, "Edema": NAN}) == ()
    assert set(PARENTS.values()) == {"Enlarged Cardiomediastinum", "Lung Opacity", "Consolidation"}


def test_the_counts_say_what_was_published_and_what_closure_changes() -> None:
    counts = count_labels(IMAGES, DISEASES, closure=True)
    assert counts["Enlarged Cardiomediastinum"] == LabelCounts(
        present=0, absent=1, uncertain=1, blank=1, raised_blank=1
    )
    assert counts["Lung Opacity"] == LabelCounts(present=1, absent=1, blank=1, raised_absent=1)
    assert counts["Consolidation"] == LabelCounts(
        absent=1, uncertain=1, blank=1, raised_uncertain=1
    )
    assert counts["Pneumonia"] == LabelCounts(present=1, uncertain=1, blank=1)
    lines = counts_text(counts, LabelRules("ones", "negative", closure=True)).splitlines()
    assert lines[0].split() == [
        "label",
        "present",
        "absent",
        "uncertain",
        "blank",
        "closed",
        "absent",
        "closed",
        "uncertain",
        "closed",
        "blank",
    ]
    assert lines[1].split() == ["Enlarged", "Cardiomediastinum", *"0111001"]
    assert "Blank labels count as negative. Uncertain labels: ones in training" in lines[-1]


def test_an_unknown_rule_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="uncertain: got 'maybe', expected one of ignore, ones"):
        LabelRules("maybe")
    with pytest.raises(ValueError, match="blank: got 'zero', expected one of unknown, negative"):
        LabelRules(blank="zero")
