"""Registry of the data sets for cxrloc prepare: add a reader and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cxrloc.datasets.labels.names import (
    ABNORMAL,
    CHEXPERT_LABELS,
    CHEXPERT_LOCALIZED,
    NIH_BOXED_DISEASES,
    NIH_DISEASES,
)
from cxrloc.datasets.readers import chexpert, mura
from cxrloc.datasets.readers.annotations import coco, csv, voc, yolo
from cxrloc.datasets.readers.box_sets import (
    chest_x_det,
    chexlocalize,
    nih_with_boxes,
    rsna,
    siim,
    vindr,
)
from cxrloc.datasets.readers.index import DatasetIndex


@dataclass(frozen=True)
class Dataset:
    """A data set: how to index its folder, and its diseases.

    Attributes:
        index: called with the folder and the keywords `label_file` and `strict`.
        diseases: all labelled diseases; empty if the folder tells them (`DatasetIndex.diseases`).
        boxed_diseases: those with boxes, the categories of the ground truth; likewise.
        options: additional keywords of `index` for this data set.
    """

    index: Callable[..., DatasetIndex]
    diseases: tuple[str, ...]
    boxed_diseases: tuple[str, ...]
    options: tuple[str, ...] = ()


_ANNOTATIONS = ("annotations", "labels", "patient", "unboxed")

# A phantom chest uses NIH's layout and a phantom limb MURA's, so the same readers read them.
DATASETS: dict[str, Dataset] = {
    "nih": Dataset(nih_with_boxes.index, NIH_DISEASES, NIH_BOXED_DISEASES, ("boxes", "labels")),
    "chexpert": Dataset(chexpert.index, CHEXPERT_LABELS, CHEXPERT_LOCALIZED, ("frontal_only",)),
    # MURA has no boxes: the category exists so that class activation maps can be boxed
    "mura": Dataset(mura.index, (ABNORMAL,), (ABNORMAL,), ("body_part",)),
    # a folder of anyone's images with boxes in a common format
    "coco": Dataset(coco.index, (), (), _ANNOTATIONS),
    "yolo": Dataset(yolo.index, (), (), _ANNOTATIONS),
    "voc": Dataset(voc.index, (), (), _ANNOTATIONS),
    "csv": Dataset(csv.index, (), (), (*_ANNOTATIONS, "patient_column")),
    # public sets of boxes; the label map decides on their diseases
    "chestx-det": Dataset(chest_x_det.index, (), (), ("labels",)),
    "chestx-det10": Dataset(chest_x_det.index10, (), (), ("labels",)),
    "rsna": Dataset(rsna.index, (), (), ("labels",)),
    "vindr": Dataset(vindr.index, (), (), ("labels", "readers")),
    "siim": Dataset(siim.index, (), (), ("labels",)),
    "chexlocalize": Dataset(chexlocalize.index, (), (), ("labels",)),
}


def find_dataset(name: str) -> Dataset:
    """Return the data set with this name.

    Raises:
        ValueError: listing the valid names.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; expected one of {', '.join(DATASETS)}")
    return DATASETS[name]
