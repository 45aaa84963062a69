"""Collect what a localizer predicts on the images of a prepared folder, read one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cxrloc.datasets.provenance.sidecar import LookedAt
from cxrloc.datasets.radiograph import LoadedImage, Radiograph
from cxrloc.localization.localizer import Cells, Localization, Pair

Maps = dict[Pair, Cells]


@dataclass
class Predicted:
    """What has been predicted so far."""

    boxes: list[Localization] = field(default_factory=list)
    extra: dict[Pair, Mapping[str, Any]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    maps: Maps = field(default_factory=dict)
    bare_maps: Maps = field(default_factory=dict)  # of the images without markers
    looked_at: list[LookedAt] = field(default_factory=list)

    @property
    def images(self) -> int:
        """Number of images that were looked at, with a box or without."""
        return sum(len(look.images) for look in self.looked_at)


def readable(
    radiographs: Iterable[Radiograph], with_pixels: bool, strict: bool, done: Predicted
) -> Iterator[LoadedImage]:
    from cxrloc.datasets.images.read import read_radiograph, readable_images

    def failed(radiograph: Radiograph, error: ValueError) -> None:
        if strict:
            raise error
        done.unreadable[radiograph.image_id] = str(error)

    read = read_radiograph if with_pixels else _unread
    return (image for _, image in readable_images(radiographs, read, failed))


def _unread(radiograph: Radiograph) -> LoadedImage:
    """For a control, which does not look."""
    return radiograph.image(np.zeros((1, 1), np.uint8))
