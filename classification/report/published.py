"""Published figures of classifiers, mostly AUCs, to be printed with ours, and on which images.

`published_auc.csv` holds the figures as printed; none is of the images of anybody's own run. Rows
of the disease `macro mean` are means, or figures of MURA's parts: their authors printed no
diseases.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cxrloc.datasets.labels import NIH_DISEASES, NO_FINDING

_NIH = frozenset((*NIH_DISEASES, NO_FINDING))
# the competition tasks of Irvin et al. 2019
_CHEXPERT_FIVE = frozenset(
    ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
)


@dataclass(frozen=True)
class PublishedStudy:
    """The figures of one study.

    Attributes:
        study: who, and which network.
        scored_on: which images or split.
        measure: what the figures are; `AUC` with figures per disease.
        values: disease (or `macro mean`) -> figure as printed.
    """

    study: str
    scored_on: str
    measure: str
    values: dict[str, str]

    def mean_over(self, diseases: Sequence[str]) -> float | None:
        """Mean of the printed figures over `diseases`; None unless all of them are printed."""
        if not diseases or not set(diseases) <= set(self.values):
            return None
        return sum(float(self.values[d]) for d in diseases) / len(diseases)


@cache
def published_studies() -> tuple[PublishedStudy, ...]:
    """All studies, in the file's order of first appearance."""
    # not importlib.resources: it fails on a namespace package that is installed editable
    text = Path(__file__).with_name("published_auc.csv").read_text(encoding="utf-8")
    values: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in csv.DictReader(text.splitlines()):
        key = (row["study"], row["scored_on"], row["measure"])
        values.setdefault(key, {})[row["disease"]] = row["value"]
    return tuple(PublishedStudy(*key, of_study) for key, of_study in values.items())


def studies_by_disease(diseases: Sequence[str]) -> tuple[PublishedStudy, ...]:
    """Studies that print an AUC of at least one of these diseases; all are of NIH's labels."""
    if not set(diseases) <= _NIH:
        return ()  # CheXpert's Edema is labelled by other rules than NIH's
    return tuple(
        study
        for study in published_studies()
        if study.measure == "AUC" and set(study.values) & set(diseases)
    )


def studies_of_means(diseases: Sequence[str]) -> tuple[PublishedStudy, ...]:
    """Studies that print one AUC over their diseases alone, each of its own `measure`.

    Those of NIH for any of its labels; those of CheXpert for exactly the five that they mean.
    """
    fits = {
        "NIH 14 labels": set(diseases) <= _NIH,
        "CheXpert 5 labels": set(diseases) == _CHEXPERT_FIVE,
    }
    return tuple(s for s in published_studies() if fits.get(s.scored_on, False))
