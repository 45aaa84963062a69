"""Split by patient: official lists, stratified folds and shares, and the Deep MedIA sampling.

`cxrloc.datasets.prepared.stratification` describes the stratification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cxrloc.datasets.labels.names import NO_FINDING
from cxrloc.datasets.prepared.stratification import (
    STRATIFIERS,
    by_labels,
    images_of_patients,
    integer_shares,
    shuffled,
)
from cxrloc.datasets.radiograph import Radiograph


@dataclass(frozen=True)
class Split:
    """Image ids for training, validation and test; no patient is in two of them.

    Args:
        patient_of: image id -> patient id, for at least every image of the three parts.

    Raises:
        ValueError: naming a patient in two parts or an image listed twice.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    patient_of: Mapping[str, str] = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        part_of: dict[str, tuple[str, str]] = {}
        for part in ("train", "validation", "test"):
            images: tuple[str, ...] = getattr(self, part)
            if len(set(images)) != len(images):
                twice = next(image for i, image in enumerate(images) if image in images[:i])
                raise ValueError(f"image {twice} occurs twice in the {part} part of the split")
            for image in images:
                patient = self.patient_of[image]
                other, there = part_of.setdefault(patient, (part, image))
                if other != part:
                    raise ValueError(
                        f"patient {patient} is in two parts of the split: image {there} in "
                        f"{other}, image {image} in {part}; split by patient"
                    )


def patient_folds(
    radiographs: Sequence[Radiograph], diseases: Sequence[str], k: int, seed: int
) -> dict[str, int]:
    """Assign every image a fold (0 to k-1), with all images of a patient in one fold.

    Stratified by each patient's diseases and number of boxes per disease. The result depends on the
    patients and the seed, not on the order of the radiographs.

    Raises:
        ValueError: for k < 2 or fewer patients than folds.
    """
    patients = images_of_patients(radiographs)
    if k < 2 or len(patients) < k:
        raise ValueError(
            f"cannot split {len(patients)} patients into {k} folds; expected 2 <= folds <= patients"
        )
    part = by_labels(patients, diseases, (1,) * k, seed)
    return {r.image_id: part[r.patient_id] for r in radiographs}


def fold_split(
    radiographs: Sequence[Radiograph], folds: Mapping[str, int], test_fold: int, k: int
) -> Split:
    """Split that tests on `test_fold`, validates on the next fold (cyclic) and trains on the rest.

    Raises:
        ValueError: if `test_fold` is not in 0..k-1, k < 3 or an image has no fold.
    """
    if k < 3 or not 0 <= test_fold < k:
        raise ValueError(
            f"test fold {test_fold} of {k}: expected at least 3 folds (train, validation, test) "
            f"and a test fold from 0 to {k - 1}"
        )
    missing = [r.image_id for r in radiographs if r.image_id not in folds]
    if missing:
        raise ValueError(f"{len(missing)} images have no fold, for example {missing[0]}")
    parts = [(folds[r.image_id] - test_fold) % k for r in radiographs]  # 0 test, 1 validation
    return _split(radiographs, [{0: 2, 1: 1}.get(p, 0) for p in parts])


def official_split(
    radiographs: Sequence[Radiograph],
    official: Mapping[str, str],
    validation_share: float,
    seed: int,
    diseases: Sequence[str] | None = None,
) -> Split:
    """The data set's own split, with a stratified share of the train_val patients for validation.

    Args:
        official: image id -> "train_val" or "test".
        validation_share: share of the train_val images, 0 < share < 1.
        diseases: diseases to stratify by; None means all labelled diseases.

    Raises:
        ValueError: for an image in neither list or an invalid share.
    """
    if not 0 < validation_share < 1:
        raise ValueError(f"validation share {validation_share}, expected a number between 0 and 1")
    unlisted = [r.image_id for r in radiographs if r.image_id not in official]
    if unlisted:
        raise ValueError(
            f"{len(unlisted)} images are in neither official list, for example {unlisted[0]}; "
            "put train_val_list.txt and test_list.txt next to the label file, or split by folds"
        )
    rest = [r for r in radiographs if official[r.image_id] == "train_val"]
    weights = integer_shares((1 - validation_share, validation_share))
    part = by_labels(images_of_patients(rest), diseases or _labelled(rest), weights, seed)
    parts = [
        2 if official[r.image_id] == "test" else part.get(r.patient_id, 0) for r in radiographs
    ]
    return _split(radiographs, parts)


