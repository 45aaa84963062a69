"""Read the RSNA Pneumonia Detection Challenge of 2018 in its own layout. No pixels are read.

    root/stage_2_train_labels.csv           patientId, x, y, width, height, Target: a row per box
    root/stage_2_detailed_class_info.csv    patientId, class: also a row per box (optional)
    root/**/PATIENTID.dcm                   images in any folders below root, DICOM or converted
    root/**/00019124_092.png                or NIH's own copies of them

Shih et al., "Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert
Annotations of Possible Pneumonia", 2019. Boxes are x, y of the top left corner, width and height
in a 1024 x 1024 frame, and mark opacities suspicious for pneumonia: the class `Lung Opacity`. The
class `No Lung Opacity / Not Normal` is a label of its own, so that such images are not normal.

`patientId` is the number of an image: 26,684 of them are 26,663 images of 11,439 patients of NIH,
which are the patients here. An image of the labelled stage has no official part.

Error: another layout; a Target that contradicts the row's box or class; a box without a size or
    outside of the frame; an image in the class file alone.
Warning, counted (an error with `strict=True`): no class file, so that normal is unknown; images
    that the class file lacks; an equal duplicate box (one is kept); a box clipped to the frame.
Note, counted: ids whose NIH image is unknown, and so their patient; NIH images under two ids;
    images that NIH's copy stands in for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cxrloc.datasets.files.parse import naming
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.readers.box_sets.findings import (
    BoxReader,
    NamedBox,
    disease_labels,
    diseases_of,
    label_map,
)
from cxrloc.datasets.readers.box_sets.image_files import image_files
from cxrloc.datasets.readers.box_sets.nih_names.lookup import nih_image_of_rsna, nih_patient
from cxrloc.datasets.readers.csv_text import named_file, read_text_columns
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings

FRAME_HW = (1024, 1024)
LABEL_FILE = "stage_2_train_labels.csv"
CLASS_FILE = "stage_2_detailed_class_info.csv"
OPACITY, OTHER, NORMAL = "Lung Opacity", "No Lung Opacity / Not Normal", "Normal"
FINDINGS = (OPACITY, OTHER)
_COLUMNS = ("patientId", "x", "y", "width", "height", "Target")


def index(
    root: Path,
    *,
    label_file: Path | None = None,
    strict: bool = False,
    labels: str = "",
) -> DatasetIndex:
    """Index the challenge's training images; the module's docstring says how faults are treated.

    Args:
        root: folder with the images, the challenge's or NIH's.
        label_file: stage_2_train_labels.csv, or its folder, where it is not `root`; the class file
            is looked for beside it.
        labels: YAML file, the two names -> diseases; without it the set's own.

    Raises:
        FileNotFoundError: if `root` or the label file is missing.
        ValueError: for faults listed as errors, and for all warnings if `strict`.
    """
    warnings = ReaderWarnings(strict)
    asked = label_map(labels, FINDINGS, warnings)
    path = _label_file(root, label_file)
    drawn = _boxes(path)
    class_path = path.with_name(CLASS_FILE)
    classes = _classes(class_path, drawn, warnings)
    paths = _paths(root, list(drawn), warnings)
    reader = BoxReader(asked, warnings)
    with naming(str(path)):
        radiographs = [
            _radiograph(image, boxes, classes.get(image), file, reader)
            for (image, boxes), file in zip(drawn.items(), paths, strict=True)
        ]
    _note(radiographs, warnings)
    sources = (path, class_path) if class_path.is_file() else (path,)
    boxed = diseases_of(asked, (OPACITY,))
    return DatasetIndex(radiographs, {}, warnings, sources, diseases_of(asked, FINDINGS), boxed)


def _label_file(root: Path, asked: Path | None) -> Path:
    path = root if asked is None else asked if asked.is_dir() else named_file(root, asked)
    path = path / LABEL_FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"no label file {path}; expected {LABEL_FILE} of the challenge. Where it lies "
            "elsewhere than the images, name it with --label-file"
        )
    return path


def _table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    table = read_text_columns(path)
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(
            f"{path} has no column {missing}; its header is {list(table.columns)}, expected commas "
            f"between {', '.join(columns)}"
        )
    return pd.DataFrame({name: table[name].str.strip() for name in columns})


def _boxes(path: Path) -> dict[str, list[NamedBox]]:
    """Image -> its boxes, in the order of the file."""
    images: dict[str, list[NamedBox]] = {}
    for number, row in enumerate(_table(path, _COLUMNS).itertuples(index=False), start=1):
        image, *corner, target = row
        where = f"{path}, data row {number} ({image})"
        if not image:
            raise ValueError(f"{where}: no patientId")
        box = _box(corner, where)
        if target not in ("0", "1", "0.0", "1.0") or (float(target) == 1) != (box is not None):
            raise ValueError(
                f"{where}: Target {target!r} with x, y, width, height {corner}; expected 1 with a "
                "box or 0 without"
            )
        images.setdefault(image, [])
        if box is not None:
            images[image].append(box)
    if not images:
        raise ValueError(f"{path} has a header but no rows; is the copy complete?")
    return images


def _box(corner: Sequence[str], where: str) -> NamedBox | None:
    if not any(corner):
        return None
    try:
        x, y, width, height = map(float, corner)
    except ValueError as error:
        raise ValueError(f"{where}: x, y, width, height {list(corner)}: {error}") from error
    return NamedBox(OPACITY, (x, y, x + width, y + height), where)


def _classes(
    path: Path, drawn: Mapping[str, Sequence[NamedBox]], warnings: ReaderWarnings
) -> dict[str, str]:
    """Image -> its class; empty without the file. Its rows repeat once per box."""
    if not path.is_file():
        warnings.warn("no class file, so which images are normal is unknown", [path.name])
        return {}
    classes: dict[str, str] = {}
    for number, (image, name) in enumerate(
        _table(path, ("patientId", "class")).itertuples(index=False), start=1
    ):
        where = f"{path}, data row {number} ({image})"
        if name not in (OPACITY, OTHER, NORMAL):
            raise ValueError(f"{where}: class {name!r}, expected {OPACITY}, {OTHER} or {NORMAL}")
        if classes.setdefault(image, name) != name:
            raise ValueError(f"{where}: class {name}, but {classes[image]} in an earlier row")
        if image not in drawn:
            raise ValueError(f"{where}: {LABEL_FILE} has no row of this image")
        if (name == OPACITY) != bool(drawn[image]):
            raise ValueError(
                f"{where}: class {name} with {len(drawn[image])} boxes in {LABEL_FILE}"
            )
    warnings.warn("images without a class", [image for image in drawn if image not in classes])
    return classes


def _paths(root: Path, images: Sequence[str], warnings: ReaderWarnings) -> list[Path | None]:
    """The challenge's own file of each image, or else NIH's."""
    files = image_files(root)
    own = files.find([f"{image}.dcm" for image in images], warnings)
    nih = [nih_image_of_rsna(image) or f"{image}.dcm" for image in images]
    copies = files.find(nih, warnings)
    stand_in = [i for i, path, copy in zip(images, own, copies, strict=True) if copy and not path]
    warnings.note("images read from NIH's copies", stand_in)
    return [path or copy for path, copy in zip(own, copies, strict=True)]


def _radiograph(
    image: str,
    drawn: Sequence[NamedBox],
    of_class: str | None,
    path: Path | None,
    reader: BoxReader,
) -> Radiograph:
    nih = nih_image_of_rsna(image)
    present = {OPACITY} if drawn else {of_class or NORMAL}
    labels = disease_labels(reader.labels, FINDINGS, present)
    other = reader.labels.disease(OTHER)
    if of_class is None and not drawn and other is not None:
        labels[other] = math.nan
    return Radiograph(
        image_id=image,
        path=path,
        patient_id=image if nih is None else nih_patient(nih),
        patient_known=nih is not None,
        view="",
        labels=labels,
        boxes=reader.boxes(drawn, FRAME_HW),
        size_hw=FRAME_HW,
    )


def _note(radiographs: Sequence[Radiograph], warnings: ReaderWarnings) -> None:
    unknown = [r.image_id for r in radiographs if not r.patient_known]
    warnings.note("images whose NIH name, and so patient, is unknown", unknown)
    first: dict[str, str] = {}
    twice = []
    for r in radiographs:
        nih = nih_image_of_rsna(r.image_id)
        if nih is not None and first.setdefault(nih, r.image_id) != r.image_id:
            twice.append(f"{nih} as {first[nih]} and {r.image_id}")
    warnings.note("NIH images under two ids, read twice by RSNA's readers", twice)
