"""The picture at the top of the README: one drawn image and the boxes of both localizers.

    PYTHONPATH=docs python -m generate.pictures demo 00000581_000.png docs/pictures/one_image.png

`demo` is the folder that `make demo` wrote. The boxplots beside it are the demo's own
`comparison/iou_boxplots.png`.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from cxrloc.datasets.files.manifest import RESEARCH_USE

_COLOURS = ("#2ca02c", "#e69f00", "#56b4e9", "#d55e00")
Boxes = list[tuple[str, list[float]]]  # disease, x y width height


def main(demo: Path, image: str, out: Path) -> None:
    """Draw ground truth, Grad-CAM's boxes and Mask R-CNN's of one image side by side."""
    truth = _ground_truth(demo, image)
    overlap = _overlaps(demo, image)
    shown = {
        "Ground truth": truth,
        "Grad-CAM": _strongest(demo / "grad_cam.json", image, truth),
        "Mask R-CNN": _strongest(demo / "maskrcnn/mask_rcnn.json", image, truth),
    }
    pixels = plt.imread(demo / "phantom/images" / image)
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.6), layout="constrained")
    for axis, (title, boxes) in zip(axes, shown.items(), strict=True):
        axis.imshow(pixels, cmap="gray", extent=(0, 1024, 1024, 0))
        axis.set_axis_off()
        axis.set_title(title, fontsize=13)
        for (disease, box), colour in zip(boxes, _COLOURS, strict=False):
            value = overlap.get((title, disease))
            _draw(axis, box, disease if value is None else f"{disease}, IoU {value:.2f}", colour)
    figure.supxlabel(f"A drawn image, not a patient. {RESEARCH_USE}.", fontsize=9)
    figure.savefig(out, dpi=100)


def _draw(axis: Axes, box: list[float], text: str, colour: str) -> None:
    x, y, width, height = box
    axis.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=2.5))
    style = {"facecolor": colour, "edgecolor": "none", "pad": 2}
    left = x < 600  # else the text would run out of the picture
    axis.text(x if left else x + width, y - 14, text, ha="left" if left else "right", bbox=style)


def _ground_truth(demo: Path, image: str) -> Boxes:
    coco = json.loads((demo / "prepared/ground_truth.json").read_text())
    names = {each["id"]: each["name"] for each in coco["categories"]}
    [number] = [each["id"] for each in coco["images"] if each["file_name"] == image]
    return [
        (names[each["category_id"]], each["bbox"])
        for each in coco["annotations"]
        if each["image_id"] == number
    ]


def _strongest(results: Path, image: str, truth: Boxes) -> Boxes:
    """The box of highest score of each disease that has a ground-truth box."""
    entries = [each for each in json.loads(results.read_text()) if each["file_name"] == image]
    best = []
    for disease, _ in truth:
        of_disease = [each for each in entries if each["category"] == disease]
        if of_disease:
            best.append((disease, max(of_disease, key=lambda each: each["score"])["bbox"]))
    return best


def _overlaps(demo: Path, image: str) -> dict[tuple[str, str], float]:
    titles = {"grad_cam": "Grad-CAM", "mask_rcnn": "Mask R-CNN"}
    with (demo / "comparison/per_box.csv").open() as lines:
        return {
            (titles[row["localizer"]], row["disease"]): float(row["IoU"])
            for row in csv.DictReader(line for line in lines if not line.startswith("#"))
            if row["image"] == image and row["localizer"] in titles
        }


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
