"""Splits by patient: official lists, stratified folds, and the sampling of the Deep MedIA report.

Stratification is the iterative one of Sechidis, Tsoumakas and Vlahavas, "On the stratification of
multi-label data" (ECML PKDD 2011), with patients for examples: the rarest disease first, each of
its patients to the part that still wants most of it. All comparisons are between integers and ties
are broken by raw PCG64 bits, a stream that numpy guarantees: one seed, one split on any machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.labels import NO_FINDING
from cxrloc.datasets.radiograph import Radiograph

IntArray = npt.NDArray[np.int64]
_SHARE_UNITS = 10_000


@dataclass(frozen=True)
class Split:
    """Image ids to train on, to choose by and to score, no patient in two of them.

    Args:
        patient_of: image id -> patient id, for at least every image of the three parts.

    Raises:
        ValueError: naming the patient who is in two parts, or an image that is listed twice.
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
                raise ValueError(f"image {twice} is twice in the {part} part of the split")
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
    """Fold (0 to k-1) of every image, all images of a patient in one fold.

    Stratified by which diseases a patient is labelled with, and by the patient's boxes of each. The
    result depends on the patients and the seed, not on the order of the radiographs.

    Raises:
        ValueError: for k < 2 or fewer patients than folds.
    """
    patients = _by_patient(radiographs)
    if k < 2 or len(patients) < k:
        raise ValueError(
            f"cannot make {k} folds of {len(patients)} patients; expected 2 <= folds <= patients"
        )
    part = _stratify(patients, diseases, (1,) * k, seed)
    return {r.image_id: part[r.patient_id] for r in radiographs}


def fold_split(
    radiographs: Sequence[Radiograph], folds: Mapping[str, int], test_fold: int, k: int
) -> Split:
    """Split that scores `test_fold`, chooses by the next fold (cyclically) and trains on the rest.

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
        raise ValueError(f"{len(missing)} images have no fold, the first is {missing[0]}")
    parts = [(folds[r.image_id] - test_fold) % k for r in radiographs]  # 0 test, 1 validation
    return _split(radiographs, [{0: 2, 1: 1}.get(p, 0) for p in parts])


def official_split(
    radiographs: Sequence[Radiograph],
    official: Mapping[str, str],
    validation_share: float,
    seed: int,
    diseases: Sequence[str] | None = None,
) -> Split:
    """The data set's own split, a stratified share of the train_val patients for validation.

    Args:
        official: image id -> "train_val" or "test".
        validation_share: share of the train_val images, 0 < share < 1.
        diseases: to stratify by; all that are labelled when None.

    Raises:
        ValueError: for an image in neither list or a bad share.
    """
    if not 0 < validation_share < 1:
        raise ValueError(f"validation share {validation_share}, expected more than 0, less than 1")
    unlisted = [r.image_id for r in radiographs if r.image_id not in official]
    if unlisted:
        raise ValueError(
            f"{len(unlisted)} images are in neither official list, the first is {unlisted[0]}; "
            "put train_val_list.txt and test_list.txt beside the label file, or split by folds"
        )
    rest = [r for r in radiographs if official[r.image_id] == "train_val"]
    weights = _integer_shares((1 - validation_share, validation_share))
    part = _stratify(_by_patient(rest), diseases or _labelled(rest), weights, seed)
    parts = [
        2 if official[r.image_id] == "test" else part.get(r.patient_id, 0) for r in radiographs
    ]
    return _split(radiographs, parts)


def sampled_split(
    radiographs: Sequence[Radiograph],
    diseases: Sequence[str],
    per_disease: int = 5000,
    without_finding: int = 5000,
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Split:
    """The sampling of the Deep MedIA report: capped images per disease, then shares by patient.

    No disease gets more than `per_disease` images, though an image counts for each of its diseases;
    rare diseases choose first. Of images labelled `No Finding`, `without_finding` are taken.
    """
    chosen = _sample(radiographs, diseases, per_disease, without_finding, seed)
    part = _stratify(_by_patient(chosen), diseases, _integer_shares(shares), seed)
    return _split(chosen, [part[r.patient_id] for r in chosen])


def _split(radiographs: Sequence[Radiograph], parts: Sequence[int]) -> Split:
    """Split from a part (0 train, 1 validation, 2 test) per radiograph."""
    ids = [
        tuple(r.image_id for r, p in zip(radiographs, parts, strict=True) if p == part)
        for part in range(3)
    ]
    return Split(ids[0], ids[1], ids[2], {r.image_id: r.patient_id for r in radiographs})


def _by_patient(radiographs: Sequence[Radiograph]) -> dict[str, list[Radiograph]]:
    """Patient -> radiographs, patients sorted so that the input's order does not matter."""
    patients: dict[str, list[Radiograph]] = {}
    for radiograph in radiographs:
        patients.setdefault(radiograph.patient_id, []).append(radiograph)
    return {patient: patients[patient] for patient in sorted(patients)}


