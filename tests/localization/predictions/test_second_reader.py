"""A second reader's file: whose images, under which names, in which frames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from builders import coco_ground_truth
from cxrloc.datasets.labels.map import LabelMap
from cxrloc.localization.predictions.second_reader import SecondReading, read_second_reader

FIRST = coco_ground_truth(
    ("Infiltration", "Pneumonia", "Mass", "Effusion"),
    [("a.png", "Pneumonia", (10, 10, 20, 20)), ("b.png", "Mass", (10, 10, 20, 20))],
    images=["c.png"],
)
OPACITY = LabelMap(dict.fromkeys(("Infiltration", "Pneumonia", "Consolidation"), "Opacity"))


def _read(
    folder: Path,
    boxes: Sequence[tuple[str, str, tuple[float, ...]]],
    labels: LabelMap | None = None,
    **coco: Any,
) -> SecondReading:
    diseases = coco.pop("diseases", tuple(dict.fromkeys(disease for _, disease, _ in boxes)))
    changes = coco.pop("changes", {})
    second = coco_ground_truth(diseases, boxes, **coco)
    for image in second["images"]:
        image.update(changes)
    path = folder / "second.json"
    path.write_text(json.dumps(second))
    return read_second_reader(path, FIRST, labels)


def test_boxes_come_under_the_names_of_the_ground_truth(tmp_path: Path) -> None:
    reading = _read(tmp_path, [("x/a.jpg", "pneumonia", (0, 0, 8, 8))], images=["c.jpg", "d.jpg"])

    assert reading.images == {"a.png", "c.png"}
    assert (list(reading.boxes.image_ids), list(reading.boxes.diseases)) == (
        ["a.png"],
        ["Pneumonia"],
    )
    assert reading.boxes.scores.tolist() == [1]
    assert reading.judged == ("Pneumonia",)
    assert reading.notes == (
        "not judged, so left out: Infiltration, Mass, Effusion",
        "1 of its 3 images are not in the ground truth",
    )


def test_a_label_map_gives_several_names_one_common_name(tmp_path: Path) -> None:
    boxes = [("a.png", "Consolidation", (0, 0, 8, 8)), ("a.png", "Fracture", (0, 0, 8, 8))]

    reading = _read(tmp_path, boxes, OPACITY)

    common = dict.fromkeys(("Infiltration", "Pneumonia"), "Opacity")
    assert reading.common == common | {"Mass": "Mass", "Effusion": "Effusion"}
    assert list(reading.boxes.diseases) == ["Opacity", "Fracture"]
    assert reading.notes[0] == "Consolidation counts as Infiltration and Pneumonia"
    assert reading.notes[2] == "not in the ground truth, so left out: Fracture"


def test_a_line_of_the_map_is_found_for_the_usual_spelling_too(tmp_path: Path) -> None:
    labels = LabelMap({"Infiltration": "Opacity", "Pneumonia": "Opacity"}, others_left_out=True)

    reading = _read(tmp_path, [("a.png", "Infiltrate", (0, 0, 8, 8))], labels)

    assert reading.judged == ("Opacity",)


def test_names_that_the_map_leaves_out_are_neither_judged_nor_boxed(tmp_path: Path) -> None:
    labels = LabelMap({"Mass": "Mass", "Pneumonia": None}, others_left_out=True)
    boxes = [("a.png", "Pneumonia", (0, 0, 8, 8)), ("b.png", "Mass", (0, 0, 8, 8))]

    reading = _read(tmp_path, boxes, labels)

    assert reading.judged == ("Mass",)
    assert list(reading.boxes.diseases) == ["Mass"]
    assert "not judged, so left out: Infiltration, Pneumonia, Effusion" in reading.notes


def test_known_spellings_are_one_name_without_a_map(tmp_path: Path) -> None:
    boxes = [("a.png", "Pneumonia", (0, 0, 8, 8)), ("c.png", "Pleural Effusion", (0, 0, 8, 8))]

    assert _read(tmp_path, boxes).judged == ("Pneumonia", "Effusion")


def test_a_resized_frame_is_scaled_and_said(tmp_path: Path) -> None:
    reading = _read(tmp_path, [("a.png", "Pneumonia", (4, 8, 12, 16))], size_wh=(128, 128))

    assert reading.boxes.boxes_xyxy.tolist() == [[2, 4, 8, 12]]
    assert reading.notes[-1] == "boxes of 1 images scaled to another frame (128 x 128 to 64 x 64)"


def test_a_frame_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image a.png is 64 x 80 and 64 x 64 in the ground truth"):
        _read(tmp_path, [("a.png", "Pneumonia", (4, 8, 12, 16))], size_wh=(64, 80))


def test_files_without_an_image_or_a_disease_in_common_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none of its 1 images .* 'z.png' here, 'a.png' there"):
        _read(tmp_path, [("z.png", "Pneumonia", (4, 8, 12, 16))])
    with pytest.raises(ValueError, match=r"no box to score it on.*Consolidation.*reader-labels"):
        _read(tmp_path, [("a.png", "Consolidation", (4, 8, 12, 16))])
    with pytest.raises(ValueError, match=r"no box to score it on"):  # a.png has another disease
        _read(tmp_path, [("a.png", "Mass", (4, 8, 12, 16))])


def test_a_reader_who_marked_nothing_has_read_all_the_same(tmp_path: Path) -> None:
    reading = _read(tmp_path, [], diseases=("Pneumonia",), images=["a.png", "c.png"])

    assert (len(reading.boxes), reading.images) == (0, {"a.png", "c.png"})


def test_labels_without_a_box_are_told_from_misses(tmp_path: Path) -> None:
    boxes = [("a.png", "Consolidation", (0, 0, 8, 8)), ("b.png", "Mass", (0, 0, 8, 8))]

    reading = _read(tmp_path, boxes, OPACITY, changes={"not_exhaustive_category_ids": [1]})

    assert reading.unboxed == {("b.png", "Opacity")}  # on a.png it has a box
