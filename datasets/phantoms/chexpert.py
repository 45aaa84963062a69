"""Draw the phantom chest in CheXpert's layout, with uncertain and blank labels and lateral views.

    cxrloc make-phantom --kind chexpert --out DIR --patients 300 --image-size 256

Frontal images come from `cxrloc.datasets.phantoms.drawing.chest`. Two of CheXpert's findings have
no sign of their own there: an image labelled Consolidation shows the sign of NIH's Pneumonia, and
one labelled Edema that of Infiltration. A lateral view is only an outline and shows no finding. In
train.csv, drawn findings are labelled present or, rarely, uncertain; other findings are mostly
blank, as in reports. valid.csv contains only 0 and 1. The images are drawings: they say nothing
about patients. Research use only, never a diagnosis.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.datasets.label_policies import ancestors
from cxrloc.datasets.labels.names import CHEXPERT_LABELS, NO_FINDING
from cxrloc.datasets.phantoms.drawing.chest import PhantomImage, render_image
from cxrloc.datasets.phantoms.drawing.statistics import sample_diseases
from cxrloc.datasets.phantoms.folder import (
    check_settings,
    in_processes,
    write_folder,
    write_image,
)

GENERATOR_VERSION = 2  # increase it when the same config draws different bytes
RELEASE = "CheXpert-v1.0-small"
# the phantom's sign -> the label of an image that shows it
SIGNS: dict[str, str] = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Effusion": "Pleural Effusion",
    "Infiltration": "Edema",
    "Mass": "Lung Lesion",
    "Nodule": "Lung Lesion",
    "Pneumonia": "Consolidation",
    "Pneumothorax": "Pneumothorax",
}
_HEADER = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_LABELS)
_UNDRAWN = ("Support Devices", "Fracture", "Pleural Other", "Pneumonia")
_ASPECT = 1.22  # width by height of the small release's 390 x 320
_SHARE_WITH_FINDING = 0.7  # of the studies with a drawn finding
_SHARE_VALID = 0.15  # of the patients in valid.csv
_PLAN, _LABELS, _LATERAL = 0, 7, 8  # random streams other than those of `drawing/chest.py`
_SEX = {"M": "Male", "F": "Female"}


@dataclass(frozen=True)
class ChexpertPhantomConfig:
    """Settings of the phantom; equal configs give identical bytes.

    Attributes:
        patients: number of patients, with one or two studies each: a frontal view and sometimes a
            lateral one.
        seed: seed for everything.
        image_size: height of the JPEGs in pixels; the width is 1.22 times the height.
    """

    patients: int = 300
    seed: int = 0
    image_size: int = 320

    def __post_init__(self) -> None:
        check_settings(self, fewest_patients=2)


@dataclass(frozen=True)
class PlannedView:
    """An image still to be drawn; `signs` are the phantom's own names."""

    part: str
    patient: int
    study: int
    view: int
    frontal: bool
    signs: tuple[str, ...]

    @property
    def image_id(self) -> str:
        """Path relative to the release's folder."""
        side = "frontal" if self.frontal else "lateral"
        return f"{self.part}/patient{self.patient:05d}/study{self.study}/view{self.view}_{side}.jpg"


def plan_views(config: ChexpertPhantomConfig) -> Iterator[PlannedView]:
    """List every image of the data set by patient, study and view, without drawing."""
    first_valid = config.patients - round(_SHARE_VALID * config.patients)
    for patient in range(1, config.patients + 1):
        rng = np.random.default_rng((config.seed, patient, _PLAN))
        part = "train" if patient <= first_valid else "valid"
        for study in range(1, 2 + int(rng.random() < 0.35)):
            diseases = sample_diseases(rng) if rng.random() < _SHARE_WITH_FINDING else ()
            yield PlannedView(part, patient, study, 1, True, diseases)
            if rng.random() < 0.25:
                yield PlannedView(part, patient, study, 2, False, diseases)


def make_chexpert_phantom(
    config: ChexpertPhantomConfig, out: Path, workers: int | None = None
) -> Path:
    """Draw the data set into the folder `out`, the release's own folder, and return `out`.

    Args:
        workers: processes, by default one per core; the bytes do not depend on it.

    Raises:
        FileExistsError: if `out` holds anything but a finished phantom of this config.
    """
    settings = {"kind": "chexpert", "generator_version": GENERATOR_VERSION}
    return write_folder(
        out, {**settings, **dataclasses.asdict(config)}, partial(_write, config, workers)
    )


