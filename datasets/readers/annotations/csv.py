"""Read boxes from a table: one row per box, any of the common column names.

    root/annotations.csv, root/train/_annotations.csv ...     or the file named by --annotations
    root/**/*.png                                             images anywhere below

Case, spaces and underscores do not count in a column's name:

    image        image, image_id, filename, file_name, image_path, path, file ...
    finding      class, class_name, label, category, finding, disease ...
    corners      xmin, ymin, xmax, ymax; x_min ...; x1, y1, x2, y2; left, top, right, bottom
    or           x, y, width, height (or w, h) from the upper left corner
    or           x_center, y_center, width, height
    or           bbox: `[x, y, width, height]`; bbox_xyxy: `[x1, y1, x2, y2]`
    frame        image_width, image_height; width, height beside corners; optional
    part         split, subset: train, valid, test; optional
    view, sex, age                                            optional

A row without a box states a finding of the whole image (several joined by `|`), `No finding`, or
with an empty finding that the image was looked at. If no coordinate of a table is over 1, all are
shares of the image. The fields may be separated by commas, semicolons or tabs.

Error: no header, image column or finding column; a row with some coordinates only, or one that is
    no number; rows of one image that state different patients, frames or parts.
`matching/to_index.py` says how other faults are treated.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cxrloc.datasets.files.checked import LONGEST_SIDE
from cxrloc.datasets.files.parse import csv_rows, read_text
from cxrloc.datasets.readers.annotations.csv_columns import Columns, find_columns
from cxrloc.datasets.readers.annotations.matching.annotated import (
    AnnotatedImage,
    Annotations,
    DrawnBox,
)
from cxrloc.datasets.readers.annotations.matching.labels import states_normal
from cxrloc.datasets.readers.annotations.matching.parts import part_of_word
from cxrloc.datasets.readers.annotations.matching.to_index import Choices, to_index
from cxrloc.datasets.readers.annotations.where import below, given_files, only_one
from cxrloc.datasets.readers.csv_text import read_text_columns
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings

_USUAL = ("annotations", "labels", "boxes", "bboxes")
_EMPTY = ("", "nan", "none", "null", "na", "n/a")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_SHARES_UP_TO = 1.0


def index(
    root: Path,
    *,
    label_file: Path | None = None,
    strict: bool = False,
    annotations: str = "",
    labels: str = "",
    patient: str = "",
    patient_column: str = "",
    unboxed: str = "",
) -> DatasetIndex:
    """Index a folder of images with a table; the docstrings say how faults are treated.

    Args:
        label_file: another name of `annotations`.
        annotations: the table, or a folder with tables.
        labels, patient, unboxed: see `Choices`.
        patient_column: column with the patient.
    """
    warnings, choices = ReaderWarnings(strict), Choices.of(labels, patient, unboxed)
    asked = Path(annotations) if annotations else label_file
    files = _tables(root, asked)
    tables = [_read(path, patient_column, warnings) for path in files]
    images = _joined([image for images, _ in tables for image in images])
    names = tuple(dict.fromkeys(name for _, names in tables for name in names))
    return to_index(root, Annotations(tuple(images), names, tuple(files)), choices, warnings)


def _tables(root: Path, asked: Path | None) -> list[Path]:
    if asked is not None:
        return given_files(root, asked, ".csv")
    files = below(root, ".csv")
    parts = [path for path in files if part_of_word(path.parent.name)]
    if len(parts) > 1 and len({path.name for path in parts}) == 1:  # Roboflow: one a part
        return parts
    usual = [path for path in files if path.stem.strip("_").lower() in _USUAL]
    expected = "a .csv file with a row for each box"
    return [only_one(usual if len(usual) == 1 else files, root.absolute(), expected)]


def _read(
    path: Path, patient_column: str, warnings: ReaderWarnings
) -> tuple[list[AnnotatedImage], list[str]]:
    """One image per row, with its box if it has one; and the names in their order."""
    text = read_text(path)
    separator = max(",;\t", key=text.partition("\n")[0].count)
    table = read_text_columns(path, sep=separator, skip_blank_lines=False)
    columns = find_columns(list(table.columns), patient_column, str(path))
    if not patient_column and columns.may_be_patient:
        warnings.note(
            "columns that may be the patient; if one is, name it with --patient-column",
            list(columns.may_be_patient),
        )
    warnings.note("columns that are not read", list(columns.unread))
    warnings.warn("rows with fewer fields than the header", _short_rows(text, separator, path))
    rows = table.fillna("").to_dict("records")
    images = [
        _image({str(k): str(v).strip() for k, v in row.items()}, columns, path, f"{path}, line {n}")
        for n, row in enumerate(rows, start=2)
        if any(str(value).strip() for value in row.values())
    ]
    if "age" in columns.others:
        unknown = [image.name for image in images if math.isnan(image.age_years)]
        warnings.note("ages not stated", unknown)
    names = [name for image in images for name in (*image.present, *(b.name for b in image.boxes))]
    return _in_pixels(images, path, warnings), list(dict.fromkeys(names))


def _short_rows(text: str, separator: str, path: Path) -> list[str]:
    """Rows that pandas fills up, but for blank ones."""
    header, *rows = csv_rows(io.StringIO(text), str(path), separator)
    numbered = enumerate(rows, start=2)
    return [f"row {n}" for n, row in numbered if any(row) and len(row) < len(header)]


def _image(row: dict[str, str], columns: Columns, path: Path, where: str) -> AnnotatedImage:
    finding = "" if row[columns.finding].lower() in _EMPTY else row[columns.finding]
    coordinates = _coordinates(row, columns, where)
    boxes: tuple[DrawnBox, ...] = ()
    present: tuple[str, ...] = ()
    if coordinates is not None and not (states_normal(finding) and _is_placeholder(coordinates)):
        if not finding:
            raise ValueError(f"{where}: a box without a finding in column {columns.finding!r}")
        boxes = (DrawnBox(finding, columns.corners(coordinates), where),)
    elif not states_normal(finding):
        present = tuple(part.strip() for part in finding.split("|") if part.strip())
    return AnnotatedImage(
        name=_needed(row, columns.image, where),
        where=where,
        boxes=boxes,
        present=tuple(name for name in present if not states_normal(name)),
        normal=states_normal(finding) and not boxes,
        frame_wh=_frame(row, columns, where),
        patient=columns.of(row, "patient"),
        part=_part(columns.of(row, "part"), where),
        folder=path.parent,
        view=columns.of(row, "view"),
        sex=columns.of(row, "sex")[:1].upper(),
        age_years=columns.age(row),
    )


def _needed(row: dict[str, str], column: str, where: str) -> str:
    if not row[column]:
        raise ValueError(f"{where}: no image in column {column!r}")
    return row[column]


def _coordinates(
    row: dict[str, str], columns: Columns, where: str
) -> tuple[float, float, float, float] | None:
    """The four numbers of a row; None if all are empty."""
    texts = [row[name] for name in columns.box]
    if len(texts) == 1 and texts[0].lower() not in _EMPTY:
        texts = _NUMBER.findall(texts[0])
    given = [text for text in texts if text.lower() not in _EMPTY]
    if not given:
        return None
    if len(given) != 4:
        raise ValueError(
            f"{where}: {len(given)} of 4 coordinates in {', '.join(columns.box)}; expected all of "
            "a box, or none for a finding of the whole image"
        )
    x, y, across, down = (_number(text, where) for text in given)
    return x, y, across, down


def _number(text: str, where: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise ValueError(f"{where}: {text!r} is no number; expected a coordinate") from None


def _is_placeholder(coordinates: Sequence[float]) -> bool:
    """0, 0, 0, 0 or VinDr's 0, 0, 1, 1, which stand for no box."""
    return tuple(coordinates) in ((0, 0, 0, 0), (0, 0, 1, 1))


