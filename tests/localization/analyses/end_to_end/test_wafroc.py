"""wAFROC: RJafroc's figures, hand-made cases, resamples by brute force, and its section."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import evaluated
from cxrloc.classification.metrics.sampled import ImageBootstrap
from cxrloc.classification.report.tables import to_csv
from cxrloc.datasets.provenance.sidecar import Provenance
from cxrloc.localization.analyses.end_to_end.wafroc import wafroc
from cxrloc.localization.analyses.end_to_end.wafroc_merit import (
    Ratings,
    Wafroc,
    curve,
    merit,
    ratings_of,
    score_wafroc,
)
from cxrloc.localization.evaluation.detections import EVERY_DISEASE, place, settings_of
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.glossary import lookup
from cxrloc.localization.report.sections import Section
from localization.analyses.end_to_end.froc_world import (
    ELSEWHERE,
    FOUR,
    RIGHT,
    random_world,
    truth_of,
)

# Facts about RJafroc's example data (2.1.3) and its wAFROC figures: data set, modality, reader,
# figure; how many normal cases have each highest rating (-inf first); how many lesions of cases
# with 1, 2 and 3 lesions have each rating. dataset04's figures stand in RJafroc's vignettes.
RJAFROC = """
dataset04 trt1 rdr1 0.77926667 | 52 14 17 14 3 0 | 14 0 2 5 17 31 | 16 1 0 5 8 10 | 15 0 3 1 5 9
dataset04 trt1 rdr3 0.72489167 | 81 9 6 4 0 0 | 30 0 0 13 18 8 | 17 0 1 11 6 5 | 21 0 0 5 5 2
dataset04 trt1 rdr4 0.70362500 | 59 9 12 11 8 1 | 24 1 6 3 15 20 | 14 2 2 4 9 9 | 13 0 2 1 7 10
dataset04 trt1 rdr5 0.80509167 | 84 4 8 2 1 1 | 16 6 23 13 5 6 | 10 7 8 10 2 3 | 14 1 14 2 1 1
dataset04 trt5 rdr1 0.74880000 | 58 12 14 14 2 0 | 18 0 3 9 16 23 | 16 0 3 5 8 8 | 17 0 3 4 5 4
dataset04 trt5 rdr3 0.68227500 | 76 15 4 3 2 0 | 32 0 0 10 17 10 | 24 0 0 9 2 5 | 18 0 0 5 8 2
dataset01 trt1 rdr1 0.76027037 | 32 46 10 3 3 2 | 15 9 12 16 16 15 | 2 2 3 1 2 2 | 0 0 0 0 0 0
dataset01 trt2 rdr4 0.77244265 | 81 6 3 4 1 1 | 27 13 8 11 15 9 | 5 3 0 0 2 2 | 0 0 0 0 0 0
"""
LEVELS = {"dataset04": (-np.inf, 1, 2, 3, 4, 5), "dataset01": (-np.inf, 3, 3.5, 4, 4.5, 5)}


@pytest.mark.parametrize("line", RJAFROC.strip().splitlines())
def test_the_figure_equals_rjafrocs(line: str) -> None:
    case, *counts = line.split("|")
    data, *_, figure = case.split()
    normal, *lesions = (np.repeat(LEVELS[data], list(map(int, c.split()))) for c in counts)
    rating = np.concatenate(lesions)
    weight = np.repeat([1.0, 1 / 2, 1 / 3], list(map(len, lesions)))
    patient = np.arange(len(rating)) % 7
    ratings = Ratings(normal, np.arange(len(normal)) % 7, rating, patient, weight)

    (found,) = merit(ratings, np.ones((1, 7)))

    assert found == pytest.approx(float(figure), abs=5e-9)
    assert np.trapezoid(*curve(ratings)[::-1]) == pytest.approx(found, abs=1e-12)


def _scored(truth: GroundTruth, boxes: list[Localization], t: float = 0.5, n: int = 50) -> Wafroc:
    setting = settings_of(truth.images, np.ones(len(truth.images), np.bool_), None)[EVERY_DISEASE]
    bootstrap = ImageBootstrap.of(truth.images.patient_ids, resamples=n, seed=3)
    return score_wafroc("mine", place(truth, boxes), setting, t, bootstrap)


def _mass(*boxes: tuple[str, tuple[float, float, float, float], float]) -> float:
    """wAFROC of Mass, boxed on image 00, labelled on 01, absent on 02 and 03."""
    found = [Localization(image, "Mass", box, score) for image, box, score in boxes]
    return float(_scored(FOUR, found).figures.points[0])


def test_ties_count_half_and_unmarked_ties_with_unmarked() -> None:
    assert _mass() == 0.5
    assert _mass(("00", ELSEWHERE, 0.9)) == 0.5  # a false box on a diseased image costs nothing
    assert _mass(("00", RIGHT, 0.5)) == 1
    assert _mass(("00", RIGHT, 0.5), ("02", RIGHT, 0.5)) == 0.75
    assert _mass(("00", RIGHT, 0.5), ("02", RIGHT, 0.5), ("02", RIGHT, 0.6)) == 0.5
    assert _mass(("00", ELSEWHERE, 0.9), ("02", RIGHT, 0.1), ("03", RIGHT, 0.1)) == 0
    assert _mass(("00", RIGHT, -3.0), ("02", RIGHT, -2.0)) == 0.5  # scores below 0 are scores


def test_images_labelled_without_a_box_are_left_out() -> None:
    """Nodule: image 01 is boxed; 00, 02 and 03 are without it. Mass: 01 has only the label."""
    assert _mass(("00", RIGHT, 0.5), ("01", RIGHT, 0.9)) == 1
    w = _scored(FOUR, [])
    assert [len(r.normal) for r in w.ratings] == [2, 3]
    assert w.figures.patients.tolist() == [1, 1]


def _two_lesions() -> GroundTruth:
    """Image a has two overlapping lesions, b has one, c and d have none."""
    images = [
        {"id": i, "file_name": name, "width": 64, "height": 64, "patient_id": name}
        for i, name in enumerate("abcd")
    ]
    boxes = [(0, [0, 0, 20, 20]), (0, [0, 0, 20, 14]), (1, [30, 30, 10, 10])]
    annotations = [
        {"id": n, "image_id": i, "category_id": 1, "bbox": box}
        for n, (i, box) in enumerate(boxes, start=1)
    ]
    return ground_truth_from_coco(
        {
            "images": images,
            "categories": [{"id": 1, "name": "Mass"}],
            "annotations": annotations,
        }
    )


def test_lesions_of_an_image_share_its_weight_and_a_box_localizes_one() -> None:
    truth = _two_lesions()
    # IoU .7 with the first lesion, 1 with the second: one box cannot find both
    one = [Localization("a", "Mass", (0, 0, 20, 14), 0.9)]
    two = [*one, Localization("a", "Mass", (0, 0, 20, 15), 0.8)]

    assert _scored(truth, one).figures.points[0] == (0.5 * 1 + 0.5 * 0.5 + 0.5) / 2
    assert _scored(truth, two).figures.points[0] == (1 + 0.5) / 2
    (ratings,) = _scored(truth, two).ratings
    assert sorted(ratings.lesion.tolist()) == [-np.inf, 0.8, 0.9]
    assert ratings.weight.sum() == 2  # two images with the disease


def test_the_highest_box_takes_the_lesion_that_it_overlaps_most() -> None:
    """The best-scored box comes last in the file and overlaps both lesions."""
    truth = _two_lesions()
    boxes = [
        Localization("a", "Mass", (0, 0, 20, 20), 0.3),
        Localization("a", "Mass", (0, 0, 20, 19), 0.9),
    ]
    (ratings,) = _scored(truth, boxes).ratings

    by_lesion = dict(zip(truth.boxes_xyxy[:, 3].tolist(), ratings.lesion.tolist(), strict=True))
    assert by_lesion[20.0] == 0.9
    assert by_lesion[14.0] == 0.3


def _by_brute_force(w: Wafroc, column: int, drawn: np.ndarray[Any, Any]) -> float:
    """All pairs, with each patient's images as often as drawn."""
    r, total, pairs = w.ratings[column], 0.0, 0.0
    for x, p in zip(r.normal, r.normal_patient, strict=True):
        for y, q, weight in zip(r.lesion, r.lesion_patient, r.weight, strict=True):
            times = drawn[p] * drawn[q] * weight
            total += times * (1.0 if x < y else 0.5 if x == y else 0.0)
            pairs += times
    return total / pairs if pairs else np.nan


