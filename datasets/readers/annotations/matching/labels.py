"""Give every name of a finding its disease, and every image its labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrloc.datasets.labels.map import LabelMap, read_label_map
from cxrloc.datasets.labels.names import NO_FINDING
from cxrloc.datasets.readers.annotations.matching.annotated import (
    AnnotatedImage,
    Annotations,
    DrawnBox,
)
from cxrloc.datasets.readers.index import ReaderWarnings

NEGATIVE, UNKNOWN = "negative", "unknown"
_NORMAL = ("no finding", "no findings", "normal", "negative", "healthy", "background", "no opacity")


def states_normal(name: str) -> bool:
    """Whether a label says that the image has no finding."""
    return " ".join(name.replace("_", " ").replace("-", " ").split()).casefold() in _NORMAL


@dataclass(frozen=True)
class ImageLabels:
    """Diseases of one image.

    Attributes:
        present: diseases with a box or stated for the image.
        normal: the image is stated to have none.
    """

    present: tuple[str, ...]
    normal: bool

    def values(self, diseases: Sequence[str], unboxed: str) -> dict[str, float]:
        """Disease -> 1, 0 or NaN; `unboxed` decides about diseases that are not mentioned."""
        absent = 0.0 if self.normal or unboxed == NEGATIVE else math.nan
        return {d: 1.0 if d in self.present else absent for d in diseases}


@dataclass(frozen=True)
class Labels:
    """The map of a run; a name that is not in it is an error with its place."""

    labels: LabelMap

    @classmethod
    def of(cls, path: Path | None, annotations: Annotations, warnings: ReaderWarnings) -> Labels:
        """The map in a file, or the names as they are; of several spellings the first counts."""
        if path is not None:
            return cls(read_label_map(path))
        names: dict[str, str] = {}
        spellings = []
        for name in (*annotations.names, *_used_names(annotations)):
            key = " ".join(name.replace("_", " ").replace("-", " ").split()).casefold()
            if names.setdefault(key, name) != name:
                spellings.append(f"{name} = {names[key]}")
        warnings.note("names in several spellings", list(dict.fromkeys(spellings)))
        return cls(LabelMap.of_names(names.values()))

    def of_box(self, box: DrawnBox) -> str | None:
        """The box's disease; None if the map leaves it out.

        Raises:
            ValueError: for a name that the map does not list, or a box of `No Finding`.
        """
        disease = self.labels.disease(box.name, box.where)
        if disease is not None and (states_normal(disease) or disease == NO_FINDING):
            raise ValueError(
                f"{box.where}: a box of {box.name}, which means no finding. Delete the box, or "
                f"leave the name out by `--labels` with a line `{box.name}: null`"
            )
        return disease

    def of_image(self, image: AnnotatedImage) -> ImageLabels:
        """The labels of an image, by its boxes and by what is stated for it."""
        normal = image.normal
        present = [d for box in image.boxes if (d := self.of_box(box)) is not None]
        for name in image.present:
            if states_normal(name):
                normal = True
            elif (disease := self.labels.disease(name, image.where)) is not None:
                present.append(disease)
        return ImageLabels(tuple(dict.fromkeys(present)), normal)


def _used_names(annotations: Annotations) -> Iterable[str]:
    for image in annotations.images:
        yield from (box.name for box in image.boxes)
        yield from (name for name in image.present if not states_normal(name))
