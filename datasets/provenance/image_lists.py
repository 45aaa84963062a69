"""Read and write lists of the images that a model was trained on, or is scored on.

A training writes `training_images.csv` (image_id, patient_id, part) next to its bundle. The lists
published by NIH, MURA, CheXpert, RSNA and ChestX-Det are read unchanged. `names.py` compares two.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import dropwhile, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.checked import LONGEST_NAME
from cxrloc.datasets.files.keys import check_nih_patient, nih_image, patient_key
from cxrloc.datasets.files.parse import csv_rows, parse_json, read_text
from cxrloc.datasets.provenance.names import Person, is_uuid, patients_by_name, persons
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.readers.layouts import published_name

TRAINING_IMAGES = "training_images.csv"
LISTING_HINT = (
    "run the training's command again: finished parts are skipped, and each gets its "
    f"{TRAINING_IMAGES}"
)
LIST_COLUMNS = ("image_id", "patient_id", "part")
# columns in lower-case letters and digits
_IMAGE_COLUMNS = ("imageid", "imageindex", "path", "filename")
_PATIENT_COLUMN = "patientid"  # RSNA's tables have no other column: there it names images
_BOX_COLUMNS = ("x", "xmin", "x1", "bboxx")
_UNLISTED = "# the images behind the first weights are not listed here: "


@dataclass(frozen=True)
class ImageList:
    """Names of images as written, each with its patient.

    Attributes:
        patient_of: image name -> patient; empty if unknown.
        parts: for a training: `train`, `validation` and so on -> their images; an image may be in
            two. Empty for other lists.
        unlisted: initial weights of the training whose own training images are not listed.
    """

    patient_of: Mapping[str, str] = field(repr=False)
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    unlisted: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.patient_of)

    @property
    def patients_unknown(self) -> bool:
        """Whether any image has an unknown patient."""
        return not all(self.patient_of.values())

    def shows(self, image: str, images: Collection[str], patients: Collection[str]) -> bool:
        """Whether an image of this list is among `images`, or shows one of `patients` (keys)."""
        return image in images or any(p.patient in patients for p in self._persons[image])

    @cached_property
    def _persons(self) -> dict[str, tuple[Person, ...]]:
        return persons(self.patient_of)


def image_list(rows: Iterable[tuple[str, str, str]], where: str = "image list") -> ImageList:
    """Build a list from rows of image, patient and part (both may be empty); images may repeat.

    A patient that no row tells is read from the image's name (`patients_by_name`).

    Raises:
        ValueError: for a row without an image, an image with two patients, an NIH image with a
            number that is not in its name, or no row at all.
    """
    patient_of: dict[str, str] = {}
    parts: dict[str, dict[str, None]] = {}
    first: dict[str, tuple[str, str]] = {}  # image, in whatever form -> its patient and name
    for number, (image, patient, part) in enumerate(rows, start=1):
        if not image:
            raise ValueError(f"{where}, row {number}: the row lacks an image name")
        if max(len(image), len(patient), len(part)) > LONGEST_NAME:
            raise ValueError(
                f"{where}, row {number}: a name of more than {LONGEST_NAME} characters; correct it"
            )
        patient_of.setdefault(image, "")
        if patient_key(patient):
            _check_patient(image, patient, first, f"{where}, row {number}")
            patient_of[image] = patient
        if part:
            parts.setdefault(part, {})[image] = None
    if not patient_of:
        raise ValueError(f"{where} lists no images")
    by_name = patients_by_name([image for image, patient in patient_of.items() if not patient])
    return ImageList(patient_of | by_name, {part: tuple(images) for part, images in parts.items()})


def _check_patient(image: str, patient: str, first: dict[str, tuple[str, str]], where: str) -> None:
    check_nih_patient(image, patient, where)
    other, name = first.setdefault(nih_image(image) or image, (patient, image))
    if patient_key(other) != patient_key(patient):
        names = image if image == name else f"{image}, which is {name},"
        patients = f"{other!r} and {patient!r}"
        raise ValueError(f"{where}: image {names} has patients {patients}; correct one of the rows")


def patients_of_images(
    images: Iterable[Mapping[str, Any]], where: str = "the ground truth"
) -> dict[str, str]:
    """Name of each COCO image -> the key of its patient; empty if nothing tells it.

    Raises:
        ValueError: for an NIH image with another patient than its name says.
    """
    rows = ((str(i["file_name"]), patient_key(i.get("patient_id")), "") for i in images)
    people = persons(image_list(rows, where).patient_of)
    return {name: people[name][0].patient if people[name] else "" for name in people}


def listed(radiographs: Iterable[Radiograph]) -> ImageList:
    """The list of some radiographs; patients that the data set does not tell are unknown.

    Raises:
        ValueError: if there is none.
    """
    return image_list(((r.image_id, _patient_of(r), "") for r in radiographs), "images")


def _patient_of(radiograph: Radiograph) -> str:
    return radiograph.patient_id if radiograph.patient_known else ""


def write_training_images(
    bundle: Path,
    parts: Mapping[str, Iterable[Radiograph]],
    inherited: Mapping[str, Path] | None = None,
) -> Path:
    """Write `training_images.csv` next to a bundle: every image that influenced the weights.

    Args:
        bundle: the trained model.
        parts: `train` and `validation` images.
        inherited: part -> bundle of initial weights, whose own list is added to the part; if it has
            none, the file says so.

    Raises:
        ValueError: for an unreadable inherited list.
    """
    rows = [(r.image_id, _patient_of(r), part) for part, images in parts.items() for r in images]
    unlisted: list[str] = []
    for part, weights in (inherited or {}).items():
        path = weights.parent / TRAINING_IMAGES
        old = read_training_images(path) if path.is_file() else ImageList({}, {}, (str(weights),))
        rows += [(image, patient, part) for image, patient in old.patient_of.items()]
        unlisted += old.unlisted
    write_image_list(bundle.parent / TRAINING_IMAGES, rows, unlisted)
    return bundle.parent / TRAINING_IMAGES


def write_image_list(path: Path, rows: Iterable[Sequence[str]], unlisted: Sequence[str]) -> None:
    """Write rows of image, patient and part; `unlisted` as in `ImageList`."""
    handle = io.StringIO()
    handle.writelines(f"{_UNLISTED}{name}\n" for name in unlisted)
    csv.writer(handle, lineterminator="\n").writerows([LIST_COLUMNS, *rows])
    write_text(path, handle.getvalue())


def read_training_images(path: Path) -> ImageList:
    """Read a file written by `write_training_images`.

    Raises:
        FileNotFoundError, ValueError: if the file is missing or of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: the training images are unknown; {LISTING_HINT}")
    images = read_csv(path)
    if not images.parts:
        raise ValueError(f"{path}: no image has a part; expected columns {', '.join(LIST_COLUMNS)}")
    return images


