"""Report a trained classifier: a table of metrics, ROC curves and losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from sklearn.metrics import auc, roc_curve

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, FloatArray
from cxrloc.classification.metrics.ranking import ClassifierMetrics, DiseaseMetrics
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.classification.report.plots import blank_figure, save_figure
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow, Value, estimate_text

_AUC, _AP = "AUC (95 % interval)", "AP (95 % interval)"


def metrics_table(
    metrics: ClassifierMetrics, title: str, thresholds: Mapping[str, str] | None = None
) -> ResultTable:
    """One row per disease, then the macro mean.

    Args:
        metrics: the figures to print.
        title: the heading.
        thresholds: disease -> text for the last column; None for no such column.
    """
    macro: dict[str, Value] = {_AUC: Cell(metrics.macro_auc)}
    macro[_AP] = Cell(metrics.macro_average_precision)
    cells = {disease: _cells(figures) for disease, figures in metrics.diseases.items()}
    cells[MACRO_MEAN] = macro
    for disease, threshold in (thresholds or {}).items():
        cells[disease]["threshold"] = threshold
    rows = tuple(TableRow("", {"disease": name}, values) for name, values in cells.items())
    return ResultTable("metrics", title, rows, _notes(metrics))


def _cells(metrics: DiseaseMetrics) -> dict[str, Value]:
    return {
        _AUC: Cell(metrics.auc),
        _AP: Cell(metrics.average_precision),
        "prevalence": math.nan if metrics.prevalence is None else metrics.prevalence,
        "positives / known": f"{metrics.positives} / {metrics.known}",
    }


def _notes(metrics: ClassifierMetrics) -> tuple[str, ...]:
    return (
        f"{metrics.macro_note}. Intervals: bootstrap over {metrics.patients} patients",
        f"In {metrics.macro_auc.replicates} resamples every disease of the macro AUC has positive "
        "and negative images; in the others the mean is over those that do",
        "A random ranking has AUC .5 and an AP equal to the prevalence",
    )


def plot_roc(path: Path, images: ScoredImages, metrics: ClassifierMetrics) -> None:
    """One ROC curve per disease with its AUC and interval; undefined ones appear in the legend.

    Images of several body parts also get a thin curve per part: the overall figure mixes parts of
    different difficulty.

    Args:
        path: the PNG.
        images: diseases in the order of `metrics.diseases`; NaN labels are left out.
    """
    figure = blank_figure(7, 6)
    axes = figure.subplots()
    for i, (disease, metric) in enumerate(metrics.diseases.items()):
        name = f"{disease}: {estimate_text(metric.auc)}"
        if not metric.auc.defined:
            axes.plot([], [], color="none", label=name)
            continue
        false, true = _roc(images, i)
        axes.plot(false, true, label=name, linewidth=1.5)
        for part in images.several_parts:
            _part_roc(axes, images.of_part(part), i, part)
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", linewidth=1)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    axes.set_title(f"ROC, AUC (95 % interval by patient)\n{metrics.macro_note}", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    save_figure(figure, path, notice=True)


def _roc(images: ScoredImages, disease: int) -> tuple[FloatArray, FloatArray]:
    labels, scores = images.labels[:, disease], images.scores[:, disease]
    has_label = ~np.isnan(labels)
    false, true, _ = roc_curve(labels[has_label], scores[has_label])
    return false, true


def _part_roc(axes: Axes, images: ScoredImages, disease: int, part: str) -> None:
    labels = images.labels[:, disease]
    if len({*labels[~np.isnan(labels)]}) < 2:
        axes.plot([], [], color="none", label=f"  {part}: AUC undefined, {len(images)} images")
        return
    false, true = _roc(images, disease)
    name = f"  {part}: {auc(false, true):.3f}, {len(images)} images"
    axes.plot(false, true, label=name, linewidth=0.8, linestyle="--")


def plot_losses(path: Path, history: Sequence[Mapping[str, float]], best_epoch: int) -> None:
    """Training and validation loss per epoch, with the chosen epoch marked."""
    figure = blank_figure(7, 4)
    axes = figure.subplots()
    epochs = [entry["epoch"] + 1 for entry in history]
    for key, label in (("train_loss", "training"), ("val_loss", "validation")):
        axes.plot(epochs, [entry[key] for entry in history], marker=".", label=label)
    axes.axvline(best_epoch + 1, color="0.6", linestyle="--", label="best epoch (kept)")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.legend()
    save_figure(figure, path, notice=True)
