"""What is compared, and what is made of it once: names, coverage, and that nothing runs twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import coco_ground_truth, detections_list, evaluated
from cxrloc.datasets.provenance.sidecar import LookedAt, read_provenance, write_provenance
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.evaluation.box_scores import score_boxes
from cxrloc.localization.evaluation.controls import CONTROL_NAMES
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.localizer import Localization

BOX = (8.0, 8.0, 24.0, 24.0)
DISEASES = ("Mass", "Nodule")
BOXED, UNBOXED = ("00", "02", "04"), ("01", "03", "05")
COCO = coco_ground_truth(
    DISEASES, [(i, d, (8, 8, 16, 16)) for i in BOXED for d in DISEASES], images=UNBOXED
)
EVERYWHERE = [Localization(i, d, BOX, 0.5) for i in (*BOXED, *UNBOXED) for d in DISEASES]
ON_BOXED_IMAGES = [box for box in EVERYWHERE if box.image_id in BOXED]


def _looked_at(compared: Evaluated, name: str) -> set[str]:
    looked = compared.looked_at[name]
    return {compared.images.image_ids[row] for row in np.flatnonzero(looked)}


def test_a_file_of_others_has_looked_at_all_images_if_it_has_a_box_on_an_unboxed_one() -> None:
    one_elsewhere = [*ON_BOXED_IMAGES, Localization("03", "Mass", BOX, 0.5)]
    predictions = {"all": EVERYWHERE, "one": one_elsewhere, "some": ON_BOXED_IMAGES, "none": []}
    compared = evaluated(COCO, predictions)

    assert _looked_at(compared, "all") == {*BOXED, *UNBOXED}
    assert _looked_at(compared, "one") == {*BOXED, *UNBOXED}
    assert _looked_at(compared, "some") == set(BOXED)
    assert _looked_at(compared, "none") == set(BOXED)


def test_a_sidecar_says_which_images_were_looked_at(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("[]")
    looked_at = LookedAt(("00", "01", "not in the ground truth"))
    write_provenance(tmp_path / "mine.json", [looked_at])
    provenance = read_provenance(tmp_path / "mine.json")

    compared = evaluated(COCO, {"mine": ON_BOXED_IMAGES[:2]}, provenances={"mine": provenance})

    assert _looked_at(compared, "mine") == {"00", "01"}


def test_a_sidecar_that_names_no_image_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "theirs.json").write_text("[]")
    (tmp_path / "theirs.manifest.json").write_text("{}")
    provenance = read_provenance(tmp_path / "theirs.json")
    assert provenance is not None
    assert not provenance.images

    compared = evaluated(COCO, {"theirs": EVERYWHERE}, provenances={"theirs": provenance})

    assert _looked_at(compared, "theirs") == {*BOXED, *UNBOXED}


def test_the_controls_that_box_everything_have_looked_at_all_images() -> None:
    compared = evaluated(COCO, {"some": ON_BOXED_IMAGES})

    assert list(compared.looked_at) == ["some", "prior_box", "constant_box"]
    for name in ("prior_box", "constant_box"):
        assert _looked_at(compared, name) == {*BOXED, *UNBOXED}
        boxes = {(b.image_id, b.disease) for b in detections_list(compared.everywhere[name])}
        assert boxes == {(i, d) for i in (*BOXED, *UNBOXED) for d in DISEASES}


def test_what_an_analysis_gives_is_computed_once_for_all_who_ask() -> None:
    calls: list[Evaluated] = []

    def analysis(compared: Evaluated) -> list[str]:
        calls.append(compared)
        return list(compared.scores)

    def asks_for_it(compared: Evaluated) -> int:
        return len(compared.once(analysis))

    first, other = evaluated(COCO, {"a": [], "b": []}), evaluated(COCO, {"c": []})

    assert first.once(analysis) is first.once(analysis)
    assert (first.once(asks_for_it), first.once(asks_for_it)) == (2, 2)
    assert calls == [first]
    assert other.once(analysis) == ["c"]
    assert calls == [first, other]


def test_nothing_is_a_result_that_is_kept_too() -> None:
    calls = []

    def nothing(compared: Evaluated) -> None:
        calls.append(compared)

    compared = evaluated(COCO, {})
    for _ in range(3):
        compared.once(nothing)
    assert len(calls) == 1


def test_without_a_gate_nothing_passes_and_with_one_each_box_has_its_decision() -> None:
    gate = {(i, d): d == "Mass" for i in BOXED for d in DISEASES}

    assert evaluated(COCO, {}).passes is None
    passes = evaluated(COCO, {}, gate).passes
    assert passes is not None
    assert passes.tolist() == [True, False] * 3


@pytest.mark.parametrize("name", CONTROL_NAMES)
def test_a_name_that_a_control_has_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"'{name}' belongs to a control.*always added"):
        evaluated(COCO, {name: EVERYWHERE})


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name must not be empty; expected NAME=FILE"):
        evaluated(COCO, {name: EVERYWHERE})


@pytest.mark.parametrize("kind", ["maps", "masks"])
def test_maps_and_masks_of_nobody_are_refused(kind: str) -> None:
    maps = HeatMaps.of({("00", "Mass"): np.eye(2, dtype=np.float32)}, name="cam", aligned=False)
    of_nobody: dict[str, Any] = {kind: {"cam": maps if kind == "maps" else []}}

    with pytest.raises(ValueError, match=rf"{kind} of 'cam': expected a name with pred.* \(a\)"):
        evaluated(COCO, {"a": []}, **of_nobody)


def test_scores_where_the_gate_passes_are_those_of_the_boxes_that_pass() -> None:
    gate = {(image, d): (image, d) != ("02", "Mass") for image in BOXED for d in DISEASES}
    boxes = [replace(box, score=0.1 * i) for i, box in enumerate(EVERYWHERE)]

    compared = evaluated(COCO, {"mine": boxes}, gate)

    assert compared.passes is not None
    assert compared.passes.sum() == 5
    assert len(compared.passing["mine"]) == 5
    scores = compared.scores["mine"].only_where(compared.passes)
    for name, values in vars(score_boxes(compared.passing["mine"])).items():
        np.testing.assert_array_equal(getattr(scores, name), values)
    assert evaluated(COCO, {"mine": boxes}).passing == {}
