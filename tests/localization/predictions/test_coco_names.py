"""Which image and which disease an entry of any tool's results file means, or why it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from cxrloc.datasets.files.coco.read import our_coco
from cxrloc.datasets.labels.map import LabelMap
from cxrloc.localization.predictions.coco_names import CocoNames
from cxrloc.localization.predictions.results_file import parse_predictions, write_predictions

SIZE = {"width": 200, "height": 100}


def truth(*images: tuple[Any, str], labels: LabelMap | None = None, **extra: Any) -> Any:
    """A ground truth of these (id, file name), with Pleural Effusion, Infiltrate and Pneumonia."""
    names = ("Pleural Effusion", "Infiltrate", "Pneumonia")
    document = {
        "images": [{"id": key, "file_name": name, **SIZE, **extra} for key, name in images],
        "categories": [{"id": f"c{i}", "name": name} for i, name in enumerate(names)],
        "annotations": [],
    }
    return our_coco(document, "gt.json", labels).coco


def image(coco: Any, value: Any) -> str:
    return str(CocoNames(coco, "gt.json").image(value, "x.json: entry 0")["file_name"])


@pytest.mark.parametrize(
    ("images", "value", "expected"),
    [
        ([("p1", "a.png")], "p1", "a.png"),
        ([("p1", "a.png")], "a", "a.png"),
        ([(7, "a.png")], "7", "a.png"),
        ([("7", "a.png")], 7.0, "a.png"),
        ([("00012", "a.png"), ("x", "b.png")], 12, "a.png"),
        ([(1, "b.png"), (2, "c.png")], " 2.0 ", "c.png"),
        ([(1, "images\\a.png")], "a.png", "images/a.png"),
        ([(1, "a.png")], "D:\\data\\a.png", "a.png"),
        ([(1, "l/1.png"), (2, "r/1.png")], "x\\r\\1.png", "r/1.png"),
        ([(1, "l/1.png"), (2, "r/1.png")], "r/1", "r/1.png"),
        ([(1, "my image.png")], "my%20image.png", "my image.png"),
        ([(1, "my%20image.png")], "my image", "my%20image.png"),
        ([(1, "a_png.rf.0a1B2c.jpg")], "a.png", "a_png.rf.0a1B2c.jpg"),
        ([(1, "images/0a1b2c3d-a.png")], "a", "images/0a1b2c3d-a.png"),
        ([(5, "5.png"), (6, "x.png")], "5", "5.png"),
    ],
)
def test_an_image_is_found_by_any_of_its_names(
    images: list[tuple[Any, str]], value: Any, expected: str
) -> None:
    assert image(truth(*images), value) == expected


@pytest.mark.parametrize(
    ("images", "value"),
    [
        ([("a", "b.png"), ("b", "c.png")], "b"),
        ([(1, "2.png"), (2, "1.png")], "1"),
        ([(1, "2.png"), (2, "1.png")], "1.png"),
        ([(1, "l/1.png"), (2, "r/1.png")], "1.png"),
        ([(1, "l/3.png"), (2, "r/3.png")], "m/3.png"),
        ([(1, "a_png.rf.00.jpg"), (2, "a_jpg.rf.11.jpg")], "a"),
    ],
)
def test_a_name_of_two_images_is_refused(images: list[tuple[Any, str]], value: str) -> None:
    if value == "1.png" and images[0][1] == "2.png":  # a whole file name is one image's alone
        assert image(truth(*images), value) == "1.png"
        return
    with pytest.raises(ValueError, match=rf"entry 0: image_id '{value}' may be each of '"):
        image(truth(*images), value)


@pytest.mark.parametrize("value", ["012", "c", 3, 1.5, None, True, [1], {}, "", float("nan")])
def test_an_unknown_image_is_refused_with_an_example(value: Any) -> None:
    with pytest.raises(ValueError, match=r"is not in .* 2 images, for example 'p12' or 'a\.png'"):
        image(truth(("p12", "a.png"), ("p13", "b.png")), value)


def disease(coco: Any, **entry: Any) -> str | None:
    return CocoNames(coco, "gt.json").disease(entry, "x.json: entry 0")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"category_id": "c1"}, "Infiltrate"),
        ({"category_id": "pneumonia"}, "Pneumonia"),
        ({"category_id": "c0", "category": "pleural_effusion"}, "Pleural Effusion"),
        ({"category_name": "Effusion"}, "Pleural Effusion"),
        ({"category": "infiltration"}, "Infiltrate"),
        ({"category": "PNEUMONIA", "category_id": None}, "Pneumonia"),
    ],
)
def test_a_disease_is_found_by_id_name_or_synonym(entry: Any, expected: str) -> None:
    assert disease(truth((1, "a.png")), **entry) == expected


def test_names_of_the_label_map_are_known_and_those_left_out_are_left_out() -> None:
    labels = LabelMap(
        {
            "Pleural Effusion": "Fluid",
            "Haemothorax": "Fluid",
            "Infiltrate": None,
            "Fracture": None,
            "Pneumonia": "Pneumonia",
        }
    )
    coco = truth((1, "a.png"), labels=labels)
    assert [c["name"] for c in coco["categories"]] == ["Fluid", "Pneumonia"]
    assert disease(coco, category="haemothorax") == "Fluid"
    assert disease(coco, category="fluid") == "Fluid"
    assert disease(coco, category_id="c0") == "Fluid"
    assert disease(coco, category_id="c1") is None
    assert disease(coco, category="Fracture") is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"category_id": "c1", "category": "Pneumonia"}, "'Pneumonia' does not match category_id"),
        ({"category_id": "c1", "category": "Hernia"}, "'Hernia' does not match category_id 'c1'"),
        ({"category_id": 1}, "category_id 1 is unknown; expected one of c0 Pleural Effusion, c1"),
        ({"category": "Hernia"}, "category 'Hernia' is unknown; expected one of"),
        ({"category_id": True}, "category_id True is unknown"),
    ],
)
def test_an_unknown_disease_is_refused_with_those_there_are(entry: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"x\.json: entry 0: .*{message}"):
        disease(truth((1, "a.png")), **entry)


def test_what_we_write_has_the_ids_of_the_ground_truth_s_own_file(tmp_path: Any) -> None:
    coco = truth(("p1", "images\\a.png"))
    entry = {"image_id": "p1", "category_id": "c2", "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}
    boxes = parse_predictions([entry], coco).localizations

    write_predictions(tmp_path / "p.json", boxes, coco)

    text = (tmp_path / "p.json").read_text()
    assert '"image_id": "p1"' in text
    assert '"category_id": "c2"' in text