def read_csv(path: Path) -> ImageList:
    """Read the images in a CSV file with a column `image_id`, `Image Index`, `file_name` or `Path`.

    The patient comes from `patient_id` or `Patient ID` and the part from `part`, if those columns
    exist; an image may have several rows. That covers label files, box lists, gate tables, training
    lists, RSNA's tables (whose `patientId` names the image), and MURA's lists without a header,
    whose first column is a path. In MURA's list of studies the studies stand in for images: it can
    share patients with image lists, but no images.

    Raises:
        ValueError: if no column contains images.
    """
    unlisted, rows = _csv_rows(path)
    images = image_list(((row.image, row.patient, row.part) for row in rows), str(path))
    return ImageList(images.patient_of, images.parts, unlisted)


class _Row(NamedTuple):
    image: str
    patient: str
    part: str
    boxed: bool


def _csv_rows(path: Path) -> tuple[tuple[str, ...], list[_Row]]:
    """Weights whose images are not listed, and the rows."""
    lines = _text(path).splitlines()
    unlisted = tuple(line[len(_UNLISTED) :] for line in lines if line.startswith(_UNLISTED))
    # names may begin with #, too
    header, cells = _table(list(dropwhile(lambda line: line[:1] == "#", lines)), str(path))
    column = {re.sub("[^a-z0-9]", "", name.lower()): name for name in reversed(header)}
    image, patient = next(filter(column.get, _IMAGE_COLUMNS), ""), _PATIENT_COLUMN
    if not image and patient in column and all(is_uuid(row[column[patient]]) for row in cells):
        image, patient = patient, ""
    if not image:
        raise ValueError(
            f"{path} has no column image_id, Image Index, file_name or Path; its header is {header}"
        )
    box = next((column[name] for name in _BOX_COLUMNS if name in column), "")
    of_image, of_patient, of_part = column[image], column.get(patient, ""), column.get("part", "")
    return unlisted, [
        _Row(
            row[of_image],
            row.get(of_patient, ""),
            row.get(of_part, ""),
            boxed=not box or row[box].lower() not in ("", "nan"),
        )
        for row in cells
    ]


