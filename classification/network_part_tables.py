"""Networks by body part: what stands below every figure over all parts of a comparison."""

from __future__ import annotations

from collections.abc import Iterator

from cxrloc.classification.network_comparison import Comparison
from cxrloc.classification.study_metrics import HALF
from cxrloc.classification.study_tables import (
    TITLES,
    confusion_text,
    figure_text,
    level_records,
    published,
    published_note,
)
from cxrloc.classification.text_tables import TextTable

_HEAD = (
    "body part", "network", "n", "AUC", "accuracy at 0.5", "kappa at 0.5",
    "TP / FN / FP / TN at 0.5", "published",
)  # fmt: skip
_NOTES = (
    "In parentheses the 95 % interval of a bootstrap over patients; none of one patient. Figures "
    "at validation's point stand in each run's studies.md.",
    "The row of all parts, and every figure above, mixes parts of different difficulty and "
    "prevalence: quote it with those of the parts.",
)


def network_part_tables(comparison: Comparison) -> list[TextTable]:
    """A table for studies and one for images, of each disease; none where no part is known."""
    return [
        TextTable(
            f"{TITLES[level]} by body part: {disease}",
            _HEAD,
            tuple(_rows(comparison, level, number)),
            (*_NOTES, published_note()),
        )
        for level in comparison.by_part[0]
        for number, disease in enumerate(comparison.films.diseases)
    ]


def network_part_records(comparison: Comparison) -> list[dict[str, object]]:
    """One line per network, level, disease and part; called present at 0.5."""
    return [
        {"network": network.name, **record}
        for network, found in zip(comparison.networks, comparison.by_part, strict=True)
        for record in level_records(found, comparison.films.diseases)
        if record["rule"] == HALF
    ]


def _rows(comparison: Comparison, level: str, disease: int) -> Iterator[tuple[str, ...]]:
    """The networks on each part, one below the other."""
    of_networks = [
        [row for row in found[level] if (row.disease, row.rule) == (disease, HALF)]
        for found in comparison.by_part
    ]
    for of_part in zip(*of_networks, strict=True):
        for network, row in zip(comparison.networks, of_part, strict=True):
            yield (
                row.body_part, network.name, str(row.units), figure_text(row.auc),
                figure_text(row.accuracy), figure_text(row.kappa), confusion_text(row),
                published(level, row.body_part),
            )  # fmt: skip
