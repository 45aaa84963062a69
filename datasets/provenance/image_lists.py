"""Read and write lists of the images that a model was trained on, or is scored on.

A training writes `training_images.csv` (image_id, patient_id, part) next to its bundle. Images of
two lists are compared by name: `images/00000001_000.jpg` is a copy of `00000001_000.png`. The lists
published by NIH, MURA and CheXpert are read unchanged; there the patient is part of the name.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.images.read import IMAGE_SUFFIXES
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.readers.layouts import published_name

TRAINING_IMAGES = "training_images.csv"
LISTING_HINT = (
    "run the training's command again: finished parts are skipped, and each gets its "
    f"{TRAINING_IMAGES}"
)
_COLUMNS = ("image_id", "patient_id", "part")
_IMAGE_COLUMNS = ("image_id", "Image Index", "image_index", "Path")
_PATIENT_COLUMNS = ("patient_id", "Patient ID")
_NIH_NAME = re.compile(r"(\d{8})_\d{3}")
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


def image_list(rows: Iterable[tuple[str, str, str]], where: str = "image list") -> ImageList:
    """Build a list from rows of image, patient and part (both may be empty); images may repeat.

    If no row has a patient, patients are taken from the names (`patients_by_name`).

    Raises:
        ValueError: for a row without an image, an image with two patients, or no row at all.
    """
    patient_of: dict[str, str] = {}
    parts: dict[str, dict[str, None]] = {}
    for image, patient, part in rows:
        if not image:
            raise ValueError(f"{where}: a row lacks an image name")
        if patient_of.setdefault(image, patient) != patient:
            raise ValueError(
                f"{where}: image {image} has patients {patient_of[image]!r} and {patient!r}; "
                "correct one of the rows"
            )
        if part:
            parts.setdefault(part, {})[image] = None
    if not patient_of:
        raise ValueError(f"{where} lists no images")
    if not any(patient_of.values()):
        patient_of = patients_by_name(tuple(patient_of))
    return ImageList(patient_of, {part: tuple(images) for part, images in parts.items()})


def patients_by_name(images: Sequence[str]) -> dict[str, str]:
    """Return image -> patient, read from the name; empty if the name does not contain it.

    Names in MURA's and CheXpert's layouts have a folder `patient00011`. NIH's start with the
    patient's number (8 digits _ 3 digits). That counts only if all other names in the list follow
    NIH, since such digits may mean anything elsewhere.
    """
    published = {image: published_name(image) for image in images}
    others = [image for image, parsed in published.items() if parsed is None]
    matches = {image: _NIH_NAME.fullmatch(image_stem(image)) for image in others}
    if not all(matches.values()):
        matches = {}
    nih = {image: match[1] for image, match in matches.items() if match is not None}
    return {i: parsed.patient if parsed else nih.get(i, "") for i, parsed in published.items()}


def image_stem(name: str) -> str:
    """`00000001_000` for `images/00000001_000.png`; other dots stay in the name."""
    return _without_ending(name.rpartition("/")[2])


def common_key(*lists: Collection[str]) -> Callable[[str], str]:
    """Return the key to compare these lists' names by; copies may be moved or re-encoded.

    Names in MURA's and CheXpert's layouts are compared from the body part or patient on, because
    published lists start with the release and ours do not. `_key_of_others` handles other names.
    """
    others = _key_of_others([[n for n in names if not published_name(n)] for names in lists])

    def key(name: str) -> str:
        parsed = published_name(name)
        return _without_ending(parsed.name) if parsed else others(name)

    return key


def _key_of_others(lists: Sequence[Collection[str]]) -> Callable[[str], str]:
    """Compare by stem, if stems are unique in every list.

    If a list has the same stem in several folders (`p1/view1.jpg`), the folders belong to the name:
    compare as many trailing folders as every name has, or all if those are still ambiguous.
    """
    if all(_tells_apart(image_stem, names) for names in lists):
        return image_stem
    parts = 1 + min(name.count("/") for names in lists for name in names)

    def last_parts(name: str) -> str:
        return "/".join(_without_ending(name).split("/")[-parts:])

    alike = all(_tells_apart(last_parts, names) for names in lists)
    return last_parts if alike else _without_ending


def _tells_apart(key: Callable[[str], str], names: Collection[str]) -> bool:
    return len({key(name) for name in names}) == len(set(names))


def _without_ending(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return stem if stem and f"{dot}{ending.lower()}" in IMAGE_SUFFIXES else name


def write_training_images(
    bundle: Path,
    parts: Mapping[str, Iterable[Radiograph]],
    inherited: Mapping[str, Path] | None = None,
) -> Path:
    """Write `training_images.csv` next to a bundle: every image that influenced the weights.

    Args:
        bundle: the trained model.
        parts: `train` and `validation` images.
        inherited: part -> bundle that provided initial weights. The images in that bundle's own
            list are added to the part; if it has no list, the file says so.

    Raises:
        ValueError: for an unreadable inherited list.
    """
    rows = [(r.image_id, r.patient_id, part) for part, images in parts.items() for r in images]
    handle = io.StringIO()
    for part, weights in (inherited or {}).items():
        path = weights.parent / TRAINING_IMAGES
        before = (
            read_training_images(path) if path.is_file() else ImageList({}, {}, (str(weights),))
        )
        rows += [(image, patient, part) for image, patient in before.patient_of.items()]
        handle.writelines(f"{_UNLISTED}{name}\n" for name in before.unlisted)
    writer = csv.writer(handle, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(rows)
    write_text(bundle.parent / TRAINING_IMAGES, handle.getvalue())
    return bundle.parent / TRAINING_IMAGES


def read_training_images(path: Path) -> ImageList:
    """Read a file written by `write_training_images`.

    Raises:
        FileNotFoundError, ValueError: if the file is missing or of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: the training images are unknown; {LISTING_HINT}")
    images = read_csv(path)
    if not images.parts:
        raise ValueError(f"{path}: no image has a part; expected columns {', '.join(_COLUMNS)}")
    return images


