"""COCO ground truth: hand-computed entries, exact round trips, refused files."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from cxrloc.datasets.files.coco.read import our_coco
from cxrloc.datasets.files.manifest import write_json
from cxrloc.datasets.prepared.coco import load_coco, to_coco
from cxrloc.datasets.radiograph import Box, Radiograph

BOXED = Radiograph(
    image_id="1_000.png",
    path=None,
    patient_id="1",
    view="PA",
    labels={"Mass": 1.0, "Nodule": 1.0, "Hernia": 1.0},
    boxes=(Box("Nodule", (10.0, 20.0, 40.0, 60.0)), Box("Hernia", (1.0, 1.0, 2.0, 2.0))),
    size_hw=(512, 1024),
    sex="F",
    age_years=60.0,
)
EMPTY = Radiograph("2_000.png", None, "2", "AP", {"Mass": 0.0})
UNKNOWN = Radiograph("3_000.png", None, "3", "AP", {"Mass": math.nan}, patient_known=False)
DISEASES = ("Mass", "Nodule")


def test_each_entry_is_what_coco_and_we_agreed_on() -> None:
    coco = to_coco([BOXED, EMPTY], DISEASES)
    assert coco["categories"] == [{"id": 1, "name": "Mass"}, {"id": 2, "name": "Nodule"}]
    assert coco["images"][0] == {
        "id": 1,
        "file_name": "1_000.png",
        "width": 1024,
        "height": 512,
        "patient_id": "1",
        "view": "PA",
        "sex": "F",
        "age_years": 60.0,
        "labels": ["Mass", "Nodule", "Hernia"],
        "not_exhaustive_category_ids": [1],
    }
    assert coco["images"][1]["age_years"] is None
    assert coco["images"][1]["not_exhaustive_category_ids"] == []
    assert coco["annotations"] == [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 2,
            "bbox": [10.0, 20.0, 30.0, 40.0],
            "area": 1200.0,
            "segmentation": [[10.0, 20.0, 40.0, 20.0, 40.0, 60.0, 10.0, 60.0]],
            "iscrowd": 0,
        }
    ]


def test_an_unknown_label_is_neither_right_nor_wrong_and_an_unknown_patient_is_not_written() -> (
    None
):
    (image,) = to_coco([UNKNOWN], DISEASES)["images"]
    assert (image["labels"], image["not_exhaustive_category_ids"]) == ([], [1])
    assert "patient_id" not in image


def test_no_radiographs_make_an_empty_but_valid_file() -> None:
    coco = to_coco([], DISEASES)
    assert our_coco(coco, "gt.json").coco == coco
    assert (coco["images"], coco["annotations"]) == ([], [])


def test_pycocotools_loads_the_file_and_its_masks_have_the_boxes_areas(tmp_path: Path) -> None:
    path = tmp_path / "gt.json"
    write_json(path, to_coco([EMPTY, BOXED], DISEASES))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[2], catIds=[2]))
    mask = coco.annToMask(annotation)
    assert mask.shape == (512, 1024)
    assert mask[20:60, 10:40].all()
    assert mask.sum() == 1200


@given(
    st.tuples(st.floats(0, 1023), st.floats(0, 1023)),
    st.tuples(st.floats(1e-3, 1024), st.floats(1e-3, 1024)),
)
def test_boxes_come_back_to_the_last_bit_through_json(
    corner: tuple[float, float], size: tuple[float, float]
) -> None:
    x, y = corner
    box = Box("Mass", (x, y, x + size[0], y + size[1]))
    image = Radiograph("a.png", None, "a", "", {"Mass": 1.0}, (box,))
    (annotation,) = json.loads(json.dumps(to_coco([image, EMPTY], DISEASES)))["annotations"]
    x, y, width, height = annotation["bbox"]
    assert (x, y, x + width, y + height) == box.box_xyxy


def test_a_width_that_the_subtraction_misses_by_a_bit_is_corrected() -> None:
    x1, x2 = 225.084745762712, 225.084745762712 + 86.7796610169491
    image = Radiograph("a.png", None, "a", "", {}, (Box("Mass", (x1, 0.1, x2, 0.1 + 0.7)),))
    x, y, w, h = to_coco([image], DISEASES)["annotations"][0]["bbox"]
    assert (x + w, y + h) == (x2, 0.1 + 0.7)


def test_a_written_file_loads_again(tmp_path: Path) -> None:
    coco = to_coco([BOXED, EMPTY], DISEASES)
    write_json(tmp_path / "gt.json", coco)
    assert load_coco(tmp_path / "gt.json") == coco


def broken(**changes: Any) -> dict[str, Any]:
    """The ground truth of BOXED with `part__key=value` set in the first entry of a part."""
    coco: dict[str, Any] = json.loads(json.dumps(to_coco([BOXED, EMPTY], DISEASES)))
    for where, value in changes.items():
        part, _, key = where.partition("__")
        if key:
            coco[part][0][key] = value
        else:
            coco[part] = value
    return coco


@pytest.mark.parametrize(
    ("coco", "message"),
    [
        (broken(images=None), "missing list 'images'"),
        (broken(annotations={}), "missing list 'annotations'"),
        (broken(images__id=2), "images: id 2 occurs twice"),
        (broken(images__file_name="2_000.png"), "file_name '2_000.png' occurs twice"),
        (broken(images__width=0), "image 1 has no positive integer width and height"),
        (broken(categories__name="Nodule"), "categories: name 'Nodule' occurs twice"),
        (broken(categories=[{"id": 2}]), "an entry lacks 'name'"),
        (broken(annotations__image_id=9), "annotation 1 has image_id 9, which the file does not"),
        (broken(annotations__category_id=9), "annotation 1 has category_id 9"),
        (broken(annotations__bbox=[1, 2, 3]), "bbox [1, 2, 3], expected [x, y, w, h]"),
        (broken(annotations__bbox=[1, 2, 0, 4]), "expected [x, y, w, h] with w > 0"),
        (broken(annotations__bbox=[1, 2, 3, "4"]), "expected [x, y, w, h]"),
        ([], "holds a JSON list, expected an object"),
    ],
)
def test_an_inconsistent_file_is_refused_with_its_path(
    tmp_path: Path, coco: Any, message: str
) -> None:
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(coco))
    with pytest.raises(ValueError) as error:
        load_coco(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_and_one_that_is_no_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cxrloc prepare writes ground_truth\.json"):
        load_coco(tmp_path / "gt.json")
    (tmp_path / "gt.json").write_text("{")
    with pytest.raises(ValueError, match=r"gt\.json is not JSON"):
        load_coco(tmp_path / "gt.json")
