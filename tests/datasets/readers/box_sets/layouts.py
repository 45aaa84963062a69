"""Small copies of public box sets in their exact layouts, with the boxes that they publish."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builders import write_image

Published = set[tuple[str, str, tuple[float, float, float, float]]]

SQUARE = [[100, 200], [300, 200], [300, 500], [100, 500]]
TRIANGLE = [[500, 500], [700, 500], [500, 800]]
OPACITY_ID, NORMAL_ID, OTHER_ID = (
    "0004cfab-14fd-4e49-80ba-63a80b6bddd6",
    "000924cf-0f8d-42bd-9158-1af53881a557",
    "000db696-cf54-4385-b10b-6b16fbb3f985",
)
VINDR_IDS = ("50a418190bc3fb1ef1633bf9678929b3", "9a5094b2563a1ef3ff50dc5c7ff71345")
UID = "1.2.276.0.7230010.3.1.4.8323329.{}.1517875{}.{}"


def chest_x_det(root: Path) -> Published:
    """Train: two findings of one kind and a normal image. Test: one finding."""
    train: list[dict[str, Any]] = [
        {
            "file_name": "36204.png",
            "syms": ["Pleural Thickening", "Pleural Thickening"],
            "boxes": [[100, 200, 300, 500], [500, 500, 700, 800]],
            "polygons": [SQUARE, TRIANGLE],
        },
        {"file_name": "36200.png", "syms": [], "boxes": [], "polygons": []},
    ]
    test: list[dict[str, Any]] = [
        {
            "file_name": "36199.png",
            "syms": ["Diffuse Nodule"],
            "boxes": [[100, 200, 300, 500]],
            "polygons": [SQUARE],
        }
    ]
    for part, entries in (("train", train), ("test", test)):
        (root / f"ChestX_Det_{part}.json").write_text(json.dumps(entries))
        for entry in entries:
            write_image(root / f"{part}_data" / part / str(entry["file_name"]))
    return {
        ("36204.png", "Pleural_Thickening", (100, 200, 300, 500)),
        ("36204.png", "Pleural_Thickening", (500, 500, 700, 800)),
        ("36199.png", "Diffuse Nodule", (100, 200, 300, 500)),
    }


def rsna(root: Path) -> Published:
    """An image with two boxes, a normal one, and one with another finding."""
    (root / "stage_2_train_labels.csv").write_text(
        "patientId,x,y,width,height,Target\n"
        f"{OTHER_ID},,,,,0\n{NORMAL_ID},,,,,0\n"
        f"{OPACITY_ID},264.0,152.0,213.0,379.0,1\n{OPACITY_ID},562.0,152.0,256.0,453.0,1\n"
    )
    (root / "stage_2_detailed_class_info.csv").write_text(
        "patientId,class\n"
        f"{OTHER_ID},No Lung Opacity / Not Normal\n{NORMAL_ID},Normal\n"
        f"{OPACITY_ID},Lung Opacity\n{OPACITY_ID},Lung Opacity\n"
    )
    for image in (OPACITY_ID, NORMAL_ID, OTHER_ID):
        write_image(root / "stage_2_train_images" / f"{image}.png")
    return {
        (OPACITY_ID, "Lung Opacity", (264, 152, 477, 531)),
        (OPACITY_ID, "Lung Opacity", (562, 152, 818, 605)),
    }


KAGGLE = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"


def vindr(root: Path, header: str = KAGGLE, *, more: str = "") -> None:
    """VinBigData: an image of 300 x 200 pixels with findings of three readers, and a normal one.

    R8 and R9 agree on the heart (IoU .83), R10 boxes an opacity and calls it an infiltration, too.
    """
    heart, normal = VINDR_IDS
    rows = [
        f"{heart},Cardiomegaly,3,R8,100.0,100.0,200.0,160.0",
        f"{heart},Cardiomegaly,3,R9,100.0,100.0,220.0,160.0",
        f"{heart},Infiltration,6,R10,10.0,20.0,60.0,80.0",
        f"{heart},Lung Opacity,7,R10,10.0,20.0,60.0,80.0",
        *(f"{normal},No finding,14,{reader},,,," for reader in ("R8", "R11", "R12")),
    ]
    (root / "train.csv").write_text("\n".join([header, *(row + more for row in rows)]) + "\n")
    write_image(root / "train" / f"{heart}.png", shape=(200, 300))
    write_image(root / "train" / f"{normal}.png", shape=(200, 300))


def relative_rle(mask: npt.NDArray[np.uint8]) -> str:
    """SIIM's encoding by its definition: runs down the columns, each start from the last end."""
    numbers, last = [], 0
    for start, end in _runs(mask.T.ravel()):
        numbers += [start - last, end - start]
        last = end
    return " ".join(map(str, numbers))


def _runs(pixels: npt.NDArray[np.uint8]) -> Sequence[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], pixels, [0]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def rectangle_mask(left: int, top: int, right: int, bottom: int) -> npt.NDArray[np.uint8]:
    mask = np.zeros((1024, 1024), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def siim(root: Path) -> Published:
    """An image with two annotations and one without any; in folders of UIDs."""
    with_two, without = (UID.format(n, n, n) for n in (11, 12))
    first, second = (100, 200, 300, 500), (600, 10, 640, 20)
    rows = [f"{with_two}, {relative_rle(rectangle_mask(*box))}" for box in (first, second)]
    (root / "train-rle.csv").write_text(
        "\n".join(["ImageId, EncodedPixels", *rows, f"{without}, -1"]) + "\n"
    )
    for number, image in enumerate((with_two, without)):
        folder = root / "dicom-images-train" / f"1.2.{number}" / f"1.2.{number}.1"
        write_image(folder / f"{image}.png")
    return {(with_two, "Pneumothorax", box) for box in (first, second)}


def chexlocalize(root: Path) -> Published:
    """Two outlines of one task on an image, and a second image with labels alone."""
    outlines = {
        "patient64541_study1_view1_frontal": {
            "img_size": [1000, 1200],
            "Airspace Opacity": [SQUARE, TRIANGLE],
        }
    }
    (root / "CheXlocalize").mkdir()
    (root / "CheXlocalize" / "gt_annotations_val.json").write_text(json.dumps(outlines))
    tasks = (
        "Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,"
        "Atelectasis,Pneumothorax,Pleural Effusion,Support Devices"
    )
    path = "CheXpert-v1.0/valid/patient{}/study1/view1_frontal.jpg"
    rows = [path.format(64541) + ",0,0,1" + ",0" * 7, path.format(64542) + ",0,1.0,0" + ",0" * 7]
    (root / "CheXpert").mkdir()
    (root / "CheXpert" / "val_labels.csv").write_text("\n".join([f"Path,{tasks}", *rows]) + "\n")
    for patient in (64541, 64542):
        write_image(
            root / "CheXpert" / "val" / f"patient{patient}" / "study1" / "view1_frontal.jpg",
            shape=(50, 60),
        )
    image = "valid/patient64541/study1/view1_frontal.jpg"
    return {
        (image, "Lung Opacity", (100, 200, 300, 500)),
        (image, "Lung Opacity", (500, 500, 700, 800)),
    }
