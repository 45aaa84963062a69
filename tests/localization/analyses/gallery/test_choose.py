"""The gallery: which images are chosen, and that what is drawn is where it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from builders import coco_ground_truth, comparison, evaluated
from cxrloc.localization.analyses.gallery.choose import BEST, DISAGREE, WRONG, choose
from cxrloc.localization.analyses.gallery.pictures import gallery
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.evaluation.comparison import Comparison
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.sections import Picture

SIDE = 100
Predictions = dict[str, list[Localization]]


def _coco(diseases: list[str]) -> dict[str, Any]:
    """Image i has one box, of `diseases[i]`, from (20, 20) to (60, 60)."""
    boxes = [(f"{i}.png", disease, (20, 20, 40, 40)) for i, disease in enumerate(diseases)]
    return coco_ground_truth(sorted(set(diseases)), boxes, size_wh=(SIDE, SIDE))


def _box(i: int, disease: str, share: float, score: float = 0.5) -> Localization:
    """IoU `share` with the box of image i; 0: a box elsewhere."""
    box = (20.0, 20.0, 20.0 + 40 * share, 60.0) if share else (70.0, 70.0, 90.0, 90.0)
    return Localization(f"{i}.png", disease, box, score)


def _compare(diseases: list[str], predictions: Predictions) -> Comparison:
    return comparison(_coco(diseases), predictions, resamples=5)


def _chosen(compared: Comparison, group: str, per_group: int = 2) -> list[str]:
    return [c.image_id for c in choose(compared, per_group) if c.group == group]


def test_best_wrong_and_disagreeing_images_are_chosen_by_their_figures() -> None:
    ious_a = [1.0, 0.9, 0.0, 0.0, 1.0, 0.5]
    ious_b = [1.0, 0.8, 0.0, 0.0, 0.0, 0.5]
    scores = [0.1, 0.2, 0.3, 0.9, 0.2, 0.2]
    a = [_box(i, "Mass", v, scores[i]) for i, v in enumerate(ious_a)]
    b = [_box(i, "Mass", v, scores[i]) for i, v in enumerate(ious_b)]

    chosen = choose(_compare(["Mass"] * 6, {"a": a, "b": b}), per_group=2)

    assert [(c.group, c.image_id) for c in chosen] == [
        (BEST, "0.png"),
        (BEST, "1.png"),
        (WRONG, "3.png"),  # as wrong as image 2, but surer of it
        (WRONG, "2.png"),
        (DISAGREE, "4.png"),
        (DISAGREE, "5.png"),
    ]
    assert chosen[4].ious == {"a": 1.0, "b": 0.0}
    assert chosen[4].boxes_xyxy == ((20, 20, 60, 60),)


def test_confidence_is_compared_within_a_localizer_and_disease_alone() -> None:
    # Nodule's scores are ten times those of Mass; image 1 is the surest of its own disease
    diseases = ["Mass", "Mass", "Nodule", "Nodule"]
    scores = [0.01, 0.09, 0.5, 0.9]
    a = [_box(i, d, 0.0, scores[i]) for i, d in enumerate(diseases)]

    wrong = [c for c in choose(_compare(diseases, {"a": a}), 1) if c.group == WRONG]

    # image 0 went to the best: all are equally bad, and it came first
    assert [c.image_id for c in wrong] == ["1.png"]


def test_diseases_take_turns_and_no_image_comes_twice() -> None:
    diseases = ["Mass", "Mass", "Mass", "Nodule", "Nodule"]
    a = [_box(i, d, 1 - 0.1 * i) for i, d in enumerate(diseases)]
    compared = _compare(diseases, {"a": a})

    assert _chosen(compared, BEST, 3) == ["0.png", "3.png", "1.png"]
    everything = [c.image_id for c in choose(compared, 4)]
    assert sorted(everything) == [f"{i}.png" for i in range(5)]


def test_a_image_without_a_prediction_is_wrong_but_not_confident() -> None:
    a = [_box(0, "Mass", 1.0), _box(1, "Mass", 0.0, 0.1)]

    assert _chosen(_compare(["Mass"] * 3, {"a": a}), WRONG, 1) == ["1.png"]


def test_one_localizer_cannot_disagree_and_none_has_no_gallery() -> None:
    alone = _compare(["Mass"] * 12, {"a": [_box(i, "Mass", 0.5) for i in range(12)]})

    assert {c.group for c in choose(alone)} == {BEST, WRONG}
    assert len(choose(alone)) == 8
    assert choose(_compare(["Mass"] * 3, {})) == ()


def test_the_choice_is_the_same_every_time_and_for_any_order_of_the_files() -> None:
    diseases = ["Mass", "Nodule"] * 6
    a = [_box(i, d, 0.1 * (i % 5)) for i, d in enumerate(diseases)]

    forward = choose(_compare(diseases, {"a": a}))
    assert forward == choose(_compare(diseases, {"a": a[::-1]}))


def _pictures(
    tmp_path: Path, predictions: Predictions, maps: dict[str, HeatMaps], *, on_disk: bool = True
) -> tuple[Picture, ...]:
    path = tmp_path / "0.png"
    if on_disk:
        cv2.imwrite(str(path), np.full((SIDE // 2, SIDE // 2), 60, np.uint8))  # a smaller copy
    coco, paths = _coco(["Mass", "Mass"]), {"0.png": path}
    return gallery(evaluated(coco, predictions, maps=maps, image_paths=paths, resamples=5))[:1]


def _pixels(picture: Picture) -> npt.NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(picture.full, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, dtype=np.uint8)


def _two() -> Predictions:
    return {"a": [_box(0, "Mass", 1.0, 0.7), _box(0, "Mass", 0.5, 0.2)], "b": []}


def test_a_picture_says_in_words_what_it_shows(tmp_path: Path) -> None:
    (picture,) = _pictures(tmp_path, _two(), {})

    assert picture.group == BEST
    assert picture.caption == "Mass on 0.png. a: IoU 1.000, score .700; b: no box, IoU 0"
    assert "ground truth 20, 20, 60, 60; a 20, 20, 60, 60." in picture.full_alt
    assert "b: no box" in picture.full_alt


def test_the_box_is_white_and_coloured_where_it_lies_in_the_original_frame(
    tmp_path: Path,
) -> None:
    predictions = {"a": [_box(0, "Mass", 0.5)]}
    (picture,) = _pictures(tmp_path, predictions, {})

    image = _pixels(picture)
    side = image.shape[1]
    column = round(0.6 * side) - 1  # the right side of the ground truth, off the prediction
    band = image[round(0.3 * side) : round(0.5 * side), column - 3 : column + 4]
    assert band.mean(axis=2).max(axis=1).min() > 200  # a white line all the way down
    middle = round(0.4 * side)  # the right side of the prediction, dashed in the first colour
    band = image[round(0.3 * side) : round(0.5 * side), middle - 3 : middle + 4].astype(float)
    assert (band[..., 2] - band[..., 0]).max() > 120  # orange: much red, little blue
    assert abs(float(image[round(0.8 * side), round(0.8 * side)].mean()) - 60) < 4  # the image


def test_a_heat_map_stands_beside_the_image_and_is_hot_where_the_map_is(tmp_path: Path) -> None:
    cells = np.zeros((1, 10, 10), np.float32)
    cells[0, 7:9, 7:9] = 1
    maps = {"a": HeatMaps((("0.png", "Mass"),), cells, False, "a")}
    (plain,), (with_heat,) = _pictures(tmp_path, _two(), {}), _pictures(tmp_path, _two(), maps)

    image, side = _pixels(with_heat), _pixels(plain).shape[1]
    assert image.shape[1] == 2 * side + 6
    hot = image[round(0.8 * side), side + 6 + round(0.8 * side)].astype(int)
    cold = image[round(0.8 * side), side + 6 + round(0.12 * side)].astype(int)
    assert hot[2] - hot[0] > 40  # yellow over grey
    assert abs(cold - 60).max() < 8
    assert "Next to it the heat map of a." in with_heat.full_alt


def test_the_simple_form_is_the_image_with_the_boxes_of_one_of_each_twins(tmp_path: Path) -> None:
    same = [_box(i, "Mass", 0.5) for i in range(2)]
    far = [_box(i, "Mass", 0) for i in range(2)]
    (picture,) = _pictures(tmp_path, {"a": same, "twin": same, "far": far}, {})

    simple = cv2.imdecode(np.frombuffer(picture.simple, np.uint8), cv2.IMREAD_COLOR)
    assert simple is not None
    assert simple.shape[0] == simple.shape[1]  # no legend beneath: the page has it
    assert picture.results == {"a": "IoU .500", "far": "IoU .000"}
    assert picture.title == "Mass"
    assert picture.alt == "Mass on 0.png: a IoU .500, far IoU .000."
    assert "twin: IoU .500" in picture.caption


def test_a_map_of_another_image_is_not_shown(tmp_path: Path) -> None:
    cells = np.ones((1, 4, 4), np.float32)
    maps = {"a": HeatMaps((("1.png", "Mass"),), cells, False, "a")}

    (picture,) = _pictures(tmp_path, _two(), maps)
    assert "heat map" not in picture.full_alt


def test_a_image_that_is_not_on_disk_or_not_readable_is_drawn_blank_and_said(
    tmp_path: Path,
) -> None:
    (missing,) = _pictures(tmp_path, _two(), {}, on_disk=False)
    (tmp_path / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    (torn,) = _pictures(tmp_path, _two(), {}, on_disk=False)

    assert missing.caption.endswith("Image not on disk")
    assert "The frame is blank: image not on disk." in missing.full_alt
    assert torn.caption.endswith("Image not readable")
    assert _pixels(missing).shape == _pixels(torn).shape


def test_no_choice_gives_no_picture() -> None:
    assert gallery(evaluated(_coco(["Mass", "Mass"]), {})) == ()
