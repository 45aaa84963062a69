"""The rows of the tables that `cxrloc predict --write table` makes of its images.

findings.parquet, a row per image and disease:

    image          name of the file, after its study in MURA's and CheXpert's layouts
    result         stem of the image's other files in OUT
    path           path from OUT, or URL
    width, height  original frame, pixels
    disease, probability, threshold, present    as in the JSON (`to_json`)
    warnings       sentences about the image
    failure        why there is no prediction; such an image has one row, and no disease

boxes.parquet, a row per box:

    image, result, path, disease, localizer, rank, score    as above, and as in the JSON
    x, y, width, height    left, top, and size in pixels of the original frame
    mask           run lengths (COCO's `counts`) if the localizer gives a mask
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_IMAGE = [("image", pa.string()), ("result", pa.string()), ("path", pa.string())]
FINDINGS = pa.schema(
    [
        *_IMAGE,
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("disease", pa.string()),
        ("probability", pa.float64()),
        ("threshold", pa.float64()),
        ("present", pa.bool_()),
        ("warnings", pa.list_(pa.string())),
        ("failure", pa.string()),
    ]
)
BOXES = pa.schema(
    [
        *_IMAGE,
        ("disease", pa.string()),
        ("localizer", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float64()),
        *((side, pa.float64()) for side in ("x", "y", "width", "height")),
        ("mask", pa.string()),
    ]
)


@dataclass(frozen=True)
class ImageRows:
    """The rows of one image."""

    findings: Sequence[Mapping[str, Any]]
    boxes: Sequence[Mapping[str, Any]]


def rows_of(image: Mapping[str, str], record: Mapping[str, Any] | None, failure: str) -> ImageRows:
    """The rows of an image.

    Args:
        image: its `image`, `result` and `path`.
        record: as `to_json` makes it; None for an image without a prediction.
        failure: why there is none.
    """
    if record is None:
        return ImageRows([{**image, "failure": failure}], [])
    (frame,) = record["images"]
    common = {**image, "width": frame["width"], "height": frame["height"]}
    findings = [
        {
            **common,
            **{key: finding[key] for key in ("disease", "probability", "threshold", "present")},
            "warnings": record["warnings"],
        }
        for finding in record["findings"]
    ]
    names = {category["id"]: category["name"] for category in record["categories"]}
    boxes = [
        {
            **image,
            "disease": names[box["category_id"]],
            **{key: box[key] for key in ("localizer", "rank", "score")},
            **dict(zip(("x", "y", "width", "height"), box["bbox"], strict=True)),
            "mask": box["segmentation"]["counts"] if "segmentation" in box else None,
        }
        for box in record["annotations"]
    ]
    return ImageRows(findings, boxes)


def summary_of(
    findings: Sequence[Mapping[str, Any]], boxes: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """What the terminal shows of an image, and its study needs, out of its rows.

    None for an image without a prediction.
    """
    first = findings[0]
    if first["failure"] is not None:
        return None
    return {
        "images": [{"file_name": first["image"]}],
        "findings": findings,
        "annotations": boxes,
        "localizers": list(dict.fromkeys(box["localizer"] for box in boxes)),
    }
