"""Stratify by patient: assign patients to parts so that all parts have similar labels.

    iterative    Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data" (ECML
                 PKDD 2011), with patients as examples: the rarest disease first; each of its
                 patients goes to the part that still needs most of it
    label_sets   each part gets its share of every combination of labels, as in the thesis of
                 Chasanidis (2020). Combinations with too few patients for every part (more labels
                 give more of them) are stratified together, iteratively

A patient has a label if any of the patient's images has it. All comparisons are between integers,
and raw PCG64 bits, a stream that numpy guarantees, break the ties. So one seed gives the same split
on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.radiograph import Radiograph

IntArray = npt.NDArray[np.int64]
Patients = Mapping[str, Sequence[Radiograph]]
_SHARE_UNITS = 10_000


def images_of_patients(radiographs: Sequence[Radiograph]) -> dict[str, list[Radiograph]]:
    """Group radiographs by patient; patients are sorted, so the input's order does not matter."""
    patients: dict[str, list[Radiograph]] = {}
    for radiograph in radiographs:
        patients.setdefault(radiograph.patient_id, []).append(radiograph)
    return {patient: patients[patient] for patient in sorted(patients)}


def integer_shares(shares: Sequence[float]) -> tuple[int, ...]:
    """Convert shares that sum to 1 into ten-thousandths."""
    if abs(sum(shares) - 1) > 1e-6 or min(shares) <= 0:
        raise ValueError(f"shares {tuple(shares)}: expected positive numbers that sum to 1")
    return tuple(round(share * _SHARE_UNITS) for share in shares)


def shuffled(count: int, seed: int) -> IntArray:
    """A permutation that depends only on `count` and `seed`, in any version of numpy."""
    raw = np.atleast_1d(np.random.PCG64(seed).random_raw(count))
    return np.argsort(raw, kind="stable").astype(np.int64)


def _patient_counts(patient: Sequence[Radiograph], diseases: Sequence[str]) -> list[int]:
    """Per disease 1 if any image of the patient is positive; then boxes per disease."""
    labelled = [int(any(r.labels.get(d) == 1 for r in patient)) for d in diseases]
    boxes = [sum(box.disease == d for r in patient for box in r.boxes) for d in diseases]
    return labelled + boxes


def by_labels(
    patients: Patients,
    diseases: Sequence[str],
    weights: Sequence[int],
    seed: int,
) -> dict[str, int]:
    """Assign a part to each patient; part j should get weights[j] / sum(weights) of every disease.

    Steps: take the rarest disease (or disease's boxes) with patients left. Go through its patients,
    most boxes first. Each goes to the part that needs most of that disease, then to the part that
    needs most images. Patients without any disease come last, by their number of images.
    """
    names = list(patients)
    counts = np.array(
        [_patient_counts(patients[name], diseases) for name in names], dtype=np.int64
    ).reshape(len(names), 2 * len(diseases))
    images = np.array([len(patients[name]) for name in names], dtype=np.int64)
    rank = np.empty(len(names), dtype=np.int64)
    rank[shuffled(len(names), seed)] = np.arange(len(names))
    # The last column, the number of images, decides alone when no disease is left.
    targets = np.concatenate([counts, images[:, None]], axis=1)
    need = np.asarray(weights, dtype=np.int64)[:, None] * targets.sum(axis=0)[None, :]
    order_of_parts = shuffled(len(weights), seed)
    part = np.full(len(names), -1, dtype=np.int64)
    while (part < 0).any():
        left = part < 0
        totals = counts[left].sum(axis=0)
        present = np.flatnonzero(totals)
        column = int(present[np.argmin(totals[present])]) if len(present) else targets.shape[1] - 1
        members = np.flatnonzero(left & (targets[:, column] > 0))
        for i in sorted(members, key=lambda i: (-targets[i, column], rank[i])):
            best = max(order_of_parts, key=lambda j: (need[j, column], need[j, -1]))
            part[i] = best
            need[best] -= sum(weights) * targets[i]
    return {name: int(p) for name, p in zip(names, part, strict=True)}


def by_label_sets(
    patients: Patients, diseases: Sequence[str], weights: Sequence[int], seed: int
) -> dict[str, int]:
    """Assign a part to each patient; each part should get its share of every label combination.

    The patients of a combination are shuffled. Each goes to the part that needs most of it, then to
    the part that needs most images. The rarest combination comes first.
    """
    combinations = _combinations(patients, diseases)
    enough = sum(weights) / min(weights)
    large = {key: names for key, names in combinations.items() if len(names) >= enough}
    rest = [name for key, names in combinations.items() if key not in large for name in names]
    part = by_labels({name: patients[name] for name in sorted(rest)}, diseases, weights, seed)
    images = [weight * sum(map(len, patients.values())) for weight in weights]
    for name, j in part.items():
        images[j] -= sum(weights) * len(patients[name])
    order_of_parts = shuffled(len(weights), seed).tolist()
    for number, key in enumerate(sorted(large, key=lambda key: (len(large[key]), key))):
        need = [weight * len(large[key]) for weight in weights]
        for i in shuffled(len(large[key]), seed + number):
            name = large[key][i]
            best = max(order_of_parts, key=lambda j: (need[j], images[j]))
            part[name] = best
            need[best] -= sum(weights)
            images[best] -= sum(weights) * len(patients[name])
    return part


def _combinations(patients: Patients, diseases: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    """Combination of labels -> its patients, in order."""
    images_of: dict[tuple[str, ...], list[str]] = {}
    for name, images in patients.items():
        positive = {d for r in images for d, value in r.labels.items() if value == 1}
        images_of.setdefault(tuple(d for d in diseases if d in positive), []).append(name)
    return images_of


STRATIFIERS: dict[str, Callable[[Patients, Sequence[str], Sequence[int], int], dict[str, int]]] = {
    "label_sets": by_label_sets,
    "iterative": by_labels,
}
