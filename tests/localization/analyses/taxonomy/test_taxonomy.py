"""The error taxonomy: the class of every box by hand, the sums, and what the section says."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from builders import coco_ground_truth, evaluated
from cxrloc.localization.analyses.taxonomy.section import taxonomy
from cxrloc.localization.analyses.taxonomy.taxonomy import (
    ALL_BOXES,
    BoxOutcome,
    classify_boxes,
    taxonomies,
)
from cxrloc.localization.evaluation.box_scores import score_boxes
from cxrloc.localization.evaluation.controls import CONTROL_NAMES
from cxrloc.localization.evaluation.detections import place
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.glossary import lookup

# Every box is 40 x 40 at (100, 100): area 1600
BOX = (100.0, 100.0, 140.0, 140.0)
FAR = (0.0, 0.0, 40.0, 40.0)


def _truth(pairs: list[tuple[str, str]], unboxed: Sequence[str] = ()) -> GroundTruth:
    boxes = [(image, disease, (100, 100, 40, 40)) for image, disease in pairs]
    coco = coco_ground_truth(("Mass", "Nodule"), boxes, images=unboxed, size_wh=(256, 256))
    return ground_truth_from_coco(coco)


Gate = Mapping[tuple[str, str], bool]


def _evaluated(
    truth: GroundTruth,
    predicted: Sequence[Localization],
    gate: Gate | None = None,
    controls: Mapping[str, Sequence[Localization]] | None = None,
) -> Evaluated:
    """One localizer beside controls of our own."""
    everyone = evaluated(truth, {"mine": predicted}, gate)
    everyone.controls = {name: place(truth, boxes) for name, boxes in (controls or {}).items()}
    return everyone


def _classes(
    truth: GroundTruth,
    predicted: Sequence[Localization],
    gate: Gate | None = None,
    threshold: float = 0.5,
) -> list[str]:
    """Class of every ground-truth box."""
    everyone = evaluated(truth, {"mine": predicted}, gate)
    boxes, decided = everyone.inputs.predictions["mine"], everyone.inputs.gate
    boxes = boxes if decided is None else boxes.passing(decided)
    classes = classify_boxes(boxes, score_boxes(boxes), everyone.passes, threshold=threshold)
    return [list(BoxOutcome)[int(chosen)] for chosen in classes]


def _class(
    boxes: list[tuple[str, tuple[float, float, float, float], float]],
    gate: dict[str, bool] | None = None,
    threshold: float = 0.5,
) -> str:
    """Class of the one box (Mass on image a) for (disease, box, score) predictions there."""
    predicted = [Localization("a", disease, box, score) for disease, box, score in boxes]
    passes = None if gate is None else {("a", disease): says for disease, says in gate.items()}
    return _classes(_truth([("a", "Mass")]), predicted, passes, threshold)[0]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (BOX, "hit"),
        ((100.0, 100.0, 140.0, 180.0), "loose"),  # twice the area: IoU exactly .5 is no hit
        ((100.0, 100.0, 140.0, 120.0), "tight"),  # half the area: IoU exactly .5
        ((120.0, 100.0, 160.0, 140.0), "tight"),  # shifted by half, equal area: IoU 1/3
        ((120.0, 100.0, 161.0, 140.0), "loose"),  # the same, one pixel wider
        ((100.0, 100.0, 140.0, 104.0), "wrong place"),  # a tenth: IoU exactly .1
        ((100.0, 100.0, 140.0, 105.0), "tight"),  # an eighth: IoU .125
        ((0.0, 0.0, 256.0, 256.0), "wrong place"),  # the whole image: IoU 1600 / 65536
        (FAR, "wrong place"),
    ],
)
def test_the_own_box_alone_decides_between_hit_loose_tight_and_wrong_place(
    box: tuple[float, float, float, float], expected: str
) -> None:
    assert _class([("Mass", box, 0.5)]) == expected


def test_only_the_top_box_counts_even_where_a_weaker_one_would_hit() -> None:
    assert _class([("Mass", BOX, 0.4), ("Mass", FAR, 0.5)]) == "wrong place"
    assert _class([("Nodule", BOX, 0.4), ("Nodule", FAR, 0.5)]) == "no box"


def test_a_box_under_another_name_counts_where_the_own_one_is_absent_or_elsewhere() -> None:
    assert _class([("Nodule", BOX, 0.5)]) == "other disease's name"
    assert _class([("Nodule", BOX, 0.5), ("Mass", FAR, 0.9)]) == "other disease's name"
    assert _class([("Nodule", BOX, 0.5), ("Mass", (100, 100, 140, 120), 0.9)]) == "tight"
    assert _class([("Nodule", BOX, 0.5), ("Mass", BOX, 0.1)]) == "hit"
    # a loose box under another name is not a right box under another name
    assert _class([("Nodule", (100, 100, 140, 180), 0.5)]) == "no box"


def test_a_box_on_another_image_is_no_box() -> None:
    predicted = [Localization("b", "Mass", BOX, 0.5), Localization("b", "Nodule", BOX, 0.5)]

    assert _classes(_truth([("a", "Mass"), ("b", "Mass")]), predicted) == ["no box", "hit"]


def test_the_gate_comes_first_and_holds_for_other_names_too() -> None:
    both: list[tuple[str, tuple[float, float, float, float], float]]
    both = [("Mass", BOX, 0.5), ("Nodule", BOX, 0.5)]

    assert _class(both, {"Mass": False, "Nodule": True}) == "gate miss"
    assert _class(both, {"Mass": True, "Nodule": False}) == "hit"
    assert _class(both[1:], {"Mass": True, "Nodule": True}) == "other disease's name"
    assert _class(both[1:], {"Mass": True, "Nodule": False}) == "no box"
    assert _class(both[1:], {"Mass": True}) == "no box"  # a gate that never saw it lets none pass


def test_a_threshold_at_or_over_the_right_place_is_needed_and_moves_the_classes() -> None:
    half = [("Mass", (100.0, 100.0, 140.0, 120.0), 0.5)]

    assert _class(half, threshold=0.4) == "hit"
    assert _class(half, threshold=0.5) == "tight"
    for threshold in (0.05, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"expected 0.1 <= t < 1, got"):
            _class(half, threshold=threshold)


def test_a_gate_without_a_decision_for_a_box_is_refused() -> None:
    with pytest.raises(ValueError, match="no decision for Mass on a"):
        _class([("Mass", BOX, 0.5)], {"Nodule": True})


def _world(seed: int = 0) -> tuple[GroundTruth, list[Localization], dict[tuple[str, str], bool]]:
    """40 images with one or both diseases; boxes of both, off by anything from nothing to far."""
    rng = np.random.default_rng(seed)
    pairs = [(f"{i}", d) for i in range(40) for d in ("Mass", "Nodule") if rng.random() < 0.6]
    predicted, gate = [], {}
    for i in range(40):
        for disease in ("Mass", "Nodule"):
            gate[f"{i}", disease] = bool(rng.random() < 0.8)
            for _ in range(rng.integers(0, 3)):
                x, y = 100 + rng.normal(0, 25, 2)
                side = rng.uniform(20, 60)
                box = (float(x), float(y), float(x + side), float(y + side))
                predicted.append(Localization(f"{i}", disease, box, float(rng.random())))
    return _truth(pairs, [f"{i}" for i in range(40)]), predicted, gate


def test_every_box_is_in_one_class_so_diseases_add_up_to_all_boxes() -> None:
    truth, predicted, gate = _world()

    rows = taxonomies(evaluated(truth, {"mine": predicted}, gate))

    settings = [(row.label, row.setting) for row in rows]
    assert settings == [
        ("mine", "disease given"),
        ("mine, gated", "gated"),
        *((name, "control") for name in CONTROL_NAMES),
    ]
    for row in rows:
        for disease, boxes in truth.boxes_per_disease.items():
            assert sum(row.counts[disease].values()) == boxes
            assert sum(row.share(disease, error) for error in BoxOutcome) == pytest.approx(100)
        assert sum(row.counts[ALL_BOXES].values()) == len(truth)
    assert all(rows[0].counts[ALL_BOXES][e] > 0 for e in BoxOutcome if e != BoxOutcome.GATE_MISS)
    assert rows[0].counts[ALL_BOXES][BoxOutcome.GATE_MISS] == 0
    passed = sum(gate[pair] for pair in zip(truth.image_ids, truth.diseases, strict=True))
    assert rows[1].counts[ALL_BOXES][BoxOutcome.GATE_MISS] == len(truth) - passed


def test_the_order_of_the_predictions_changes_no_class() -> None:
    truth, predicted, gate = _world()
    mixed = random.Random(1).sample(predicted, len(predicted))

    assert _classes(truth, mixed, gate) == _classes(truth, predicted, gate)


def test_the_section_prints_shares_and_counts_and_warns_of_chance() -> None:
    truth = _truth([("a", "Mass"), ("b", "Mass"), ("b", "Nodule"), ("c", "Nodule")])
    predicted = [Localization("a", "Mass", BOX, 0.5), Localization("b", "Nodule", BOX, 0.5)]

    section = taxonomy(_evaluated(truth, predicted, controls={"random_map": predicted[:1]}))

    assert section.key == "taxonomy"
    shares, counts = section.tables
    assert (shares.name, counts.name) == ("taxonomy", "taxonomy_counts")
    blocks = [row.block for row in counts.rows]
    assert blocks == [b for b in (ALL_BOXES, "Mass", "Nodule") for _ in range(2)]
    assert [list(row.cells.values()) for row in counts.rows] == [
        [2, 0, 0, 1, 0, 0, 1],
        [1, 0, 0, 0, 0, 0, 3],
        [1, 0, 0, 1, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 1],
        [1, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 2],
    ]
    assert list(shares.rows[0].cells.values()) == [
        "50.0",
        "0.0",
        "0.0",
        "25.0",
        "0.0",
        "0.0",
        "25.0",
    ]
    assert [row.trail["boxes"] for row in shares.rows] == [4, 4, 2, 2, 2, 2]
    notes = " ".join(shares.notes)
    assert "can occur by chance" in notes
    assert "mine 0.7; random_map 0.3" in notes  # two and one box on three boxed images
    assert section.paragraphs[1] == (
        "mine hits 50.0 % of the boxes and loses most to 'other disease's name' (25.0 %)."
    )


def test_every_column_has_an_explanation() -> None:
    truth, predicted, gate = _world()

    for table in taxonomy(evaluated(truth, {"mine": predicted}, gate)).tables:
        for row in table.rows:
            for column in (*row.lead, *row.cells, *row.trail):
                assert lookup(column).definition


def test_the_figure_has_a_panel_per_disease_whose_bars_all_reach_100() -> None:
    truth, predicted, gate = _world()

    section = taxonomy(_evaluated(truth, predicted, gate, {"blind": predicted}))

    figure = section.figures[0]
    panels = [axis for axis in figure.figure.axes if axis.get_visible()]
    counts = truth.boxes_per_disease
    assert [axis.get_title() for axis in panels] == [
        f"{ALL_BOXES} (n = {len(truth)})",
        *(f"{d} (n = {n})" for d, n in counts.items()),
    ]
    for axis in panels:
        bars = [bar for bar in axis.patches if isinstance(bar, Rectangle)]
        ends = [bar.get_x() + bar.get_width() for bar in bars]
        assert ends[-3:] == pytest.approx([100, 100, 100])
    assert [t.get_text() for t in panels[0].get_yticklabels()] == [
        "mine",
        "mine, gated",
        "blind (control)",
    ]
    legend = [text.get_text() for text in figure.figure.legends[0].get_texts()]
    assert legend == list(BoxOutcome)
    assert all(paragraph in figure.alt for paragraph in section.paragraphs[1:])


def test_classes_differ_in_colour_and_hatch_so_that_no_two_are_told_by_colour_alone() -> None:
    truth, predicted, _ = _world()
    legend = taxonomy(_evaluated(truth, predicted)).figures[0].figure.legends[0]

    styles = [(p.get_facecolor(), p.get_hatch()) for p in legend.get_patches()]
    hatched = [hatch for _, hatch in styles if hatch]
    assert len(set(styles)) == len(BoxOutcome)
    assert len(set(hatched)) == len(hatched) == 5


def test_without_any_localizer_the_controls_stand_alone() -> None:
    section = taxonomy(evaluated(_truth([("a", "Mass"), ("b", "Mass")]), {}))

    rows = [row.lead["localizer"] for row in section.tables[0].rows if row.block == ALL_BOXES]
    assert rows == list(CONTROL_NAMES)
    assert [text.split(" ")[0] for text in section.paragraphs[1:]] == list(CONTROL_NAMES)
