"""diagnose(): boxes only for what passes the gate, one pass for gate and maps, and the JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pycocotools.coco import COCO

from cxrloc.classification.gate import GateOutput
from cxrloc.datasets.radiograph import Film
from cxrloc.localization.diagnose import Diagnosis, Finding, diagnose, to_json
from cxrloc.localization.localizer import Localization

DISEASES = ("Mass", "Nodule", "Effusion")
FILM = Film("a.png", np.zeros((40, 60), np.uint8), (40, 60))


class FakeGate:
    """Passes the named diseases; counts its calls."""

    def __init__(self, *present: str) -> None:
        self.present, self.calls = present, 0

    def __call__(self, films: Sequence[Film]) -> GateOutput:
        self.calls += 1
        present = np.array([[d in self.present for d in DISEASES]])
        thresholds = {"Mass": 0.5, "Nodule": 0.5, "Effusion": None}
        ids = tuple(film.image_id for film in films)
        probabilities = np.where(present, 0.8, 0.2)
        return GateOutput(
            ids, DISEASES, probabilities, present, torch.zeros(1, 2, 2, 2), thresholds
        )


class FakeCam:
    name = "grad_cam"

    def localize_output(
        self, films: Sequence[Film], output: GateOutput, diseases: Sequence[str]
    ) -> list[Localization]:
        return [Localization(films[0].image_id, d, (1, 2, 11, 22), 0.4) for d in diseases]

    def heat_maps(
        self, output: GateOutput, films: Sequence[Film], diseases: Sequence[str]
    ) -> list[dict[str, npt.NDArray[np.float32]]]:
        return [{d: np.ones(films[0].size_hw, np.float32) for d in diseases}]


class FakeDetector:
    """Two boxes per disease, the weaker first; the second has a mask."""

    name = "mask_rcnn"

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def localize(self, images: Sequence[Film], diseases: Sequence[str]) -> list[Localization]:
        self.asked.append(tuple(diseases))
        mask = np.zeros((40, 60), bool)
        mask[5:10, 5:25] = True
        return [
            box
            for d in diseases
            for box in (
                Localization("a.png", d, (0, 0, 10, 10), 0.3),
                Localization("a.png", d, (5, 5, 25, 10), 0.9, mask),
            )
        ]


def test_only_diseases_that_pass_the_gate_are_boxed() -> None:
    gate, detector = FakeGate("Nodule"), FakeDetector()

    found = diagnose(FILM, gate, FakeCam(), detector)

    assert found.present == ("Nodule",)
    assert [box.disease for boxes in found.boxes.values() for box in boxes] == ["Nodule"] * 3
    assert list(found.heat_maps) == ["Nodule"]
    assert detector.asked == [("Nodule",)]
    assert gate.calls == 1
    assert found.message == "Passed the gate: Nodule."


def test_a_film_on_which_nothing_passes_says_so_and_runs_no_detector() -> None:
    detector = FakeDetector()

    found = diagnose(FILM, FakeGate(), FakeCam(), detector)

    assert found.boxes == {"grad_cam": (), "mask_rcnn": ()}
    assert found.heat_maps == {}
    assert detector.asked == []
    record = to_json(found)
    assert record["message"] == "No disease passed the gate: no boxes."
    assert record["annotations"] == []


def test_findings_hold_every_disease_with_probability_and_threshold() -> None:
    found = diagnose(FILM, FakeGate("Mass"), FakeCam())

    assert found.findings == (
        Finding("Mass", 0.8, 0.5, True),
        Finding("Nodule", 0.2, 0.5, False),
        Finding("Effusion", 0.2, None, False),
    )
    assert list(found.boxes) == ["grad_cam"]


def test_the_strongest_box_comes_first_and_is_the_best() -> None:
    found = diagnose(FILM, FakeGate("Mass", "Nodule"), FakeCam(), FakeDetector())

    order = [(box.disease, box.score) for box in found.boxes["mask_rcnn"]]
    assert order == [("Mass", 0.9), ("Mass", 0.3), ("Nodule", 0.9), ("Nodule", 0.3)]
    assert found.best("mask_rcnn")["Mass"].box_xyxy == (5, 5, 25, 10)


def test_the_json_has_coco_boxes_with_ranks_and_opens_in_pycocotools() -> None:
    record = json.loads(
        json.dumps(to_json(diagnose(FILM, FakeGate("Nodule"), FakeCam(), FakeDetector())))
    )

    assert record["images"] == [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}]
    first, second, third = record["annotations"]
    assert (first["localizer"], first["bbox"], first["area"]) == ("grad_cam", [1, 2, 10, 20], 200)
    assert (second["localizer"], second["rank"], second["bbox"]) == ("mask_rcnn", 1, [5, 5, 20, 5])
    assert (third["rank"], third["score"]) == (2, 0.3)
    assert {a["category_id"] for a in record["annotations"]} == {2}
    assert record["findings"][2] == {
        "category_id": 3, "disease": "Effusion", "probability": 0.2, "threshold": None,
        "present": False,
    }  # fmt: skip
    coco = COCO()
    coco.dataset = record
    coco.createIndex()
    assert coco.annToMask(second).sum() == 100
    assert coco.loadCats([2])[0]["name"] == "Nodule"


def test_a_box_of_an_absent_disease_is_refused() -> None:
    box = Localization("a.png", "Mass", (0, 0, 1, 1), 0.5)

    with pytest.raises(ValueError, match="mask_rcnn boxed Mass, which is not present"):
        Diagnosis("a.png", (4, 4), (Finding("Mass", 0.1, 0.5, False),), {"mask_rcnn": (box,)})


def test_findings_check_themselves() -> None:
    with pytest.raises(ValueError, match=r"Mass: probability 1\.2, expected 0 to 1"):
        Finding("Mass", 1.2, 0.5, False)
    with pytest.raises(ValueError, match="Mass: present without a threshold"):
        Finding("Mass", 0.9, None, True)
