"""Files of other tools, from reading to figures: what is perfect scores 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrloc.localization.analyses.average_precision import average_precision
from cxrloc.localization.comparison_report.inputs import InputFiles, read_inputs
from cxrloc.localization.evaluation.evaluated import ComparisonInputs, Evaluated
from cxrloc.localization.predictions.masks import encode_mask
from datasets.files.coco.exports import EXPORTS, FINDINGS, SIZES_WH, perfect_results, written

BOM = "\ufeff"


def _inputs(folder: Path, coco: Any, results: Any, labels: str = "") -> ComparisonInputs:
    """What a comparison reads of these two documents."""
    label_map = None
    if labels:
        label_map = folder / "map.yaml"
        label_map.write_text(labels)
    truth = written(folder / "gt.json", coco)
    mine = written(folder / "mine.json", results)
    return read_inputs(InputFiles(truth, {"mine": mine}, labels=label_map), resamples=10, seed=0)


def _figures(inputs: ComparisonInputs, kind: str = "box AP") -> tuple[float, float, int]:
    """Mean IoU, AP at .5:.95 averaged over the diseases, and the number of boxes."""
    evaluated = Evaluated(inputs)
    rows = average_precision(evaluated).tables[0].rows
    ap = next(
        row.cells["macro mean"]
        for row in rows
        if row.block == kind
        and row.lead["localizer"] == "mine"
        and row.lead["IoU thresholds"] == ".5:.05:.95"
    )
    assert isinstance(ap, float)
    return float(evaluated.scores["mine"].iou.mean()), ap, len(inputs.truth)


@pytest.mark.parametrize("tool", EXPORTS)
def test_perfect_results_on_an_export_score_1(tool: str, tmp_path: Path) -> None:
    coco = EXPORTS[tool]()

    inputs = _inputs(tmp_path, coco, perfect_results(coco))

    assert _figures(inputs) == (pytest.approx(1), pytest.approx(1), len(FINDINGS))
    assert not any("CHECK" in note for note in inputs.truth.notes)


@pytest.mark.parametrize("tool", EXPORTS)
def test_images_are_found_by_the_names_that_they_had_before_the_export(
    tool: str, tmp_path: Path
) -> None:
    coco = EXPORTS[tool]()
    results = perfect_results(coco)
    for result, (image, disease, *_) in zip(results, FINDINGS, strict=True):
        result |= {"image_id": image, "category": disease.upper()}
        del result["category_id"]

    assert _figures(_inputs(tmp_path, coco, results))[:2] == (pytest.approx(1), pytest.approx(1))


@pytest.mark.parametrize("tool", EXPORTS)
def test_a_whole_coco_file_with_scores_counts_as_results(tool: str, tmp_path: Path) -> None:
    coco = EXPORTS[tool]()
    results = json.loads(json.dumps(coco))
    for annotation in results["annotations"]:
        annotation["score"] = 0.5
    for image in results["images"]:  # its ids are its own
        image["id"] = f"i{image['id']}"
    for annotation in results["annotations"]:
        annotation["image_id"] = f"i{annotation['image_id']}"
    results["categories"].reverse()
    numbers = {c["id"]: place for place, c in enumerate(results["categories"])}
    for category in results["categories"]:
        category["id"] = numbers[category["id"]]
    for annotation in results["annotations"]:
        annotation["category_id"] = numbers[annotation["category_id"]]

    assert _figures(_inputs(tmp_path, coco, results))[:2] == (pytest.approx(1), pytest.approx(1))


@pytest.mark.parametrize(
    "ids",
    [
        [0, 1, 2, 3, 4, 5, 6],
        [-3, -2, -1, 0, 1, 2, 3],
        [5, 3, 4, 0, 6, 1, 2],
        ["a", "b", "c", "d", "e", "f", "g"],
        [7] * 7,
        [None, 1.5, True, [], {}, "", "0"],
        ["missing"] * 7,
    ],
)
def test_annotation_ids_may_be_anything(ids: list[Any], tmp_path: Path) -> None:
    coco = EXPORTS["FiftyOne"]()
    for annotation, number in zip(coco["annotations"], ids, strict=True):
        annotation["id"] = number
        if number == "missing":
            del annotation["id"]

    assert _figures(_inputs(tmp_path, coco, perfect_results(coco))) == (1, 1, len(FINDINGS))


@pytest.mark.parametrize("theirs", [str, float, lambda number: f"{number}.0", int])
@pytest.mark.parametrize("ours", [str, float, int])
def test_ids_that_are_numbers_in_one_file_may_be_texts_in_the_other(
    ours: Any, theirs: Any, tmp_path: Path
) -> None:
    coco = EXPORTS["FiftyOne"]()
    results = perfect_results(coco)
    for row in coco["images"] + coco["categories"]:
        row["id"] = ours(row["id"])
    for row in coco["annotations"]:
        row |= {"image_id": ours(row["image_id"]), "category_id": ours(row["category_id"])}
    for row in results:
        row |= {"image_id": theirs(row["image_id"]), "category_id": theirs(row["category_id"])}

    assert _figures(_inputs(tmp_path, coco, results)) == (1, 1, len(FINDINGS))


def test_masks_in_the_results_need_none_in_the_ground_truth(tmp_path: Path) -> None:
    coco = EXPORTS["FiftyOne"]()
    results = perfect_results(coco)
    for place, (result, (image, _, x, y, w, h)) in enumerate(zip(results, FINDINGS, strict=True)):
        width, height = SIZES_WH[image]
        mask = np.zeros((height, width), dtype=bool)
        mask[int(y) : int(y + h), int(x) : int(x + w)] = True
        polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        result["segmentation"] = polygon if place % 2 else encode_mask(mask, (height, width))
        if place % 3 == 0:
            del result["bbox"]
        elif place % 3 == 1:
            result["bbox"] = [0, 0, 0, 0]

    inputs = _inputs(tmp_path, coco, results)

    assert _figures(inputs) == (1, 1, len(FINDINGS))
    assert _figures(inputs, "mask AP")[1] == 1


def test_boxes_are_cut_off_at_the_border_on_both_sides_and_the_report_says_so(
    tmp_path: Path,
) -> None:
    coco = EXPORTS["FiftyOne"]()
    coco["annotations"][0]["bbox"] = [-40.0, 520.0, 260.0, 600.0]  # of 1024 x 1024

    inputs = _inputs(tmp_path, coco, perfect_results(coco))

    assert _figures(inputs) == (1, 1, len(FINDINGS))
    assert inputs.truth.boxes_xyxy[0].tolist() == [0, 520, 220, 1024]
    assert inputs.truth.notes[0] == (
        "ground-truth boxes cut off at the image's border, as predictions are: 1"
    )
    assert inputs.truth.notes[-1].startswith(
        "predictions of mine: of 7 boxes, 1 were clipped at the image's bor"
    )


def test_a_label_map_renames_merges_and_leaves_out_and_results_may_use_any_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = EXPORTS["Roboflow"]()
    results = perfect_results(coco)
    for result, name in zip(
        results, ["pleural-fluid", None, None, None, "EFFUSION", None, "opacity"], strict=True
    ):
        if name is not None:
            result |= {"category_name": name}
            del result["category_id"]
    labels = "Effusion: Fluid\nPleural fluid: Fluid\nInfiltration: Opacity\nNodule: null\n"

    inputs = _inputs(tmp_path, coco, results, labels)

    assert inputs.truth.disease_names == ("Fluid", "Opacity")
    assert _figures(inputs) == (1, 1, 5)
    said = capsys.readouterr().err
    assert "names by" in said
    assert "left out by" in said
    assert "Nodule" in said
    assert "2 are of categories that the ground truth leaves out" in said


def test_files_with_a_byte_order_mark_or_in_utf_16_are_read(tmp_path: Path) -> None:
    coco = EXPORTS["YOLO script"]()
    (tmp_path / "gt.json").write_text(BOM + json.dumps(coco), encoding="utf-8")
    (tmp_path / "mine.json").write_text(json.dumps(perfect_results(coco)), encoding="utf-16")

    inputs = read_inputs(InputFiles(tmp_path / "gt.json", {"mine": tmp_path / "mine.json"}))

    assert _figures(inputs)[:2] == (pytest.approx(1), pytest.approx(1))


def test_sizes_come_from_the_image_files_and_other_sizes_are_said(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name, (width, height) in SIZES_WH.items():
        Image.new("L", (width, height)).save(tmp_path / f"images/{name}.png")
    coco = EXPORTS["FiftyOne"]()
    for image in coco["images"]:
        del image["width"], image["height"]
    truth = written(tmp_path / "gt.json", coco)
    files = InputFiles(truth, images=tmp_path / "images")

    inputs = read_inputs(files)

    assert inputs.truth.images.sizes_hw[1] == (2048, 2500)
    assert not any("CHECK" in note for note in inputs.truth.notes)
    Image.new("L", (1250, 1024)).save(tmp_path / "images/00000002_000.png")
    written(tmp_path / "gt.json", EXPORTS["FiftyOne"]())
    note = next(note for note in read_inputs(files).truth.notes if "CHECK" in note)
    assert "1 of 4 files that were looked at have another size" in note
    assert "00000002_000.png: 1250 x 1024 pixels in the file, 2500 x 2048 in the" in note
