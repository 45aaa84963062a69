"""Write the files of one image that `cxrloc predict` promises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrloc.datasets.files.manifest import write_json
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.diagnosis.diagnoser import Diagnosis
from cxrloc.localization.diagnosis.drawing import draw_boxes, draw_heat_maps
from cxrloc.localization.diagnosis.to_json import to_json


def write_outputs(
    image: LoadedImage, diagnosis: Diagnosis, stem: Path, manifest: Mapping[str, Any]
) -> None:
    """Write STEM.boxes.jpg, STEM.heat.jpg and, last, STEM.json."""
    draw_boxes(image, diagnosis).save(stem.with_name(f"{stem.name}.boxes.jpg"))
    draw_heat_maps(image, diagnosis).save(stem.with_name(f"{stem.name}.heat.jpg"))
    record = to_json(diagnosis) | {"manifest": manifest}
    write_json(stem.with_name(f"{stem.name}.json"), record)