def _write(config: ChexpertPhantomConfig, workers: int | None, root: Path) -> None:
    plan = list(plan_views(config))
    images = in_processes(partial(_draw_one, config, root), plan, workers)
    rows = [_row(config, planned, image) for planned, image in zip(plan, images, strict=True)]
    for part in ("train", "valid"):
        with (root / f"{part}.csv").open("w", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(_HEADER)
            writer.writerows(r for r, view in zip(rows, plan, strict=True) if view.part == part)


def _draw_one(config: ChexpertPhantomConfig, root: Path, planned: PlannedView) -> PhantomImage:
    """Draw one image to disk and return its record without pixels."""
    image = render_image(
        planned.signs,
        seed=config.seed,
        patient=planned.patient,
        image=planned.study,
        image_size=config.image_size,
    )
    pixels = image.pixels if planned.frontal else _lateral(config, planned)
    width = round(_ASPECT * config.image_size)
    pixels = np.asarray(cv2.resize(pixels, (width, config.image_size)), np.uint8)
    path = root / planned.image_id
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, pixels)
    return dataclasses.replace(image, pixels=np.empty((0, 0), np.uint8))


def _lateral(config: ChexpertPhantomConfig, planned: PlannedView) -> npt.NDArray[np.uint8]:
    """Body, air, spine and heart from the side, as ellipses."""
    rng = np.random.default_rng((config.seed, planned.patient, planned.study, _LATERAL))
    unit = config.image_size / 100
    image = np.full((config.image_size,) * 2, 12, np.float32)
    shapes = (
        ((50, 55), (34, 60), 150),
        ((48, 50), (24, 40), 55),
        ((40, 66), (13, 15), 150),
        ((74, 55), (7, 60), 190),
    )
    for (x, y), (half_width, half_height), shade in shapes:
        centre = round((x + rng.normal(0, 1)) * unit), round((y + rng.normal(0, 1)) * unit)
        axes = round(half_width * unit), round(half_height * unit)
        cv2.ellipse(image, centre, axes, 0, 0, 360, shade, -1)
    grey = cv2.GaussianBlur(image, (0, 0), 2.5 * unit) + rng.normal(0, 3, image.shape)
    return np.clip(np.round(grey), 0, 255).astype(np.uint8)


def _row(config: ChexpertPhantomConfig, planned: PlannedView, image: PhantomImage) -> list[object]:
    # one report per study: all its views have the same labels
    rng = np.random.default_rng((config.seed, planned.patient, planned.study, _LABELS))
    unknown, odd = planned.patient % 150 == 1, rng.random() < 0.01
    who = ["Unknown", 0] if unknown else [_SEX[image.sex], image.age_years]
    drawn = {SIGNS[sign] for sign in planned.signs}
    labels = _reference(drawn) if planned.part == "valid" else _report(drawn, rng)
    view = ["Frontal", "LL" if odd else image.view] if planned.frontal else ["Lateral", ""]
    texts = ("" if labels.get(d) is None else f"{labels[d]:.1f}" for d in CHEXPERT_LABELS)
    return [f"{RELEASE}/{planned.image_id}", *who, *view, *texts]


def _reference(drawn: set[str]) -> dict[str, float]:
    """Labels by radiologists: all 0 or 1, and consistent with the label tree."""
    present = drawn.union(ancestors(dict.fromkeys(drawn, 1.0)))
    labels = {d: float(d in present) for d in CHEXPERT_LABELS}
    return {**labels, NO_FINDING: float(not present)}


def _report(drawn: set[str], rng: np.random.Generator) -> dict[str, float]:
    """Labels as extracted from a report; diseases that it does not mention are left out."""
    labels: dict[str, float] = {}
    for disease in dict.fromkeys(SIGNS.values()):
        shares = {1.0: 0.87, -1.0: 0.13} if disease in drawn else {0.0: 0.2, -1.0: 0.06}
        _mention(labels, disease, shares, rng)
    for parent in ancestors({d: v for d, v in labels.items() if d in drawn}):
        _mention(labels, parent, {1.0: 0.5}, rng)
    for disease in _UNDRAWN:
        _mention(labels, disease, {1.0: 0.4 if disease == "Support Devices" else 0.02}, rng)
    findings = [v for d, v in labels.items() if d != "Support Devices"]
    if not any(findings):  # neither 1 nor -1
        labels[NO_FINDING] = 1.0
    return labels


def _mention(
    labels: dict[str, float], disease: str, shares: dict[float, float], rng: np.random.Generator
) -> None:
    """Set a label at random; with the remaining probability it stays unmentioned."""
    draw = rng.random()
    for value, share in shares.items():
        if 0 <= draw < share:
            labels[disease] = value
        draw -= share
