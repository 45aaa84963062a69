"""Write predictions in the form of a tool in which people correct them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cxrloc.localization.predictions.exports.coco import write_coco, write_fiftyone
from cxrloc.localization.predictions.exports.exported import ExportedImage, diseases_of
from cxrloc.localization.predictions.exports.label_studio import write_label_studio
from cxrloc.localization.predictions.exports.yolo import write_yolo

EXPORTS: dict[str, Callable[[Sequence[ExportedImage], Sequence[str], Path], Path]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "labelstudio": write_label_studio,
    "fiftyone": write_fiftyone,
}
FOLDER = "export_{form}"  # in --out


def write_export(form: str, names: Mapping[Path, str], out: Path, boxes_per_disease: int) -> Path:
    """Write OUT/export_FORM of images that `cxrloc predict` has done; returns its main file.

    Args:
        form: a key of `EXPORTS`.
        names: file of an image -> stem of its results in `out`, at least one.
        boxes_per_disease: how many of the strongest boxes of a disease on an image.
    """
    images, diseases = [], dict[str, None]()
    for path, stem in names.items():
        record = json.loads((out / f"{stem}.json").read_bytes())
        images.append(ExportedImage.of(path, stem, record, boxes_per_disease))
        diseases |= dict.fromkeys(diseases_of(record))
    return EXPORTS[form](images, list(diseases), out / FOLDER.format(form=form))
