"""Read CheXpert in its own layout, full (`CheXpert-v1.0`) or small (`CheXpert-v1.0-small`).

    root/train.csv, valid.csv                              labels, one row an image (valid optional)
    root/test_labels.csv                                   the test part's, with `--label-file`
    root/train/patient00001/study1/view1_frontal.jpg       and so on, as in the column Path

The release of 2021 in batches has train's patients in `CheXpert-v1.0 batch 2 (train 1)` to `batch 4
(train 3)`: link their patient folders into one folder train/ next to the CSV files and valid/.

Irvin et al., "CheXpert", AAAI 2019. `Path` starts with the release's name, which is removed, so an
image has the same id in both releases. A label is 1 (mentioned as present), 0 (mentioned as
absent), -1 (uncertain) or blank (not mentioned). The record keeps all four: an uncertain label is
NaN and listed in `uncertain`, a blank one is only NaN. The training's configuration decides how
they count (`cxrloc.datasets.label_policies`). `official` is `train_val` for train.csv and `test`
for valid.csv, which was labelled by three radiologists, and for images in test/. The labels of the
official test part have no columns Sex, Age, Frontal/Lateral and AP/PA: sex and age are unknown, and
the file's name tells frontal from lateral.

The files do not state image sizes. `size_hw` is read from the header of the file on disk, without
decoding it: with the small release, boxes are in the frame of the small images.

Error: an unknown label; a path in another form; contradictory rows for one image; a patient in both
    train.csv and valid.csv.
Warning, counted (an error with `strict=True`): equal duplicate rows (one is kept); no valid.csv; an
    unreadable image header; a frontal image without AP or PA; a blank or uncertain label in the
    test part.
Note, counted (never an error, since the release itself contains them): age 0 or sex `Unknown` (read
    as unknown); a projection of a frontal image other than AP or PA (`LL`, `RL`; kept as written).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrloc.datasets.labels.names import CHEXPERT_LABELS
from cxrloc.datasets.radiograph import FloatArray, Radiograph
from cxrloc.datasets.readers.csv_text import first_row, named_file, read_text_columns
from cxrloc.datasets.readers.find_images import listed_files
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings

LABEL_FILES: dict[str, str] = {"train.csv": "train_val", "valid.csv": "test"}
UNCERTAIN = -1.0
_WHO = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
_PATH = re.compile(r"(?:[^/]+/)?((?:train|valid|test)/(patient\d+)/(study\d+)/[^/]+)")
_SIDE = re.compile(r"(?i)_(frontal|lateral)\b")
_SEX = {"Male": "M", "Female": "F", "Unknown": "", "": ""}
_LABELS = {
    "1.0": 1.0,
    "0.0": 0.0,
    "-1.0": UNCERTAIN,
    "1": 1.0,
    "0": 0.0,
    "-1": UNCERTAIN,
    "": math.nan,
}
# column -> allowed values, and their description
_EXPECTED = {
    "Sex": (tuple(_SEX), "Male, Female or Unknown"),
    "Frontal/Lateral": (("Frontal", "Lateral"), "one of the two"),
    **dict.fromkeys(CHEXPERT_LABELS, (tuple(_LABELS), "1.0, 0.0, -1.0 or blank")),
}


def index(
    root: Path,
    *,
    label_file: Path | None = None,
    strict: bool = False,
    frontal_only: bool = False,
) -> DatasetIndex:
    """Index a folder in CheXpert's layout; the module's docstring says how faults are treated.

    Args:
        label_file: file to read in place of train.csv, with the same columns (such as CheXbert's
            labels of the same reports), or the labels of the official test part, which are then
            read alone; a bare name is looked up in `root`.
        frontal_only: skip the lateral images.

    Raises:
        FileNotFoundError: if `root` or the label file is missing.
        ValueError: for faults listed as errors, and for all warnings if `strict`.
    """
    warnings = ReaderWarnings(strict)
    files = _label_files(root, label_file, warnings)
    table = _table(files, warnings)
    if frontal_only:
        table = table[table["Frontal/Lateral"] == "Frontal"]
    images: list[str] = table["image"].tolist()
    radiographs = _radiographs(table, *listed_files(root, images, warnings), warnings)
    official = dict(zip(images, table["part"].tolist(), strict=True))
    return DatasetIndex(radiographs, official, warnings, tuple(files))


def _label_files(root: Path, asked: Path | None, warnings: ReaderWarnings) -> dict[Path, str]:
    """Label file -> its part of the official split."""
    train, valid = (root / name for name in LABEL_FILES)
    if asked is not None:
        train = named_file(root, asked)
    if not train.is_file():
        raise FileNotFoundError(
            f"no label file {train}; expected a folder with train.csv, valid.csv and the "
            "images in train/ and valid/ (CheXpert-v1.0 or CheXpert-v1.0-small). Other label "
            "files, such as those of the official test part, are given with --label-file"
        )
    if not valid.is_file():
        warnings.warn("no label file of the official test part", [valid.name])
        return {train: "train_val"}
    return {train: "train_val", valid: "test"}


def _table(files: dict[Path, str], warnings: ReaderWarnings) -> pd.DataFrame:
    """The rows of all files, plus the columns `image`, `patient`, `study` and `part`."""
    tables = []
    for path, part in files.items():
        rows = _read(path, warnings)
        if rows.empty and part == "train_val":
            raise ValueError(f"{path} has a header but no rows; is the copy complete?")
        equal = rows.duplicated()
        warnings.warn("equal duplicate rows dropped", rows["image"][equal].tolist())
        tested = rows["image"][~equal].str.startswith("test/")
        tables.append(rows[~equal].assign(part=np.where(tested, "test", part)))
        _warn_of_gaps(tables[-1], warnings)
        contrary = tables[-1]["image"].duplicated()
        if contrary.any():
            image = tables[-1]["image"][contrary].iloc[0]
            raise ValueError(f"{path}: image {image} has contradictory rows; keep one")
        if tested.all():
            break  # the official test part alone
    both = set.intersection(*(set(rows["patient"]) for rows in tables)) if tables[1:] else set()
    if both:
        raise ValueError(
            f"{len(both)} patients are in both of {', '.join(map(str, files))}, e.g. {min(both)}; "
            "a patient may not be both in training and test: keep the rows in one of the files"
        )
    return pd.concat(tables, ignore_index=True)


def _warn_of_gaps(rows: pd.DataFrame, warnings: ReaderWarnings) -> None:
    """The test part was labelled by radiologists, who leave no label open."""
    stated = rows[[*CHEXPERT_LABELS]].isin(("1.0", "0.0", "1", "0")).all(axis=1)
    gaps = rows["image"][~stated & (rows["part"] == "test")].tolist()
    warnings.warn("images of the test part with blank or uncertain labels", gaps)


def _with_patients(path: Path, table: pd.DataFrame, warnings: ReaderWarnings) -> pd.DataFrame:
    """Fill in the columns that the labels of the official test part lack, all four of them."""
    if "Path" not in table or any(name in table for name in _WHO[1:]):
        return table
    sides = table["Path"].str.extract(_SIDE.pattern)[0].str.capitalize()
    if sides.isna().any():
        row = first_row(sides.isna())
        raise ValueError(
            f"{path} has no columns {list(_WHO[1:])}, and data row {row + 1}, "
            f"{table['Path'].iloc[row]!r}, does not say frontal or lateral"
        )
    warnings.note("label files without sex, age, AP and PA", [path.name])
    blank = dict.fromkeys(("Sex", "Age", "AP/PA"), "")
    return table.assign(**blank, **{"Frontal/Lateral": sides})


def _read(path: Path, warnings: ReaderWarnings) -> pd.DataFrame:
    table = read_text_columns(path)
    table.columns = table.columns.str.strip()
    table = _with_patients(path, table, warnings)
    missing = [name for name in (*_WHO, *CHEXPERT_LABELS) if name not in table]
    if missing:
        raise ValueError(f"{path} has no column {missing}; its header is {list(table.columns)}")
    table = pd.DataFrame({name: table[name].str.strip() for name in (*_WHO, *CHEXPERT_LABELS)})
    parts = table["Path"].str.extract(f"^{_PATH.pattern}$")
    if parts[0].isna().any():
        row = first_row(parts[0].isna())
        raise ValueError(
            f"{path}, data row {row + 1}: path {table['Path'].iloc[row]!r}, expected one such as "
            "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
        )
    _check_values(path, table)
    columns = {"image": parts[0], "patient": parts[1], "study": parts[1] + "/" + parts[2]}
    return table.assign(**columns)


def _check_values(path: Path, table: pd.DataFrame) -> None:
    for name, (allowed, expected) in _EXPECTED.items():
        wrong = ~table[name].isin(allowed)
        if wrong.any():
            row = first_row(wrong)
            text = table[name].iloc[row]
            raise ValueError(f"{path}, data row {row + 1}: {name} is {text!r}, expected {expected}")


def _radiographs(
    table: pd.DataFrame,
    paths: Sequence[Path | None],
    sizes: Sequence[tuple[int, int]],
    warnings: ReaderWarnings,
) -> list[Radiograph]:
    labels = _labels(table)
    names = (table[name] for name in ("image", "patient", "study"))
    who = _views(table, warnings), _sexes(table, warnings), _ages(table, warnings)
    return [
        Radiograph(
            image_id=image,
            path=path,
            patient_id=patient,
            study_id=study,
            view=view,
            labels=certain,
            size_hw=size,
            sex=sex,
            age_years=age,
            uncertain=uncertain,
        )
        for image, patient, study, view, sex, age, (certain, uncertain), path, size in zip(
            *names, *who, labels, paths, sizes, strict=True
        )
    ]


def _labels(table: pd.DataFrame) -> list[tuple[dict[str, float], tuple[str, ...]]]:
    """Labels of each row and the uncertain ones among them; equal rows share one object."""
    values = np.column_stack([_numbers(table, name) for name in CHEXPERT_LABELS])
    shared: dict[bytes, tuple[dict[str, float], tuple[str, ...]]] = {}
    rows = []
    for row in values:
        key = row.tobytes()
        if key not in shared:
            by_name = dict(zip(CHEXPERT_LABELS, row.tolist(), strict=True))
            uncertain = tuple(name for name, value in by_name.items() if value == UNCERTAIN)
            shared[key] = {**by_name, **dict.fromkeys(uncertain, math.nan)}, uncertain
        rows.append(shared[key])
    return rows


def _numbers(table: pd.DataFrame, name: str) -> FloatArray:
    return np.array(table[name].map(_LABELS), dtype=np.float64)


def _views(table: pd.DataFrame, warnings: ReaderWarnings) -> list[str]:
    """AP, PA or whatever the row says; for a blank field `Lateral` or `Frontal`."""
    images, frontal = table["image"], table["Frontal/Lateral"] == "Frontal"
    blank = table["AP/PA"] == ""
    stated = ~images.str.startswith("test/")  # the labels of the test part have no such column
    warnings.warn("frontal images without AP or PA", images[frontal & blank & stated].tolist())
    odd = frontal & ~table["AP/PA"].isin(["AP", "PA", ""])
    warnings.note("frontal images that are neither AP nor PA", images[odd].tolist())
    views: list[str] = table["AP/PA"].where(~blank, table["Frontal/Lateral"]).tolist()
    return views


def _sexes(table: pd.DataFrame, warnings: ReaderWarnings) -> list[str]:
    """M and F as in the other data sets; empty if unknown."""
    warnings.note("sex unknown", table["image"][table["Sex"].isin(["Unknown", ""])].tolist())
    sexes: list[str] = table["Sex"].map(_SEX).tolist()
    return sexes


def _ages(table: pd.DataFrame, warnings: ReaderWarnings) -> list[float]:
    """Years; NaN for 0, which the release writes for unknown ages, and for invalid values."""
    ages = pd.to_numeric(table["Age"], errors="coerce")
    wrong = (ages.isna() | (ages < 0)) & (table["Age"] != "")
    warnings.warn("unreadable ages", table["image"][wrong].tolist())
    warnings.note("age unknown", table["image"][table["Age"] == ""].tolist())
    warnings.note("age 0 taken as unknown", table["image"][ages == 0].tolist())
    years: list[float] = ages.where(ages > 0).tolist()
    return years
