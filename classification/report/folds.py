"""Write the report of a finished cross-validation into its run folder.

out_of_fold.parquet         every image, predicted by the model that never saw its patient
cross_validation.csv, .md   per disease and macro: figures, intervals, mean and deviation over folds
                            (with two stages also per stage: column `stage`)
confusion.csv, confusion_youden.png, confusion_target.png    counts per disease and in total
calibration.csv, .png       reliability: ten bins with equally many images per disease
epochs.png                  loss and, if logged, AUC per epoch with a band over folds
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cxrloc.classification.metrics.calibration import Bin, calibration_error, reliability
from cxrloc.classification.metrics.confusion import Confusion, confusions, summed
from cxrloc.classification.metrics.folds import RULES
from cxrloc.classification.metrics.scored_images import (
    ScoredImages,
    write_scored_images,
)
from cxrloc.classification.report.confusion import confusion_table
from cxrloc.classification.report.fold_tables import (
    FoldRow,
    fold_result_tables,
    fold_rows,
    rule_label,
    stage_report,
)
from cxrloc.classification.report.plots import COLOURS, panels, save_figure, titled
from cxrloc.classification.report.tables import (
    ResultTable,
    estimate_record,
    page_markdown,
    write_records,
)
from cxrloc.classification.run_folder import RunFolder
from cxrloc.datasets.files.atomic import write_text

_PER_ROW = 5
_BLUE, _ORANGE = COLOURS[4], COLOURS[5]
_LINES = {"train": (_BLUE, "training"), "val": (_ORANGE, "validation")}
Histories = Mapping[int, Sequence[Mapping[str, float]]]


def plot_confusions(path: Path, tables: Sequence[Confusion], rule: str, note: str = "") -> None:
    """One two-by-two matrix per disease: counts, shaded by share of the row.

    Args:
        rule: description of how the thresholds were chosen.
        note: text above the figure, `ScoredImages.parts_note`.
    """
    grid = panels(len(tables), (2.4, 2.7), per_row=_PER_ROW, narrowest=4.8)
    for axes, table in zip(grid.axes, tables, strict=True):
        _confusion_panel(axes, table)
    title = f"Out-of-fold images by label and prediction, {rule}"
    grid.figure.suptitle(titled(title, note), fontsize=11)
    save_figure(grid.figure, path, notice=True)


def plot_calibration(
    path: Path, curves: Mapping[str, Sequence[Bin]], titles: Mapping[str, str], note: str = ""
) -> None:
    """One reliability diagram per disease: observed share over mean probability, with intervals.

    Args:
        curves, titles: disease -> its bins and the title of its panel.
        note: text above the figure, `ScoredImages.parts_note`.
    """
    grid = panels(len(curves), (2.6, 2.7), per_row=_PER_ROW, narrowest=5.2)
    for axes, (disease, bins) in zip(grid.axes, curves.items(), strict=True):
        _reliability_panel(axes, bins)
        axes.set_title(titles[disease], fontsize=8)
    title = "Reliability: share with the disease over mean probability, by bin"
    grid.figure.suptitle(titled(title, note), fontsize=11)
    save_figure(grid.figure, path, notice=True)


def plot_epochs(path: Path, histories: Histories) -> None:
    """Losses, and AUC if logged, per epoch: thin lines are folds, thick the mean, band 1 SD.

    A fold that stopped early counts for its own epochs. For all folds, the second of two stages
    starts where the longest first stage ends.

    Args:
        histories: fold -> one entry per epoch, with `epoch` and some of `train_loss`, `val_loss`,
            `train_auc`, `val_auc`; with two stages also `stage`.
    """
    logged = {key for entries in histories.values() for entry in entries for key in entry}
    panel_columns = {"loss": ("train_loss", "val_loss"), "AUC": ("train_auc", "val_auc")}
    shown = {name: [k for k in keys if k in logged] for name, keys in panel_columns.items()}
    shown = {name: keys for name, keys in shown.items() if keys}
    grid = panels(len(shown), (6.2, 4.2), around=(0.0, 0.0))
    for axes, (name, keys) in zip(grid.axes, shown.items(), strict=True):
        _epoch_panel(axes, histories, keys)
        axes.set(xlabel="epoch", ylabel=name)
    if len(histories) > 1:
        title = f"{len(histories)} folds: mean with a band of one standard deviation"
        grid.figure.suptitle(title, fontsize=11)
    save_figure(grid.figure, path, notice=True)


def _confusion_panel(axes: Axes, table: Confusion) -> None:
    counts = table.matrix
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(2, 2):
        share = shares[row, column]
        text = f"{counts[row, column]:,}\n{share:.0%}"
        colour = "white" if share > 0.55 else "0.15"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks([0, 1], ["predicted present", "predicted absent"], fontsize=7)
    axes.set_yticks([0, 1], ["present", "absent"], fontsize=7, rotation=90, va="center")
    axes.tick_params(length=0)
    undecided = f"\n{table.undecided:,} without threshold" if table.undecided else ""
    axes.set_title(f"{table.disease}{undecided}", fontsize=9)


def _reliability_panel(axes: Axes, bins: Sequence[Bin]) -> None:
    x = np.array([b.mean_probability for b in bins])
    figures = [(b.observed.value, b.observed.low, b.observed.high) for b in bins]
    y, low, high = np.array(figures, dtype=np.float64).reshape(-1, 3).T
    low, high = (np.where(np.isnan(end), y, end) for end in (low, high))
    # a percentile interval need not contain the figure itself
    errors: Any = np.clip(np.stack([y - low, high - y]), 0, None)
    top = 1.05 * max([0.05, *x, *high])
    axes.plot([0, top], [0, top], color="0.7", linestyle=":", linewidth=1)
    axes.errorbar(
        x, y, yerr=errors, color=_BLUE, marker="o", markersize=3, linewidth=1.2, elinewidth=0.8
    )
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.tick_params(labelsize=7)


def _epoch_panel(axes: Axes, histories: Histories, keys: Sequence[str]) -> None:
    length = max((_first_stage(entries) for entries in histories.values()), default=0)
    for key in keys:
        _epoch_band(axes, histories, key, length)
    if length:
        axes.axvline(length + 0.5, color="0.6", linestyle="--", linewidth=1, label="second stage")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)


def _first_stage(entries: Sequence[Mapping[str, float]]) -> int:
    """Epochs of the first of two stages; 0 without stages."""
    return sum(entry.get("stage") == 1 for entry in entries)


def _epoch_band(axes: Axes, histories: Histories, key: str, length: int) -> None:
    colour, name = _LINES[key.partition("_")[0]]
    by_epoch: dict[int, list[float]] = {}
    for entries in histories.values():
        wait = {2: length - _first_stage(entries)}  # until the other folds reach the second stage
        points = [
            (int(e["epoch"]) + 1 + wait.get(int(e.get("stage", 1)), 0), e[key])
            for e in entries
            if key in e
        ]
        axes.plot(*zip(*points, strict=True), color=colour, alpha=0.3, linewidth=0.7)
        for epoch, value in points:
            by_epoch.setdefault(epoch, []).append(value)
    x = np.array(sorted(by_epoch))
    mean = np.array([np.mean(by_epoch[e]) for e in x])
    spread = np.array([np.std(v, ddof=1) if len(v := by_epoch[e]) > 1 else 0.0 for e in x])
    axes.plot(x, mean, color=colour, linewidth=2, marker=".", label=name)
    axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)


def write_fold_report(
    out: Path,
    images: ScoredImages,
    histories: Histories,
    stages: Sequence[ScoredImages] = (),
    by_part: Sequence[ResultTable] = (),
    notes: Sequence[str] = (),
    *,
    replicates: int,
    seed: int,
) -> str:
    """Write all files of a cross-validation; return the Markdown page.

    Args:
        out: the run folder.
        images: out of fold, with thresholds of both rules.
        histories: fold -> one entry per epoch.
        stages: for a training in two stages, the same images as predicted by each stage.
        by_part: tables of `examinations.part_tables`, printed below the overall figures.
        notes: sentences about the images, without their full stops, above the first table.
        replicates, seed: parameters of the patient bootstrap.
    """
    write_scored_images(RunFolder(out).out_of_fold, images)
    rows = fold_rows(images, replicates, seed)
    records = [{**row.record(), "stage": ""} for row in rows]
    ranking, decisions = fold_result_tables(images, rows)
    tables = [replace(ranking, notes=(*notes, *ranking.notes)), decisions, *by_part]
    tables += [confusion_table(confusions(images, r), rule_label(r, images)) for r in RULES]
    if stages:
        lines, table = stage_report(stages, replicates, seed)
        records += lines
        tables.append(table)
    write_records(out / "cross_validation.csv", records)
    page = page_markdown(f"Cross-validation: {out.name}", tables)
    write_text(RunFolder(out).out_of_fold_page, page)
    _write_confusions(out, images)
    _write_calibration(out, images, rows, replicates, seed)
    plot_epochs(out / "epochs.png", histories)
    return page


def _write_confusions(out: Path, images: ScoredImages) -> None:
    records: list[dict[str, object]] = []
    for rule in RULES:
        tables = confusions(images, rule)
        records += [{"rule": rule, **table.record()} for table in (*tables, summed(tables))]
        plot_confusions(
            out / f"confusion_{rule}.png", tables, rule_label(rule, images), images.parts_note
        )
    write_records(out / "confusion.csv", records)


def _write_calibration(
    out: Path, images: ScoredImages, rows: Sequence[FoldRow], replicates: int, seed: int
) -> None:
    curves = {
        disease: reliability(
            images.labels[:, i],
            images.scores[:, i],
            images.patient_ids,
            replicates=replicates,
            seed=seed,
        )
        for i, disease in enumerate(images.diseases)
    }
    records: list[dict[str, object]] = []
    for disease, bins in curves.items():
        records += [{"disease": disease, "bin": n, **_bin_record(b)} for n, b in enumerate(bins)]
    write_records(out / "calibration.csv", records)
    titles = {
        row.disease: _calibration_title(row, calibration_error(curves[row.disease]))
        for row in rows[:-1]
    }
    plot_calibration(out / "calibration.png", curves, titles, images.parts_note)


def _bin_record(b: Bin) -> dict[str, object]:
    head = {"images": b.images, "mean_probability": b.mean_probability}
    return {**head, **estimate_record("observed", b.observed)}


def _calibration_title(row: FoldRow, error: float | None) -> str:
    if error is None:
        return f"{row.disease}\nno known label"
    return f"{row.disease}\nBrier {row.pooled['brier'].value:.3f}, calibration error {error:.3f}"
