"""The data sets that tools/prepare_data.py knows: to add one, write a reader and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cxrloc.datasets.labels import (
    ABNORMAL,
    CHEXPERT_LABELS,
    CHEXPERT_LOCALIZED,
    NIH_BOXED_DISEASES,
    NIH_DISEASES,
)
from cxrloc.datasets.readers import chexpert, mura, nih
from cxrloc.datasets.readers.index import DatasetIndex


@dataclass(frozen=True)
class Dataset:
    """A data set: how to index its folder and which diseases it knows.

    Attributes:
        index: called with the folder and the keywords `label_file` and `strict`.
        diseases: all that are labelled.
        boxed_diseases: those with boxes, the categories of the ground truth.
        options: keywords of `index` that this data set has beyond the two.
    """

    index: Callable[..., DatasetIndex]
    diseases: tuple[str, ...]
    boxed_diseases: tuple[str, ...]
    options: tuple[str, ...] = ()


# A phantom chest is in NIH's layout and a phantom limb in MURA's, so their readers read them too.
DATASETS: dict[str, Dataset] = {
    "nih": Dataset(nih.index, NIH_DISEASES, NIH_BOXED_DISEASES),
    "chexpert": Dataset(chexpert.index, CHEXPERT_LABELS, CHEXPERT_LOCALIZED, ("frontal_only",)),
    # MURA has no boxes: the category is there so that class activation maps can be boxed
    "mura": Dataset(mura.index, (ABNORMAL,), (ABNORMAL,), ("body_part",)),
}


def find_dataset(name: str) -> Dataset:
    """The data set of that name.

    Raises:
        ValueError: naming the known ones.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}")
    return DATASETS[name]
