"""Read NIH ChestX-ray14 in NIH's own layout. No pixels are read.

    root/Data_Entry_2017_v2020.csv (or Data_Entry_2017.csv)    labels, one row per image
    root/BBox_List_2017.csv                                    boxes, 1024 x 1024 frame (optional)
    root/train_val_list.txt, test_list.txt                     the official split (optional)
    root/images/*.png  or  root/images_001/images/*.png ...    or the images in root itself

Wang et al., "ChestX-ray8", CVPR 2017. Faults in the files are of these kinds:

Error: an unknown label or disease; contradictory rows for one image; an image in both lists; a box
    without a positive size, or wholly outside the frame; a patient number that contradicts an NIH
    image's name (00000013_004.png is of patient 13, as in all of NIH's own rows).
Warning, counted (an error with `strict=True`):
    equal duplicate rows or boxes (one is kept); different boxes for one image and disease (all are
    kept); a box partly outside the frame (clipped); a box or list entry for an image without a
    label row (left out); a box for a disease missing from the label row (kept, the label stays);
    both label files present (v2020 is read; `label_file` chooses); no box list; no official lists;
    an image in no list or in two folders; a patient that differs from the beginning of a name that
    is not NIH's (the column counts); an unreadable age.
Note, counted (never an error, since NIH's own files contain them): an age over 120 years (unknown);
    a label under another name such as `Infiltrate` (read as the canonical one).
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cxrloc.datasets.files.keys import check_nih_patient, patient_key
from cxrloc.datasets.files.parse import naming, read_text
from cxrloc.datasets.labels.names import NIH_DISEASES, NO_FINDING, canonical_label
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.datasets.readers.csv_text import first_row, named_file
from cxrloc.datasets.readers.find_images import find_images
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings
from cxrloc.datasets.readers.nih_tables import age_in_years, read_boxes, read_table

LABEL_FILES: tuple[str, ...] = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
BOX_FILE = "BBox_List_2017.csv"
OFFICIAL_LISTS: dict[str, str] = {"train_val_list.txt": "train_val", "test_list.txt": "test"}
FRAME_HW = (1024, 1024)


def index(root: Path, *, label_file: Path | None = None, strict: bool = False) -> DatasetIndex:
    """Index a folder in NIH's layout; the module's docstring says how faults are treated.

    Args:
        label_file: file to read instead of the default; a bare name is looked up in `root`.

    Returns:
        One radiograph per label row; the label file is the first source.

    Raises:
        FileNotFoundError: if `root` or the label file is missing.
        ValueError: for faults listed as errors above, and for all warnings if `strict`.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}; expected the folder with {LABEL_FILES[0]}")
    warnings = ReaderWarnings(strict)
    labels_path = _find_label_file(root, label_file, warnings)
    with _without_collection():
        return _index(root, labels_path, warnings)


def _index(root: Path, labels_path: Path, warnings: ReaderWarnings) -> DatasetIndex:
    table = _label_table(labels_path, warnings)
    ids: list[str] = table["imageindex"].tolist()
    label_text = dict(zip(ids, table["findinglabels"], strict=True))
    boxes = _boxes(root / BOX_FILE, label_text, labels_path, warnings)
    official = _official(root, ids, warnings)
    paths = find_images(root, ids, warnings)
    radiographs = _radiographs(table, labels_path, boxes, paths, warnings)
    optional = [root / BOX_FILE, *(root / name for name in OFFICIAL_LISTS)]
    sources = (labels_path, *(path for path in optional if path.is_file()))
    return DatasetIndex(radiographs, official, warnings, sources)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Pause the collector, which would walk the growing list of records: 25 % more time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _find_label_file(root: Path, asked: Path | None, warnings: ReaderWarnings) -> Path:
    if asked is not None:
        path = named_file(root, asked)
        if path.is_file():
            return path
        raise FileNotFoundError(f"--label-file: no file {asked} or {root / asked}")
    files = [root / name for name in LABEL_FILES if (root / name).is_file()]
    if not files:
        raise FileNotFoundError(
            f"no label file in {root}; expected {' or '.join(LABEL_FILES)} (NIH's download page). "
            "Where it has another name or place, give it with --label-file"
        )
    if len(files) > 1:
        warnings.warn(
            f"label files besides {files[0].name}, which is read; choose with --label-file",
            [path.name for path in files[1:]],
        )
    return files[0]


def _label_table(path: Path, warnings: ReaderWarnings) -> pd.DataFrame:
    """The label rows, one per image: duplicates are dropped or refused."""
    columns = ("imageindex", "findinglabels")
    optional = ("patientid", "patientage", "patientgender", "viewposition")
    table = read_table(path, columns, optional)
    unnamed = table["imageindex"] == ""
    if unnamed.any():
        raise ValueError(f"{path}, data row {first_row(unnamed) + 1}: no image name")
    equal = table.duplicated()
    warnings.warn("equal duplicate label rows dropped", table["imageindex"][equal].tolist())
    table = table[~equal]
    contrary = table["imageindex"].duplicated()
    if contrary.any():
        image = table["imageindex"][contrary].iloc[0]
        rows = table[table["imageindex"] == image].to_dict("records")
        raise ValueError(
            f"{path}: image {image} has contradictory rows: {rows[0]} and {rows[1]}; keep one"
        )
    return table


