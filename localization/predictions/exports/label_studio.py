"""Tasks for Label Studio, with the boxes as predictions in per cent of the image.

tasks.json          to import; the images are `/data/local-files/?d=images/NAME`
label_config.xml    the labelling interface to paste into the project
images/*            the folder of a local storage
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import write_json
from cxrloc.localization.predictions.exports.exported import (
    ExportedBox,
    ExportedImage,
    write_images,
)

_FROM, _TO = "label", "image"
_MODEL = "cxrloc"


def write_label_studio(images: Sequence[ExportedImage], diseases: Sequence[str], out: Path) -> Path:
    """Write the folder; returns tasks.json."""
    write_images(images, out / "images")
    write_json(out / "tasks.json", [_task(image) for image in images])
    labels = "\n".join(f"    <Label value={quoteattr(disease)}/>" for disease in diseases)
    write_text(
        out / "label_config.xml",
        f'<View>\n  <Image name="{_TO}" value="$image" zoom="true"/>\n'
        f'  <RectangleLabels name="{_FROM}" toName="{_TO}">\n{labels}\n  </RectangleLabels>\n'
        "</View>\n",
    )
    return out / "tasks.json"


def _task(image: ExportedImage) -> dict[str, Any]:
    rows = [_row(box, image.size_hw, number) for number, box in enumerate(image.boxes)]
    prediction: dict[str, Any] = {"model_version": _MODEL, "result": rows}
    if image.boxes:
        prediction["score"] = max(box.score for box in image.boxes)
    place = f"/data/local-files/?d=images/{quote(image.name)}"
    return {"data": {_TO: place}, "predictions": [prediction]}


def _row(box: ExportedBox, size_hw: tuple[int, int], number: int) -> dict[str, Any]:
    height, width = size_hw
    x1, y1, x2, y2 = box.box_xyxy
    return {
        "id": f"box{number}",
        "type": "rectanglelabels",
        "from_name": _FROM,
        "to_name": _TO,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": box.score,
        "value": {
            "x": 100 * x1 / width,
            "y": 100 * y1 / height,
            "width": 100 * (x2 - x1) / width,
            "height": 100 * (y2 - y1) / height,
            "rotation": 0,
            "rectanglelabels": [box.disease],
        },
    }
