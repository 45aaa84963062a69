"""Provide published figures of classifiers, mostly AUCs, with the images they were scored on.

`published_auc.csv` contains the figures as published; none is on the images of one's own run. Rows
for the disease `macro mean` are means, or figures for MURA's parts without separate diseases.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cxrloc.datasets.labels.names import NIH_DISEASES, NO_FINDING

_NIH = frozenset((*NIH_DISEASES, NO_FINDING))
# the competition tasks of Irvin et al. 2019
_CHEXPERT_FIVE = frozenset(
    ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
)


@dataclass(frozen=True)
class PublishedStudy:
    """The figures of one publication.

    Attributes:
        study: authors and network.
        scored_on: images or split.
        measure: kind of figure; `AUC` for figures per disease.
        values: disease (or `macro mean`) -> figure as published.
    """

    study: str
    scored_on: str
    measure: str
    values: dict[str, str]

    def mean_over(self, diseases: Sequence[str]) -> float | None:
        """Mean of the published figures over `diseases`; None unless all of them are published."""
        if not diseases or not set(diseases) <= set(self.values):
            return None
        return sum(float(self.values[d]) for d in diseases) / len(diseases)


@cache
def published_studies() -> tuple[PublishedStudy, ...]:
    """All publications, in the file's order of first appearance."""
    # not importlib.resources: it fails on a namespace package installed in editable mode
    text = Path(__file__).with_name("published_auc.csv").read_text(encoding="utf-8")
    values: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in csv.DictReader(text.splitlines()):
        key = (row["study"], row["scored_on"], row["measure"])
        values.setdefault(key, {})[row["disease"]] = row["value"]
    return tuple(PublishedStudy(*key, of_study) for key, of_study in values.items())


def studies_by_disease(diseases: Sequence[str]) -> tuple[PublishedStudy, ...]:
    """Publications with an AUC for at least one of these diseases; all use NIH's labels."""
    if not set(diseases) <= _NIH:
        return ()  # CheXpert labels Edema by other rules than NIH
    return tuple(
        study
        for study in published_studies()
        if study.measure == "AUC" and set(study.values) & set(diseases)
    )


def studies_of_means(diseases: Sequence[str]) -> tuple[PublishedStudy, ...]:
    """Publications with a single AUC over their diseases, each with its own `measure`.

    Those on NIH apply to any of its labels, those on CheXpert only to exactly their five.
    """
    fits = {
        "NIH 14 labels": set(diseases) <= _NIH,
        "CheXpert 5 labels": set(diseases) == _CHEXPERT_FIVE,
    }
    return tuple(s for s in published_studies() if fits.get(s.scored_on, False))
