"""Stratified shares: of combinations of labels, of labels, and of labels that are rare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import pytest

from cxrloc.datasets.prepared.splits import Split, stratified_split
from cxrloc.datasets.prepared.stratification import STRATIFIERS
from cxrloc.datasets.radiograph import Radiograph

DISEASES = ("Edema", "Fracture", "Pneumonia", "Atelectasis", "Consolidation", "Pleural Other")
RARE = "Pleural Other"
SHARES = (0.6, 0.2, 0.2)


def patient(name: str, *images: Sequence[str]) -> list[Radiograph]:
    return [
        Radiograph(f"{name}/{i}.jpg", None, name, "AP", {d: float(d in found) for d in DISEASES})
        for i, found in enumerate(images)
    ]


def few_combinations() -> list[Radiograph]:
    """10 patients with edema, 20 with edema on one image, a fracture on the other, 30 without."""
    images = [r for i in range(10) for r in patient(f"edema{i}", ["Edema"])]
    images += [r for i in range(20) for r in patient(f"both{i}", ["Edema"], ["Fracture"])]
    return images + [r for i in range(30) for r in patient(f"none{i}", [])]


def many_combinations() -> list[Radiograph]:
    """60 patients of one image; no two of the 10 with the rare label have the same combination."""
    others = [c for n in range(4) for c in combinations(DISEASES[:4], n)][:10]
    images = [r for i, c in enumerate(others) for r in patient(f"rare{i}", [RARE, *c])]
    return images + [r for i in range(50) for r in patient(f"none{i}", ["Edema"] * (i % 2))]


def patients_of(split: Split) -> list[Counter[str]]:
    """Of train, validation and test: how many patients of each name without its number."""
    parts = (split.train, split.validation, split.test)
    return [
        Counter(name.rstrip("0123456789") for name in {split.patient_of[i] for i in part})
        for part in parts
    ]


def test_each_part_gets_its_share_of_every_combination_of_labels() -> None:
    split = stratified_split(few_combinations(), DISEASES, SHARES, seed=0, by="label_sets")
    assert patients_of(split) == [
        {"edema": 6, "both": 12, "none": 18},
        {"edema": 2, "both": 4, "none": 6},
        {"edema": 2, "both": 4, "none": 6},
    ]


@pytest.mark.parametrize("by", STRATIFIERS)
@pytest.mark.parametrize("seed", range(5))
def test_a_rare_label_is_in_every_part_though_its_combinations_are_all_different(
    by: str, seed: int
) -> None:
    images = {r.image_id: r for r in many_combinations()}
    split = stratified_split(list(images.values()), DISEASES, SHARES, seed, by)
    rare = [
        sum(images[i].labels[RARE] == 1 for i in part)
        for part in (split.train, split.validation, split.test)
    ]
    assert rare == pytest.approx([6, 2, 2], abs=1)  # so at least one of 10 in each part


@pytest.mark.parametrize("by", STRATIFIERS)
def test_all_images_of_a_patient_are_in_one_part_and_no_image_is_lost(by: str) -> None:
    images = few_combinations()
    split = stratified_split(images, DISEASES, (0.72, 0.08, 0.2), seed=1, by=by)
    ids = (*split.train, *split.validation, *split.test)
    assert sorted(ids) == sorted(r.image_id for r in images)  # Split itself refuses shared patients
    assert len(split.test) / len(images) == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("by", STRATIFIERS)
def test_a_split_depends_on_the_seed_and_not_on_the_order_of_the_images(by: str) -> None:
    images = few_combinations()
    split = stratified_split(images, DISEASES, SHARES, 3, by)
    assert set(stratified_split(images[::-1], DISEASES, SHARES, 3, by).test) == set(split.test)
    assert set(stratified_split(images, DISEASES, SHARES, 4, by).test) != set(split.test)
