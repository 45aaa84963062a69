"""Figures of a classifier run: ROC curves and losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import auc, roc_curve

from cxrloc.classification.metrics.ranking import ClassifierMetrics
from cxrloc.classification.metrics.replicates import Array
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.manifest import RESEARCH_USE


def plot_roc(path: Path, images: ScoredImages, metrics: ClassifierMetrics) -> None:
    """One ROC curve per disease with its AUC and interval; undefined ones stand in the legend.

    Images of several body parts get a thin curve for each part as well: the figure over all of them
    mixes parts of different difficulty.

    Args:
        path: the PNG.
        images: diseases in the order of `metrics.diseases`; NaN labels are left out.
    """
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    for i, (disease, metric) in enumerate(metrics.diseases.items()):
        name = f"{disease}: {metric.auc}"
        if metric.auc.value is None:
            axes.plot([], [], color="none", label=f"{name} ({metric.auc.reason})")
            continue
        false, true = _roc(images, i)
        axes.plot(false, true, label=name, linewidth=1.5)
        for part in images.several_parts:
            _part_roc(axes, images.of_part(part), i, part)
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", linewidth=1)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    axes.set_title(f"ROC, AUC (95 % interval by patient)\n{metrics.macro_note}", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    save_figure(figure, path)


def _roc(images: ScoredImages, disease: int) -> tuple[Array, Array]:
    labels, scores = images.labels[:, disease], images.scores[:, disease]
    known = ~np.isnan(labels)
    false, true, _ = roc_curve(labels[known], scores[known])
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


def titled(title: str, note: str) -> str:
    """The title of a picture, below a note on all of it where there is one."""
    return f"{note}\n{title}" if note else title


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG whole or not at all, with the research-use notice below."""
    figure.supxlabel(f"{RESEARCH_USE}.", fontsize=7, color="0.4")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110)
