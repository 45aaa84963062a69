"""COCO results files: round trips, files of other tools, and what is wrong with a wrong file."""

from __future__ import annotations

import json
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO

from cxrloc.datasets.files.manifest import write_json_list
from cxrloc.datasets.files.parse import read_json
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.masks import encode_mask
from cxrloc.localization.predictions.results_file import (
    join_results,
    parse_predictions,
    read_predictions,
    write_predictions,
)

TRUTH: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a.png", "width": 200, "height": 100},
        {"id": 9, "file_name": "b.png", "width": 50, "height": 60},
    ],
    "categories": [{"id": 1, "name": "Mass"}, {"id": 2, "name": "Nodule"}],
    "annotations": [],
}
GOOD = {"image_id": 7, "category_id": 2, "bbox": [10, 20, 30, 40], "score": 0.5}


def box(**changes: Any) -> Localization:
    values = {
        "image_id": "a.png",
        "disease": "Mass",
        "box_xyxy": (1.5, 2.5, 30.25, 40.0),
        "score": 0.9,
    }
    return Localization(**{**values, **changes})


def one(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in GOOD.items() if k != key}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    boxes = [box(), box(), box(image_id="b.png", disease="Nodule", score=-3.0), box(score=0.0)]
    write_predictions(tmp_path / "p.json", boxes, TRUTH)
    assert read_predictions(tmp_path / "p.json", TRUTH) == boxes
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]  # nothing temporary stays


def test_files_are_joined_in_their_order_and_the_entries_of_some_images_are_returned(
    tmp_path: Path,
) -> None:
    parts = [tmp_path / f"{k}.json" for k in range(3)]
    write_predictions(parts[0], [box(), box(image_id="b.png")], TRUTH)
    write_predictions(parts[1], [], TRUTH)
    write_predictions(parts[2], [box(score=0.1)], TRUTH)
    kept = join_results(tmp_path / "all.json", parts, [7])
    every = read_json(tmp_path / "all.json")
    assert every == [entry for part in parts for entry in read_json(part)]
    assert kept == [entry for entry in every if entry["image_id"] == 7]
    assert [entry["score"] for entry in kept] == [0.9, 0.1]
    join_results(tmp_path / "none.json", parts[1:2], [7])
    assert read_predictions(tmp_path / "none.json", TRUTH) == []


def test_files_are_joined_one_by_one_in_memory(tmp_path: Path) -> None:
    parts = [tmp_path / f"{k}.json" for k in range(8)]
    for part in parts:
        write_json_list(part, [one(score=i / 1000) for i in range(1000)])
    join_results(tmp_path / "all.json", parts, [])
    peaks = []
    for some in (parts[:2], parts):
        tracemalloc.start()
        join_results(tmp_path / "all.json", some, [])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_the_file_holds_coco_ids_xywh_names_and_the_extra_keys(tmp_path: Path) -> None:
    extra = {("a.png", "Mass"): {"gate_probability": 0.25, "gate_threshold": None}}
    write_predictions(tmp_path / "p.json", [box(), box(disease="Nodule")], TRUTH, extra)
    first, second = json.loads((tmp_path / "p.json").read_text())
    assert first == {
        "image_id": 7,
        "file_name": "a.png",
        "category_id": 1,
        "category": "Mass",
        "bbox": [1.5, 2.5, 28.75, 37.5],
        "score": 0.9,
        "gate_probability": 0.25,
        "gate_threshold": None,
    }
    assert "gate_probability" not in second
    assert len(read_predictions(tmp_path / "p.json", TRUTH)) == 2