def whole_official_split(
    radiographs: Sequence[Radiograph],
    official: Mapping[str, str],
    seed: int,
    diseases: Sequence[str],
    validation_share: float = 0.1,
) -> Split:
    """`official_split`, refused where one of its two parts has no image.

    Raises:
        ValueError: for no image of a part, and as `official_split`.
    """
    parts = {official.get(r.image_id) for r in radiographs}
    missing = [part for part in ("train_val", "test") if part not in parts]
    if missing:
        raise ValueError(
            f"the official split has no {' and no '.join(missing)} image among the "
            f"{len(radiographs)} here; prepare the data set with its official lists and images of "
            "both parts, or split by folds"
        )
    return official_split(radiographs, official, validation_share, seed, diseases)


def stratified_split(
    radiographs: Sequence[Radiograph],
    diseases: Sequence[str],
    shares: tuple[float, float, float],
    seed: int,
    by: str = "label_sets",
) -> Split:
    """Shares of the patients for training, validation and test, stratified by their labels.

    Args:
        shares: shares of train, validation and test; they sum to 1.
        by: a key of `STRATIFIERS`: label_sets gives each part its share of every combination of
            labels, iterative of every single label, which suits many labels.
    """
    patients = images_of_patients(radiographs)
    part = STRATIFIERS[by](patients, diseases, integer_shares(shares), seed)
    return _split(radiographs, [part[r.patient_id] for r in radiographs])


def sampled_split(
    radiographs: Sequence[Radiograph],
    diseases: Sequence[str],
    per_disease: int = 5000,
    without_finding: int = 5000,
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Split:
    """Sample as in the Deep MedIA report: capped images per disease, then shares by patient.

    No disease gets more than `per_disease` images, though an image counts for each of its diseases;
    rare diseases choose first. `without_finding` images labelled `No Finding` are added.
    """
    chosen = _sample(radiographs, diseases, per_disease, without_finding, seed)
    part = by_labels(images_of_patients(chosen), diseases, integer_shares(shares), seed)
    return _split(chosen, [part[r.patient_id] for r in chosen])


def _split(radiographs: Sequence[Radiograph], parts: Sequence[int]) -> Split:
    """Split from a part (0 train, 1 validation, 2 test) per radiograph."""
    ids = [
        tuple(r.image_id for r, p in zip(radiographs, parts, strict=True) if p == part)
        for part in range(3)
    ]
    return Split(ids[0], ids[1], ids[2], {r.image_id: r.patient_id for r in radiographs})


def _labelled(radiographs: Sequence[Radiograph]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(disease for r in radiographs for disease in r.labels))


def _sample(
    radiographs: Sequence[Radiograph],
    diseases: Sequence[str],
    per_disease: int,
    without_finding: int,
    seed: int,
) -> list[Radiograph]:
    ordered = sorted(radiographs, key=lambda r: r.image_id)
    images = [ordered[i] for i in shuffled(len(ordered), seed)]
    frequency = {d: sum(r.labels.get(d) == 1 for r in images) for d in diseases}
    taken: dict[str, Radiograph] = {}
    count = dict.fromkeys(diseases, 0)
    for disease in sorted(diseases, key=lambda d: frequency[d]):
        for r in images:
            positives = [d for d in r.positives if d in count]
            if disease not in positives or r.image_id in taken:
                continue
            if all(count[d] < per_disease for d in positives):
                taken[r.image_id] = r
                count.update({d: count[d] + 1 for d in positives})
    normal = [r for r in images if r.label(NO_FINDING) == 1]
    taken.update({r.image_id: r for r in normal[:without_finding]})
    return [r for r in ordered if r.image_id in taken]