def read_csv(path: Path) -> ImageList:
    """Read the images in a CSV file with a column `image_id`, `Image Index` or `Path`.

    The patient comes from `patient_id` or `Patient ID` and the part from `part`, if those columns
    exist; an image may have several rows. That covers label files, box lists, gate tables, training
    lists, and MURA's lists without a header, whose first column is a path. In MURA's list of
    studies the studies stand in for images: it can share patients with image lists, but no images.

    Raises:
        ValueError: if no column contains images.
    """
    lines = _text(path).splitlines()
    unlisted = tuple(line[len(_UNLISTED) :] for line in lines if line.startswith(_UNLISTED))
    reader = _table([line for line in lines if not line.startswith("#")])
    header = list(reader.fieldnames or ())
    image = next((name for name in _IMAGE_COLUMNS if name in header), None)
    if image is None:
        raise ValueError(
            f"{path} has no column image_id, Image Index or Path; its header is {header}"
        )
    patient = next((name for name in _PATIENT_COLUMNS if name in header), "")
    rows = (
        tuple((row.get(name) or "").strip() for name in (image, patient, "part")) for row in reader
    )
    images = image_list(((i, p, part) for i, p, part in rows), str(path))
    return ImageList(images.patient_of, images.parts, unlisted)


def _table(lines: Sequence[str]) -> csv.DictReader[str]:
    """The rows below the header; a first row that starts with a published path is no header."""
    first = next(filter(None, csv.reader(lines)), [""])
    return csv.DictReader(lines, _COLUMNS[:1] if published_name(first[0].strip()) else None)


def read_text_list(path: Path) -> ImageList:
    """Read a text file with one image name per line, such as NIH's official lists."""
    return image_list(((name, "", "") for name in _text(path).split()), str(path))


def read_ground_truth(path: Path) -> ImageList:
    """All images of a COCO ground truth; without `patient_id` the patient is unknown."""
    coco = load_coco(path)
    rows = ((str(i["file_name"]), _patient(i), "") for i in coco["images"])
    return image_list(rows, str(path))


def read_boxed_images(path: Path) -> tuple[str, ...]:
    """Images with at least one box in a COCO ground truth (.json) or a box list (.csv).

    Raises:
        FileNotFoundError, ValueError: for a missing file or one of another kind.
    """
    if path.suffix.lower() == ".csv":
        return tuple(read_csv(path).patient_of)
    coco = load_coco(path)
    boxed = {annotation["image_id"] for annotation in coco["annotations"]}
    return tuple(str(image["file_name"]) for image in coco["images"] if image["id"] in boxed)


def _patient(image: Mapping[str, Any]) -> str:
    patient = image.get("patient_id")
    return "" if patient is None else str(patient)


def _text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"no image list {path}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8: {error}") from error
