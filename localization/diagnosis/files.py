"""Make the files of one image that `cxrloc predict` promises."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cxrloc.datasets.radiograph import LoadedImage

if TYPE_CHECKING:
    from cxrloc.localization.diagnosis.diagnoser import Diagnosis


def output_files(
    image: LoadedImage, diagnosis: Diagnosis, record: Mapping[str, Any], write: Collection[str]
) -> Iterator[tuple[str, bytes]]:
    """Ending and content of .boxes.jpg, .heat.jpg and, last, .json; of those that are asked for.

    Args:
        record: what the JSON holds.
        write: `pictures`, `json` or both.
    """
    if "pictures" in write:
        from cxrloc.localization.diagnosis.drawing import draw_boxes, draw_heat_maps

        yield ".boxes.jpg", draw_boxes(image, diagnosis).encoded(".jpg")
        yield ".heat.jpg", draw_heat_maps(image, diagnosis).encoded(".jpg")
    if "json" in write:
        yield ".json", (json.dumps(record, indent=1, allow_nan=False) + "\n").encode()
