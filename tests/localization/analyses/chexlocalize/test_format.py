"""cheXlocalize's files and figures: names, masks and points known by hand, errors that say what."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle

from builders import evaluated
from cxrloc.classification.report.tables import Cell
from cxrloc.localization.analyses.chexlocalize.format import (
    TASKS,
    Rle,
    box_mask,
    box_of,
    disease_of,
    empty_mask,
    image_key,
    is_hit,
    mask_iou,
    peak,
    read_segmentations,
    resized_mask,
    run_lengths,
    task_of,
)
from cxrloc.localization.analyses.chexlocalize.section import (
    HIT_RATE,
    MIOU,
    MIOU_TRUE_POSITIVES,
    _top_boxes,
    _top_masks,
    chexlocalize,
    chexlocalize_files,
)
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.evaluation.detections import place
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.masks import MaskResult

SIZE = (20, 30)  # height, width


def mask(rows: slice, columns: slice, size: tuple[int, int] = SIZE) -> Rle:
    filled = np.zeros(size, np.uint8, order="F")
    filled[rows, columns] = 1
    encoded = rle.encode(filled)
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def image(**masks: Rle) -> dict[str, Rle]:
    """All ten tasks; those not given are empty."""
    given = {name.replace("_", " "): mask for name, mask in masks.items()}
    return {task: given.get(task, empty_mask(SIZE)) for task in TASKS}


@pytest.mark.parametrize(
    ("disease", "task"),
    [
        ("Lung Opacity", "Airspace Opacity"),
        ("Effusion", "Pleural Effusion"),
        ("Edema", "Edema"),
        ("Fracture", None),
    ],
)
def test_lung_opacity_is_called_airspace_opacity(disease: str, task: str | None) -> None:
    assert task_of(disease) == task
    assert disease_of("Airspace Opacity") == "Lung Opacity"


def test_a_image_is_named_by_patient_study_and_view() -> None:
    for name in (
        "valid/patient64541/study1/view1_frontal.jpg",
        "CheXpert-v1.0/valid/patient64541/study1/view1_frontal.jpg",
    ):
        assert image_key(name) == "patient64541_study1_view1_frontal"


def test_a_box_becomes_a_mask_of_the_images_size_and_back() -> None:
    made = box_mask((2, 1, 10, 5), from_hw=(10, 15), size_hw=SIZE)
    assert made == mask(slice(2, 10), slice(4, 20))
    assert box_of(made, (10, 15)) == (2, 1, 10, 5)
    assert box_of(empty_mask(SIZE), SIZE) is None
    assert rle.decode(empty_mask(SIZE)).shape == SIZE


def test_a_mask_of_a_small_image_is_enlarged() -> None:
    small = mask(slice(1, 5), slice(2, 10), (10, 15))
    assert resized_mask(small, SIZE) == mask(slice(2, 10), slice(4, 20))


@pytest.mark.parametrize(
    ("predicted", "truth", "expected", "true_positives"),
    [
        (mask(slice(0, 10), slice(0, 10)), mask(slice(0, 10), slice(5, 15)), 1 / 3, 1 / 3),
        (mask(slice(0, 10), slice(0, 10)), empty_mask(SIZE), 0, math.nan),
        (None, mask(slice(0, 10), slice(0, 10)), 0, math.nan),
        (mask(slice(0, 10), slice(0, 10)), None, 0, math.nan),
        (empty_mask(SIZE), empty_mask(SIZE), math.nan, math.nan),
        (mask(slice(0, 2), slice(0, 2)), mask(slice(5, 7), slice(5, 7)), 0, 0),
    ],
)
def test_iou_of_masks_by_both_rules(
    predicted: Rle | None, truth: Rle | None, expected: float, true_positives: float
) -> None:
    both = [mask_iou(predicted, truth, true_positives_only=only) for only in (False, True)]
    assert both == pytest.approx([expected, true_positives], nan_ok=True)


def test_a_point_hits_by_column_and_row() -> None:
    truth = mask(slice(2, 4), slice(10, 20))
    assert is_hit([[10, 3]], truth) == 1
    assert is_hit([[3, 10]], truth) == 0
    assert is_hit([[0, 0], [19.9, 2]], truth) == 1
    assert is_hit([], truth) == 0
    assert math.isnan(is_hit([[1, 1]], empty_mask(SIZE)))


def test_the_peak_of_a_map_is_in_the_images_own_pixels() -> None:
    cells = np.zeros((3, 3), np.float32)
    cells[1, 2] = 1  # the square of 30 px: columns 20 to 29, rows 10 to 19
    maps = HeatMaps.of({("a", "Edema"): cells}, name="cam", aligned=False)
    x, y = peak(maps, "a", "Edema", (30, 30))
    assert 20 <= x <= 29
    assert 10 <= y <= 19
    assert peak(maps, "a", "Mass", (30, 30)) == []


def test_of_equal_scores_the_first_is_the_top_one_for_masks_as_for_boxes() -> None:
    image_id = NAMES[1]
    key, first, second = (image_id, "Edema"), (2.0, 1.0, 10.0, 5.0), (12.0, 1.0, 14.0, 5.0)
    low = MaskResult(image_id, "Edema", 0.2, empty_mask(SIZE))
    masks = [box_mask(box, from_hw=(10, 15), size_hw=SIZE) for box in (first, second)]
    equal = [MaskResult(image_id, "Edema", 0.9, mask) for mask in masks]
    assert _top_masks([low, *equal], {})[key] == masks[:1]
    assert _top_masks([*equal[::-1], low], {})[key] == masks[1:]
    assert _top_masks([low, *equal], {key: 2})[key] == masks
    boxes = [Localization(image_id, "Edema", box, 0.9) for box in (first, second)]
    placed = place(ground_truth_from_coco(COCO), boxes)
    assert [box.box_xyxy for box in _top_boxes(placed, {})[key]] == [first]
    assert [box.box_xyxy for box in _top_boxes(placed, {key: 2})[key]] == [first, second]


WHOLE = mask(slice(2, 10), slice(4, 20))


def test_the_runs_of_a_mask_are_those_that_pycocotools_decodes() -> None:
    assert run_lengths(WHOLE["counts"])[:3] == [4 * 20 + 2, 8, 12]  # columns first
    assert run_lengths(empty_mask(SIZE)["counts"]) == [600]
    rng = np.random.default_rng(0)
    for _ in range(50):
        size = int(rng.integers(1, 40)), int(rng.integers(1, 300))
        filled = np.asfortranarray(rng.random(size) > rng.random(), dtype=np.uint8)
        runs = run_lengths(rle.encode(filled)["counts"].decode())
        values = np.repeat(np.arange(len(runs)) % 2, runs)
        np.testing.assert_array_equal(values, filled.ravel(order="F"))


def test_faulty_files_are_named_with_image_and_task(tmp_path: Path) -> None:
    path = tmp_path / "gt.json"
    with pytest.raises(FileNotFoundError, match=r"no cheXlocalize segmentations at .*gt\.json"):
        read_segmentations(path)
    faults: list[tuple[Any, str]] = [
        ([], "expected an object"),
        ({"f": {"Edema": {}}}, "f lacks Enlarged Cardiomediastinum, Cardiomegaly"),
        ({"f": image(Edema={"size": [20, 30]})}, "f, Edema: expected {'size'"),
        ({"f": image(Edema=empty_mask((3, 3)))}, "f has masks of sizes"),
        (
            {"f": image(Edema={"size": [20, 30], "counts": [600]})},
            "f, Edema: .* is the file complete",
        ),
        (
            {"f": image(Edema={"size": [20, 31], "counts": WHOLE["counts"]})},
            "runs that cover the h x w",
        ),
        ({"f": image(Edema={"size": [20, 30], "counts": "\x00"})}, r"gt.json .* NUL character"),
        *(
            (
                {"f": image(Edema={"size": [20, 30], "counts": damaged})},
                "f, Edema: .* file complete",
            )
            for damaged in ("", "abc", WHOLE["counts"][:-1], WHOLE["counts"] + "1", "é")
        ),
    ]
    for content, message in faults:
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=message):
            read_segmentations(path)
    path.write_text(json.dumps({"f": image()}))
    assert read_segmentations(path) == {"f": image()}


NAMES = [f"valid/patient{i}/study1/view1_frontal.jpg" for i in range(3)]
COCO: dict[str, Any] = {
    "images": [{"id": i, "file_name": n, "width": 15, "height": 10} for i, n in enumerate(NAMES)],
    "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [2, 1, 8, 4]}],
    "categories": [{"id": 1, "name": "Edema"}, {"id": 2, "name": "Lung Opacity"}],
}
TRUTH = {
    "patient0_study1_view1_frontal": image(Edema=mask(slice(2, 10), slice(4, 20))),
    "patient1_study1_view1_frontal": image(Airspace_Opacity=mask(slice(0, 10), slice(0, 10))),
}


def boxes() -> list[Localization]:
    """Right on the first image; 4 of 10 columns on the second; a false one on the third."""
    return [
        Localization(NAMES[0], "Edema", (0, 0, 1, 1), 0.1),
        Localization(NAMES[0], "Edema", (2, 1, 10, 5), 0.9),
        Localization(NAMES[1], "Lung Opacity", (0, 0, 2, 5), 0.9),
        Localization(NAMES[2], "Edema", (2, 1, 10, 5), 0.5),
    ]


def compared(
    segmentations: dict[str, dict[str, Rle]] | None,
    gate: dict[tuple[str, str], bool] | None = None,
) -> Evaluated:
    return evaluated(COCO, {"mine": boxes()}, gate, segmentations=segmentations)


def table(gate: dict[tuple[str, str], bool] | None = None) -> dict[str, dict[str, float]]:
    """measure -> column -> value."""
    everyone = compared(TRUTH, gate)
    files = everyone.once(chexlocalize_files)
    assert files.filled_boxes == files.centres == ("mine",)
    section = chexlocalize(everyone)
    assert section is not None
    return {
        row.block: {n: c.estimate.value for n, c in row.cells.items() if isinstance(c, Cell)}
        for row in section.tables[0].rows
    }


def test_figures_of_boxes_by_hand() -> None:
    rows = table()
    assert rows[MIOU]["Edema"] == 0.5  # right on one image, false on another
    assert rows[MIOU_TRUE_POSITIVES]["Edema"] == 1
    assert rows[MIOU]["Airspace Opacity"] == 0.4  # 4 of 10 columns
    assert rows[HIT_RATE] == {"Edema": 1, "Airspace Opacity": 1, "macro mean": 1}


def test_where_the_ground_truth_has_two_boxes_the_mask_is_the_union_of_two() -> None:
    drawn = [
        {"id": i, "image_id": 0, "category_id": 1, "bbox": [x, 1, 4, 4]}
        for i, x in ((1, 2), (2, 6))
    ]
    halves = [Localization(NAMES[0], "Edema", (x, 1, x + 4, 5), 0.5) for x in (2, 6)]
    everyone = evaluated({**COCO, "annotations": drawn}, {"mine": halves}, segmentations=TRUTH)
    masks = everyone.once(chexlocalize_files).masks["mine"]
    assert masks[image_key(NAMES[0])]["Edema"] == TRUTH["patient0_study1_view1_frontal"]["Edema"]


def test_the_gate_empties_masks_but_not_points() -> None:
    rows = table({(NAMES[2], "Edema"): False, (NAMES[1], "Lung Opacity"): False})
    assert rows[MIOU]["Edema"] == 1
    assert rows[MIOU]["Airspace Opacity"] == 0
    assert "Airspace Opacity" not in rows[MIOU_TRUE_POSITIVES]
    assert rows[HIT_RATE]["Airspace Opacity"] == 1


def test_masks_of_another_data_set_are_refused() -> None:
    other = {"patient9_study1_view1_frontal": image()}
    with pytest.raises(ValueError, match="none of the 1 images of the segmentations"):
        chexlocalize(compared(other))


def test_the_report_holds_a_file_of_masks_and_one_of_points_if_segmentations_are_given() -> None:
    section = chexlocalize(compared(TRUTH))
    assert section is not None
    assert list(section.attachments) == [
        f"chexlocalize/mine.{kind}.json" for kind in ("segmentations", "points")
    ]
    assert chexlocalize(compared(None)) is None