def test_no_boxes_make_an_empty_list(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.json", [], TRUTH)
    assert json.loads((tmp_path / "p.json").read_text()) == []
    assert read_predictions(tmp_path / "p.json", TRUTH) == []


def test_pycocotools_loads_the_file(tmp_path: Path) -> None:
    (tmp_path / "gt.json").write_text(json.dumps(TRUTH))
    write_predictions(tmp_path / "p.json", [box()], TRUTH, {("a.png", "Mass"): {"note": "x"}})
    (loaded,) = (
        COCO(str(tmp_path / "gt.json")).loadRes(str(tmp_path / "p.json")).dataset["annotations"]
    )
    assert (loaded["image_id"], loaded["bbox"]) == (7, [1.5, 2.5, 28.75, 37.5])


def test_masks_go_out_as_rle(tmp_path: Path) -> None:
    mask = np.zeros((100, 200), bool)
    mask[5:40, 3:30] = True
    write_predictions(tmp_path / "p.json", [box(mask=mask), box()], TRUTH)
    entry = json.loads((tmp_path / "p.json").read_text())[0]
    assert entry["segmentation"]["size"] == [100, 200]
    assert isinstance(entry["segmentation"]["counts"], str)
    assert (rle.decode(entry["segmentation"]) == mask).all()
    assert [p.mask for p in read_predictions(tmp_path / "p.json", TRUTH)] == [None, None]


def test_a_mask_without_a_box_gets_the_box_around_it() -> None:
    mask = np.zeros((100, 200), bool)
    mask[5:40, 3:30] = True
    entry = {**without("bbox"), "segmentation": encode_mask(mask, (100, 200))}
    assert parse_predictions([entry], TRUTH).localizations[0].box_xyxy == (3, 5, 30, 40)
    polygon = {**without("bbox"), "segmentation": [[3, 5, 30, 5, 30, 40, 3, 40]]}
    assert parse_predictions([polygon], TRUTH).localizations[0].box_xyxy == (3, 5, 30, 40)


@pytest.mark.parametrize("image_id", [7, 7.0, "a.png", "a", "a.jpg", "images/a.png"])
def test_images_are_found_by_number_name_or_stem(image_id: Any) -> None:
    (box,) = parse_predictions([one(image_id=image_id)], TRUTH).localizations
    assert box == Localization("a.png", "Nodule", (10, 20, 40, 60), 0.5)


def test_a_plain_file_of_another_tool_is_read(tmp_path: Path) -> None:
    entries = [one(), one(score=1, area=1200, id=3, iscrowd=0), one(bbox=[0, 0, 200, 100])]
    (tmp_path / "p.json").write_text(json.dumps(entries))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [p.score for p in read_predictions(tmp_path / "p.json", TRUTH)] == [0.5, 1, 0.5]


def test_boxes_over_the_border_are_cut_and_those_outside_left_out_with_a_count(
    tmp_path: Path,
) -> None:
    entries = [
        one(),
        one(bbox=[-10, 20, 30, 40]),
        one(bbox=[190, 90, 30, 40]),
        one(bbox=[300, 20, 30, 40]),
        one(bbox=[10, 20, 0, 40]),
        one(bbox=[10, 20, -5, 40]),
    ]
    (tmp_path / "p.json").write_text(json.dumps(entries))
    with pytest.warns(UserWarning, match="of 6 boxes, 2 were clipped .* and 3 left out"):
        parsed = read_predictions(tmp_path / "p.json", TRUTH)
    expected = [(10, 20, 40, 60), (0, 20, 20, 60), (190, 90, 200, 100)]
    assert [p.box_xyxy for p in parsed] == expected


def test_rounding_at_the_border_is_no_cut() -> None:
    parsed = parse_predictions([one(bbox=[10.1, 0, 189.90000000000003, 100])], TRUTH)
    assert (parsed.clipped, parsed.dropped) == (0, 0)
    assert parsed.localizations[0].box_xyxy == (10.1, 0, 200, 100)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (one(image_id=8), r"image_id 8 is not in the ground truth; .* for example 7 or 'a.png'"),
        (one(image_id="c.png"), "image_id 'c.png' is not in the ground truth"),
        (one(image_id=None), "image_id None is not in"),
        (one(image_id=True), "image_id True is not in"),
        (one(image_id=[7]), r"image_id \[7\] is not in"),
        (one(category_id=3), "category_id 3 is unknown; expected one of 1 Mass, 2 Nodule"),
        (one(category_id="Hernia"), "category_id 'Hernia' is unknown"),
        (one(category_id=True), "category_id True is unknown"),
        (one(file_name="b.png"), "file_name 'b.png' does not match image_id 7, which is 'a.png'"),
        (one(category="Mass"), "category 'Mass' does not match category_id 2, which is 'Nodule'"),
        (one(bbox=[1, 2, 3]), r"bbox \[1, 2, 3\], expected four finite numbers x, y, width"),
        (one(bbox=[1, 2, float("nan"), 4]), r"bbox \[1, 2, nan, 4\], expected four finite"),
        (one(bbox=[1, 2, float("inf"), 4]), r"bbox \[1, 2, inf, 4\], expected four finite"),
        (
            one(bbox=[1.0, 2.0, 1e308, 4.0]),
            r"bbox \[1\.0, 2\.0, 1e\+308, 4\.0\] lies outside any image",
        ),
        (one(bbox=[-(2**31), 2, 3, 4]), r"bbox \[-2147483648, 2, 3, 4\] lies outside any image"),
        (one(bbox=[1, 2, "3", 4]), "expected four finite numbers"),
        (one(bbox=None), "bbox None, expected four finite numbers"),
        (one(score=float("nan")), "score nan, expected a finite number"),
        (one(score="high"), "score 'high', expected a finite number"),
        (one(bbox=[0, 0, 0, 0], score=None), "score None, expected a finite number"),
        (without("image_id"), "missing 'image_id'; its keys are category_id, bbox, score"),
        (without("score"), "missing 'score'"),
        (without("bbox"), "has neither 'bbox' nor 'segmentation'"),
        ({**without("bbox"), "segmentation": {"size": [5, 5], "counts": "11"}}, r"size \[5, 5\], "),
        ({**without("bbox"), "segmentation": {"size": [100, 200]}}, "neither RLE nor polygons"),
        ({**without("bbox"), "segmentation": "x"}, "neither RLE nor polygons"),
        ({**without("bbox"), "segmentation": {"counts": "abc"}}, "neither RLE nor polygons"),
        ({**without("bbox"), "segmentation": {"size": None, "counts": "a"}}, "neither RLE nor p"),
        ({**without("bbox"), "segmentation": [[1, 2]]}, r"neither .* polygons of three points"),
        ({**without("bbox"), "segmentation": [[1, 2, 3]]}, "neither RLE nor polygons"),
        ([1, 2], "expected an object, got list"),
    ],
)
def test_a_bad_entry_is_named_with_its_number_and_what_was_expected(
    entry: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"theirs.json: entry 1: .*{message}"):
        parse_predictions([one(), entry], TRUTH, source="theirs.json")


