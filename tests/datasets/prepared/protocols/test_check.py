"""What follows a protocol, what is a part of it, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cxrloc.datasets.prepared.coco import select_images
from cxrloc.datasets.prepared.protocols.check import check_ground_truth, check_settings
from datasets.prepared.protocols.protocol_world import PROTOCOL, coco_of, radiograph

Coco = dict[str, Any]


def test_the_whole_list_is_complete_with_other_images_beside_it() -> None:
    check = check_ground_truth(PROTOCOL, coco_of(radiograph(1, 9), radiograph(50, 0)), "gt.json")

    assert (check.complete, check.status, check.boxes) == (True, "complete", PROTOCOL.boxes)
    assert check.note == "protocol drawn-v1: all its 17 boxes, with its folds and its rules"


def test_a_missing_image_makes_it_partial_and_no_figure_the_protocols() -> None:
    coco = coco_of()
    names = {image["file_name"] for image in coco["images"]} - {"00000003_000.png"}

    check = check_ground_truth(PROTOCOL, select_images(coco, names), "gt.json")

    assert (check.complete, check.status) == (False, "partial: 15 of 17 boxes")
    assert check.note == (
        "protocol drawn-v1, partial: 15 of its 17 boxes on 12 of its 13 images were scored, so no "
        "figure here is the protocol's"
    )


@pytest.mark.parametrize(
    "form", ["{}.jpg", "images/{}.png", "images\\{}.png", "{}_png.rf.0a1b2c3d.jpg"]
)
def test_the_images_may_be_stored_in_other_ways(form: str) -> None:
    coco = coco_of()
    for image in coco["images"]:
        image["file_name"] = form.format(image["file_name"].removesuffix(".png"))
        image["patient_id"] = f"{int(image['patient_id']):08d}"

    assert check_ground_truth(PROTOCOL, coco, "gt.json").complete


def _merged(coco: Coco) -> None:
    coco["categories"] = [{"id": 1, "name": "Mass/Nodule"}]
    for annotation in coco["annotations"]:
        annotation["category_id"] = 1


def _renamed(coco: Coco) -> None:
    coco["categories"][0]["name"] = "mass"


def _resized(coco: Coco) -> None:
    coco["images"][3] |= {"width": 32, "height": 32}


def _moved(coco: Coco) -> None:
    coco["annotations"][0]["bbox"][0] += 0.5


def _left_out(coco: Coco) -> None:
    del coco["annotations"][0]


def _crowd(coco: Coco) -> None:
    coco["annotations"][0]["iscrowd"] = 1


def _one_more(coco: Coco) -> None:
    coco["images"].append({**coco["images"][0], "id": 99, "file_name": "00000077_000.png"})
    coco["images"][-1] |= {"patient_id": "77"}
    coco["annotations"].append({**coco["annotations"][0], "id": 99, "image_id": 99})


def _other_fold(coco: Coco) -> None:
    coco["images"][2]["fold"] = (coco["images"][2]["fold"] + 1) % 3


def _no_folds(coco: Coco) -> None:
    for image in coco["images"]:
        del image["fold"]


def _no_patient(coco: Coco) -> None:
    del coco["images"][0]["patient_id"]


def _other_patient(coco: Coco) -> None:
    coco["images"][0]["patient_id"] = "5"


def _twice(coco: Coco) -> None:
    coco["images"].append({**coco["images"][0], "id": 98, "file_name": "copy/00000001_000.png"})


def _split_patient(coco: Coco) -> None:
    for number, fold in ((90, 0), (91, 1)):
        image = {"id": number, "file_name": f"00000070_{number:03}.png", "patient_id": "70"}
        coco["images"].append({**image, "width": 64, "height": 64, "fold": fold})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_merged, "category 'Mass' is missing; expected exactly Mass, Nodule, none of them merged"),
        (_renamed, "category 'Mass' is missing"),
        (_resized, "00000004_000.png has a frame of 32 x 32 pixels, expected 64 x 64"),
        (_moved, r"boxes of 00000001_000 differ from the protocol's: Nodule \[1.8, 8, 20.2"),
        (_left_out, "boxes of 00000001_000 differ from the protocol's: none"),
        (_crowd, "boxes of 00000001_000 differ from the protocol's: none"),
        (_one_more, "a Nodule box on 00000077_000, an image without a box in the protocol"),
        (_other_fold, "00000003_000.png is in fold ., expected fold . of 3"),
        (_no_folds, "00000001_000.png has no `fold`. cxrloc prepare"),
        (_no_patient, "00000001_000.png has patient_id None, expected 1"),
        (_other_patient, "00000001_000.png has patient_id '5', expected 1"),
        (_twice, "00000001_000.png and copy/00000001_000.png are one image"),
        (_split_patient, "00000070_091.png is in fold 1, expected fold 0 of 3"),
    ],
)
def test_what_differs_is_refused_by_name(change: Callable[[Coco], None], message: str) -> None:
    coco = coco_of()
    change(coco)

    with pytest.raises(ValueError, match=f"gt.json does not follow drawn-v1: .*{message}"):
        check_ground_truth(PROTOCOL, coco, "gt.json")


def test_another_image_of_a_listed_patient_has_the_patients_fold() -> None:
    coco = coco_of(radiograph(2, 9))
    coco["images"][-1]["fold"] = (PROTOCOL.fold_of["2"] + 1) % 3

    with pytest.raises(ValueError, match=r"00000002_009\.png is in fold"):
        check_ground_truth(PROTOCOL, coco, "gt.json")


def test_intervals_are_made_as_the_protocol_says() -> None:
    check_settings(PROTOCOL, PROTOCOL.resamples, 0)
    with pytest.raises(ValueError, match=r"--resamples 10: protocol drawn-v1 has 50; leave"):
        check_settings(PROTOCOL, 10, 0)
    with pytest.raises(ValueError, match="--seed 3: protocol drawn-v1 has 0"):
        check_settings(PROTOCOL, PROTOCOL.resamples, 3)
