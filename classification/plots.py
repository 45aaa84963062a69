"""Figures of a classifier run: ROC curves and losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from cxrloc.classification.bundle import RESEARCH_USE
from cxrloc.classification.metrics import ClassifierMetrics
from cxrloc.datasets.files import whole_file


def plot_roc(
    path: Path,
    labels: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
    metrics: ClassifierMetrics,
) -> None:
    """One ROC curve per disease with its AUC and interval; undefined ones stand in the legend.

    Args:
        path: the PNG.
        labels, scores: (N, D), columns in the order of `metrics.diseases`; NaN labels left out.
    """
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    for i, (disease, metric) in enumerate(metrics.diseases.items()):
        name = f"{disease}: {metric.auc}"
        known = ~np.isnan(labels[:, i])
        if metric.auc.value is None:
            axes.plot([], [], color="none", label=f"{name} ({metric.auc.reason})")
            continue
        false, true, _ = roc_curve(labels[known, i], scores[known, i])
        axes.plot(false, true, label=name, linewidth=1.5)
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", linewidth=1)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    axes.set_title(f"ROC, AUC (95 % interval by patient)\n{metrics.macro_note}", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    save_figure(figure, path)


def plot_losses(path: Path, history: Sequence[Mapping[str, float]], best_epoch: int) -> None:
    """Training and validation loss over the epochs, the chosen epoch marked."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    epochs = [entry["epoch"] + 1 for entry in history]
    for key, label in (("train_loss", "training"), ("val_loss", "validation")):
        axes.plot(epochs, [entry[key] for entry in history], marker=".", label=label)
    axes.axvline(best_epoch + 1, color="0.6", linestyle="--", label="best epoch, kept")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.legend()
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG whole or not at all, with the research-use notice below."""
    figure.supxlabel(RESEARCH_USE, fontsize=7, color="0.4")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110)
