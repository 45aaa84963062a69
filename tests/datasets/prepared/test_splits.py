"""Splits by patient: a fold assignment worked out by hand, and what every split promises."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pytest

from cxrloc.datasets.prepared.splits import (
    Split,
    fold_split,
    official_split,
    patient_folds,
    sampled_split,
    whole_official_split,
)
from cxrloc.datasets.radiograph import Box, Radiograph

DISEASES = ("Mass", "Nodule", "Hernia")


def image(
    patient: str, number: int = 0, positives: Sequence[str] = (), boxed: Sequence[str] = ()
) -> Radiograph:
    labels = {d: float(d in positives) for d in DISEASES}
    boxes = tuple(Box(d, (1, 2, 30, 40)) for d in boxed)
    return Radiograph(f"{patient}_{number:03d}.png", None, patient, "PA", labels, boxes)


def many(count: int = 60) -> list[Radiograph]:
    """Patients of 1 to 3 images; every 3rd has Mass (boxed), 5th Nodule, 10th Hernia."""
    images = []
    for i in range(count):
        positives = [d for d, n in zip(DISEASES, (3, 5, 10), strict=True) if i % n == 0]
        boxed = ["Mass"] if i % 3 == 0 else []
        images += [image(f"p{i:03d}", k, positives, boxed) for k in range(1 + i % 3)]
    return images


SIX = [
    image("a", 0, ["Mass"], ["Mass"]),
    image("b", 0, ["Mass"]),
    image("c", 0, ["Mass", "Nodule"]),
    image("d", 0, ["Nodule"]),
    image("e", 0),
    image("e", 1),
    image("f", 0),
]


def test_two_folds_of_six_patients_come_out_as_worked_out_by_hand() -> None:
    # Seed 0 ranks the patients d c b a e f and the folds 1 0; a tie goes to the earlier.
    # Rarest is "a Mass box" (1): a, a tie, to fold 1.
    # Mass and Nodule have 2 patients left each, Mass is named first: c before b.
    #   c to fold 0, which has no Mass. b: one Mass each, 1 image each, a tie, to fold 1.
    # Nodule: d to fold 1, since fold 0 has c's.
    # Patients without a disease, most images first: e (2) to fold 0 (1 image against 3);
    #   f: 3 images each, a tie, to fold 1.
    folds = patient_folds(SIX, ("Mass", "Nodule"), 2, seed=0)
    assert folds == {
        "a_000.png": 1,
        "b_000.png": 1,
        "c_000.png": 0,
        "d_000.png": 1,
        "e_000.png": 0,
        "e_001.png": 0,
        "f_000.png": 1,
    }


def test_folds_depend_on_the_seed_and_not_on_the_order_of_the_images() -> None:
    images = many()
    folds = patient_folds(images, DISEASES, 5, seed=3)
    assert patient_folds(images[::-1], DISEASES, 5, seed=3) == folds
    assert patient_folds(images, DISEASES, 5, seed=4) != folds


def test_every_disease_is_spread_evenly_the_rarest_too() -> None:
    images = many()
    folds = patient_folds(images, DISEASES, 5, seed=1)
    fold_of = {r.patient_id: folds[r.image_id] for r in images}
    for disease, share in zip(DISEASES, (4, 2.4, 1.2), strict=True):  # 20, 12 and 6 patients
        patients = {r.patient_id for r in images if disease in r.positives}
        per_fold = Counter(fold_of[p] for p in sorted(patients))
        assert all(share - 1 < per_fold[k] < share + 1 for k in range(5)), (disease, per_fold)
    sizes = Counter(folds.values())
    assert max(sizes.values()) - min(sizes.values()) <= 3


def test_all_images_of_a_patient_are_in_one_fold() -> None:
    images = many()
    folds = patient_folds(images, DISEASES, 4, seed=0)
    for patient in {r.patient_id: None for r in images}:
        assert len({folds[r.image_id] for r in images if r.patient_id == patient}) == 1


def test_unknown_labels_are_no_positives() -> None:
    unknown = Radiograph("x.png", None, "x", "", {"Mass": math.nan})
    folds = patient_folds([unknown, image("a", 0, ["Mass"])], ("Mass",), 2, seed=0)
    assert sorted(folds.values()) == [0, 1]


@pytest.mark.parametrize(("k", "count"), [(1, 7), (7, 6), (2, 0)])
def test_folds_that_cannot_be_made_are_refused(k: int, count: int) -> None:
    images = SIX if count else []
    with pytest.raises(ValueError, match=f"cannot split .* patients into {k} folds"):
        patient_folds(images, ("Mass",), k, seed=0)


def test_a_fold_split_tests_on_its_fold_and_chooses_by_the_next() -> None:
    images = [image(p) for p in "abcdef"]
    folds = {r.image_id: i % 3 for i, r in enumerate(images)}  # a d: 0, b e: 1, c f: 2
    split = fold_split(images, folds, test_fold=2, k=3)
    assert split.test == ("c_000.png", "f_000.png")
    assert split.validation == ("a_000.png", "d_000.png")
    assert split.train == ("b_000.png", "e_000.png")


def test_a_fold_split_refuses_bad_folds() -> None:
    images = [image("a")]
    with pytest.raises(ValueError, match="test fold 3 of 3"):
        fold_split(images, {"a_000.png": 0}, 3, 3)
    with pytest.raises(ValueError, match="at least 3 folds"):
        fold_split(images, {"a_000.png": 0}, 0, 2)
    with pytest.raises(ValueError, match=r"1 images have no fold, for example a_000\.png"):
        fold_split(images, {}, 0, 3)


def test_a_patient_in_two_parts_is_an_error_that_names_the_patient() -> None:
    patient_of = {"1_0.png": "1", "1_1.png": "1", "2_0.png": "2"}
    with pytest.raises(ValueError) as error:
        Split(("1_0.png",), ("2_0.png",), ("1_1.png",), patient_of)
    assert str(error.value) == (
        "patient 1 is in two parts of the split: image 1_0.png in train, image 1_1.png in test; "
        "split by patient"
    )


def test_an_image_twice_in_a_part_is_an_error() -> None:
    with pytest.raises(ValueError, match="image a occurs twice in the validation part"):
        Split((), ("a", "b", "a"), (), {"a": "1", "b": "2"})


def test_folds_that_part_a_patient_are_refused_when_split() -> None:
    folds = {r.image_id: i for i, r in enumerate(SIX)}
    with pytest.raises(ValueError, match="patient e is in two parts"):
        fold_split(SIX, folds, 4, 7)


def test_the_official_split_takes_validation_from_train_val() -> None:
    images = many()
    official = {r.image_id: "test" if int(r.patient_id[1:]) >= 40 else "train_val" for r in images}
    split = official_split(images, official, 0.25, seed=0)
    assert {official[image] for image in split.test} == {"test"}
    assert {official[image] for image in split.train + split.validation} == {"train_val"}
    assert len(split.train + split.validation + split.test) == len(images)
    train_val = sum(part == "train_val" for part in official.values())
    assert abs(len(split.validation) - train_val / 4) <= 3
    positives = {r.image_id: r.positives for r in images}
    herniae = sum("Hernia" in positives[i] for i in split.validation)
    assert herniae >= 1  # 4 patients with a hernia, a quarter of them


def test_an_official_split_without_images_of_a_part_is_refused() -> None:
    official = {r.image_id: "test" for r in SIX}
    with pytest.raises(ValueError, match=r"no train_val image among the 7 here; prepare the data"):
        whole_official_split(SIX, official, 0, ("Mass",))
    with pytest.raises(ValueError, match="no train_val and no test image among the 7 here"):
        whole_official_split(SIX, {}, 0, ("Mass",))


def test_the_official_split_refuses_unlisted_images_and_bad_shares() -> None:
    with pytest.raises(ValueError, match=r"7 images are in neither official list, for example a_"):
        official_split(SIX, {}, 0.1, seed=0)
    with pytest.raises(ValueError, match=r"validation share 1\.0"):
        official_split(SIX, {}, 1.0, seed=0)


def test_a_patient_on_both_sides_of_the_official_lists_is_an_error() -> None:
    official = {r.image_id: "train_val" for r in SIX} | {"e_001.png": "test"}
    with pytest.raises(ValueError, match="patient e is in two parts"):
        official_split(SIX, official, 0.5, seed=0)


def test_the_sampled_split_caps_each_disease_and_the_normals() -> None:
    images = many(120)
    split = sampled_split(images, DISEASES, per_disease=15, without_finding=12, seed=0)
    chosen = set(split.train + split.validation + split.test)
    taken = [r for r in images if r.image_id in chosen]
    per_disease = Counter(d for r in taken for d in r.positives)
    assert per_disease["Mass"] == per_disease["Nodule"] == 15
    assert 0 < per_disease["Hernia"] <= 15
    assert sum(not r.positives for r in taken) == 12
    shares = [len(part) / len(taken) for part in (split.train, split.validation, split.test)]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.05)
    assert sampled_split(images[::-1], DISEASES, 15, 12, seed=0) == split
    chosen = {*split.train, *split.validation, *split.test}
    again = [image for image in images if image.image_id in chosen]
    assert sampled_split(again, DISEASES, 15, 12, seed=0) == split  # so no others are decoded
    assert sampled_split(images, DISEASES, 15, 12, seed=1) != split


def test_the_sampled_split_takes_all_where_there_is_less_than_the_cap() -> None:
    split = sampled_split(SIX, ("Mass", "Nodule"), shares=(0.5, 0.25, 0.25))
    assert sorted(split.train + split.validation + split.test) == [r.image_id for r in SIX]


def test_an_image_with_an_unknown_label_is_not_taken_for_normal() -> None:
    unknown = Radiograph("x.png", None, "x", "", {"Mass": math.nan, "Nodule": 0.0})
    split = sampled_split([*SIX, unknown], ("Mass", "Nodule"))
    assert "x.png" not in split.train + split.validation + split.test


def test_shares_must_sum_to_one() -> None:
    with pytest.raises(ValueError, match="expected positive numbers that sum to 1"):
        sampled_split(SIX, DISEASES, shares=(0.8, 0.1, 0.2))
