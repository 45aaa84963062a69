"""Read NIH's CSV files as tables: headers split at commas, ages with units, checked boxes."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cxrloc.datasets.labels.names import NO_FINDING, canonical_label
from cxrloc.datasets.labels.people import MAXIMUM_AGE_YEARS
from cxrloc.datasets.radiograph import Box
from cxrloc.datasets.readers.csv_text import read_text_columns
from cxrloc.datasets.readers.index import ReaderWarnings

_AGE = re.compile(r"([0-9]{1,9})([YMWD]?)", re.IGNORECASE)
_YEARS_PER_UNIT = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
# NIH's own header says `Bbox [x,y,w,h]`; tidied copies and newer files use other column names.
_COLUMN_SYNONYMS = {
    "bboxx": "x",
    "bboxy": "y",
    "bboxw": "w",
    "bboxh": "h",
    "patientsex": "patientgender",
}


def read_table(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """Columns of a CSV file as stripped text, with the header in lower-case letters and digits.

    A CSV reader sees `Bbox [x,y,w,h],,,` as seven columns: `x` (by synonym), `y`, `w`, `h` and
    three without a name.

    Raises:
        ValueError: naming the file and the missing column.
    """
    with warnings.catch_warnings():
        # Rows of NIH's first label file end with one comma more than some copies' headers.
        warnings.simplefilter("ignore", pd.errors.ParserWarning)
        table = read_text_columns(path, index_col=False)
    header = list(table.columns)
    table.columns = pd.Index([_column_name(name) for name in header])
    table = table.loc[:, ~table.columns.duplicated()]
    missing = [name for name in required if name not in table]
    if missing:
        raise ValueError(f"{path} has no column {missing}; its header is {header!s:.500}")
    table = table[[*required, *(name for name in optional if name in table)]]
    return pd.DataFrame({name: table[name].str.strip() for name in table})


def _column_name(text: str) -> str:
    name = re.sub(r"[^a-z0-9]", "", str(text).lower())
    return _COLUMN_SYNONYMS.get(name, name)


def read_boxes(path: Path, frame_hw: tuple[int, int], counted: ReaderWarnings) -> pd.DataFrame:
    """Rows of the box list: `imageindex`, `findinglabel` as written, `box` clipped to the frame.

    Raises:
        ValueError: naming the row, for an unknown disease, a coordinate that is not a number, a
            width or height that is not positive, or a box wholly outside the frame.
    """
    rows = read_table(path, ["imageindex", "findinglabel", "x", "y", "w", "h"])
    clipped: list[str] = []
    boxes = []
    for number, row in enumerate(rows.itertuples(index=False, name=None), start=1):
        box, was_clipped = _box(row, frame_hw, f"{path}, data row {number}")
        boxes.append(box)
        if was_clipped:
            clipped.append(f"{row[0]} {box.disease}")
    counted.warn("boxes clipped to the frame", clipped)
    return rows[["imageindex", "findinglabel"]].assign(box=pd.Series(boxes, dtype=object))


def _box(row: tuple[str, ...], frame_hw: tuple[int, int], where: str) -> tuple[Box, bool]:
    """One box from image, disease, x, y, w, h, and whether it was clipped."""
    image, disease_text, *numbers = row
    where = f"{where} ({image}, {disease_text})"
    try:
        disease = canonical_label(disease_text)
        x, y, w, h = (float(text) for text in numbers)
    except ValueError as error:
        raise ValueError(f"{where}: {error!s:.500}") from error
    if disease == NO_FINDING:
        raise ValueError(f"{where}: a box for {NO_FINDING}; expected a disease")
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        raise ValueError(f"{where}: expected finite x, y and positive w, h, got {x}, {y}, {w}, {h}")
    height, width = frame_hw
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise ValueError(
            f"{where}: box {x}, {y}, {w}, {h} lies outside the {width} x {height} frame; "
            "coordinates must refer to NIH's 1024 x 1024 images, whatever the size of the files"
        )
    inside = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
    return Box(disease, inside), inside != (x, y, x + w, y + h)


def age_in_years(texts: Sequence[str], counted: ReaderWarnings) -> list[float]:
    """Ages such as `58`, `058Y` or `011M` in years; NaN if empty, unreadable or over 120."""
    ages: dict[str, float] = {text: _age(text) for text in dict.fromkeys(texts)}
    odd = {text for text, age in ages.items() if text and math.isnan(age)}
    absurd = {text for text, age in ages.items() if age > MAXIMUM_AGE_YEARS}
    if any(texts):  # else there is no such column, which is told
        blank = [text for text in texts if not text]
        counted.note("ages not stated", ["an empty cell"] if blank else [], len(blank))
    counted.warn("unreadable ages", [text for text in texts if text in odd])
    counted.note("ages over 120 years, read as unknown", [t for t in texts if t in absurd])
    ages.update(dict.fromkeys(sorted(absurd), math.nan))
    return [ages[text] for text in texts]


def _age(text: str) -> float:
    match = _AGE.fullmatch(text)
    return int(match[1]) * _YEARS_PER_UNIT[match[2].upper()] if match else math.nan