def test_a_ground_truth_file_is_refused_as_prediction() -> None:
    with pytest.raises(
        ValueError, match=r"p: expected a COCO results LIST .* got a dict with keys im"
    ):
        parse_predictions(TRUTH, TRUTH, source="p")
    with pytest.raises(ValueError, match="p: expected a JSON list, got str"):
        parse_predictions("x", TRUTH, source="p")


def test_a_category_without_an_id_names_no_entry_of_a_dict() -> None:
    whole = {"annotations": [without("category_id")], "categories": [{"id": None, "name": "Mass"}]}
    with pytest.raises(ValueError, match="p: entry 0: missing 'category_id'"):
        parse_predictions(whole, TRUTH, source="p")


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.json does not exist"):
        read_predictions(tmp_path / "none.json", TRUTH)
    (tmp_path / "half.json").write_text('[{"image_id": 7')
    with pytest.raises(ValueError, match=r"half\.json is not JSON"):
        read_predictions(tmp_path / "half.json", TRUTH)


@pytest.mark.parametrize(
    "image_id",
    ["00000013_004_png.rf.0a1b.jpg", "images\\00000013_004 (1).PNG", "1a2b3c4d-00000013_004.dcm"],
)
def test_an_nih_image_is_found_under_every_form_of_its_name(image_id: str) -> None:
    images = [{**TRUTH["images"][0], "file_name": "00000013_004.png"}]
    entry = one(image_id=image_id, file_name=image_id)
    parsed = parse_predictions([entry], {**TRUTH, "images": images})
    assert parsed.boxes.image_ids == ["00000013_004.png"]


def test_two_images_of_one_stem_are_not_guessed_between() -> None:
    truth = {
        **TRUTH,
        "images": [*TRUTH["images"], {**TRUTH["images"][0], "id": 3, "file_name": "a.jpg"}],
    }
    assert parse_predictions([one(image_id="a.jpg")], truth).localizations[0].image_id == "a.jpg"
    with pytest.raises(
        ValueError, match=r"image_id 'a' may be each of 'a\.png' \(id 7\), 'a\.jpg' \("
    ):
        parse_predictions([one(image_id="a")], truth)


def test_what_cannot_be_written_is_refused_before_a_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    with pytest.raises(ValueError, match=r"box of z\.png, Mass: image_id 'z\.png' is not in"):
        write_predictions(path, [box(image_id="z.png")], TRUTH)
    with pytest.raises(ValueError, match="lacks this category; it has Mass, Nodule"):
        write_predictions(path, [box(disease="Hernia")], TRUTH)
    with pytest.raises(ValueError, match=r"expected a mask of shape \(100, 200\), got \(5, 5\)"):
        write_predictions(path, [box(mask=np.ones((5, 5), bool))], TRUTH)
    with pytest.raises(ValueError, match="extra key 'score' is one of the file's own keys"):
        write_predictions(path, [box()], TRUTH, {("a.png", "Mass"): {"score": 1}})
    with pytest.raises(ValueError, match="ground truth has no 'images'"):
        write_predictions(path, [box()], {})
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_dots_is_found_with_and_without_its_ending() -> None:
    images = [{"id": 7, "file_name": "1.2.840.4.png", "width": 200, "height": 100}]
    coco = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "Mass"}]}
    for name in ("1.2.840.4", "1.2.840.4.png", "images/1.2.840.4.jpg"):
        entry = {"image_id": name, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
        (box,) = parse_predictions([entry], coco, source="x.json").localizations
        assert box.image_id == "1.2.840.4.png"
    with pytest.raises(ValueError, match=r"'1\.2\.840\.9' is not in the ground truth"):
        parse_predictions([{**entry, "image_id": "1.2.840.9"}], coco, source="x")
