"""A ground truth of any tool becomes ours, or is refused in one sentence with file and entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pycocotools import mask as rle

from cxrloc.datasets.files.coco.images import odd_values
from cxrloc.datasets.files.coco.read import our_coco, read_coco
from cxrloc.datasets.labels.map import LabelMap

POLYGON = [10.0, 20.0, 40.0, 20.0, 40.0, 60.0, 10.0, 60.0]


def one(**changes: Any) -> dict[str, Any]:
    """A file with two images, two categories and one annotation, with keys changed; ... deletes."""
    annotation: dict[str, Any] = {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "bbox": [10, 20, 30, 40],
        "area": 1200,
        "segmentation": [POLYGON],
        "iscrowd": 0,
    }
    size = {"width": 100, "height": 80}
    coco: dict[str, Any] = {
        "images": [
            {"id": i, "file_name": f"{name}.png", **size} for i, name in ((1, "a"), (2, "b"))
        ],
        "categories": [{"id": 1, "name": "Mass"}, {"id": 2, "name": "Nodule"}],
    }
    for key, value in changes.items():
        part, _, name = key.partition("__")
        target = coco[part][0] if name else annotation
        target[name or part] = value
        if value is ...:
            del target[name or part]
    return {**coco, "annotations": [annotation]}


def box_of(coco: dict[str, Any]) -> Any:
    (annotation,) = our_coco(coco, "gt.json").coco["annotations"]
    return annotation["bbox"]


@pytest.mark.parametrize("key", ["area", "iscrowd", "segmentation"])
@pytest.mark.parametrize("value", [..., None, "", "0", [], "false"])
def test_keys_that_need_not_be_there_may_be_empty_or_text(key: str, value: Any) -> None:
    if key == "segmentation" and value in ("0", "false"):
        return
    (annotation,) = our_coco(one(**{key: value}), "gt.json").coco["annotations"]

    assert (annotation["bbox"], annotation["area"], annotation["iscrowd"]) == (
        [10, 20, 30, 40],
        1200,
        0,
    )
    assert annotation.get("segmentation") == (None if key == "segmentation" else [POLYGON])


@pytest.mark.parametrize("value", [1, True, "1", "true", 1.0])
def test_a_crowd_may_be_written_in_any_way(value: Any) -> None:
    (annotation,) = our_coco(one(iscrowd=value), "gt.json").coco["annotations"]
    assert annotation["iscrowd"] == 1


RUNS = {"size": [80, 100], "counts": [820, 40, *[40, 40] * 29, 80 * 100 - 820 - 40 - 29 * 80]}


@pytest.mark.parametrize(
    "segmentation",
    [
        [POLYGON],
        POLYGON,
        [[[10, 20], [40, 20], [40, 60], [10, 60]]],
        [[10, 20], [40, 20], [40, 60], [10, 60]],
        [[[10, 20]], [[40, 20]], [[40, 60]], [[10, 60]]],
        [POLYGON, [1, 2], [1, 2, 3, 4]],
        [POLYGON[:6], [10.0, 20.0, 40.0, 60.0, 10.0, 60.0]],
        RUNS,
        {"size": ["80", 100.0], "counts": [float(run) for run in RUNS["counts"]]},
        {"size": [80, 100], "counts": rle.frPyObjects(RUNS, 80, 100)["counts"].decode()},
    ],
)
@pytest.mark.parametrize("bbox", [..., None, [], "", [0, 0, 0, 0]])
def test_an_annotation_without_a_box_gets_that_around_its_mask(
    segmentation: Any, bbox: Any
) -> None:
    foreign = our_coco(one(segmentation=segmentation, bbox=bbox), "gt.json")

    assert foreign.coco["annotations"][0]["bbox"] == [10, 20, 30, 40]
    assert foreign.notes == ("ground-truth boxes made from their masks: 1",)


def test_boxes_are_cut_off_at_the_border_but_not_for_a_rounding_error() -> None:
    assert box_of(one(bbox=[-5.0, 70.0, 30.0, 40.0])) == [0, 70, 25, 10]
    assert box_of(one(bbox=[0.1, 0.0, 99.90000000000001, 80.0])) == [0.1, 0, 99.90000000000001, 80]


def test_an_annotation_twice_counts_once_and_two_outlines_in_one_box_stay() -> None:
    coco = one()
    (annotation,) = coco["annotations"]
    other = {**annotation, "id": 3, "segmentation": [POLYGON[:6]]}
    coco["annotations"] += [{**annotation, "id": 2}, other]

    foreign = our_coco(coco, "gt.json")

    assert [a["id"] for a in foreign.coco["annotations"]] == [1, 2]
    assert foreign.notes == (
        "annotations that repeat another one exactly (image, category, box), left out: 1",
    )


def test_texts_as_ids_become_numbers_and_stay_known() -> None:
    coco = one(image_id="x", category_id="N", images__id="x", categories__id="M")
    coco["categories"][1]["id"] = "N"
    coco["images"][1]["not_exhaustive_category_ids"] = ["M"]

    ours = our_coco(coco, "gt.json").coco

    assert [(i["id"], i.get("source_id")) for i in ours["images"]] == [(1, "x"), (2, None)]
    assert ours["images"][1]["not_exhaustive_category_ids"] == [1]
    assert [(c["id"], c["sources"]) for c in ours["categories"]] == [
        (1, [["M", "Mass"]]),
        (2, [["N", "Nodule"]]),
    ]
    assert (ours["annotations"][0]["image_id"], ours["annotations"][0]["category_id"]) == (1, 2)


def test_file_names_have_slashes_and_two_folders_may_hold_one_name() -> None:
    coco = one(images__file_name=".\\left\\1.png")
    coco["images"][1]["file_name"] = "right//1.png"

    images = our_coco(coco, "gt.json").coco["images"]

    assert [image["file_name"] for image in images] == ["left/1.png", "right/1.png"]


def test_sizes_may_be_text_or_come_from_elsewhere() -> None:
    coco = one(images__width="100", images__height=80.0)
    del coco["images"][1]["width"], coco["images"][1]["height"]

    images = our_coco(coco, "gt.json", size_of={"b.png": (33, 44)}.get).coco["images"]

    assert [(i["width"], i["height"]) for i in images] == [(100, 80), (44, 33)]


def test_unused_parents_and_background_are_no_diseases() -> None:
    coco = one()
    coco["categories"][1]["supercategory"] = "Opacity"
    coco["categories"] += [{"id": 8, "name": "Opacity"}, {"id": 9, "name": "__background__"}]

    assert [c["name"] for c in our_coco(coco, "gt.json").coco["categories"]] == ["Mass", "Nodule"]
    coco["annotations"].append({**coco["annotations"][0], "category_id": 8})
    ours = our_coco(coco, "gt.json").coco
    assert [c["name"] for c in ours["categories"]] == ["Mass", "Nodule", "Opacity"]


def test_a_label_map_merges_categories_and_labels() -> None:
    labels = LabelMap({"mass": "Lesion", "NODULE": "Lesion", "Hernia": None}, source="map.yaml")
    coco = one(images__labels=["Nodule", "Mass", "Hernia"])

    foreign = our_coco(coco, "gt.json", labels)

    (category,) = foreign.coco["categories"]
    assert (category["id"], category["name"]) == (1, "Lesion")
    assert category["sources"] == [[1, "Mass"], [2, "Nodule"]]
    assert foreign.coco["images"][0]["labels"] == ["Lesion"]
    assert foreign.notes == ("names by map.yaml: Mass is Lesion, Nodule is Lesion",)
    with pytest.raises(ValueError, match=r"gt\.json, categories: the name 'Nodule' is not in map"):
        our_coco(one(), "gt.json", LabelMap({"Mass": "Lesion"}, source="map"))


def two_images(first: str, second: str) -> dict[str, Any]:
    coco = one(images__file_name=first)
    coco["images"][1]["file_name"] = second
    return coco


REFUSED = [
    (one(bbox=[200, 20, 30, 40]), r"boxes wholly outside .* annotation 1 has bbox \[200\.0, 20"),
    (one(bbox=[10, 20, 0, 40], segmentation=[]), r"annotation 1 has bbox \[10, 20, 0, 40\]"),
    (one(bbox=..., segmentation=...), "annotation 1 has bbox None, .* or a segmentation"),
    (one(bbox=..., segmentation=[[1, 2, 3, 4]]), "annotation 1 has bbox None"),
    (one(bbox=[10, 20, True, 40]), r"annotation 1 has bbox \[10, 20, True, 40\]"),
    (one(bbox=[10, 20, 10**400, 40]), "annotation 1 has bbox"),
    (one(bbox=[10.0, 20.0, 30.0, 1e300]), r"annotation 1 has bbox .*1e\+300\], outside any image"),
    (one(bbox=[10, -(2**31), 30, 2**31 + 40]), r"annotation 1 has bbox .*, outside any image"),
    (one(id=..., bbox="x"), "annotation entry 0 has bbox 'x'"),
    (one(iscrowd="maybe"), "annotation 1 has iscrowd 'maybe', expected 0 or 1"),
    (one(segmentation="x"), "annotation 1: segmentation is neither RLE nor polygons: 'x'"),
    (one(segmentation=[[1, 2, 3, 4, 5]]), "annotation 1: segmentation is neither .* 5"),
    (one(segmentation=[[1, 2, 3, 4, 5, None]]), "annotation 1: segmentation is neither"),
    (one(segmentation={"size": [8, 8], "counts": [64]}), r"size \[8, 8\], expected the image's"),
    (one(segmentation={"size": [80, 100], "counts": [64]}), "`counts` do not fill the 80 x 100"),
    (one(segmentation={"size": [80, 100], "counts": "0o"}), "`counts` do not fill the 80 x 100"),
    (one(segmentation={"counts": [64]}), r"annotation 1: segmentation without a size"),
    (one(image_id="7"), "annotation 1 has image_id '7', which the file does not list"),
    (one(image_id=[1]), r"annotation 1 has image_id \[1\], which"),
    (one(category_id=...), "annotation 1 has category_id None, which the file does not list"),
    (one(images__id="2"), "images: id 2 occurs twice"),
    (one(images__id=2.5), "images: entry 0: id 2.5, expected a whole number or a text"),
    (one(images__id=None), "images: entry 0: id None, expected"),
    (one(images__file_name=7), "images: entry 0: file_name 7, expected the name of a file"),
    (one(images__file_name="\ud800"), "images: entry 0: file_name"),
    (one(images__width=None), r"image 1 has no positive .* PIL\.Image\.open\(file\)\.size"),
    (one(images__height="80.5"), "image 1 has no positive integer width and height"),
    (one(images__labels="Mass"), "image 1 has labels 'Mass', expected a list"),
    (one(images__fold="a"), "image 1 has fold 'a', expected the number of a fold"),
    (one(images__fold=-1), "image 1 has fold -1, expected the number of a fold"),
    (one(images__fold=1e9), r"image 1 has fold 1000000000\.0, expected the number of a fold"),
    (one(images__age_years="old"), "image 1 has age_years 'old', expected a number of years"),
    (one(images__patient_id=[1]), r"image 1 has patient_id \[1\], expected"),
    (one(images__not_exhaustive_category_ids=[9]), "image 1 has 9 in not_exhaustive_category_ids"),
    (two_images("a\\1.png", "a/1.png"), r"images: file_name 'a/1\.png' occurs twice"),
    (one(categories__name="NODULE"), "'NODULE' and 'Nodule' name one disease; a label map"),
    (one(categories__name=""), "categories: entry 0: name '', expected the name of a disease"),
    (one(categories__id=[1]), r"categories: entry 0: id \[1\], expected"),
    (one(categories__id="2"), "categories: id 2 occurs twice, as 'Mass' and 'Nodule'"),
]


@pytest.mark.parametrize(("coco", "message"), REFUSED)
def test_what_is_wrong_is_refused_with_its_entry(coco: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^gt\.json.*{message}"):
        our_coco(coco, "gt.json")


@pytest.mark.parametrize("name", [7, "7", "1.5", "-3e2", "nan"])
def test_a_category_whose_name_is_a_number_is_counted(name: int | str) -> None:
    notes = our_coco(one(categories__name=name), "gt.json").notes
    assert [n for n in notes if "category names that are numbers" in n and str(name) in n]
    assert not any("numbers" in note for note in our_coco(one(), "gt.json").notes)


@pytest.mark.parametrize("age", [-5, 400, 1e308])
def test_absurd_ages_are_unknown_and_counted(age: float) -> None:
    read = our_coco(one(images__age_years=age), "gt.json")
    assert read.coco["images"][0]["age_years"] is None
    assert any("ages outside 0 to 120 years, read as unknown: 1 " in note for note in read.notes)
    odd = odd_values([{"file_name": "a.png", "sex": "x", "view": "oblique"}])
    assert [sum(word in note for note in odd) for word in ("sex", "view")] == [1, 1]


def test_synonyms_in_one_file_need_a_word() -> None:
    coco = one(categories__name="Infiltrate")
    coco["categories"][1]["name"] = "infiltration"
    with pytest.raises(ValueError, match="'Infiltrate' and 'infiltration' name one disease"):
        our_coco(coco, "gt.json")
    labels = LabelMap({"Infiltrate": "Infiltration", "Infiltration": "Infiltration"})
    assert len(our_coco(coco, "gt.json", labels).coco["categories"]) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\x1f\x8b\x08", "it is compressed"),
        (b'{"id": 1}\n{"id": 2}\n', "one JSON object per line"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b'{"images": ' + b"9" * 5000 + b"}", "is not JSON"),
    ],
)
def test_what_is_no_json_is_said_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "gt.json").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_coco(tmp_path / "gt.json")
    assert str(error.value).startswith(str(tmp_path / "gt.json"))
    assert "\n" not in str(error.value)
