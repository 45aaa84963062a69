"""The record that every reader returns: all facts about one radiograph, without its pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.files.checked import LONGEST_NAME
from cxrloc.datasets.files.keys import patient_key
from cxrloc.datasets.labels.names import NO_FINDING, no_finding

FloatArray = npt.NDArray[np.float64]

_KNOWN_LABELS = frozenset((0.0, 1.0))


@dataclass(frozen=True)
class Box:
    """One ground-truth box of one disease.

    Attributes:
        disease: canonical disease name (see `cxrloc.datasets.labels.names`).
        box_xyxy: left, top, right, bottom in absolute pixels of the original image; right > left
            and bottom > top.
        polygons: outlines of the finding in the same frame, each x1, y1, x2, y2, ... of at least
            three points; empty if the data set gives boxes only.
    """

    disease: str
    box_xyxy: tuple[float, float, float, float]
    polygons: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = self.box_xyxy
        if not (all(map(math.isfinite, self.box_xyxy)) and x2 > x1 and y2 > y1):
            raise ValueError(
                f"box of {self.disease}: expected finite x1 < x2 and y1 < y2, got {self.box_xyxy}"
            )
        for outline in self.polygons:
            if len(outline) < 6 or len(outline) % 2 or not all(map(math.isfinite, outline)):
                raise ValueError(
                    f"box of {self.disease}: a polygon of {len(outline)} numbers, expected finite "
                    "x, y of at least three points"
                )


def box_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """IoU of two boxes of left, top, right, bottom; where there are many, `localization.boxes`."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@dataclass(frozen=True)
class Radiograph:
    """One image with the facts from its data set. Readers return these and never read pixels.

    Attributes:
        image_id: name of the image in the data set's own lists (NIH: `00000001_000.png`).
        path: file on disk, or None if the data set lists an image that is missing.
        patient_id: the unit of splitting and of resampling, as `cxrloc.datasets.files.keys` writes
            it: `00000013` becomes `13`.
        patient_known: False if the data set does not tell the patient; `patient_id` is then the
            image's own, and every result says so.
        view: projection as named by the data set (`PA`, `AP`, ...); empty if unknown.
        labels: disease -> 1 present, 0 absent, NaN unknown.
        boxes: ground-truth boxes; a positive label may have none.
        size_hw: height and width of the ORIGINAL image, the frame of all boxes. The file at `path`
            may be a resized copy; its reader scales to this frame.
        sex, age_years: demographics if the data set gives them (otherwise empty, NaN).
        study_id: examination of the image, unique in the data set; the images of an examination get
            one prediction. Empty if the data set has no examinations.
        body_part: examined part as named by the data set (MURA: `XR_ELBOW`); empty if unknown.
        uncertain: labels that the data set calls uncertain; their value in `labels` is NaN.
    """

    image_id: str
    path: Path | None
    patient_id: str
    view: str
    labels: Mapping[str, float]
    boxes: tuple[Box, ...] = ()
    size_hw: tuple[int, int] = (1024, 1024)
    sex: str = ""
    age_years: float = math.nan
    study_id: str = ""
    body_part: str = ""
    uncertain: tuple[str, ...] = ()
    patient_known: bool = True

    def __post_init__(self) -> None:
        if (patient := patient_key(self.patient_id)) != self.patient_id:
            object.__setattr__(self, "patient_id", patient)
        if not self.image_id or not patient:
            raise ValueError(f"image_id and patient_id must not be empty, got {self!r}")
        if max(len(self.image_id), len(patient)) > LONGEST_NAME:
            raise ValueError(f"{self.image_id[:60]!r}...: a name of over {LONGEST_NAME} characters")
        if not _KNOWN_LABELS.issuperset(self.labels.values()):  # a fast check for 112,120 rows
            self._check_labels()
        if min(self.size_hw) < 1:
            raise ValueError(f"{self.image_id}: size_hw {self.size_hw}, expected positive integers")
        if not all(math.isnan(self.labels.get(d, 0.0)) for d in self.uncertain):
            raise ValueError(
                f"{self.image_id}: uncertain {self.uncertain}, expected labels that are NaN"
            )

    def _check_labels(self) -> None:
        for disease, value in self.labels.items():
            if value not in (0.0, 1.0) and not math.isnan(value):
                raise ValueError(
                    f"{self.image_id}: label {disease} is {value}, expected 0, 1 or NaN (unknown)"
                )

    def label(self, disease: str) -> float | None:
        """1, 0 or NaN; None if not mentioned. `No Finding` is derived from the other labels."""
        if disease == NO_FINDING and disease not in self.labels:
            return no_finding(self.labels)
        return self.labels.get(disease)

    def image(
        self, pixels: npt.NDArray[np.uint8], deep: npt.NDArray[np.uint16] | None = None
    ) -> LoadedImage:
        """The image with grey pixels (H, W) and the known facts about the patient."""
        return LoadedImage(
            self.image_id,
            pixels,
            self.size_hw,
            self.patient_id,
            view=self.view,
            sex=self.sex,
            age_years=self.age_years,
            deep=deep,
        )

    @property
    def file(self) -> Path:
        """The file on disk.

        Raises:
            ValueError: for an image without a file.
        """
        if self.path is None:
            raise ValueError(f"{self.image_id} has no file; pass only images that are on disk")
        return self.path

    @property
    def positives(self) -> tuple[str, ...]:
        """Diseases labelled present, in the order of `labels`, without `No Finding`."""
        return tuple(d for d, value in self.labels.items() if value == 1 and d != NO_FINDING)

    @property
    def boxed(self) -> tuple[str, ...]:
        """Diseases with at least one box, in order of appearance."""
        return tuple(dict.fromkeys(box.disease for box in self.boxes))


