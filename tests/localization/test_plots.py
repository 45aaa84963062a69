"""The boxplot figure: what it shows, in which colours, and that it is written whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest
from matplotlib.colors import to_rgb

from cxrloc.localization.comparison import Comparison, compare
from cxrloc.localization.localizer import Localization
from cxrloc.localization.plots import COLOURS, CONTROL_GREYS, iou_boxplots, save_figure
from cxrloc.localization.words import RESEARCH_USE


def _comparison(diseases: tuple[str, ...], *, gated: bool = False) -> Comparison:
    names = [f"{i}_0" for i in range(5)]
    coco: dict[str, Any] = {
        "images": [
            {"id": i, "file_name": n, "width": 64, "height": 64, "patient_id": n}
            for i, n in enumerate(names)
        ],
        "categories": [{"id": c, "name": d} for c, d in enumerate(diseases, start=1)],
        "annotations": [
            {"id": 10 * i + c, "image_id": i, "category_id": c, "bbox": [10, 10, 20, 20]}
            for i in range(5)
            for c in range(1, len(diseases) + 1)
        ],
    }
    found = [Localization(n, d, (12.0, 10.0, 30.0, 24.0), 0.5) for n in names for d in diseases]
    gate = {(n, d): True for n in names for d in diseases} if gated else None
    return compare(coco, {"a": found, "b": found[:2]}, gate, resamples=10)


def test_there_is_a_panel_per_disease_with_its_number_of_boxes() -> None:
    figure = iou_boxplots(_comparison(("Mass", "Nodule", "Effusion", "Edema", "Hernia")))

    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == [f"{d} (n = 5)" for d in ("Mass", "Nodule", "Effusion", "Edema", "Hernia")]


def test_controls_are_grey_and_a_gated_twin_has_the_same_colour_hatched() -> None:
    figure = iou_boxplots(_comparison(("Mass",), gated=True))

    boxes = figure.axes[0].patches
    colours = [patch.get_facecolor()[:3] for patch in boxes]
    assert colours[:4] == [to_rgb(c) for c in (*COLOURS[:2], *COLOURS[:2])]
    assert [bool(patch.get_hatch()) for patch in boxes] == [False] * 2 + [True] * 2 + [False] * 3
    assert colours[4:] == [to_rgb(c) for c in CONTROL_GREYS]
    assert all(max(c) - min(c) < 1e-9 for c in colours[4:])


def test_the_legend_names_every_localizer_and_the_research_use() -> None:
    legend = iou_boxplots(_comparison(("Mass",))).legends[0]

    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["a", "b"] + [
        f"{c} (control)" for c in ("prior_box", "center_box", "random_map")
    ]
    assert RESEARCH_USE in legend.get_title().get_text()


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_comparison_gives_the_same_bytes_and_leaves_no_other_file(
    tmp_path: Path, suffix: str
) -> None:
    for name in ("one", "two"):
        save_figure(iou_boxplots(_comparison(("Mass",))), tmp_path / f"{name}{suffix}")

    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2
    if suffix == ".png":
        image = cv2.imread(str(tmp_path / "one.png"))
        assert image is not None
        assert image.min() < 50 < 250 < image.max()