def _table(lines: Sequence[str], where: str) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows; a first row that starts with a published path is no header."""
    rows = [row for row in csv_rows(lines, where) if row]
    first = rows[0] if rows else [""]
    header, rows = (["Path"], rows) if published_name(first[0].strip()) else (first, rows[1:])
    named = (zip_longest(header, row[: len(header)], fillvalue="") for row in rows)
    return header, [{name: cell.strip() for name, cell in row} for row in named]


def read_text_list(path: Path) -> ImageList:
    """Read a text file with one image name per line, such as NIH's official lists."""
    names = filter(None, map(str.strip, _text(path).splitlines()))
    return image_list(((name, "", "") for name in names), str(path))


def read_ground_truth(path: Path) -> ImageList:
    """All images of a COCO ground truth, or of ChestX-Det's own file.

    Patients that the file does not tell are read from the names, if these tell them.
    """
    images, _ = _annotated(path)
    return image_list(((str(i["file_name"]), _patient(i), "") for i in images), str(path))


def read_boxed_images(path: Path) -> tuple[str, ...]:
    """Images with at least one box in a COCO ground truth (.json) or a box list (.csv).

    Raises:
        FileNotFoundError, ValueError: for a missing file or one of another kind.
    """
    if path.suffix.lower() == ".csv":
        return tuple(dict.fromkeys(row.image for row in _csv_rows(path)[1] if row.boxed))
    images, boxed = _annotated(path)
    return tuple(str(i["file_name"]) for i, is_boxed in zip(images, boxed, strict=True) if is_boxed)


def _annotated(path: Path) -> tuple[Sequence[Mapping[str, Any]], list[bool]]:
    """Images of a JSON file, and whether each has a box: COCO's layout or ChestX-Det's list."""
    from cxrloc.datasets.prepared.coco import load_coco  # predict starts without it

    try:
        content = parse_json(_text(path), str(path))
    except ValueError:
        content = None  # load_coco says what is wrong
    if isinstance(content, list) and content and all(map(_is_of_chestx_det, content)):
        return content, [bool(image["boxes"]) for image in content]
    coco = load_coco(path)
    with_box = {annotation["image_id"] for annotation in coco["annotations"]}
    return coco["images"], [image["id"] in with_box for image in coco["images"]]


def _is_of_chestx_det(entry: Any) -> bool:
    return isinstance(entry, dict) and {"file_name", "syms", "boxes"} <= entry.keys()


def _patient(image: Mapping[str, Any]) -> str:
    return "" if image.get("patient_id") is None else str(image["patient_id"])


def _text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"no image list {path}")
    return read_text(path)
