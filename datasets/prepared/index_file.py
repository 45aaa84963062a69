"""The columns of a prepared folder's index.json, and radiographs out of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import Field
from typing_extensions import TypedDict

from cxrloc.datasets.files.checked import (
    AtLeastOne,
    Count,
    Finite,
    Flag,
    Name,
    Share,
    Text,
    checked,
)
from cxrloc.datasets.files.parse import read_json
from cxrloc.datasets.labels.people import MAXIMUM_AGE_YEARS
from cxrloc.datasets.radiograph import Box, Radiograph

AGAIN = "run cxrloc prepare again"


def to_index(radiographs: Sequence[Radiograph], official: Mapping[str, str]) -> dict[str, Any]:
    """The columns of the index; JSON knows no NaN, so null stands for what is unknown.

    Equal labels are written once: `labels` is the place of the image's own in `label_sets`, which
    name only the diseases that the data set mentions for it.
    """
    label_sets: dict[tuple[tuple[str, float | None], ...], int] = {}
    columns = {
        "image_id": [r.image_id for r in radiographs],
        "path": [None if r.path is None else str(r.path) for r in radiographs],
        "patient_id": [r.patient_id for r in radiographs],
        "patient_known": [r.patient_known for r in radiographs],
        "view": [r.view for r in radiographs],
        "sex": [r.sex for r in radiographs],
        "age_years": [_known(r.age_years) for r in radiographs],
        "study_id": [r.study_id for r in radiographs],
        "body_part": [r.body_part for r in radiographs],
        "size_hw": [r.size_hw for r in radiographs],
        "uncertain": [r.uncertain for r in radiographs],
        "official": [official.get(r.image_id) for r in radiographs],
        "boxes": [[_box_row(box) for box in r.boxes] for r in radiographs],
        "labels": [
            label_sets.setdefault(
                tuple((disease, _known(value)) for disease, value in r.labels.items()),
                len(label_sets),
            )
            for r in radiographs
        ],
    }
    return {"label_sets": [dict(labels) for labels in label_sets], "images": columns}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else value


_Corners: TypeAlias = tuple[Name, Finite, Finite, Finite, Finite]
_Outlined: TypeAlias = tuple[Name, Finite, Finite, Finite, Finite, list[tuple[Finite, ...]]]
_Age = Annotated[float, Field(strict=True, ge=0, le=MAXIMUM_AGE_YEARS)]


class _Columns(TypedDict):
    image_id: list[Name]
    path: list[Name | None]
    patient_id: list[Name]
    patient_known: list[Flag]
    view: list[Text]
    sex: list[Text]
    age_years: list[_Age | None]
    study_id: list[Text]
    body_part: list[Text]
    size_hw: list[tuple[AtLeastOne, AtLeastOne]]
    uncertain: list[list[Name]]
    official: list[Literal["train_val", "test"] | None]
    boxes: list[list[_Corners | _Outlined]]
    labels: list[Count]


class _Index(TypedDict):
    label_sets: list[dict[Name, Share | None]]
    images: _Columns


def read_index(path: Path) -> tuple[list[Radiograph], dict[str, str]]:
    """The images on disk, and the list of the data set that names each.

    Raises:
        ValueError: naming the file and what is wrong in it.
    """
    index: _Index = checked(read_json(path), _Index, str(path), AGAIN)
    try:
        return _from_index(index)
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path}: {error}; {AGAIN}") from error


def _from_index(index: _Index) -> tuple[list[Radiograph], dict[str, str]]:
    label_sets = [{d: _number(value) for d, value in row.items()} for row in index["label_sets"]]
    columns = cast(dict[str, list[Any]], index["images"])
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"expected one value per image in every column, got {lengths}")
    if len(set(columns["image_id"])) != len(columns["image_id"]):
        raise ValueError("an image is listed twice")
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    on_disk = [row for row in rows if row["path"] is not None]
    radiographs = [_radiograph(row, label_sets[row["labels"]]) for row in on_disk]
    official = {row["image_id"]: row["official"] for row in on_disk if row["official"] is not None}
    return radiographs, official


def _radiograph(row: Mapping[str, Any], labels: Mapping[str, float]) -> Radiograph:
    height, width = row["size_hw"]
    return Radiograph(
        image_id=row["image_id"],
        path=Path(row["path"]),
        patient_id=row["patient_id"],
        view=row["view"],
        labels=labels,
        boxes=tuple(map(_box, row["boxes"])),
        size_hw=(height, width),
        sex=row["sex"],
        age_years=_number(row["age_years"]),
        study_id=row["study_id"],
        body_part=row["body_part"],
        uncertain=tuple(row["uncertain"]),
        patient_known=row["patient_known"],
    )


def _box_row(box: Box) -> list[Any]:
    """Disease, four numbers and, where there are any, the polygons."""
    return [box.disease, *box.box_xyxy, *([box.polygons] if box.polygons else [])]


def _box(row: Sequence[Any]) -> Box:
    disease, x1, y1, x2, y2, *polygons = row
    outlines = tuple(tuple(points) for points in polygons[0]) if polygons else ()
    return Box(disease, (x1, y1, x2, y2), outlines)
