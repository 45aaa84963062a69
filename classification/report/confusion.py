"""Confusion matrices of several networks, row by row under each disease, published figures beside.

Of the published studies that `published_auc.csv` holds, only AUCs are at hand. Their rows say none
where our TPR, TNR and F1 stand, so that an empty cell is not taken for an oversight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cxrloc.classification.metrics.confusion import SUM, Confusion, confusions, summed
from cxrloc.classification.metrics.folds import RULES
from cxrloc.classification.metrics.networks import Comparison
from cxrloc.classification.metrics.scored_images import TARGET, YOUDEN
from cxrloc.classification.report.published import MACRO, studies_by_disease, studies_of_means
from cxrloc.classification.report.text_tables import TextTable

_RULES = {YOUDEN: "Youden's threshold", TARGET: "threshold for a chosen sensitivity"}
_HEAD = ("disease", "network", "TP", "FN", "FP", "TN", "TPR", "TNR", "F1", "AUC")
_NOT_PUBLISHED = "none"
_NO_RATES = (
    "none: no published TPR, TNR or F1 is at hand. Of the published studies in these tables we "
    "have AUCs alone, of other images than ours."
)


def confusion_tables(comparison: Comparison) -> tuple[TextTable, ...]:
    """A table for each rule by which thresholds were chosen; none where no network has any."""
    tables = ((rule, _rows(comparison, rule)) for rule in RULES)
    return tuple(
        TextTable(f"Confusion, {_RULES[rule]}", _HEAD, rows, _notes(comparison, rule))
        for rule, rows in tables
        if rows
    )


def confusion_records(comparison: Comparison) -> list[dict[str, object]]:
    """confusion.csv: one line per rule, disease (or sum) and network."""
    return [
        {"rule": rule, "network": name, **table.record()}
        for rule in RULES
        for table, name, _ in _matrices(comparison, rule)
    ]


def _rows(comparison: Comparison, rule: str) -> tuple[tuple[str, ...], ...]:
    ours = [
        (table.disease, name, *confusion_cells(table), auc)
        for table, name, auc in _matrices(comparison, rule)
    ]
    if not ours:
        return ()
    blank = ("",) * 4 + (_NOT_PUBLISHED,) * 3
    published = [
        (SUM, f"published: {study.study}", *blank, f"{study.values[MACRO]} ({study.measure})")
        for study in studies_of_means(comparison.images.diseases)
    ]
    return (*ours, *published)


def _matrices(comparison: Comparison, rule: str) -> Iterator[tuple[Confusion, str, str]]:
    """Matrix, network and AUC of each disease in turn, then of their sum."""
    pairs = zip(comparison.networks, comparison.figures, strict=True)
    able = [(network, figures) for network, figures in pairs if rule in network.images.thresholds]
    tables = [confusions(network.images, rule) for network, _ in able]
    for i in range(len(comparison.images.diseases)):
        for (network, figures), of_network in zip(able, tables, strict=True):
            yield of_network[i], network.name, _number(figures["auc"].estimates[i].value)
    for (network, figures), of_network in zip(able, tables, strict=True):
        auc = f"{_number(figures['auc'].macro.value)} (mean AUC)"
        yield summed(of_network), network.name, auc


def _notes(comparison: Comparison, rule: str) -> tuple[str, ...]:
    without = [n.name for n in comparison.networks if rule not in n.images.thresholds]
    undecided = [
        f"{table.disease} ({name}, {table.undecided} images)"
        for table, name, _ in _matrices(comparison, rule)
        if table.undecided and table.disease != SUM
    ]
    diseases = comparison.images.diseases
    published = studies_of_means(diseases) or studies_by_disease(diseases)
    return (
        f"{SUM}: the matrices added up, so that frequent diseases count for more than in the "
        "macro mean. Labels that are unknown or uncertain are left out.",
        "TPR is the sensitivity, TNR the specificity. Thresholds are chosen on validation images.",
        *([_NO_RATES] if published else []),
        *([f"Without thresholds, so not here: {', '.join(without)}."] if without else []),
        *([f"No threshold, so called absent: {', '.join(undecided)}."] if undecided else []),
    )


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def confusion_table(tables: Sequence[Confusion], rule: str) -> TextTable:
    """Counts and shares of each disease, and of their sum.

    Args:
        rule: in words, how the thresholds were chosen.
    """
    rows = [(t.disease, *confusion_cells(t)) for t in (*tables, summed(tables))]
    return TextTable(
        f"Confusion, {rule}",
        ("disease", "TP", "FN", "FP", "TN", "TPR", "TNR", "F1"),
        tuple(rows),
        (
            f"{SUM}: the matrices added up, so that frequent diseases count for more than in the "
            "macro mean.",
        ),
    )


def confusion_cells(table: Confusion) -> tuple[str, ...]:
    """TP, FN, FP, TN, TPR, TNR and F1 as texts."""
    counts = (
        table.true_positive, table.false_negative, table.false_positive, table.true_negative
    )  # fmt: skip
    return *map(str, counts), *map(_text, (table.sensitivity, table.specificity, table.f1))


def _text(share: float | None) -> str:
    return "undefined" if share is None else f"{share:.3f}"
