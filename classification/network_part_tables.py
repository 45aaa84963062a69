"""Networks by body part: what stands below every figure over all parts of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from cxrloc.classification.network_comparison import Comparison
from cxrloc.classification.study_metrics import HALF, Agreement
from cxrloc.classification.study_tables import (
    TITLES,
    figure_text,
    level_records,
    published,
    published_note,
)
from cxrloc.classification.text_tables import TextTable

_NOTES = (
    "AUC / accuracy at 0.5 / kappa at 0.5. In parentheses the 95 % interval of a bootstrap over "
    "patients. Figures at validation's point stand in each run's studies.md.",
    "The row of all parts, and every figure above, mixes parts of different difficulty and "
    "prevalence: quote it with those of the parts.",
)


def network_part_tables(comparison: Comparison) -> list[TextTable]:
    """A table for studies and one for images, of each disease; none where no part is known."""
    names = tuple(network.name for network in comparison.networks)
    return [
        TextTable(
            f"{TITLES[level]} by body part: {disease}",
            ("body part", "n", *names, "published"),
            tuple(_row(level, rows) for rows in _by_part(comparison, level, number)),
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


def _by_part(comparison: Comparison, level: str, disease: int) -> list[tuple[Agreement, ...]]:
    """A tuple a part, in it a figure a network."""
    of_networks = [
        [row for row in found[level] if (row.disease, row.rule) == (disease, HALF)]
        for found in comparison.by_part
    ]
    return list(zip(*of_networks, strict=True))


def _row(level: str, rows: Sequence[Agreement]) -> tuple[str, ...]:
    first = rows[0]
    figures = (" / ".join(map(figure_text, (r.auc, r.accuracy, r.kappa))) for r in rows)
    return first.body_part, str(first.units), *figures, published(level, first.body_part)