def test_resamples_and_figure_equal_all_pairs_counted_one_by_one() -> None:
    truth, boxes = random_world(1)
    w = _scored(truth, boxes, 0.3, n=6)
    counts = ImageBootstrap.of(truth.images.patient_ids, resamples=6, seed=3).counts

    for column in range(2):
        once = np.ones(counts.shape[1])
        assert w.figures.points[column] == pytest.approx(_by_brute_force(w, column, once))
        expected = [_by_brute_force(w, column, drawn) for drawn in counts]
        assert w.figures.samples[:, column] == pytest.approx(expected, nan_ok=True)
        assert np.trapezoid(*curve(w.ratings[column])[::-1]) == pytest.approx(
            w.figures.points[column]
        )


def test_without_a_normal_image_the_figure_is_undefined_not_wrong() -> None:
    truth = truth_of(["BB", "BU", "B-"])
    setting = settings_of(truth.images, np.ones(3, np.bool_), None)
    assert EVERY_DISEASE not in setting

    w = _scored(truth_of(["BB", "BU", "BB", "U-"]), [])

    assert np.isnan(w.figures.points).tolist() == [True, False]
    assert w.figures.estimates[0].reason.startswith("needs images")
    assert w.figures.macro.value == 0.5


def test_the_interval_covers_the_true_figure_and_a_difference_of_twins_is_zero() -> None:
    truth, boxes = random_world(2)
    w = _scored(truth, boxes, 0.3, n=400)
    estimate = w.figures.macro
    assert estimate.low < estimate.value < estimate.high

    twin = _scored(truth, list(reversed(boxes)), 0.3, n=400)
    difference = (w.figures - twin.figures).macro
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def _section(looked: dict[str, tuple[str, ...]] | None = None, **inputs: Any) -> Section | None:
    truth, boxes = random_world(4)
    others = [Localization(b.image_id, b.disease, b.box_xyxy, 1 - b.score) for b in boxes[:40]]
    every = {"a": truth.images.image_ids, "b": truth.images.image_ids} | (looked or {})
    predictions = {
        name: [box for box in some if box.image_id in every[name]]
        for name, some in (("a", boxes), ("b", others))
    }
    sidecars = {n: Provenance(Path(f"{n}.manifest.json"), {"all": i}) for n, i in every.items()}
    return wafroc(evaluated(truth, predictions, provenances=sidecars, resamples=40, **inputs))


