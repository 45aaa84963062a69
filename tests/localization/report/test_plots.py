"""The figures: what they show, in which colours, and that they are written whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.colors import to_rgb

from builders import coco_ground_truth, comparison
from cxrloc.classification.report.plots import COLOURS, CONTROL_GREYS, save_figure
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.evaluation.comparison import Comparison
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.plots import (
    CURVE_THRESHOLDS,
    accuracy_curves,
    iou_boxplots,
    paired_boxplots,
)

NAMES = [f"{i}_0" for i in range(5)]


def _coco(diseases: tuple[str, ...]) -> dict[str, Any]:
    return coco_ground_truth(diseases, [(n, d, (10, 10, 20, 20)) for n in NAMES for d in diseases])


def _comparison(diseases: tuple[str, ...], *, gated: bool = False) -> Comparison:
    boxes = [Localization(n, d, (12.0, 10.0, 30.0, 24.0), 0.5) for n in NAMES for d in diseases]
    gate = {(n, d): True for n in NAMES for d in diseases} if gated else None
    return comparison(_coco(diseases), {"a": boxes, "b": boxes[:2]}, gate, resamples=10)


def test_there_is_a_panel_per_disease_with_its_number_of_boxes() -> None:
    figure = iou_boxplots(_comparison(("Mass", "Nodule", "Effusion", "Edema", "Hernia")))

    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == [f"{d} (n = 5)" for d in ("Mass", "Nodule", "Effusion", "Edema", "Hernia")]


def test_controls_are_grey_and_a_gated_twin_has_the_same_colour_hatched() -> None:
    figure = iou_boxplots(_comparison(("Mass",), gated=True))

    boxes = figure.axes[0].patches
    colours = [to_rgb(patch.get_facecolor()) for patch in boxes]
    assert colours[:4] == [to_rgb(c) for c in (*COLOURS[:2], *COLOURS[:2])]
    assert [bool(patch.get_hatch()) for patch in boxes] == [False] * 2 + [True] * 2 + [False] * 4
    assert colours[4:] == [to_rgb(c) for c in CONTROL_GREYS]
    assert all(max(c) - min(c) < 1e-9 for c in colours[4:])


def test_the_legend_names_every_localizer_and_the_research_use() -> None:
    legend = iou_boxplots(_comparison(("Mass",))).legends[0]

    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["a", "b"] + [
        f"{c} (control)" for c in ("prior_box", "constant_box", "center_box", "random_map")
    ]
    assert RESEARCH_USE in legend.get_title().get_text()


def test_the_boxplots_are_drawn(tmp_path: Path) -> None:
    save_figure(iou_boxplots(_comparison(("Mass",))), tmp_path / "one.png")

    image = cv2.imread(str(tmp_path / "one.png"))
    assert image is not None
    assert image.min() < 50 < 250 < image.max()


def test_an_accuracy_curve_falls_from_the_share_over_zero_and_ends_below_the_best_iou() -> None:
    boxplots = accuracy_curves(_comparison(("Mass",)))

    # `a` has IoU 252 / 400 = .63 with every box, `b` with two of five and no box elsewhere
    curves = {line.get_label(): line for line in boxplots.figure.axes[0].get_lines()}
    below = np.array(CURVE_THRESHOLDS) < 0.63
    assert np.asarray(curves["a"].get_ydata()).tolist() == below.astype(float).tolist()
    assert np.allclose(np.asarray(curves["b"].get_ydata()), 0.4 * below)
    assert "a 1.00 at 0.1, 1.00 at 0.3, 1.00 at 0.5; b 0.40 at 0.1" in boxplots.alt


def test_the_legend_of_the_curves_stands_below_them() -> None:
    figure = accuracy_curves(_comparison(("Mass",), gated=True)).figure
    figure.canvas.draw()
    [legend], [axis] = figure.legends, figure.axes
    assert RESEARCH_USE in legend.get_title().get_text()
    assert len(legend.get_texts()) == len(axis.get_lines())
    assert not legend.get_window_extent().overlaps(axis.get_tightbbox())  # type: ignore[arg-type]


def test_curves_differ_in_more_than_colour_and_every_one_has_a_band() -> None:
    axis = accuracy_curves(_comparison(("Mass",), gated=True)).figure.axes[0]

    lines = axis.get_lines()
    looks = {(str(line._unscaled_dash_pattern), str(line.get_marker())) for line in lines}  # type: ignore[attr-defined]
    assert len(looks) == len(lines) == len(axis.collections) == 8
    of = {str(line.get_label()): line for line in lines}
    assert of["a"].get_color() == of["a, gated"].get_color() == COLOURS[0]
    assert (of["a"].get_linestyle(), of["a, gated"].get_linestyle()) == ("-", "--")


def test_the_band_of_a_curve_holds_the_curve() -> None:
    axis = accuracy_curves(_comparison(("Mass", "Nodule"))).figure.axes[0]

    line, band = axis.get_lines()[1], axis.collections[1]
    vertices = np.asarray(band.get_paths()[0].vertices)
    for t, value in zip(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), strict=True):
        heights = vertices[np.isclose(vertices[:, 0], t), 1]
        assert heights.min() <= value <= heights.max()
    assert np.ptp(vertices[:, 1]) > 0.5


def test_paired_boxplots_show_the_two_localizers_and_each_against_the_constant_box() -> None:
    boxplots = paired_boxplots(_comparison(("Mass", "Nodule")))

    assert boxplots is not None
    titles = [axis.get_title().split(" (")[0] for axis in boxplots.figure.axes]
    assert titles == ["a minus b", "a minus constant_box", "b minus constant_box"]
    ticks = [text.get_text() for text in boxplots.figure.axes[0].get_xticklabels()]
    # `b` has the first two boxes of `a` alone: one of Mass and one of Nodule
    assert ticks == ["Mass\nn = 5\n80 : 0", "Nodule\nn = 5\n80 : 0"]
    assert "Over all 10 boxes: a is better on 80 % and b on 0 %" in boxplots.title
    assert "a minus b: Mass +0.63, Nodule +0.63" in boxplots.alt


def test_one_localizer_is_paired_with_the_constant_box_and_none_with_nothing() -> None:
    coco, boxes = _coco(("Mass",)), [Localization("0_0", "Mass", (12.0, 10.0, 30.0, 24.0), 0.5)]

    boxplots = paired_boxplots(comparison(coco, {"a": boxes}, resamples=10))
    assert boxplots is not None
    assert len(boxplots.figure.axes) == 1
    assert paired_boxplots(comparison(coco, {}, resamples=10)) is None
