"""One image's result as one HTML file: findings, boxes, heat maps; opens without a network."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.tools.server.images.prediction import Prediction

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parents[1] / "assets"),
    autoescape=True,
    undefined=StrictUndefined,
)


def report_page(prediction: Prediction) -> str:
    """The page; its pictures are inside it."""
    pictures = {
        kind: base64.b64encode(prediction.picture(kind)).decode() for kind in ("boxes", "heat")
    }
    return rendered("image_report.html.j2", prediction.record(), pictures=pictures)


def rendered(template: str, record: dict[str, Any], **values: Any) -> str:
    """A template of this folder over an image's record, its values escaped."""
    names = {category["id"]: category["name"] for category in record["categories"]}
    return _TEMPLATES.get_template(template).render(
        research_use=RESEARCH_USE, record=record, names=names, **values
    )
