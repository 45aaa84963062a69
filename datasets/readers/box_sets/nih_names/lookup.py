"""Find the NIH image behind a name of ChestX-Det or of the RSNA pneumonia challenge.

Both sets were drawn from NIH ChestX-ray14 and renamed, so they share its patients. The two tables
beside this module hold file names only, which are facts:

chestx_det.csv.gz   3,543 of the 3,578 images of ChestX-Det, those that ChestX-Det10 has as well:
                    its authors published that list twice, first under NIH's names, in equal order
rsna.csv.gz         the 26,684 images with labels, as matched to NIH's by torchxrayvision's authors;
                    21 NIH images have two ids

An NIH image is written there as `19124_92`, an RSNA id without its hyphens.
"""

from __future__ import annotations

import csv
import functools
import gzip
import itertools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
_HYPHENS_AFTER = (8, 12, 16, 20)  # of the 32 digits of a UUID


def nih_image_of_chestx_det(name: str) -> str | None:
    """`00000003_003.png` for `36199.png`; None for a name that the table lacks.

    Args:
        name: as in ChestX-Det's files; with folders, another image ending or none it counts too.
    """
    return chestx_det_to_nih().get(_stem(name) + ".png")


def nih_image_of_rsna(patient_id: str) -> str | None:
    """`00019124_092.png` for `0004cfab-14fd-4e49-80ba-63a80b6bddd6`; None for an unknown id.

    Args:
        patient_id: RSNA's `patientId`, which names an image, or that image's file.
    """
    return rsna_to_nih().get(_stem(patient_id).lower())


def nih_patient(nih_image: str) -> str:
    """Patient number without leading zeros, as NIH's tables write it: `3` for 00000003_003.png."""
    return nih_image.partition("_")[0].lstrip("0") or "0"


@functools.cache
def chestx_det_to_nih() -> Mapping[str, str]:
    """ChestX-Det's file name -> NIH's."""
    rows = _rows("chestx_det.csv.gz")
    return MappingProxyType({f"{row['file']}.png": _nih_name(row["nih_image"]) for row in rows})


@functools.cache
def chestx_det_parts() -> Mapping[str, str]:
    """ChestX-Det's file name -> the part of its own split, `train` or `test`."""
    return MappingProxyType(
        {f"{row['file']}.png": row["part"] for row in _rows("chestx_det.csv.gz")}
    )


@functools.cache
def rsna_to_nih() -> Mapping[str, str]:
    """RSNA's patientId -> NIH's file name."""
    rows = _rows("rsna.csv.gz")
    return MappingProxyType({_uuid(row["patientId"]): _nih_name(row["nih_image"]) for row in rows})


def _rows(name: str) -> list[dict[str, str]]:
    with gzip.open(Path(__file__).parent / name, "rt", encoding="ascii", newline="") as handle:
        return list(csv.DictReader(handle))


def _stem(name: str) -> str:
    """The name without folders (of either kind of slash) and without an image's ending."""
    last = name.strip().replace("\\", "/").rpartition("/")[2]
    stem, dot, ending = last.rpartition(".")
    return stem if dot + ending.lower() in _IMAGE_ENDINGS else last


def _nih_name(short: str) -> str:
    patient, _, image = short.partition("_")
    return f"{patient:0>8}_{image:0>3}.png"


def _uuid(digits: str) -> str:
    edges = (0, *_HYPHENS_AFTER, len(digits))
    return "-".join(digits[a:b] for a, b in itertools.pairwise(edges))
