"""Turn what a set says about one image into the boxes and labels of a radiograph."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxrloc.datasets.labels.map import LabelMap, read_label_map
from cxrloc.datasets.labels.names import canonical_label
from cxrloc.datasets.radiograph import Box
from cxrloc.datasets.readers.index import ReaderWarnings

BoxXyxy = tuple[float, float, float, float]


@dataclass(frozen=True)
class NamedBox:
    """A box under the set's own name, in the frame of the original image.

    Attributes:
        where: file and row or entry, for messages.
        polygons: outlines as in `Box`.
    """

    name: str
    box_xyxy: BoxXyxy
    where: str
    polygons: tuple[tuple[float, ...], ...] = ()


def label_map(
    path: str, names: Sequence[str], warnings: ReaderWarnings, *, nih_names: bool = True
) -> LabelMap:
    """The map in a YAML file, checked against all names of the set.

    Without a file the names stay, in NIH's spelling where NIH has the disease (`nih_names`). The
    warnings note every name that becomes another one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a name of the set that the map does not list.
    """
    if path:
        labels = read_label_map(Path(path))
    else:
        own = {name: _nih_or_own(name) if nih_names else name for name in names}
        labels = LabelMap(own, source="the set's names")
    becomes = {name: labels.disease(name, "data set") for name in names}
    renamed = [f"{name} = {disease}" for name, disease in becomes.items() if disease != name]
    warnings.note("names of the set that are read as others (None: left out)", renamed)
    return labels


def _nih_or_own(name: str) -> str:
    try:
        return canonical_label(name)
    except ValueError:
        return name


def diseases_of(labels: LabelMap, names: Sequence[str]) -> tuple[str, ...]:
    """Diseases that the set's names become, each once, in the set's order."""
    return tuple(dict.fromkeys(d for name in names if (d := labels.disease(name)) is not None))


def disease_labels(
    labels: LabelMap, names: Sequence[str], present: Collection[str]
) -> dict[str, float]:
    """Disease -> 1 if any name that becomes it is present, else 0."""
    states = dict.fromkeys(diseases_of(labels, names), 0.0)
    for name in names:
        disease = labels.disease(name)
        if disease is not None and name in present:
            states[disease] = 1.0
    return states


@dataclass(frozen=True)
class BoxReader:
    """Converts boxes, and counts what it changes.

    Attributes:
        labels: names -> diseases; boxes of names that are left out are counted.
    """

    labels: LabelMap
    warnings: ReaderWarnings

    def boxes(self, drawn: Sequence[NamedBox], frame_hw: tuple[int, int]) -> tuple[Box, ...]:
        """The boxes of one image, clipped to the frame; of equal ones the first.

        Raises:
            ValueError: naming the row, for a box outside of the frame or without a size.
        """
        boxes: dict[Box, NamedBox] = {}
        for named in drawn:
            disease = self.labels.disease(named.name, named.where)
            if disease is None:
                self.warnings.note("boxes left out by the label map", [named.name])
                continue
            inside = self._clipped(named, frame_hw)
            box = Box(disease, inside, named.polygons)
            if box in boxes:
                self.warnings.warn("equal duplicate boxes dropped", [f"{named.where}, {disease}"])
            boxes.setdefault(box, named)
        return tuple(boxes)

    def _clipped(self, named: NamedBox, frame_hw: tuple[int, int]) -> BoxXyxy:
        x1, y1, x2, y2 = named.box_xyxy
        height, width = frame_hw
        inside = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
        here = f"{named.where}: box {x1:g}, {y1:g} to {x2:g}, {y2:g} of {named.name}"
        if not (np.isfinite(named.box_xyxy).all() and x2 > x1 and y2 > y1):
            raise ValueError(f"{here}: expected finite left < right and top < bottom")
        if not (inside[2] > inside[0] and inside[3] > inside[1]):
            raise ValueError(
                f"{here} lies outside of the {width} x {height} frame of the original image; do "
                "the coordinates refer to another size?"
            )
        if inside != named.box_xyxy:
            self.warnings.warn("boxes clipped to the frame", [f"{named.where}, {named.name}"])
        return inside


def flat(points: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """[[x1, y1], [x2, y2], ...] as x1, y1, x2, y2, ..."""
    return tuple(float(value) for point in points for value in point)
