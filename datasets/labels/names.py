"""Disease names: the canonical spelling of the labels and the aliases found in files."""

from __future__ import annotations

import math
from collections.abc import Mapping

NIH_BOXED_DISEASES: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
)
NIH_DISEASES: tuple[str, ...] = (
    *NIH_BOXED_DISEASES,
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NO_FINDING = "No Finding"
ABNORMAL = "Abnormal"  # the only label of a MURA examination
# CheXpert's 14 observations in the order of its files; `No Finding` is one of its labels.
CHEXPERT_LABELS: tuple[str, ...] = (
    NO_FINDING,
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
# Outlined by radiologists for CheXlocalize (Saporta et al. 2022). CheXpert has no boxes.
CHEXPERT_LOCALIZED: tuple[str, ...] = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Support Devices",
)

# BBox_List_2017.csv writes Infiltrate; copies of the label file use spaces or hyphens.
ALIASES: dict[str, str] = {
    "infiltrate": "Infiltration",
    "infiltrates": "Infiltration",
    "pleural thickening": "Pleural_Thickening",
    "pleural-thickening": "Pleural_Thickening",
    "pleuralthickening": "Pleural_Thickening",
    "no finding": NO_FINDING,
    "no_finding": NO_FINDING,
    "nofinding": NO_FINDING,
    "normal": NO_FINDING,
    "pleural effusion": "Effusion",
    "hiatal hernia": "Hernia",
}
_CANONICAL = {name.lower(): name for name in (*NIH_DISEASES, NO_FINDING)}


def canonical_label(text: str) -> str:
    """Return the canonical spelling of a label read from a file.

    Raises:
        ValueError: for an unknown label.
    """
    key = text.strip().lower()
    name = _CANONICAL.get(key) or ALIASES.get(key)
    if name is None:
        names = ", ".join((*NIH_DISEASES, NO_FINDING))
        raise ValueError(f"unknown label {text!r}; expected {names} or an alias: {sorted(ALIASES)}")
    return name


def no_finding(labels: Mapping[str, float]) -> float:
    """Derive the label `No Finding`, which is not stored, from the others: 1, 0 or NaN.

    0 if any label is 1; otherwise NaN if any is unknown or there are none; otherwise 1.
    """
    if 1.0 in labels.values():
        return 0.0
    unknown = not labels or any(map(math.isnan, labels.values()))
    return math.nan if unknown else 1.0