@dataclass(frozen=True)
class PixelSpacing:
    """Distance between neighbouring pixels in millimetres.

    Attributes:
        row_mm: from row to row, downwards; `column_mm` from column to column.
        source: the file's attribute that states it, and the plane in which it holds if that is not
            the patient's.
    """

    row_mm: float
    column_mm: float
    source: str

    def __post_init__(self) -> None:
        if not (self.row_mm > 0 and self.column_mm > 0):
            raise ValueError(f"pixel spacing {self.row_mm} x {self.column_mm}, expected above 0")


@dataclass(frozen=True)
class LoadedImage:
    """A radiograph with its pixels: the input of a localizer.

    Attributes:
        image_id: as in `Radiograph`.
        pixels: (H, W) uint8 grey, bright = dense (MONOCHROME2). May be a resized copy of the
            original with the aspect ratio of `size_hw`.
        size_hw: the original frame; localizers return their boxes in it.
        patient_id: patient, if known.
        spacing: size of a pixel in the original frame, if the file states it (DICOM).
        warnings: sentences about the file, for example that the image is lateral.
        view, sex, age_years: as in `Radiograph`, if known; age and sex are never printed.
        deep: (H, W) uint16, the same grey in 0..65535, of a file with more than 8 bits; else None.
            Networks see it, scaled to their square; pictures show `pixels`.
    """

    image_id: str
    pixels: npt.NDArray[np.uint8] = field(repr=False)
    size_hw: tuple[int, int]
    patient_id: str = ""
    spacing: PixelSpacing | None = None
    warnings: tuple[str, ...] = ()
    view: str = ""
    sex: str = field(default="", repr=False)
    age_years: float = field(default=math.nan, repr=False)
    deep: npt.NDArray[np.uint16] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"{self.image_id}: expected grey uint8 pixels of shape (H, W), "
                f"got {self.pixels.dtype} {self.pixels.shape}"
            )
        if self.deep is not None and self.deep.shape != self.pixels.shape:
            raise ValueError(
                f"{self.image_id}: deep pixels of shape {self.deep.shape}, expected the shape of "
                f"pixels, {self.pixels.shape}"
            )

    @property
    def finest(self) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
        """The pixels with as many bits as there are, for `fit_square`."""
        return self.pixels if self.deep is None else self.deep


def label_matrix(radiographs: Sequence[Radiograph], diseases: Sequence[str]) -> FloatArray:
    """Labels as an (N, D) array of 0, 1 and NaN, rows as `radiographs`, columns as `diseases`.

    A disease not mentioned in a radiograph's labels is NaN (unknown). `No Finding`, which only
    CheXpert's reader stores, is derived from the others
    (see `cxrloc.datasets.labels.names.no_finding`).
    """
    rows = [[radiograph.label(d) for d in diseases] for radiograph in radiographs]  # None is NaN
    return np.array(rows, dtype=np.float64).reshape(len(radiographs), len(diseases))
