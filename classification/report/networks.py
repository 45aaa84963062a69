"""Write the files of a comparison of networks, with a figure of the AUC per disease."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN
from cxrloc.classification.metrics.networks import Comparison
from cxrloc.classification.report.confusion import confusion_records
from cxrloc.classification.report.network_tables import (
    difference_records,
    network_part_records,
    network_part_tables,
    network_records,
    network_result_tables,
)
from cxrloc.classification.report.plots import COLOURS, MARKERS, blank_figure, save_figure, titled
from cxrloc.classification.report.published import studies_by_disease
from cxrloc.classification.report.tables import page_markdown, to_latex, write_records
from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import write_json


def plot_networks(path: Path, comparison: Comparison) -> None:
    """One row per disease: ours filled, with patient-bootstrap intervals; published ones hollow."""
    names = [*comparison.images.diseases, MACRO_MEAN]
    figure = blank_figure(9.5, 1.8 + 0.5 * len(names))
    axes = figure.subplots()
    _our_points(axes, comparison)
    _published_points(axes, comparison)
    axes.axvline(0.5, color="0.7", linestyle=":", linewidth=1)
    for row in range(0, len(names), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="0.96", zorder=0)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="AUC (95 % interval by patient)", ylim=(len(names) - 0.5, -0.5))
    handles, labels = axes.get_legend_handles_labels()
    ours_first = sorted(range(len(labels)), key=lambda i: labels[i].startswith("published: "))
    figure.legend(
        [handles[i] for i in ours_first],
        [labels[i] for i in ours_first],
        loc="outside upper center",
        fontsize=8,
        ncols=2,
        frameon=False,
    )
    published = bool(studies_by_disease(comparison.images.diseases))
    title = "Networks on the same out-of-fold images"
    title += "; hollow: published, on other images" if published else ""
    axes.set_title(titled(title, comparison.images.parts_note), fontsize=10)
    save_figure(figure, path, notice=True)


def _our_points(axes: Axes, comparison: Comparison) -> None:
    offsets = np.linspace(-0.3, 0.3, len(comparison.networks) + 2)[1:-1]
    for i, (network, figures) in enumerate(
        zip(comparison.networks, comparison.figures, strict=True)
    ):
        estimates = figures["auc"].columns
        rows = [n for n, e in enumerate(estimates) if e.defined]
        x = np.array([estimates[n].value for n in rows], dtype=np.float64)
        ends = [(estimates[n].low, estimates[n].high) for n in rows]
        low, high = np.array(ends, dtype=np.float64).reshape(-1, 2).T
        errors: Any = np.nan_to_num(np.clip([x - low, high - x], 0, None))
        axes.errorbar(
            x,
            np.array(rows) + offsets[i],
            xerr=errors,
            fmt=MARKERS[0],
            markersize=5,
            color=COLOURS[i % len(COLOURS)],
            elinewidth=1.2,
            label=network.name,
        )


def _published_points(axes: Axes, comparison: Comparison) -> None:
    diseases = comparison.images.diseases
    markers = MARKERS[1:]  # the first is ours
    for i, study in enumerate(studies_by_disease(diseases)):
        rows = [n for n, d in enumerate(diseases) if d in study.values]
        x = [float(study.values[diseases[n]]) for n in rows]
        if (mean := study.mean_over(diseases)) is not None:
            rows, x = [*rows, len(diseases)], [*x, mean]
        axes.scatter(
            x,
            rows,
            marker=markers[i % len(markers)],
            s=22,
            facecolors="none",
            edgecolors="0.45",
            linewidths=0.9,
            label=f"published: {study.study}",
        )


def write_comparison(out: Path, comparison: Comparison, manifest: Mapping[str, Any]) -> str:
    """Write networks.{csv,md,tex,png}, confusion.csv, differences.csv and manifest.json.

    Images with examinations or body parts also get networks_by_part.csv. Returns the page.

    Args:
        out: the folder, created if necessary.
        manifest: manifest of the run.
    """
    tables = [*network_result_tables(comparison), *network_part_tables(comparison)]
    write_records(out / "networks.csv", network_records(comparison))
    if matrices := confusion_records(comparison):
        write_records(out / "confusion.csv", matrices)
    if comparison.pairs:
        write_records(out / "differences.csv", difference_records(comparison))
    if by_part := network_part_records(comparison):
        write_records(out / "networks_by_part.csv", by_part)
    page = page_markdown("Comparison of networks", tables)
    write_text(out / "networks.md", page)
    write_text(out / "networks.tex", "\n".join(map(to_latex, tables)))
    plot_networks(out / "networks.png", comparison)
    write_json(out / "manifest.json", manifest)
    return page
