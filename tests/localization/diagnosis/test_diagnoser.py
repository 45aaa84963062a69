"""Diagnoser: boxes only for what passes the gate, one pass for gate and maps; the JSON."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pycocotools.coco import COCO

from builders import chest_pixels
from cxrloc.classification.inference.gate_output import GateOutput
from cxrloc.datasets.radiograph import LoadedImage, PixelSpacing
from cxrloc.localization.diagnosis.diagnoser import Diagnoser, Diagnosis, Finding, stream
from cxrloc.localization.diagnosis.to_json import to_json
from cxrloc.localization.localizer import Localization, LocalizerOutput

DISEASES = ("Mass", "Nodule", "Effusion")
IMAGE = LoadedImage("a.png", chest_pixels(0, (40, 60)), (40, 60))
BLACK = LoadedImage("black.png", np.zeros((40, 60), np.uint8), (40, 60))


LIMB = {"Abnormal": 0.5, "Fracture": 0.5, "Cast": None}


class FakeGate:
    """Passes the named diseases on every image, or on a black image none; notes its batches."""

    batch_size, runtime = 2, "by hand"
    demographics: tuple[str, ...] = ()
    examination_thresholds: Mapping[str, float | None] = {}

    def __init__(self, *present: str) -> None:
        self.present = present
        self.batches: list[int] = []

    def __call__(self, images: Sequence[LoadedImage]) -> GateOutput:
        self.batches.append(len(images))
        present = np.array(
            [[d in self.present and f.pixels.any() for d in DISEASES] for f in images]
        )
        thresholds = {"Mass": 0.5, "Nodule": 0.5, "Effusion": None}
        ids = tuple(image.image_id for image in images)
        probabilities = np.where(present, 0.8, 0.2)
        features = torch.zeros(len(images), 2, 2, 2)
        return GateOutput(ids, DISEASES, probabilities, present, features, thresholds)


class FakeCam:
    name = "grad_cam"

    def localize_output(
        self, images: Sequence[LoadedImage], output: GateOutput, diseases: Sequence[str]
    ) -> LocalizerOutput:
        assert [image.image_id for image in images] == list(output.image_ids)
        boxes = [Localization(images[0].image_id, d, (1, 2, 11, 22), 0.4) for d in diseases]
        return LocalizerOutput(tuple(boxes))

    def heat_maps(
        self, image: LoadedImage, output: LocalizerOutput
    ) -> dict[str, npt.NDArray[np.float32]]:
        return {box.disease: np.ones(image.size_hw, np.float32) for box in output.boxes}


class FakeDetector:
    """Two boxes per disease, the weaker first; the second has a mask."""

    name, runtime = "mask_rcnn", "by guess"

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.seen: list[str] = []

    def localize(self, images: Sequence[LoadedImage], diseases: Sequence[str]) -> LocalizerOutput:
        self.asked.append(tuple(diseases))
        self.seen += [image.image_id for image in images]
        mask = np.zeros((40, 60), bool)
        mask[5:10, 5:25] = True
        return LocalizerOutput(
            tuple(
                box
                for d in diseases
                for box in (
                    Localization("a.png", d, (0, 0, 10, 10), 0.3),
                    Localization("a.png", d, (5, 5, 25, 10), 0.9, mask),
                )
            )
        )


def test_only_diseases_that_pass_the_gate_are_boxed() -> None:
    gate, detector = FakeGate("Nodule"), FakeDetector()

    [diagnosis] = Diagnoser(gate, FakeCam(), [detector])([IMAGE])

    assert diagnosis.present == ("Nodule",)
    assert [box.disease for boxes in diagnosis.boxes.values() for box in boxes] == ["Nodule"] * 3
    assert list(diagnosis.heat_maps) == ["Nodule"]
    assert detector.asked == [("Nodule",)]
    assert gate.batches == [1]
    assert diagnosis.message == "Passed the gate: Nodule."


def test_a_image_on_which_nothing_passes_says_so_and_runs_no_detector() -> None:
    detector = FakeDetector()

    [diagnosis] = Diagnoser(FakeGate(), FakeCam(), [detector])([IMAGE])

    assert diagnosis.boxes == {"grad_cam": (), "mask_rcnn": ()}
    assert diagnosis.heat_maps == {}
    assert detector.asked == []
    record = to_json(diagnosis)
    assert record["message"] == "No disease passed the gate: no boxes."
    assert record["annotations"] == []


def test_findings_hold_every_disease_with_probability_and_threshold() -> None:
    [diagnosis] = Diagnoser(FakeGate("Mass"), FakeCam())([IMAGE])

    assert diagnosis.findings == (
        Finding("Mass", 0.8, 0.5, True),
        Finding("Nodule", 0.2, 0.5, False),
        Finding("Effusion", 0.2, None, False),
    )
    assert list(diagnosis.boxes) == ["grad_cam"]


def test_the_strongest_box_comes_first_and_is_the_best() -> None:
    [diagnosis] = Diagnoser(FakeGate("Mass", "Nodule"), FakeCam(), [FakeDetector()])([IMAGE])

    order = [(box.disease, box.score) for box in diagnosis.boxes["mask_rcnn"]]
    assert order == [("Mass", 0.9), ("Mass", 0.3), ("Nodule", 0.9), ("Nodule", 0.3)]
    assert diagnosis.best("mask_rcnn")["Mass"].box_xyxy == (5, 5, 25, 10)


def test_boxes_are_in_millimetres_too_where_the_size_of_a_pixel_is_known() -> None:
    spacing = PixelSpacing(row_mm=0.5, column_mm=0.25, source="PixelSpacing")
    image = replace(IMAGE, spacing=spacing, warnings=("Lateral image.",))

    [diagnosis] = Diagnoser(FakeGate("Nodule"), FakeCam())([image])
    record = json.loads(json.dumps(to_json(diagnosis)))

    assert record["annotations"][0]["bbox"] == [1, 2, 10, 20]
    assert record["annotations"][0]["bbox_mm"] == [0.25, 1, 2.5, 10]  # x and width by columns
    entry = record["images"][0]
    assert (entry["row_mm"], entry["column_mm"]) == (0.5, 0.25)
    assert entry["spacing_source"] == "PixelSpacing"
    assert record["warnings"] == ["Lateral image."]


def test_what_is_no_chest_is_refused_and_warned_of_but_not_by_a_gate_of_limbs() -> None:
    diagnoser = Diagnoser(FakeGate("Mass"), FakeCam())
    lateral = [replace(BLACK, view="LATERAL"), replace(BLACK, image_id="p/view2_lateral.jpg")]
    chest, black, *sides = diagnoser([IMAGE, BLACK, *lateral])
    assert (chest.refusal, chest.warnings) == ("", ())
    assert black.refusal == f"{black.warnings[0]} With --any-image it is predicted."
    assert black.warnings[0].startswith("Not like a frontal chest radiograph")
    for side in sides:  # the file says what it is
        assert (side.refusal, side.warnings) == ("", black.warnings)
    diagnoser.any_image = True
    [warned] = diagnoser([BLACK])
    assert (warned.refusal, warned.warnings) == ("", black.warnings)

    class LimbGate(FakeGate):
        def __call__(self, images: Sequence[LoadedImage]) -> GateOutput:
            output = super().__call__(images)
            return replace(output, diseases=("Abnormal", "Fracture", "Cast"), thresholds=LIMB)

    [limb] = Diagnoser(LimbGate(), FakeCam())([BLACK])
    assert (limb.refusal, limb.warnings) == ("", ())


def test_the_json_has_coco_boxes_with_ranks_and_opens_in_pycocotools() -> None:
    [diagnosis] = Diagnoser(FakeGate("Nodule"), FakeCam(), [FakeDetector()])([IMAGE])
    record = json.loads(json.dumps(to_json(diagnosis)))

    assert record["images"] == [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}]
    first, second, third = record["annotations"]
    assert (first["localizer"], first["bbox"], first["area"]) == ("grad_cam", [1, 2, 10, 20], 200)
    assert (second["localizer"], second["rank"], second["bbox"]) == ("mask_rcnn", 1, [5, 5, 20, 5])
    assert (third["rank"], third["score"]) == (2, 0.3)
    assert {a["category_id"] for a in record["annotations"]} == {2}
    assert record["findings"][2] == {
        "category_id": 3,
        "disease": "Effusion",
        "probability": 0.2,
        "threshold": None,
        "present": False,
    }
    assert record["runtime"] == "by hand, mask_rcnn by guess"
    coco = COCO()
    coco.dataset = record
    coco.createIndex()
    assert coco.annToMask(second).sum() == 100
    assert coco.loadCats([2])[0]["name"] == "Nodule"


def test_a_batch_is_one_call_of_the_gate_and_the_detector_sees_only_what_passes() -> None:
    gate, detector = FakeGate("Mass"), FakeDetector()

    diagnoses = Diagnoser(gate, FakeCam(), [detector])([BLACK, IMAGE, BLACK])

    assert gate.batches == [3]
    assert [d.image_id for d in diagnoses] == ["black.png", "a.png", "black.png"]
    assert [d.present for d in diagnoses] == [(), ("Mass",), ()]
    assert detector.seen == ["a.png"]


def test_detectors_and_heat_maps_can_be_switched_off() -> None:
    detector = FakeDetector()

    [diagnosis] = Diagnoser(FakeGate("Mass"), FakeCam(), [detector])(
        [IMAGE], heat_maps=False, detectors=False
    )

    assert list(diagnosis.boxes) == ["grad_cam"]
    assert diagnosis.heat_maps == {}
    assert diagnosis.runtime == "by hand"
    assert detector.seen == []


def test_two_localizers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'mask_rcnn', 'mask_rcnn'\]: expected different names"):
        Diagnoser(FakeGate(), FakeCam(), [FakeDetector(), FakeDetector()])


def test_calls_from_several_threads_wait_for_each_other() -> None:
    gate = FakeGate("Mass")
    inside, most = 0, 0

    class SlowCam(FakeCam):
        def localize_output(
            self, images: Sequence[LoadedImage], output: GateOutput, diseases: Sequence[str]
        ) -> LocalizerOutput:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            threading.Event().wait(0.01)
            inside -= 1
            return super().localize_output(images, output, diseases)

    diagnoser = Diagnoser(gate, SlowCam())
    with ThreadPoolExecutor(4) as threads:
        diagnoses = list(threads.map(diagnoser, [[IMAGE]] * 8))

    assert most == 1
    assert [d.present for [d] in diagnoses] == [("Mass",)] * 8


def test_a_stream_holds_no_more_images_than_a_batch_and_the_one_handed_out() -> None:
    gate = FakeGate("Mass")
    images_read: list[weakref.ref[Any]] = []

    def images() -> Iterator[tuple[int, LoadedImage]]:
        for number in range(9):
            pixels = np.full((40, 60), 9, np.uint8)
            images_read.append(weakref.ref(pixels))
            yield number, LoadedImage(f"{number}.png", pixels, (40, 60))

    most, order = 0, []
    for key, image, diagnosis in stream(Diagnoser(gate, FakeCam()), images()):
        most = max(most, sum(pixels() is not None for pixels in images_read))
        order.append((key, image.image_id, diagnosis.image_id))
        del image

    assert order == [(k, f"{k}.png", f"{k}.png") for k in range(9)]
    assert gate.batches == [2, 2, 2, 2, 1]
    assert most <= gate.batch_size + 1


def test_a_box_of_an_absent_disease_is_refused() -> None:
    box = Localization("a.png", "Mass", (0, 0, 1, 1), 0.5)

    with pytest.raises(ValueError, match="mask_rcnn boxed Mass, which is not present"):
        Diagnosis("a.png", (4, 4), (Finding("Mass", 0.1, 0.5, False),), {"mask_rcnn": (box,)})


def test_findings_check_themselves() -> None:
    with pytest.raises(ValueError, match=r"Mass: probability 1\.2, expected 0 to 1"):
        Finding("Mass", 1.2, 0.5, False)
    with pytest.raises(ValueError, match="Mass: present without a threshold"):
        Finding("Mass", 0.9, None, True)
