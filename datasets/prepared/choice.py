"""Choose the images of a prepared folder that a localizer boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from cxrloc.datasets.radiograph import Radiograph

if TYPE_CHECKING:
    from cxrloc.datasets.prepared.folder import PreparedData

ImageChoice = Literal["boxed", "all", "test"]


def select_radiographs(
    radiographs: Sequence[Radiograph], choice: ImageChoice, prepared: PreparedData
) -> list[Radiograph]:
    """Those that are wanted: with boxes, all, or with boxes or in the official test list.

    Raises:
        ValueError: for `test` if the data set has no official lists.
    """
    if choice == "test" and "test" not in prepared.official.values():
        raise ValueError(
            f"{prepared.root} has no image of an official test list; choose boxed or all images, "
            "or prepare it with the lists next to the label file"
        )
    tested = prepared.official if choice == "test" else {}
    return [
        r for r in radiographs if choice == "all" or r.boxes or tested.get(r.image_id) == "test"
    ]
