"""Tuning on other patients' boxes: hand-made maps whose best rule is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cxrloc.localization.analyses.ladder.cam_tuning import SMOOTHINGS, Tuning, tune
from cxrloc.localization.analyses.ladder.rule_scores import SIZE_RULES, THRESHOLDS
from cxrloc.localization.boxes import iou
from cxrloc.localization.cam.boxes import CamBoxRule, boxes_from_map, map_to_frame, smooth_map
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.cam.rules import FOLDS_OF_THE_GROUND_TRUTH, SizedRule
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco

FRAME = 96
DISEASES = ("Mass", "Nodule")


def ground_truth(
    rows: Sequence[tuple[str, str, Sequence[float], int | None]],
) -> dict[str, Any]:
    """COCO of (patient, disease, xyxy, fold), one image each."""
    images, annotations = [], []
    for i, (patient, disease, (x1, y1, x2, y2), fold) in enumerate(rows, start=1):
        image = {"id": i, "file_name": f"{i:02d}.png", "width": FRAME, "height": FRAME}
        images.append({**image, "patient_id": patient, "fold": fold})
        box = [x1, y1, x2 - x1, y2 - y1]
        category = DISEASES.index(disease) + 1
        annotations.append({"id": i, "image_id": i, "category_id": category, "bbox": box})
    categories = [{"id": c, "name": d} for c, d in enumerate(DISEASES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def random_rows(seed: int = 0, folds: int = 3) -> list[tuple[str, str, list[float], int | None]]:
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, list[float], int | None]] = []
    for i in range(12):
        x, y = rng.integers(0, 50, 2).tolist()
        w, h = rng.integers(10, 46, 2).tolist()
        rows.append((f"p{i}", DISEASES[i % 2], [x, y, x + w, y + h], i % folds))
    return rows


def random_maps(coco: dict[str, Any], *, aligned: bool = False, seed: int = 1) -> HeatMaps:
    rng = np.random.default_rng(seed)
    names = {c["id"]: c["name"] for c in coco["categories"]}
    pairs = tuple(
        (f"{a['image_id']:02d}.png", names[a["category_id"]]) for a in coco["annotations"]
    )
    maps = rng.random((len(pairs), 6, 6)).astype(np.float32)
    return HeatMaps(pairs, maps, aligned, "random")


def tuned(coco: dict[str, Any], maps: HeatMaps, seed: int = 0) -> Tuning:
    return tune(ground_truth_from_coco(coco), maps, seed=seed)


def blob(spread: float) -> np.ndarray:
    """(FRAME, FRAME) Gaussian around the middle; as large as the frame, so nothing is scaled."""
    at = np.arange(FRAME) + 0.5 - FRAME / 2
    return np.exp(-(at[:, None] ** 2 + at**2) / (2 * spread**2)).astype(np.float32)


@pytest.mark.parametrize("level", [40.0, 180.0])
def test_the_threshold_whose_contour_is_the_box_is_found(level: float) -> None:
    """Of a Gaussian over t/255 of its peak a disk is left, whose diameter is known."""
    spread = 12.0
    radius = spread * np.sqrt(2 * np.log(255 / level))
    low, high = FRAME / 2 - radius, FRAME / 2 + radius
    rows = [(f"p{i}", "Mass", [low, low, high, high], i % 2) for i in range(4)]
    coco = ground_truth(rows)
    pairs = tuple((f"{i:02d}.png", "Mass") for i in range(1, 5))
    maps = HeatMaps(pairs, np.stack([blob(spread)] * 4), False, "blob")
    tuning = tuned(coco, maps)
    for rules in (*tuning.rules.values(), tuning.rules_for_new_images):
        assert rules["Mass"].rule.thresholds == (level,)
        assert rules["Mass"].mean_size == pytest.approx([2 * radius / FRAME] * 2)
    assert [rules["Mass"].boxes for rules in tuning.rules.values()] == [2, 2]
    assert tuning.rules_for_new_images["Mass"].boxes == 4
    assert tuning.tuned_iou.min() > 0.85


def test_the_size_rule_that_finds_the_box_is_found() -> None:
    """Two regions: a small hot one and a large warm one, which is the box in one case."""
    heat = np.zeros((FRAME, FRAME), np.float32)
    heat[10:16, 10:16], heat[40:80, 40:80] = 1.0, 0.5
    pairs = tuple((f"{i:02d}.png", "Mass") for i in range(1, 5))
    maps = HeatMaps(pairs, np.stack([heat] * 4), False, "two")
    for box, rule in (([10, 10, 16, 16], "closest"), ([40, 40, 80, 80], "largest")):
        coco = ground_truth([(f"p{i}", "Mass", box, i % 2) for i in range(4)])
        tuning = tuned(coco, maps)
        assert {r["Mass"].rule.size_rule for r in tuning.rules.values()} == {rule}
        np.testing.assert_array_equal(tuning.tuned_iou, 1)


@pytest.mark.parametrize("aligned", [False, True])
def test_every_figure_is_that_of_the_rule_applied_by_itself(aligned: bool) -> None:
    coco = ground_truth(random_rows())
    maps, truth = random_maps(coco, aligned=aligned), ground_truth_from_coco(coco)
    tuning = tuned(coco, maps)

    def alone(row: int, sized: SizedRule) -> float:
        cells = maps.cells(truth.image_ids[row], truth.diseases[row])
        assert cells is not None
        smooth = smooth_map(cells, sized.rule.smooth_cells)
        heat = map_to_frame(smooth, (FRAME, FRAME), aligned=aligned)
        regions = boxes_from_map(heat, sized.rule, sized.mean_size_wh((FRAME, FRAME)))
        return float(iou([regions[0][0]], truth.boxes_xyxy[[row]])[0]) if regions else 0.0

    for row, disease in enumerate(truth.diseases):
        fold = tuning.folds.numbers[tuning.folds.of_box[row]]
        of_disease = tuning.rules[fold][disease]
        assert tuning.tuned_iou[row] == alone(row, of_disease)
        for s, smoothing in enumerate(SMOOTHINGS):
            for r, size_rule in enumerate(SIZE_RULES):
                for t in (0, 11, 23):
                    rule = CamBoxRule((THRESHOLDS[t],), 5, size_rule, smoothing)
                    tuned_iou = tuning.iou[row, tuning.folds.of_box[row], s, r, t]
                    assert tuned_iou == alone(row, SizedRule(rule, of_disease.mean_size))


def test_the_chosen_rule_is_the_best_on_the_other_folds_boxes() -> None:
    tuning = tuned(coco := ground_truth(random_rows()), random_maps(coco))
    for v in range(len(tuning.folds.numbers)):
        for d in range(len(DISEASES)):
            others = (tuning.folds.of_box != v) & (tuning.disease_of == d)
            means = tuning.iou[others, v].mean(axis=0)
            assert means[tuple(tuning.chosen[v, d])] == means.max()


def test_changing_a_folds_boxes_changes_none_of_its_own_rules() -> None:
    rows = random_rows()
    coco = ground_truth(rows)
    maps = random_maps(coco)
    moved = [(p, d, [5, 5, 90, 90] if fold == 1 else box, fold) for p, d, box, fold in rows]
    before, after = tuned(coco, maps), tuned(ground_truth(moved), maps)
    assert before.rules[1] == after.rules[1]
    assert before.rules[0] != after.rules[0]
    assert before.rules[2] != after.rules[2]
    assert before.rules_for_new_images != after.rules_for_new_images


def test_changing_a_folds_maps_changes_none_of_its_own_rules() -> None:
    coco = ground_truth(random_rows())
    maps = random_maps(coco)
    changed = maps.maps.copy()
    changed[1::3] = np.random.default_rng(9).random(changed[1::3].shape)  # the images of fold 1
    after = tuned(coco, HeatMaps(maps.pairs, changed, False, "changed"))
    assert tuned(coco, maps).rules[1] == after.rules[1]


def test_oracles_are_never_below_the_rung_under_them() -> None:
    tuning = tuned(coco := ground_truth(random_rows(3)), random_maps(coco))
    assert (tuning.tuned_iou <= tuning.oracle_threshold_iou).all()
    assert (tuning.oracle_threshold_iou <= tuning.oracle_region_iou).all()
    assert tuning.oracle_region_iou.mean() > tuning.tuned_iou.mean()


@pytest.mark.parametrize("value", [0.0, 0.7, np.nan])
def test_maps_that_show_nothing_score_nothing_and_keep_the_rule_of_deep_media(value: float) -> None:
    coco = ground_truth(random_rows())
    maps = random_maps(coco)
    empty = HeatMaps(maps.pairs, np.full_like(maps.maps, value), False, "empty")
    tuning = tuned(coco, empty)
    assert tuning.mapped.all()
    assert not tuning.iou.any()
    assert not tuning.best.any()
    assert tuning.rules[0]["Mass"].rule == CamBoxRule()


def test_a_box_without_a_map_scores_zero_and_tunes_nothing() -> None:
    coco = ground_truth(random_rows())
    maps = random_maps(coco)
    few = HeatMaps(maps.pairs[:6], maps.maps[:6], False, "few")
    tuning = tuned(coco, few)
    assert tuning.mapped.tolist() == [True] * 6 + [False] * 6
    assert not tuning.tuned_iou[6:].any()
    for d in range(len(DISEASES)):
        others = (tuning.folds.of_box != 0) & (tuning.disease_of == d) & tuning.mapped
        means = tuning.iou[others, 0].mean(axis=0)
        assert means[tuple(tuning.chosen[0, d])] == means.max()


def test_a_disease_with_no_box_in_other_folds_keeps_the_rule_of_deep_media() -> None:
    rows = [r if r[1] == "Mass" else (*r[:3], 0) for r in random_rows()]
    tuning = tuned(coco := ground_truth(rows), random_maps(coco))
    assert tuning.rules[0]["Nodule"] == SizedRule(CamBoxRule(), None, 0)
    assert tuning.rules[1]["Nodule"].boxes == 6


def test_a_fold_without_a_box_has_the_rules_of_all_boxes_which_are_of_others() -> None:
    coco = ground_truth(random_rows())
    unboxed = {**coco["images"][0], "id": 99, "file_name": "99.png", "patient_id": "q", "fold": 7}
    tuning = tuned({**coco, "images": [*coco["images"], unboxed]}, random_maps(coco))
    assert list(tuning.rules) == [0, 1, 2, 7]
    assert tuning.rules[7] == tuning.rules_for_new_images
    assert {f: tuning.rules[f] for f in range(3)} == tuned(coco, random_maps(coco)).rules


def test_folds_are_those_of_the_ground_truth_or_drawn_by_patient() -> None:
    rows = random_rows()
    maps = random_maps(ground_truth(rows))
    assert tuned(ground_truth(rows), maps).folds.source == FOLDS_OF_THE_GROUND_TRUTH
    for fold in (None, 2):  # none at all, or one alone
        paired = [(f"p{i // 2}", d, box, fold) for i, (_, d, box, _) in enumerate(rows)]
        tuning = tuned(ground_truth(paired), maps, seed=4)
        assert tuning.folds.source == "5 patient folds drawn with seed 4"
        assert len(tuning.folds.numbers) == 5
        np.testing.assert_array_equal(tuning.folds.of_box[::2], tuning.folds.of_box[1::2])
    torn = [("p", d, box, fold) for _, d, box, fold in rows]
    with pytest.raises(ValueError, match="patient p has images in folds 0 and 1"):
        tuned(ground_truth(torn), maps)


def test_maps_of_probabilities_are_also_cut_at_a_probability() -> None:
    """The box is where a map is over .4, whatever its peak: no share of the peak finds that."""
    at = np.abs(np.arange(FRAME) + 0.5 - FRAME / 2)
    box = [FRAME / 2 - 12.0, FRAME / 2 - 12.0, FRAME / 2 + 12.0, FRAME / 2 + 12.0]
    maps = []
    for peak in (0.45, 0.6, 0.8, 0.95):
        line = np.interp(at, [0, 12, 40], [peak, 0.4, 0.0])
        maps.append(np.minimum.outer(line, line).astype(np.float32))
    coco = ground_truth([(f"p{i}", "Mass", box, i % 2) for i in range(4)])
    pairs = tuple((f"{i:02d}.png", "Mass") for i in range(1, 5))
    heat = HeatMaps(pairs, np.stack(maps), False, "probabilities", probabilities=True)
    tuning = tuned(coco, heat)
    rules = [r["Mass"].rule for r in (*tuning.rules.values(), tuning.rules_for_new_images)]
    assert {rule.probability for rule in rules} == {0.4}
    assert tuning.tuned_iou.min() > 0.9
    as_activations = tuned(coco, replace(heat, probabilities=False))
    assert as_activations.tuned_iou.mean() < 0.8
    assert as_activations.rules[0]["Mass"].rule.probability is None