def _labelled(radiographs: Sequence[Radiograph]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(disease for r in radiographs for disease in r.labels))


def _integer_shares(shares: Sequence[float]) -> tuple[int, ...]:
    if abs(sum(shares) - 1) > 1e-6 or min(shares) <= 0:
        raise ValueError(f"shares {tuple(shares)}: expected positive numbers that sum to 1")
    return tuple(round(share * _SHARE_UNITS) for share in shares)


def _shuffled(count: int, seed: int) -> IntArray:
    """A permutation that depends on `count` and `seed` only, whatever the version of numpy."""
    raw = np.atleast_1d(np.random.PCG64(seed).random_raw(count))
    return np.argsort(raw, kind="stable").astype(np.int64)


def _patient_counts(patient: Sequence[Radiograph], diseases: Sequence[str]) -> list[int]:
    """Per disease 1 if any image of the patient is labelled with it; then boxes per disease."""
    labelled = [int(any(r.labels.get(d) == 1 for r in patient)) for d in diseases]
    boxes = [sum(box.disease == d for r in patient for box in r.boxes) for d in diseases]
    return labelled + boxes


def _stratify(
    patients: Mapping[str, Sequence[Radiograph]],
    diseases: Sequence[str],
    weights: Sequence[int],
    seed: int,
) -> dict[str, int]:
    """Part of each patient; part j should get weights[j] / sum(weights) of every disease.

    Steps: of the diseases (or disease's boxes) with patients left take the rarest; go through its
    patients, most boxes first; each goes to the part that lacks most of it, then to the part that
    lacks most images. Patients with none of the diseases come last, by images alone.
    """
    names = list(patients)
    counts = np.array(
        [_patient_counts(patients[name], diseases) for name in names], dtype=np.int64
    ).reshape(len(names), 2 * len(diseases))
    images = np.array([len(patients[name]) for name in names], dtype=np.int64)
    rank = np.empty(len(names), dtype=np.int64)
    rank[_shuffled(len(names), seed)] = np.arange(len(names))
    # The last column is the number of images: decides alone when no disease is left.
    wanted = np.concatenate([counts, images[:, None]], axis=1)
    need = np.asarray(weights, dtype=np.int64)[:, None] * wanted.sum(axis=0)[None, :]
    order_of_parts = _shuffled(len(weights), seed)
    part = np.full(len(names), -1, dtype=np.int64)
    while (part < 0).any():
        left = part < 0
        totals = counts[left].sum(axis=0)
        present = np.flatnonzero(totals)
        column = int(present[np.argmin(totals[present])]) if len(present) else wanted.shape[1] - 1
        members = np.flatnonzero(left & (wanted[:, column] > 0))
        for i in sorted(members, key=lambda i: (-wanted[i, column], rank[i])):
            best = max(order_of_parts, key=lambda j: (need[j, column], need[j, -1]))
            part[i] = best
            need[best] -= sum(weights) * wanted[i]
    return {name: int(p) for name, p in zip(names, part, strict=True)}


def _sample(
    radiographs: Sequence[Radiograph],
    diseases: Sequence[str],
    per_disease: int,
    without_finding: int,
    seed: int,
) -> list[Radiograph]:
    ordered = sorted(radiographs, key=lambda r: r.image_id)
    shuffled = [ordered[i] for i in _shuffled(len(ordered), seed)]
    frequency = {d: sum(r.labels.get(d) == 1 for r in shuffled) for d in diseases}
    taken: dict[str, Radiograph] = {}
    count = dict.fromkeys(diseases, 0)
    for disease in sorted(diseases, key=lambda d: frequency[d]):
        for r in shuffled:
            positives = [d for d in r.positives if d in count]
            if disease not in positives or r.image_id in taken:
                continue
            if all(count[d] < per_disease for d in positives):
                taken[r.image_id] = r
                count.update({d: count[d] + 1 for d in positives})
    normal = [r for r in shuffled if r.label(NO_FINDING) == 1]
    taken.update({r.image_id: r for r in normal[:without_finding]})
    return [r for r in ordered if r.image_id in taken]
