"""The terms of the data that a model learnt from, for its card: those that the providers state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NOT_KNOWN = "Not known: the bundle does not say."
# beginning of a label file's name in the data set's layout -> its name, and what its providers
# state, with the page where they do; "see" where the terms are shown to those who ask for the data
_LAYOUTS = {
    "Data_Entry_2017": (
        "NIH ChestX-ray14",
        "no restrictions on the use of the images; link to the download site "
        "(nihcc.app.box.com/v/ChestXray-NIHCC), cite Wang et al., CVPR 2017, pp. 3462-3471, and "
        "acknowledge the NIH Clinical Center as the provider of the data (README_CHESTXRAY there; "
        "also cloud.google.com/healthcare-api/docs/resources/public-datasets/nih-chest)",
    ),
    "train_image_paths.csv": ("MURA", "see stanfordmlgroup.github.io/competitions/mura"),
    "stage_2_train_labels": (
        "RSNA Pneumonia Detection",
        "any use, commercial or not, that meets its requirements of attribution "
        "(rsna.org, RSNA Pneumonia Detection Challenge 2018); its images are NIH ChestX-ray14's, "
        "which has terms of its own",
    ),
}
# of label files whose names other data sets may have, too
_LIKE = {
    "train.csv": ("CheXpert", "stanfordmlgroup.github.io/competitions/chexpert"),
    "annotations_train.csv": ("VinDr-CXR", "physionet.org/content/vindr-cxr"),
}


def sources(metadata: Mapping[str, Any]) -> Mapping[str, str]:
    """Files that the model was made from, by name; a detector names those of its data set apart."""
    stated = metadata.get("manifest", {}).get("hashes", {})
    known: Mapping[str, str] = metadata.get("sources", stated)
    return known


def licence(metadata: Mapping[str, Any]) -> Iterator[str]:
    """The terms of the data set whose label files the model was made from."""
    files = list(sources(metadata))
    for name, (data, terms) in _LAYOUTS.items():
        if any(file.startswith(name) for file in files):
            yield (
                f"Its label files are named as those of {data} (or of images drawn in that "
                f"layout). The providers of {data} state these terms: {terms}. Whoever passes the "
                "model on checks them."
            )
            return
    for name, (data, page) in _LIKE.items():
        if name in files:
            yield (
                f"One of its label files is named {name}, as that of {data}, which is given to "
                f"those who accept an agreement ({page}). If it is another data set: {NOT_KNOWN}"
            )
            return
    yield f"{NOT_KNOWN} Whoever trained it knows the terms of the images."
