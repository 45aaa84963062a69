"""Published per-disease localization figures, with their source, to print next to ours.

`published_localization.csv` holds Wang et al. (CVPR 2017, with supplement and appendix) and the
Deep MedIA report (2021), each under the criterion it was really scored by (see
`glossary.DEEP_MEDIA_NOTE`).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES


@dataclass(frozen=True)
class PublishedRow:
    """One line of a published table.

    Attributes:
        study: who, and which model.
        source: where it is printed.
        scored_on: the images behind it, which are not those of a run of ours.
        rule: which box counted: "any" (Wang: one of all boxes is enough) or "not stated".
        criterion: "iou" or "iobb": what the threshold is on.
        measure: "acc" (share of boxes over the threshold) or "afp" (failing boxes / 984).
        values: disease -> figure as printed.
        boxes: disease -> the denominator that makes it an integer.
    """

    study: str
    source: str
    scored_on: str
    rule: str
    criterion: str
    measure: str
    threshold: float
    values: dict[str, float]
    boxes: dict[str, int]

    def macro_mean(self, diseases: Sequence[str]) -> float:
        """Mean of the printed figures over `diseases`."""
        return sum(self.values[d] for d in diseases) / len(diseases)


@cache
def published_rows() -> tuple[PublishedRow, ...]:
    """All published figures, in the file's order."""
    # not importlib.resources: it fails on a namespace package that is installed editable
    text = Path(__file__).with_name("published_localization.csv").read_text(encoding="utf-8")
    return tuple(_row(record) for record in csv.DictReader(text.splitlines()))


def comparable_rows(
    criterion: str, threshold: float, diseases: Sequence[str], measure: str = "acc"
) -> tuple[PublishedRow, ...]:
    """Published figures to print next to ours; none if a disease is not among NIH's eight."""
    if not set(diseases) <= set(NIH_BOXED_DISEASES):
        return ()
    return tuple(
        row
        for row in published_rows()
        if (row.measure, row.criterion, row.threshold) == (measure, criterion, threshold)
    )


def _row(record: dict[str, str]) -> PublishedRow:
    return PublishedRow(
        study=record["study"],
        source=record["source"],
        scored_on=record["scored_on"],
        rule=record["rule"],
        criterion=record["criterion"],
        measure=record["measure"],
        threshold=float(record["threshold"]),
        values={d: float(record[d]) for d in NIH_BOXED_DISEASES},
        boxes={d: int(record[f"n_{d}"]) for d in NIH_BOXED_DISEASES},
    )