def _labels_of(text: str, where: str) -> dict[str, float]:
    """`Mass|Nodule` -> all 14 diseases, 0 or 1."""
    try:
        names = [canonical_label(part) for part in text.split("|")]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if NO_FINDING in names and len(set(names)) > 1:
        raise ValueError(f"{where}: {text!r} contains {NO_FINDING} and a finding")
    return {disease: float(disease in names) for disease in NIH_DISEASES}


def _note_aliases(counts: Mapping[Any, int], warnings: ReaderWarnings) -> None:
    """Note names that are not canonical; counts: label as in the file -> rows."""
    for text, count in counts.items():
        if (name := canonical_label(text)) != text.strip():
            warnings.note("labels under another name", [f"{text} = {name}"], int(count))


def _boxes(
    path: Path, label_text: Mapping[str, str], source: Path, warnings: ReaderWarnings
) -> dict[str, tuple[Box, ...]]:
    """Image -> boxes, checked against the label rows."""
    if not path.is_file():
        warnings.warn("no box list, so nothing to localize", [path.name])
        return {}
    rows = read_boxes(path, FRAME_HW, warnings)
    _note_aliases(rows["findinglabel"].value_counts(sort=False).to_dict(), warnings)
    boxes: dict[str, list[Box]] = {}
    unlabelled, unnamed, equal, several = [], [], [], []
    for image, box in zip(rows["imageindex"], rows["box"], strict=True):
        here = f"{image} {box.disease}"
        if image not in label_text:
            unlabelled.append(here)
            continue
        others = boxes.setdefault(image, [])
        if box in others:
            equal.append(here)
            continue
        if any(other.disease == box.disease for other in others):
            several.append(here)
        if not _labels_of(label_text[image], f"{source}: image {image}")[box.disease]:
            unnamed.append(here)
        others.append(box)
    warnings.warn("boxes of images without a label row left out", unlabelled)
    warnings.warn("boxes for a disease missing from the label row", unnamed)
    warnings.warn("equal duplicate boxes dropped", equal)
    warnings.warn("additional boxes for the same image and disease", several)
    return {image: tuple(drawn) for image, drawn in boxes.items()}


def _official(root: Path, ids: list[str], warnings: ReaderWarnings) -> dict[str, str]:
    known_ids = set(ids)
    official: dict[str, str] = {}
    for name, part in OFFICIAL_LISTS.items():
        path = root / name
        if not path.is_file():
            warnings.warn("no official list", [name])
            continue
        listed = dict.fromkeys(read_text(path).split())
        both = [image for image in listed if image in official]
        if both:
            raise ValueError(f"{len(both)} images are in both official lists, e.g. {both[0]}")
        warnings.warn(
            "listed images without a label row", [i for i in listed if i not in known_ids]
        )
        official.update((image, part) for image in listed if image in known_ids)
    if official:
        warnings.warn("images in no official list", [i for i in ids if i not in official])
    return official


def _radiographs(
    table: pd.DataFrame,
    source: Path,
    boxes: Mapping[str, tuple[Box, ...]],
    paths: list[Path | None],
    warnings: ReaderWarnings,
) -> list[Radiograph]:
    ids: list[str] = table["imageindex"].tolist()
    texts: list[str] = table["findinglabels"].tolist()
    # Equal label texts share one mapping: 112,120 rows have 836.
    first = dict(zip(reversed(texts), reversed(ids), strict=True))
    labels = {text: _labels_of(text, f"{source}: image {image}") for text, image in first.items()}
    parts = table["findinglabels"].str.split("|").explode().value_counts(sort=False)
    _note_aliases(parts.to_dict(), warnings)
    patients = _patients(table, ids, source, warnings)
    empty = [""] * len(ids)
    absent = [name for name in ("viewposition", "patientgender", "patientage") if name not in table]
    warnings.note(f"columns that {source.name} lacks", absent)
    views = table["viewposition"].tolist() if "viewposition" in table else empty
    sexes = table["patientgender"].tolist() if "patientgender" in table else empty
    ages = age_in_years(table["patientage"].tolist() if "patientage" in table else empty, warnings)
    rows = zip(ids, paths, patients, views, texts, sexes, ages, strict=True)
    with naming(str(source)):
        return [
            Radiograph(i, path, patient, view, labels[text], boxes.get(i, ()), FRAME_HW, sex, age)
            for i, path, patient, view, text, sex, age in rows
        ]


def _patients(
    table: pd.DataFrame, ids: list[str], source: Path, warnings: ReaderWarnings
) -> list[str]:
    """Patient numbers without leading zeros: from the column, or from the name before the `_`."""
    numbers = [patient_key(image.partition("_")[0]) for image in ids]
    if "patientid" not in table:
        return numbers
    written: list[str] = table["patientid"].tolist()
    for row, image, text in zip(table.index, ids, written, strict=True):
        check_nih_patient(image, text, f"{source}, data row {row + 1}")
    blank = [i for i, text in zip(ids, written, strict=True) if not patient_key(text)]
    warnings.warn("no patient number; read from the image's name", blank)
    given = [patient_key(text) or name for text, name in zip(written, numbers, strict=True)]
    unlike = [i for i, a, b in zip(ids, given, numbers, strict=True) if a != b]
    warnings.warn("patient number differs from the image's name; the column counts", unlike)
    return given
