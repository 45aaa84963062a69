"""Draw the phantom data set: chest images in NIH's file layout, for runs without the real data.

    cxrloc make-phantom --out DIR --patients 600 --image-size 512

The images are drawings: they show that the tools work and allow checks of the figures, but say
nothing about patients. Research use only, never a diagnosis.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cxrloc.datasets.labels.names import NO_FINDING
from cxrloc.datasets.phantoms.drawing.chest import STYLES, PhantomImage, render_image
from cxrloc.datasets.phantoms.drawing.statistics import sample_diseases
from cxrloc.datasets.phantoms.folder import (
    check_settings,
    in_processes,
    write_folder,
    write_image,
)

GENERATOR_VERSION = 3  # increase it if the same config draws other bytes
# NIH's headers with their quirks: names split at commas, trailing empty columns.
LABEL_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
_BOX_LIST_NAMES = {"Infiltration": "Infiltrate"}  # spelling in the box list
_IMAGES_PER_PATIENT = {
    1: 0.66,
    2: 0.17,
    3: 0.08,
    4: 0.05,
    5: 0.04,
}  # as in NIH, without the long tail
SHARE_WITH_FINDING = 0.7  # of the images, with at least one disease
# of the patients, in train_val_list.txt; their images have labels but no boxes, as in NIH, where
# every boxed image is in test_list.txt
SHARE_TRAIN_VAL = 0.25
SHARE_UNBOXED_POSITIVES = 0.05  # of the other patients' positive labels, without a box
_PLAN = 0  # the random stream of what an image shows, other than those of `drawing/chest.py`


@dataclass(frozen=True)
class PhantomConfig:
    """Settings of the phantom; equal configs give identical bytes.

    Attributes:
        patients: number of patients, with about 1.65 images each, all of the same chest.
        seed: seed for everything.
        image_size: side of the PNGs in pixels; boxes are always in the 1024 frame.
        style: a key of `drawing.chest.STYLES`: how the images are taken. The styles number their
            patients apart, so that one is an external test of a model trained on the other.
    """

    patients: int = 600
    seed: int = 0
    image_size: int = 1024
    style: str = "upright"

    def __post_init__(self) -> None:
        check_settings(self, most_patients=99_000_000)
        if self.style not in STYLES:
            raise ValueError(f"style is {self.style!r}, expected one of {', '.join(STYLES)}")


@dataclass(frozen=True)
class PlannedImage:
    """An image still to be drawn: its patient, its diseases, and which of them get a box."""

    patient: int
    image: int
    train_val: bool
    diseases: tuple[str, ...]
    boxed: tuple[str, ...]

    @property
    def image_id(self) -> str:
        """NIH's file name."""
        return f"{self.patient:08d}_{self.image:03d}.png"


def plan_images(config: PhantomConfig) -> Iterator[PlannedImage]:
    """List every image of the data set by patient and follow-up, without drawing."""
    order = np.random.default_rng((config.seed, 0)).permutation(config.patients)
    first_test = round(SHARE_TRAIN_VAL * config.patients)
    counts, shares = zip(*_IMAGES_PER_PATIENT.items(), strict=True)
    first = STYLES[config.style].first_patient
    for patient in range(first, first + config.patients):
        rng = np.random.default_rng((config.seed, patient, _PLAN))
        train_val = bool(order[patient - first] < first_test)
        for image in range(int(rng.choice(counts, p=shares))):
            diseases = sample_diseases(rng) if rng.random() < SHARE_WITH_FINDING else ()
            has_box = rng.random(len(diseases)) >= SHARE_UNBOXED_POSITIVES
            boxed = tuple(
                d for d, keep in zip(diseases, has_box, strict=True) if keep and not train_val
            )
            yield PlannedImage(patient, image, train_val, diseases, boxed)


def make_phantom(config: PhantomConfig, out: Path, workers: int | None = None) -> Path:
    """Draw the data set in parallel into the folder `out`; return `out`.

    A finished phantom with the same config is kept. The folder appears only when complete.

    Args:
        workers: processes, by default one per core; the bytes do not depend on it.

    Raises:
        FileExistsError: if `out` holds anything but a finished phantom of this config.
    """
    return write_folder(out, _settings(config), partial(_write, config, workers))


def _settings(config: PhantomConfig) -> dict[str, object]:
    return {"generator_version": GENERATOR_VERSION, **dataclasses.asdict(config)}


def _write(config: PhantomConfig, workers: int | None, root: Path) -> None:
    (root / "images").mkdir()
    plan = list(plan_images(config))
    images = in_processes(partial(_draw_one, config, root / "images"), plan, workers)
    _write_lists(plan, images, root)


def _draw_one(config: PhantomConfig, folder: Path, planned: PlannedImage) -> PhantomImage:
    """Draw one image to disk and return its record without pixels."""
    image = render_image(
        planned.diseases,
        seed=config.seed,
        patient=planned.patient,
        image=planned.image,
        image_size=config.image_size,
        style=config.style,
    )
    write_image(folder / planned.image_id, image.pixels)
    return dataclasses.replace(image, pixels=np.empty((0, 0), np.uint8))


def _write_lists(plan: Sequence[PlannedImage], images: Sequence[PhantomImage], root: Path) -> None:
    pairs = list(zip(plan, images, strict=True))
    _write_csv(root / "Data_Entry_2017.csv", LABEL_HEADER, (_label_row(*pair) for pair in pairs))
    boxes = (row for pair in pairs for row in _box_rows(*pair))
    _write_csv(root / "BBox_List_2017.csv", BOX_HEADER, boxes)
    for name, train_val in (("train_val_list.txt", True), ("test_list.txt", False)):
        ids = [planned.image_id for planned in plan if planned.train_val == train_val]
        (root / name).write_text("".join(f"{image_id}\n" for image_id in ids))


def _write_csv(path: Path, header: str, rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as handle:
        handle.write(header + "\n")
        csv.writer(handle, lineterminator="\n").writerows(rows)


def _label_row(planned: PlannedImage, image: PhantomImage) -> list[object]:
    labels = "|".join(planned.diseases) or NO_FINDING
    who = [planned.patient, image.age_years + planned.image // 2, image.sex, image.view]
    return [planned.image_id, labels, planned.image, *who, 2048, 2048, 0.168, 0.168, ""]


def _box_rows(planned: PlannedImage, image: PhantomImage) -> Iterator[list[object]]:
    for box in image.boxes:
        if box.disease in planned.boxed:
            x1, y1, x2, y2 = (round(value, 3) for value in box.box_xyxy)
            name = _BOX_LIST_NAMES.get(box.disease, box.disease)
            yield [planned.image_id, name, x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)]
