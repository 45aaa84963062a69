"""Figures are written whole, carry the notice and name what is undefined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from builders import read_pixels
from cxrloc.classification.metrics.bootstrap import FloatArray
from cxrloc.classification.metrics.ranking import classifier_metrics
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.classification.report.folds import plot_epochs
from cxrloc.classification.report.plots import (
    COLOURS,
    MARKERS,
    legend_below,
    panels,
    save_figure,
    titled,
)
from cxrloc.classification.report.run_page import plot_losses, plot_roc


def scored(
    diseases: tuple[str, ...], labels: FloatArray, scores: FloatArray, parts: tuple[str, ...] = ()
) -> ScoredImages:
    """Images a, b, c, ... of as many patients."""
    names = tuple("abcdefgh"[: len(labels)])
    folds = np.zeros(len(labels), dtype=np.int64)
    return ScoredImages(diseases, names, names, folds, scores, labels, body_parts=parts)


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text of every figure that is saved."""
    shown: list[str] = []
    save = Figure.savefig

    def spy(figure: Figure, *args: Any, **kwargs: Any) -> None:
        for axes in figure.axes:
            legend = axes.get_legend()
            assert legend is not None
            shown.extend(text.get_text() for text in legend.get_texts())
        shown.append(figure.get_supxlabel())
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", spy)
    return shown


def test_the_roc_figure_names_every_disease(tmp_path: Path, texts: list[str]) -> None:
    labels = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    scores = np.array([[0.9, 0.2], [0.1, 0.3], [0.8, 0.4]])
    images = scored(("Mass", "Hernia"), labels, scores)
    metrics = classifier_metrics(labels, scores, images.diseases, images.patient_ids, replicates=0)
    plot_roc(tmp_path / "roc.png", images, metrics)
    assert texts[:2] == ["Mass: 1.000 [undefined]", "Hernia: undefined: no positive image"]
    assert texts[-1] == "Research use only, never a diagnosis."
    assert read_pixels(tmp_path / "roc.png").std() > 1
    assert [p.name for p in tmp_path.iterdir()] == ["roc.png"]


def test_the_roc_figure_of_several_body_parts_has_a_curve_for_each(
    tmp_path: Path, texts: list[str]
) -> None:
    labels = np.array([[1.0], [0.0], [1.0], [0.0], [1.0]])
    scores = np.array([[0.9], [0.1], [0.3], [0.4], [0.2]])
    parts = ("XR_HAND", "XR_HAND", "XR_WRIST", "XR_WRIST", "XR_ELBOW")
    images = scored(("Abnormal",), labels, scores, parts)
    metrics = classifier_metrics(labels, scores, images.diseases, images.patient_ids, replicates=0)
    plot_roc(tmp_path / "roc.png", images, metrics)
    assert texts[:4] == [
        "Abnormal: .667 [undefined]",  # 4 of 6 pairs in order
        "  XR_ELBOW: AUC undefined, 1 images",
        "  XR_HAND: 1.000, 2 images",
        "  XR_WRIST: 0.000, 2 images",
    ]


@pytest.mark.parametrize(
    ("parts", "note"),
    [
        ((), ""),
        (("XR_HAND", "XR_HAND", ""), ""),
        (("XR_HAND", "", "XR_WRIST"), "2 body parts together; see the tables by part"),
    ],
)
def test_pictures_of_several_body_parts_together_say_so(parts: tuple[str, ...], note: str) -> None:
    labels = np.array([[1.0], [0.0], [1.0]])
    images = scored(("Abnormal",), labels, labels, parts)
    assert images.parts_note == note
    assert images.parts_notes == ((note,) if note else ())
    assert titled("ROC", images.parts_note) == (f"{note}\nROC" if note else "ROC")


def test_the_loss_figure_marks_the_epoch_that_was_kept(tmp_path: Path, texts: list[str]) -> None:
    history = [{"epoch": e, "train_loss": 1.0 / (e + 1), "val_loss": 0.5} for e in range(3)]
    plot_losses(tmp_path / "loss.png", history, 1)
    assert texts == [
        "training",
        "validation",
        "best epoch (kept)",
        "Research use only, never a diagnosis.",
    ]
    assert read_pixels(tmp_path / "loss.png").std() > 1


def test_a_second_stage_begins_for_all_folds_where_the_longest_first_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entry(epoch: int, stage: int, loss: float) -> dict[str, float]:
        return {"epoch": epoch, "stage": stage, "val_loss": loss}

    lines: list[tuple[list[float], list[float]]] = []

    def note_lines(figure: Figure, path: Path, **_: Any) -> None:
        for line in figure.axes[0].lines:
            x, y = (np.asarray(values).tolist() for values in line.get_data())
            lines.append((x, y))
        path.touch()

    monkeypatch.setattr(Figure, "savefig", note_lines)
    short = [entry(0, 1, 0.9), entry(1, 2, 0.5)]
    long = [entry(0, 1, 0.7), entry(1, 1, 0.6), entry(2, 2, 0.3)]
    plot_epochs(tmp_path / "epochs.png", {0: short, 1: long})
    assert lines[0] == ([1.0, 3.0], [0.9, 0.5])  # waits for the other fold's second epoch
    assert lines[1] == ([1.0, 2.0, 3.0], [0.7, 0.6, 0.3])
    assert lines[2][0] == [1, 2, 3]
    assert lines[2][1] == pytest.approx([0.8, 0.6, 0.4])
    assert lines[3][0] == [2.5, 2.5]  # the mark between the stages


def test_panels_fill_rows_and_places_without_a_panel_stay_empty() -> None:
    grid = panels(5, (2.0, 3.0), per_row=3, narrowest=7.0, around=(0.5, 1.0))

    assert [axis.get_visible() for axis in grid.figure.axes] == [True] * 5 + [False]
    assert (grid.axes, grid.columns) == (tuple(grid.figure.axes[:5]), 3)
    assert grid.left == (grid.axes[0], grid.axes[3])
    assert grid.lowest == grid.axes[2:]
    assert grid.figure.get_size_inches().tolist() == [7.0, 7.0]
    assert panels(2, (4.0, 3.0), per_row=3).figure.get_size_inches().tolist() == [8.0, 3.6]


def test_seven_models_are_told_apart_by_colour_and_by_marker() -> None:
    assert len(set(COLOURS)) == len(set(MARKERS)) == 7


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_figure_gives_the_same_bytes_and_the_notice_is_asked_for(
    tmp_path: Path, suffix: str
) -> None:
    for name, notice in (("one", True), ("two", True), ("bare", False)):
        grid = panels(1, (2.0, 2.0))
        grid.axes[0].plot([0, 1])
        save_figure(grid.figure, tmp_path / f"{name}{suffix}", notice=notice)

    one, two, bare = ((tmp_path / f"{n}{suffix}").read_bytes() for n in ("one", "two", "bare"))
    assert one == two != bare
    if suffix == ".svg":
        assert b"Research use only" in one
        assert b"Research use only" not in bare


@pytest.mark.parametrize(("length", "columns"), [(5, 4), (30, 2), (90, 1)])
def test_a_legend_takes_fewer_columns_rather_than_pass_the_edges(length: int, columns: int) -> None:
    figure = Figure(figsize=(6, 3), layout="constrained")
    names = [f"{i}".ljust(length, "x") for i in range(4)]

    legend_below(figure, "", 4, handles=[Patch(label=name) for name in names])
    figure.draw_without_rendering()

    (legend,) = figure.legends
    assert len({round(text.get_window_extent().x0) for text in legend.get_texts()}) == columns
    assert [text.get_text() for text in legend.get_texts()] == names
