"""AUC of images by body part: what stands below every figure over all parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxrloc.classification.bootstrap import Array, Estimate
from cxrloc.classification.metrics import DiseaseMetrics, classifier_metrics
from cxrloc.classification.text_tables import TextTable
from cxrloc.datasets.radiograph import Radiograph

_TITLE = "Images by body part"
_HEAD = ("disease", "body part", "AUC (95 % interval)", "positives / known")
_NOTE = (
    "The figures over all body parts mix parts of different difficulty and prevalence: quote them "
    "with those of the parts, which stand here and, of studies too, in studies.md of the run."
)


def body_part_tables(
    films: Sequence[Radiograph],
    labels: Array,
    scores: Array,
    diseases: Sequence[str],
    *,
    replicates: int,
    seed: int,
) -> list[TextTable]:
    """One table of image AUCs by part; none where the films are of one part, or of unknown ones.

    Args:
        films: N films.
        labels: (N, D) of 0, 1 and NaN.
        scores: (N, D) in 0..1.
        replicates, seed: of the patient bootstrap.
    """
    parts = np.array([film.body_part for film in films])
    names = sorted({*parts.tolist()} - {""})
    if len(names) < 2:
        return []
    patients = np.array([film.patient_id for film in films])
    rows = []
    for name in names:
        mine = parts == name
        found = classifier_metrics(
            labels[mine], scores[mine], diseases, patients[mine].tolist(),
            replicates=replicates, seed=seed,
        )  # fmt: skip
        rows += [_cells(disease, name, m) for disease, m in found.diseases.items()]
    rows.sort(key=lambda row: diseases.index(row[0]))  # stable: parts stay in order
    return [TextTable(_TITLE, _HEAD, tuple(rows), (_NOTE,))]


def _cells(disease: str, part: str, m: DiseaseMetrics) -> tuple[str, ...]:
    return disease, part, _text(m.auc), f"{m.positives} / {m.known}"


def _text(figure: Estimate) -> str:
    return f"undefined: {figure.reason}" if figure.value is None else str(figure)