def _frame(row: dict[str, str], columns: Columns, where: str) -> tuple[float, float] | None:
    width, height = columns.of(row, "frame_w"), columns.of(row, "frame_h")
    if not (width and height):
        return None
    sides = _number(width, where), _number(height, where)
    if not all(0 <= side <= LONGEST_SIDE for side in sides):
        raise ValueError(f"{where}: an image of {width} x {height}, expected pixels")
    return sides


def _part(word: str, where: str) -> str:
    part = part_of_word(word)
    if word and not part:
        raise ValueError(f"{where}: part {word!r}; expected train, valid or test")
    return part


def _in_pixels(
    images: Sequence[AnnotatedImage], path: Path, warnings: ReaderWarnings
) -> list[AnnotatedImage]:
    """Take the boxes as shares if no coordinate of the table is over 1."""
    most = max((v for image in images for box in image.boxes for v in box.box_xyxy), default=2.0)
    if most > _SHARES_UP_TO:
        return list(images)
    warnings.note("tables with no coordinate over 1, read as shares of the image", [path.name])
    return [replace(image, shares=True) for image in images]


def _joined(rows: Sequence[AnnotatedImage]) -> list[AnnotatedImage]:
    """One entry per image; its rows may not contradict each other."""
    images: dict[tuple[str, Path], AnnotatedImage] = {}
    for row in rows:
        key = row.name, row.folder
        first = images.setdefault(key, row)
        if first is row:
            continue
        for what in ("patient", "frame_wh", "part"):
            if getattr(first, what) != getattr(row, what):
                raise ValueError(
                    f"{row.where}: image {row.name} has {what.replace('_wh', '')} "
                    f"{getattr(row, what)!r}, and {getattr(first, what)!r} in {first.where}; "
                    "correct one of them"
                )
        images[key] = replace(
            first,
            boxes=(*first.boxes, *row.boxes),
            present=(*first.present, *row.present),
            normal=first.normal or row.normal,
        )
    return list(images.values())
