"""The drawn comparison: the same files from the same seed, of the size that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco
from cxrloc.localization.predictions.results_file import read_boxes
from cxrloc.tools.experiments.benchmarks.comparison import (
    DETECTIONS_PER_IMAGE,
    NOISE,
    comparison_table,
    write_case,
)


def test_a_seed_draws_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    first, again = (write_case(tmp_path / name, 50, seed=3) for name in ("a", "b"))
    other = write_case(tmp_path / "c", 50, seed=4)
    assert first.ground_truth.read_bytes() == again.ground_truth.read_bytes()
    assert first.ground_truth.read_bytes() != other.ground_truth.read_bytes()
    for name, path in first.predictions.items():
        assert path.read_bytes() == again.predictions[name].read_bytes()


def test_the_files_are_a_comparison_of_the_size_asked_for(tmp_path: Path) -> None:
    case = write_case(tmp_path, 100)
    coco = load_coco(case.ground_truth)
    truth = ground_truth_from_coco(coco)
    assert (len(truth.images), len(truth)) == (100, 83)  # .828 boxes an image
    assert len(set(zip(truth.image_ids, truth.diseases, strict=True))) == 83  # one of a disease
    assert set(case.predictions) == set(NOISE)
    for path in case.predictions.values():
        assert len(read_boxes(path, coco)) == 100 * DETECTIONS_PER_IMAGE


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="--images 499: expected 500 or more"):
        comparison_table(499)
