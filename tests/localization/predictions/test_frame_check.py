"""Boxes in another frame or form than COCO's are recognised; real findings raise no alarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cxrloc.datasets.files.coco.read import our_coco
from cxrloc.localization.predictions.results_file import parse_predictions

Boxes = npt.NDArray[np.float64]
WIDTH, HEIGHT = 1024, 896
FRAME = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])


def boxes(count: int, seed: int = 3) -> Boxes:
    """Findings all over the image: x, y, width, height."""
    rng = np.random.default_rng(seed)
    sides = rng.uniform((40, 40), (400, 350), (count, 2))
    corners = rng.uniform((0, 0), (WIDTH, HEIGHT) - sides)
    return np.concatenate([corners, sides], axis=1)


def coco_of(drawn: Boxes) -> dict[str, Any]:
    size = {"width": WIDTH, "height": HEIGHT}
    return {
        "images": [{"id": i, "file_name": f"{i}.png", **size} for i in range(len(drawn))],
        "categories": [{"id": 1, "name": "Mass"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": box}
            for i, box in enumerate(drawn.tolist())
        ],
    }


def notes_of_truth(drawn: Boxes) -> tuple[str, ...]:
    return our_coco(coco_of(drawn), "gt.json").notes


def notes_of_results(predicted: Boxes, drawn: Boxes) -> tuple[str, ...]:
    entries = [
        {"image_id": i, "category_id": 1, "bbox": box, "score": 0.5}
        for i, box in enumerate(predicted.tolist())
    ]
    coco = our_coco(coco_of(drawn), "gt.json").coco
    return parse_predictions(entries, coco, source="x.json").notes


def as_corners(drawn: Boxes) -> Boxes:
    return np.concatenate([drawn[:, :2], drawn[:, :2] + drawn[:, 2:]], axis=1)


def as_centres(drawn: Boxes) -> Boxes:
    return np.concatenate([drawn[:, :2] + drawn[:, 2:] / 2, drawn[:, 2:]], axis=1)


FORMS: dict[str, Callable[[Boxes], Boxes]] = {
    r"shares of the image \(from 0 to 1\)": lambda drawn: drawn / FRAME,
    "shares of the image .*as YOLO writes": lambda drawn: as_centres(drawn) / FRAME,
    "two corners x1, y1, x2, y2": as_corners,
}
FRAMES: dict[str, Callable[[Boxes], Boxes]] = {
    "centre x, centre y, width, height": as_centres,
    "pixels of a 224 x 224 copy": lambda drawn: drawn / FRAME * 224,
    "pixels of a 640 x 640 copy": lambda drawn: drawn / FRAME * 640,
    "pixels of a copy with a long side of 512": lambda drawn: drawn / 2,
    "pixels of a copy with a long side of 2048": lambda drawn: drawn * 2,
    "pixels of a copy padded to 640 x 640": lambda drawn: drawn * 0.625 + [0, 40, 0, 0],
    "per cent of the image": lambda drawn: drawn / FRAME * 100,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_ground_truth_in_another_form_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match=rf"gt\.json: the boxes of the annotations: .*{form}"):
        notes_of_truth(FORMS[form](boxes(30)))


@pytest.mark.parametrize("form", FORMS | FRAMES)
@pytest.mark.parametrize("quality", ["perfect", "fair"])
def test_results_in_another_form_or_frame_are_refused(form: str, quality: str) -> None:
    drawn = boxes(40)
    predicted = drawn if quality == "perfect" else drawn + np.array([30.0, -20.0, 10.0, 10.0])
    with pytest.raises(ValueError, match=rf"x\.json: the predicted boxes.*{form}"):
        notes_of_results((FORMS | FRAMES)[form](predicted), drawn)


@pytest.mark.parametrize("form", FORMS | FRAMES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_boxes_in_another_form_or_frame_are_not_scored_without_a_word(
    count: int, form: str
) -> None:
    drawn = boxes(count)
    try:
        notes = notes_of_results((FORMS | FRAMES)[form](drawn), drawn)
    except ValueError as error:
        notes = (str(error),)
    assert any("CHECK" in note or "shares" in note for note in notes)


def test_a_ground_truth_in_one_corner_is_doubted_and_says_of_which_copy_it_may_be() -> None:
    (note,) = notes_of_truth(boxes(30) / FRAME * 224)
    assert note.startswith("CHECK the boxes of the annotations: all 30 lie in the top left 2")
    assert "of images of up to 1024 x 896" in note
    assert "such as 224 x 224" in note


def test_a_ground_truth_of_a_larger_copy_is_refused_or_doubted() -> None:
    drawn = boxes(30)
    with pytest.raises(ValueError, match=r"boxes wholly outside their image: .*resized copy"):
        notes_of_truth(drawn * 2)
    (note, _) = notes_of_truth(drawn * 1.08)
    assert note.startswith("CHECK the boxes of the annotations: ")
    assert "reach well beyond their image" in note


def test_centres_given_as_corners_are_doubted_where_they_leave_the_image() -> None:
    notes = notes_of_truth(as_centres(boxes(30)))
    assert any(note.startswith("CHECK") and "centre and size" in note for note in notes)


def test_boxes_that_do_not_fit_their_own_outlines_are_refused_or_doubted() -> None:
    coco = coco_of(boxes(3))
    for annotation in coco["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    assert our_coco(coco, "gt.json").notes == ()
    for annotation in coco["annotations"]:
        annotation["bbox"] = [value / 4 for value in annotation["bbox"]]
    (note,) = our_coco(coco, "gt.json").notes
    assert "3 of 3 that were looked at do not fit the outline in their segmentation" in note
    for annotation, box in zip(coco["annotations"], as_corners(boxes(3)).tolist(), strict=True):
        annotation["bbox"] = box
    with pytest.raises(ValueError, match=r"gt\.json: .* are two corners .* 3 of 3 fit their outl"):
        our_coco(coco, "gt.json")


def test_one_ground_truth_box_in_shares_among_pixels_is_doubted() -> None:
    drawn = boxes(20)
    drawn[4] /= FRAME
    (note,) = notes_of_truth(drawn)
    assert note.startswith("CHECK the boxes of the annotations: 1 lie within the first pixel")


@pytest.mark.parametrize("seed", range(5))
def test_real_findings_of_any_size_raise_no_alarm(seed: int) -> None:
    drawn = boxes(40, seed)
    small = np.concatenate([drawn[:, :2], np.full((40, 2), 9.0)], axis=1)  # nodules of 9 pixels
    for findings in (drawn, small, drawn[:3], small[:3]):
        assert notes_of_truth(findings) == ()


@pytest.mark.parametrize("seed", range(5))
def test_good_and_poor_localizers_raise_no_alarm(seed: int) -> None:
    drawn = boxes(40, seed)
    rng = np.random.default_rng(seed)
    middle = np.tile([256.0, 224.0, 512.0, 448.0], (40, 1))
    shifted = drawn + rng.normal(0, 60, drawn.shape) * [1, 1, 0, 0]
    shifted[:, :2] = np.clip(shifted[:, :2], 0, FRAME[:2] - drawn[:, 2:])
    shrunk = np.concatenate([drawn[:, :2] + drawn[:, 2:] / 4, drawn[:, 2:] / 2], axis=1)
    for predicted in (drawn, middle, shifted, shrunk, drawn[::-1]):
        assert notes_of_results(predicted, drawn) == ()


def test_a_single_tiny_box_among_others_is_said() -> None:
    drawn = boxes(20)
    predicted = drawn.copy()
    predicted[4] = [0.2, 0.3, 0.4, 0.1]
    assert notes_of_results(predicted, drawn) == (
        "CHECK: 1 boxes are within the image's first pixel",
    )


def test_boxes_that_touch_no_ground_truth_at_all_are_said() -> None:
    drawn = np.tile([100.0, 100.0, 50.0, 60.0], (5, 1))
    predicted = np.tile([600.0, 700.0, 50.0, 60.0], (5, 1))
    (note,) = notes_of_results(predicted, drawn)
    assert note.startswith("CHECK: no predicted box touches the ground-truth box of its image")
