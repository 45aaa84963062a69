"""The image on the page, its boxes and heat maps: what viewer.js is given to draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from nicegui.element import Element

from cxrloc.tools.server.page.images import PageImage


class ImageViewer(Element, component=Path(__file__).parents[1] / "assets" / "viewer.js"):
    """The image, its boxes and heat maps, and what toggles them."""

    def show(self, image: PageImage) -> None:
        self.props["image"] = viewer_props(image)
        self.update()


def viewer_props(image: PageImage) -> dict[str, Any]:
    """What viewer.js draws of an image; boxes in pixels of the original frame."""
    record, at = image.record, f"/images/{image.key}"
    entry = record["images"][0]
    names = {category["id"]: category["name"] for category in record["categories"]}
    maps = image.prediction.diagnosis.heat_maps
    return {
        "key": image.key,
        "name": entry["file_name"],
        "url": f"{at}/image.png",
        "width": entry["width"],
        "height": entry["height"],
        "message": record["message"],
        "alt": alternative_text(record, names),
        "localizers": record["localizers"],
        "diseases": [
            {"name": d, "label": d.replace("_", " "), "url": f"{at}/heat/{quote(d, safe='')}.png"}
            for d in maps
        ],
        "boxes": [_box(annotation, names) for annotation in record["annotations"]],
        "stored": _stored(image),
    }


def _stored(image: PageImage) -> dict[str, Any] | None:
    """Range and windows of a DICOM image, in its stored values."""
    if image.stored is None:
        return None
    windows = [vars(window) for window in image.stored.windows]
    return {"low": image.stored.low, "high": image.stored.high, "windows": windows}


def _box(annotation: dict[str, Any], names: dict[int, str]) -> dict[str, Any]:
    x, y, w, h = annotation["bbox"]
    disease = names[annotation["category_id"]]
    return {
        "id": annotation["id"],
        "localizer": annotation["localizer"],
        "rank": annotation["rank"],
        "disease": disease,
        "text": f"{disease.replace('_', ' ')} {annotation['score']:.2f}",
        "x": x,
        "y": y,
        "w": w,
        "h": h,
    }


def alternative_text(record: dict[str, Any], names: dict[int, str]) -> str:
    """Describe the image: its size, and the strongest boxes with their places."""
    image = record["images"][0]
    sentences = [f"Chest image {image['file_name']}, {image['width']} by {image['height']} pixels."]
    for a in record["annotations"]:
        if a["rank"] == 1:
            x, y, w, h = (round(value) for value in a["bbox"])
            disease = names[a["category_id"]].replace("_", " ")
            sentences.append(f"{a['localizer']} boxes {disease} from {x}, {y} to {x + w}, {y + h}.")
    return " ".join([*sentences, record["message"] if not record["annotations"] else ""]).strip()
