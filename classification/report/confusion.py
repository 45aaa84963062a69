"""Tabulate confusion matrices of several networks per disease, next to published figures.

The publications in `published_auc.csv` report only AUCs. Their rows say "none" for TPR, TNR and F1,
so that an empty cell does not look like an oversight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN
from cxrloc.classification.metrics.confusion import SUM, Confusion, confusions, summed
from cxrloc.classification.metrics.folds import RULES
from cxrloc.classification.metrics.networks import Comparison
from cxrloc.classification.metrics.scored_images import TARGET, YOUDEN
from cxrloc.classification.report.published import studies_by_disease, studies_of_means
from cxrloc.classification.report.tables import ResultTable, TableRow, Value, value_text

_RULES = {YOUDEN: "Youden's threshold", TARGET: "threshold for a chosen sensitivity"}
_NOT_PUBLISHED = dict.fromkeys(("TPR", "TNR", "F1"), "none")
_SUM_NOTE = (
    f"{SUM}: the sum of the matrices, so frequent diseases count more than in the macro mean"
)
_NO_RATES = (
    "none: no TPR, TNR or F1 is published. The publications in these tables report only AUCs, on "
    "other images than ours"
)


def confusion_tables(comparison: Comparison) -> tuple[ResultTable, ...]:
    """One table per rule for choosing thresholds; none if no network has any."""
    tables = ((rule, _rows(comparison, rule)) for rule in RULES)
    return tuple(
        ResultTable(
            f"confusion_{rule}", f"Confusion, {_RULES[rule]}", rows, _notes(comparison, rule)
        )
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


def _rows(comparison: Comparison, rule: str) -> tuple[TableRow, ...]:
    network_rows = [
        TableRow(
            "", {"disease": table.disease, "network": name}, confusion_cells(table) | {"AUC": auc}
        )
        for table, name, auc in _matrices(comparison, rule)
    ]
    if not network_rows:
        return ()
    published = [
        TableRow(
            "",
            {"disease": SUM, "network": f"published: {study.study}"},
            _NOT_PUBLISHED | {"AUC": f"{study.values[MACRO_MEAN]} ({study.measure})"},
        )
        for study in studies_of_means(comparison.images.diseases)
    ]
    return (*network_rows, *published)


def _matrices(comparison: Comparison, rule: str) -> Iterator[tuple[Confusion, str, Value]]:
    """Yield matrix, network and AUC for each disease, then for the sum."""
    pairs = zip(comparison.networks, comparison.figures, strict=True)
    able = [(network, figures) for network, figures in pairs if rule in network.images.thresholds]
    tables = [confusions(network.images, rule) for network, _ in able]
    for i in range(len(comparison.images.diseases)):
        for (network, figures), of_network in zip(able, tables, strict=True):
            yield of_network[i], network.name, float(figures["auc"].points[i])
    for (network, figures), of_network in zip(able, tables, strict=True):
        auc = f"{value_text(figures['auc'].macro.value)} (mean AUC)"
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
        f"{_SUM_NOTE}. Unknown and uncertain labels are left out",
        "TPR is the sensitivity, TNR the specificity. Thresholds are chosen on validation images",
        *([_NO_RATES] if published else []),
        *([f"Left out, without thresholds: {', '.join(without)}"] if without else []),
        *([f"Predicted absent without a threshold: {', '.join(undecided)}"] if undecided else []),
    )


def confusion_table(tables: Sequence[Confusion], rule: str) -> ResultTable:
    """Counts and shares for each disease and for their sum.

    Args:
        rule: description of how the thresholds were chosen.
    """
    rows = tuple(
        TableRow("", {"disease": table.disease}, confusion_cells(table))
        for table in (*tables, summed(tables))
    )
    return ResultTable("confusion", f"Confusion, {rule}", rows, (_SUM_NOTE,))


def confusion_cells(table: Confusion) -> dict[str, Value]:
    """The counts TP, FN, FP and TN and the shares TPR, TNR and F1; NaN if undefined."""
    shares = {"TPR": table.sensitivity, "TNR": table.specificity, "F1": table.f1}
    return {
        "TP": table.true_positive,
        "FN": table.false_negative,
        "FP": table.false_positive,
        "TN": table.true_negative,
        **{name: math.nan if share is None else share for name, share in shares.items()},
    }
