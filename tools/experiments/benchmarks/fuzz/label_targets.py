"""Label files of the public data sets, with a few images each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cxrloc.datasets.labels.names import CHEXPERT_LABELS
from cxrloc.datasets.readers import chexpert, mura
from cxrloc.datasets.readers.box_sets import rsna, siim, vindr
from cxrloc.datasets.readers.index import DatasetIndex
from cxrloc.tools.experiments.benchmarks.fuzz.campaign import Target
from cxrloc.tools.experiments.benchmarks.fuzz.mutations import TEXT

_STUDIES = ("XR_ELBOW/patient00001/study1_negative", "XR_HAND/patient00002/study1_positive")
_CHEXPERT = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_LABELS)
_RSNA = ("00436515-870c-4b36-a041-de91049b9ab4", "0004cfab-14fd-4e49-80ba-63a80b6bddd6")
_SIIM = ("1.2.276.0.7230010.3.1.4.1", "1.2.276.0.7230010.3.1.4.2")
_GAPS = ("train.csv",)  # where reports mention no finding
_UID = "50a418190bc3fb1ef1633bf9678929b3"


def label_targets(folder: Path) -> list[Target]:
    """Every label file of MURA, CheXpert, RSNA, VinDr-CXR and SIIM-ACR, in folders of `folder`."""
    return [
        *_targets("MURA", folder / "mura", _mura(), mura.index),
        *_targets("CheXpert", folder / "chexpert", _chexpert(), chexpert.index),
        *_targets("CheXpert", folder / "chexpert_test", _chexpert_test(), _index_test_part),
        *_targets("RSNA", folder / "rsna", _rsna(), rsna.index),
        *_targets("VinDr-CXR", folder / "vindr", _vindr(), vindr.index),
        *_targets("SIIM-ACR", folder / "siim", _siim(), siim.index),
    ]


def _targets(
    name: str, root: Path, files: Mapping[str, str], index: Callable[[Path], DatasetIndex]
) -> list[Target]:
    """Write the files of a set, those without a text as images; a target per file with one."""
    for file, text in files.items():
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if text:
            path.write_text(text)
        else:
            grey = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
            cv2.imwrite(str(path), grey)

    def load(path: Path) -> Any:
        read = index(root)
        print("\n".join(read.warnings.lines()))
        return read.radiographs, read.official

    texts = [file for file, text in files.items() if text]
    return [
        Target(f"{name}: {Path(file).name}", root / file, load, TEXT, gaps=file in _GAPS)
        for file in texts
    ]


def _mura() -> dict[str, str]:
    files = {}
    for part in mura.PARTS:
        studies = [f"{part}/{study}" for study in _STUDIES]
        rows = (f"MURA-v1.1/{study}/,{int('positive' in study)}\n" for study in studies)
        files[f"{part}_labeled_studies.csv"] = "".join(rows)
        images = [f"{study}/image1.png" for study in studies]
        files[f"{part}_image_paths.csv"] = "".join(f"MURA-v1.1/{image}\n" for image in images)
        files |= dict.fromkeys(images, "")
    return files


def _chexpert() -> dict[str, str]:
    images = {
        "train.csv": ("train/patient00001/study1", "train/patient00002/study1"),
        "valid.csv": ("valid/patient00003/study1",),
    }
    files = {}
    for file, studies in images.items():
        values = ("1.0", "0.0", "-1.0", "") if file in _GAPS else ("1.0", "0.0")
        labels = ",".join(values[n % len(values)] for n in range(len(CHEXPERT_LABELS)))
        paths = [f"{study}/view1_frontal.jpg" for study in studies]
        rows = [f"CheXpert-v1.0-small/{path},Female,68,Frontal,AP,{labels}" for path in paths]
        files[file] = "\n".join((",".join(_CHEXPERT), *rows, ""))
        files |= dict.fromkeys(paths, "")
    return files


def _chexpert_test() -> dict[str, str]:
    image = "test/patient64741/study1/view1_frontal.jpg"
    header = ",".join(("Path", *CHEXPERT_LABELS))
    row = ",".join((image, *("01"[n % 2] for n in range(len(CHEXPERT_LABELS)))))
    return {"test_labels.csv": f"{header}\n{row}\n", image: ""}


def _index_test_part(root: Path) -> DatasetIndex:
    return chexpert.index(root, label_file=root / "test_labels.csv")


def _rsna() -> dict[str, str]:
    first, second = _RSNA
    return {
        rsna.LABEL_FILE: (
            "patientId,x,y,width,height,Target\n"
            f"{first},264.0,152.0,213.0,379.0,1\n"
            f"{first},562.0,152.0,256.0,453.0,1\n"
            f"{second},,,,,0\n"
        ),
        rsna.CLASS_FILE: (
            f"patientId,class\n{first},Lung Opacity\n{first},Lung Opacity\n{second},Normal\n"
        ),
        f"images/{first}.png": "",
    }


def _vindr() -> dict[str, str]:
    corners = "x_min,y_min,x_max,y_max"
    return {
        "annotations/annotations_train.csv": (
            f"image_id,rad_id,class_name,{corners}\n"
            f"{_UID},R8,Aortic enlargement,8,8,40,32\n"
            f"{_UID},R9,Aortic enlargement,9,8,40,32\n"
            f"{_UID},R10,No finding,,,,\n"
        ),
        "annotations/annotations_test.csv": (
            f"image_id,class_name,{corners}\n{_UID[::-1]},Nodule/Mass,4,4,20,20\n"
        ),
        f"train/{_UID}.png": "",
        f"test/{_UID[::-1]}.png": "",
    }


def _siim() -> dict[str, str]:
    first, second = _SIIM
    rows = f"{first},350000 20 1004 22 1002 20\n{second},-1\n"
    return {"train-rle.csv": f"ImageId,EncodedPixels\n{rows}", f"{first}.png": ""}
