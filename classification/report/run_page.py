"""Classifier metrics as a Markdown page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cxrloc.classification.metrics.ranking import ClassifierMetrics, DiseaseMetrics
from cxrloc.datasets.files.manifest import RESEARCH_USE


def metrics_markdown(
    metrics: ClassifierMetrics, title: str, notes: Mapping[str, str] | None = None
) -> str:
    """The metrics as a Markdown page.

    Args:
        metrics: what is printed.
        title: the heading.
        notes: disease -> a text for the last column (its threshold), or None for no such column.
    """
    head = [
        "disease",
        "AUC (95 % interval)",
        "AP (95 % interval)",
        "prevalence",
        "positives / known",
    ]
    rows = [_markdown_cells(d, m) for d, m in metrics.diseases.items()]
    rows.append(["**macro**", str(metrics.macro_auc), str(metrics.macro_average_precision), "", ""])
    if notes is not None:
        head.append("threshold")
        rows = [[*row, notes.get(row[0], "")] for row in rows]
    line: Callable[[Sequence[str]], str] = lambda cells: f"| {' | '.join(cells)} |"  # noqa: E731
    table = [line(head), line(["---"] * len(head)), *map(line, rows)]
    return "\n".join([f"# {title}", "", *table, "", *_footer(metrics)]) + "\n"


def _markdown_cells(disease: str, m: DiseaseMetrics) -> list[str]:
    prevalence = "undefined" if m.prevalence is None else f"{m.prevalence:.3f}"
    auc = f"undefined: {m.auc.reason}" if m.auc.value is None else str(m.auc)
    counts = f"{m.positives} / {m.known}"
    return [disease, auc, str(m.average_precision), prevalence, counts]


def _footer(metrics: ClassifierMetrics) -> list[str]:
    return [
        f"{metrics.macro_note}. Intervals: bootstrap over {metrics.patients} patients.",
        f"The interval of the macro AUC rests on {metrics.macro_auc.replicates} resamples: those "
        "in which every disease has a positive and a negative.",
        "A random ranking has AUC .5 and an AP equal to the prevalence.",
        f"{RESEARCH_USE}.",
    ]
