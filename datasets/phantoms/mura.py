"""Draw the phantom arm: limb images in MURA's layout, for runs without the real data.

    cxrloc make-phantom --kind limb --out DIR --patients 200

A study is normal or shows one finding in most of its images: a broken bone, a plate with screws, or
a hole or dense spot. The images are drawings: they show that the tools work and say nothing about
patients. Research use only, never a diagnosis.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from cxrloc.datasets.phantoms.drawing.limb import FINDINGS, LimbImage, render_limb
from cxrloc.datasets.phantoms.folder import (
    check_settings,
    in_processes,
    write_folder,
    write_image,
)
from cxrloc.datasets.readers.layouts import RELEASE

GENERATOR_VERSION = 3  # increase it if the same config draws other bytes
# studies per body part in the published MURA (Rajpurkar et al. 2018, table 1)
_STUDIES = {
    "XR_ELBOW": 1912,
    "XR_FINGER": 2110,
    "XR_FOREARM": 1010,
    "XR_HAND": 2185,
    "XR_HUMERUS": 727,
    "XR_SHOULDER": 3015,
    "XR_WRIST": 3697,
}
# 1 to 13 images with mean 2.73 as in MURA (40,005 images of 14,656 studies); the share of each
# count is not published, so it is ours
_IMAGES_PER_STUDY = {
    1: 0.11,
    2: 0.29,
    3: 0.459,
    4: 0.09,
    5: 0.025,
    6: 0.01,
    7: 0.006,
    8: 0.004,
    9: 0.002,
    10: 0.001,
    11: 0.001,
    12: 0.001,
    13: 0.001,
}
_SHARE_WITH_FINDING = 0.4  # of the studies, abnormal
_SHARE_VALID = 0.2  # of the patients, in valid; the others are in train
_SHARE_SECOND_STUDY = 0.18  # of the patients
_SHARE_HIDDEN = 0.15  # of the further images of an abnormal study, showing nothing
_SHARE_COLOUR = 0.1  # of the images, stored with three equal channels
_PLAN = 0  # the random stream of what a study shows


@dataclass(frozen=True)
class LimbConfig:
    """Settings of the phantom; equal configs give identical bytes.

    Attributes:
        patients: number of patients, with about 1.2 studies each, of 1 to 13 images (mean 2.7).
        seed: seed for everything.
        image_size: longer side of the PNGs in pixels; 512 in MURA.
    """

    patients: int = 600
    seed: int = 0
    image_size: int = 512

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class PlannedStudy:
    """A study still to be drawn; `folder` as in MURA's lists, without the release's name."""

    folder: str
    abnormal: bool
    images: tuple[LimbImage, ...]


def plan_studies(config: LimbConfig) -> Iterator[PlannedStudy]:
    """List every study, the patients of train before those of valid, without drawing."""
    first_valid = config.patients - round(_SHARE_VALID * config.patients)
    weights = np.array(list(_STUDIES.values()), dtype=np.float64)
    for patient in range(1, config.patients + 1):
        rng = np.random.default_rng((config.seed, patient, _PLAN))
        part = "train" if patient <= first_valid else "valid"
        numbers: dict[str, int] = {}
        for study in range(1 + int(rng.random() < _SHARE_SECOND_STUDY)):
            body_part = str(rng.choice(list(_STUDIES), p=weights / weights.sum()))
            numbers[body_part] = numbers.get(body_part, 0) + 1
            finding = ""
            if rng.random() < _SHARE_WITH_FINDING:
                finding = str(rng.choice(FINDINGS))
            word = "positive" if finding else "negative"
            folder = f"{part}/{body_part}/patient{patient:05d}/study{numbers[body_part]}_{word}"
            key = config.seed, patient, study
            yield PlannedStudy(folder, bool(finding), tuple(_images(rng, body_part, finding, key)))


def make_phantom_limb(config: LimbConfig, out: Path, workers: int | None = None) -> Path:
    """Draw the data set in parallel as `out/MURA-v1.1`; return `out`.

    A finished phantom with the same config is kept. The folder appears only when complete.

    Args:
        workers: processes, by default one per core; the bytes do not depend on it.

    Raises:
        FileExistsError: if `out` holds anything but a finished phantom of this config.
    """

    def fill(folder: Path) -> None:
        root = folder / RELEASE
        studies = list(plan_studies(config))
        for study in studies:
            (root / study.folder).mkdir(parents=True)
        in_processes(partial(_draw_study, config.image_size, root), studies, workers)
        _write_lists(studies, root)

    settings = {"kind": "limb", "generator_version": GENERATOR_VERSION}
    return write_folder(out, {**settings, **dataclasses.asdict(config)}, fill)


def _images(
    rng: np.random.Generator, body_part: str, finding: str, key: tuple[int, int, int]
) -> Iterator[LimbImage]:
    counts, shares = zip(*_IMAGES_PER_STUDY.items(), strict=True)
    left = bool(rng.random() < 0.5)
    for view in range(int(rng.choice(counts, p=shares))):
        hidden = view > 0 and bool(rng.random() < _SHARE_HIDDEN)
        yield LimbImage(body_part, "" if hidden else finding, left, key, view)


def _draw_study(image_size: int, root: Path, study: PlannedStudy) -> None:
    for number, image in enumerate(study.images, start=1):
        pixels = render_limb(image, image_size)
        if np.random.default_rng((*image.key, image.view, _PLAN)).random() < _SHARE_COLOUR:
            pixels = cv2.merge([pixels] * 3)  # type: ignore[assignment]
        write_image(root / study.folder / f"image{number}.png", pixels)


def _write_lists(studies: list[PlannedStudy], root: Path) -> None:
    """MURA's four files: no header, and study folders that end with a slash."""
    for part in ("train", "valid"):
        of_part = [study for study in studies if study.folder.startswith(f"{part}/")]
        labels = [f"{RELEASE}/{study.folder}/,{int(study.abnormal)}\n" for study in of_part]
        images = [
            f"{RELEASE}/{study.folder}/image{number}.png\n"
            for study in of_part
            for number in range(1, len(study.images) + 1)
        ]
        (root / f"{part}_labeled_studies.csv").write_text("".join(labels))
        (root / f"{part}_image_paths.csv").write_text("".join(images))