def _rows(section: Section, table: str) -> list[dict[str, str]]:
    of_table = next(t for t in section.tables if t.name == table)
    return list(csv.DictReader(io.StringIO(to_csv(of_table))))


def test_the_section_has_localizers_controls_differences_and_curves() -> None:
    truth, _ = random_world(4)
    gate = {(i, d): n % 3 > 0 for n, i in enumerate(truth.images.image_ids) for d in "MN"}
    gate = {(i, {"M": "Mass", "N": "Nodule"}[d]): v for (i, d), v in gate.items()}
    section = _section(gate=gate)

    assert section is not None
    rows = _rows(section, "wafroc")
    names = {row["localizer"] for row in rows}
    assert names == {"a", "b", "prior_box", "constant_box"}
    assert {(row["setting"], row["threshold"]) for row in rows} == {
        (setting, t) for setting in (EVERY_DISEASE, "end to end") for t in ("0.1", "0.5")
    }
    pairs = {(r["localizer"], r["minus"]) for r in _rows(section, "wafroc_differences")}
    assert pairs == {("a", "b"), ("a", "constant_box"), ("b", "constant_box")}
    (figure,) = section.figures
    assert len(figure.figure.axes) == 3
    assert "a " in section.finding
    assert "constant_box" in section.finding
    assert lookup("wAFROC").hides
    left_out = next(n for n in section.tables[0].notes if "left out" in n)
    status = truth.images.status[:, 0]
    assert f"Mass {(status == 1).sum()} / {(status == 0).sum()} / {(status == 2).sum()}" in left_out


def test_a_difference_is_taken_on_the_images_that_both_predicted() -> None:
    truth, _ = random_world(4)
    some = truth.images.image_ids[:20]
    section = _section({"b": some})

    assert section is not None
    by_pair = {
        (r["localizer"], r["minus"], r["threshold"]): r
        for r in _rows(section, "wafroc_differences")
    }
    both = _section({"a": some, "b": some})
    assert both is not None
    figures = {(r["localizer"], r["threshold"]): r for r in _rows(both, "wafroc")}
    row = by_pair["a", "b", "0.5"]
    expected = float(figures["a", "0.5"]["macro mean"]) - float(figures["b", "0.5"]["macro mean"])
    assert float(row["macro mean"]) == pytest.approx(expected, abs=2e-6)
    assert row["images"] == "20"
    assert any("did not predict 10 of 30" in note for note in section.tables[0].notes)


def test_without_images_of_normal_cases_there_is_no_section() -> None:
    truth = truth_of(["B-", "-B", "BB"])
    assert wafroc(evaluated(truth, {}, resamples=10)) is None


def test_a_localizer_of_boxed_images_alone_is_named_as_not_scored() -> None:
    truth, _ = random_world(4)
    boxed = tuple(i for i, b in zip(truth.images.image_ids, truth.images.boxed, strict=True) if b)
    section = _section({"a": boxed, "b": boxed})

    assert section is not None
    assert section.finding.startswith("No localizer predicted images without a box")
    assert {row["localizer"] for row in _rows(section, "wafroc")} == {"prior_box", "constant_box"}


def test_ratings_do_not_depend_on_the_order_of_the_boxes() -> None:
    truth, boxes = random_world(5)
    bootstrap = ImageBootstrap.of(truth.images.patient_ids, resamples=2, seed=0)
    setting = settings_of(truth.images, np.ones(30, np.bool_), None)[EVERY_DISEASE]

    first, turned = (
        ratings_of(place(truth, b), setting, 0.1, bootstrap.patient_of)
        for b in (boxes, boxes[::-1])
    )

    for a, b in zip(first, turned, strict=True):
        assert a.normal.tolist() == b.normal.tolist()
        assert a.lesion.tolist() == b.lesion.tolist()
