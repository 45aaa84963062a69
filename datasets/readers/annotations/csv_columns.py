"""Recognise the columns of a table of boxes by their names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_COLUMNS: dict[str, tuple[str, ...]] = {
    "image": (
        *("filename", "imagefilename", "imagefile", "imagepath", "filepath", "image", "imagename"),
        *("imageindex", "imageid", "imgid", "imgpath", "imgname", "img", "path", "file", "id"),
    ),
    "finding": (
        *("classname", "class", "labelname", "label", "categoryname", "category", "findinglabel"),
        *("findinglabels", "findingname", "finding", "disease", "pathology", "lesiontype", "name"),
    ),
    "frame_w": ("imagewidth", "imgwidth", "imagew", "imgw", "originalwidth", "origwidth", "cols"),
    "frame_h": (
        "imageheight",
        "imgheight",
        "imageh",
        "imgh",
        "originalheight",
        "origheight",
        "rows",
    ),
    "part": ("split", "subset", "part", "partition", "set"),
    "view": ("viewposition", "view", "projection"),
    "sex": ("patientsex", "patientgender", "sex", "gender"),
    "age": ("ageyears", "patientage", "age"),
}
_PATIENTS = ("patient", "patientid", "patientnumber", "subject", "subjectid", "person", "personid")
_WIDTHS = ("w", "bboxw", "boxw", "bboxwidth", "boxwidth")
_HEIGHTS = ("h", "bboxh", "boxh", "bboxheight", "boxheight")
_CORNERS, _CENTER, _SIZE = "corners", "center", "size"
_BOXES: dict[str, tuple[tuple[str, ...], ...]] = {
    _CORNERS: (
        ("xmin", "x1", "left", "bboxxmin", "bboxx1", "xtl", "x0"),
        ("ymin", "y1", "top", "bboxymin", "bboxy1", "ytl", "y0"),
        ("xmax", "x2", "right", "bboxxmax", "bboxx2", "xbr"),
        ("ymax", "y2", "bottom", "bboxymax", "bboxy2", "ybr"),
    ),
    _CENTER: (
        ("xcenter", "xcentre", "cx", "centerx", "centrex"),
        ("ycenter", "ycentre", "cy", "centery", "centrey"),
        (*_WIDTHS, "width"),
        (*_HEIGHTS, "height"),
    ),
    _SIZE: (
        ("x", "bboxx", "boxx", "xtopleft", "colx", "xmin", "left"),
        ("y", "bboxy", "boxy", "ytopleft", "rowy", "ymin", "top"),
        (*_WIDTHS, "width"),
        (*_HEIGHTS, "height"),
    ),
}
_ONE_COLUMN = {
    "bboxxyxy": _CORNERS,
    "xyxy": _CORNERS,
    "bbox": _SIZE,
    "bboxxywh": _SIZE,
    "xywh": _SIZE,
}


@dataclass(frozen=True)
class Columns:
    """Names of the columns, as the header writes them.

    Attributes:
        image, finding: the two that every table needs.
        box: four columns, or one with four numbers.
        form: what the four numbers are.
        others: patient, part, frame_w, frame_h, view, sex, age: those that there are.
        may_be_patient: columns named like a patient's.
        unread: columns that are not read.
    """

    image: str
    finding: str
    box: tuple[str, ...]
    form: str
    others: Mapping[str, str]
    may_be_patient: tuple[str, ...]
    unread: tuple[str, ...]

    def of(self, row: Mapping[str, str], what: str) -> str:
        """The field of an optional column, empty without one."""
        return row[self.others[what]] if what in self.others else ""

    def age(self, row: Mapping[str, str]) -> float:
        """Years; NaN if empty or unknown, infinite (and so counted) for what is no number."""
        text = self.of(row, "age").lower().rstrip("y")
        if re.fullmatch(r"\d{1,3}(\.\d*)?", text):
            return float(text)
        return math.nan if text in _UNKNOWN else math.inf

    def corners(
        self, numbers: tuple[float, float, float, float]
    ) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        x, y, across, down = numbers
        if self.form == _CORNERS:
            return numbers
        if self.form == _CENTER:
            x, y = x - across / 2, y - down / 2
        return x, y, x + across, y + down


_UNKNOWN = frozenset(("", "nan", "na", "n/a", "none", "null", "unknown"))


def find_columns(header: Sequence[str], patient_column: str, where: str) -> Columns:
    """Recognise the columns.

    Raises:
        ValueError: if one that is needed is missing; the message lists the header.
    """
    by_key: dict[str, str] = {}
    for name in header:
        by_key.setdefault(_key(name), name)
    if all(re.fullmatch(r"[-+.\d]+", str(name)) for name in header[1:5]) and len(header) > 4:
        raise ValueError(
            f"{where} has no header: its first line is {','.join(header)}; put the names of the "
            "columns above it, such as image,xmin,ymin,xmax,ymax,class"
        )
    others = {what: _first(by_key, names) for what, names in _COLUMNS.items()}
    box, form = _box_columns(by_key)
    if form == _CORNERS:  # width and height are free to be the image's
        others["frame_w"] = others["frame_w"] or _first(by_key, ("width",))
        others["frame_h"] = others["frame_h"] or _first(by_key, ("height",))
    missing = [what for what in ("image", "finding") if not others[what]]
    missing += [] if box else ["box"]
    if missing:
        raise ValueError(
            f"{where} has no column for the {' and the '.join(missing)}; its header is "
            f"{', '.join(header)}. Expected names such as image, class, xmin, ymin, xmax, ymax, "
            "or x, y, width, height"
        )
    others["patient"] = _patient(header, patient_column, where)
    image, finding = others.pop("image"), others.pop("finding")
    known = {what: name for what, name in others.items() if name}
    similar = tuple(n for k, n in by_key.items() if k in _PATIENTS and n != image)
    read = {image, finding, *box, *known.values()} | ({*similar} if not patient_column else set())
    unread = tuple(str(name) for name in header if name not in read)
    return Columns(image, finding, box, form, known, similar, unread)


def _box_columns(by_key: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    for form, sides in _BOXES.items():
        columns = tuple(_first(by_key, names) for names in sides)
        if all(columns):
            return columns, form
    for key, form in _ONE_COLUMN.items():
        if key in by_key:
            return (by_key[key],), form
    return (), ""


def _patient(header: Sequence[str], patient_column: str, where: str) -> str:
    if patient_column and patient_column not in header:
        raise ValueError(
            f"--patient-column: {where} has no column {patient_column!r}; its header is "
            f"{', '.join(header)}"
        )
    return patient_column


def _first(by_key: Mapping[str, str], names: Sequence[str]) -> str:
    return next((by_key[name] for name in names if name in by_key), "")


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())
