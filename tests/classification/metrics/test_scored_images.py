"""The Parquet of a cross-validation: round trip, schema, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxrloc.classification.metrics.scored_images import (
    ScoredImages,
    join_images,
    read_scored_images,
    write_scored_images,
)

NAN = float("nan")


def example() -> ScoredImages:
    return ScoredImages(
        ("Mass", "No Finding"),
        ("a.png", "b.png", "c.png"),
        ("1", "1", "2"),
        np.array([0, 0, 1]),
        np.array([[0.5, 0.25], [1.0, 0.0], [0.125, 0.75]]),
        np.array([[1, 0], [0, NAN], [NAN, 1]]),
        {
            "youden": np.array([[0.5, NAN], [0.5, NAN], [0.25, 0.5]]),
            "target": np.array([[0.25, NAN], [0.25, NAN], [0.125, 0.5]]),
        },
        0.9,
    )


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    images = example()
    write_scored_images(tmp_path / "x.parquet", images)
    again = read_scored_images(tmp_path / "x.parquet")
    assert (again.diseases, again.image_ids, again.patient_ids, again.sensitivity) == (
        images.diseases,
        images.image_ids,
        images.patient_ids,
        0.9,
    )
    np.testing.assert_array_equal(again.folds, images.folds)
    np.testing.assert_array_equal(again.scores, images.scores)
    np.testing.assert_array_equal(again.labels, images.labels)
    for rule in ("youden", "target"):
        np.testing.assert_array_equal(again.thresholds[rule], images.thresholds[rule])


def test_examinations_and_body_parts_are_written_where_they_are_known(tmp_path: Path) -> None:
    images = replace(example(), study_ids=("s", "s", ""), body_parts=("XR_HAND", "XR_HAND", ""))
    write_scored_images(tmp_path / "x.parquet", images)
    again = read_scored_images(tmp_path / "x.parquet")
    assert (again.study_ids, again.body_parts) == (images.study_ids, images.body_parts)
    chosen = join_images([again.select(np.array([2, 0])), again.select(np.array([1]))])
    assert chosen.study_ids == ("", "s", "s")
    assert chosen.body_parts == ("", "XR_HAND", "XR_HAND")
    with pytest.raises(
        ValueError, match="expected an examination and a body part for each of 3 images, or non"
    ):
        replace(images, body_parts=("XR_HAND",))


def test_any_reader_finds_the_columns_and_null_for_unknown(tmp_path: Path) -> None:
    write_scored_images(tmp_path / "x.parquet", example())
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.column_names == [
        "image_id",
        "patient_id",
        "fold",
        "probability_Mass",
        "probability_No Finding",
        "label_Mass",
        "label_No Finding",
        "threshold_youden_Mass",
        "threshold_youden_No Finding",
        "threshold_target_Mass",
        "threshold_target_No Finding",
    ]
    assert table["label_Mass"].to_pylist() == [1.0, 0.0, None]
    assert table["threshold_youden_No Finding"].to_pylist() == [None, None, 0.5]
    assert table["fold"].to_pylist() == [0, 0, 1]


def test_a_probability_at_the_threshold_is_present_and_none_without_one() -> None:
    images = example()
    assert images.present("youden").tolist() == [[True, False], [True, False], [False, True]]


def test_parts_join_in_their_order_and_a_image_may_not_come_twice() -> None:
    images = example()
    parts = [images.select(images.folds == fold) for fold in (1, 0)]
    joined = join_images(parts)
    assert joined.image_ids == ("c.png", "a.png", "b.png")
    np.testing.assert_array_equal(joined.thresholds["youden"][:, 0], [0.25, 0.5, 0.5])
    with pytest.raises(ValueError, match=r"image a\.png occurs twice"):
        join_images([images, images])


def test_joined_parts_have_the_thresholds_that_every_part_has() -> None:
    images = example()
    first, second = (images.select(images.folds == fold) for fold in (0, 1))
    youden = {"youden": second.thresholds["youden"]}
    joined = join_images([first, replace(second, thresholds=youden, sensitivity=NAN)])
    np.testing.assert_array_equal(joined.thresholds["youden"], images.thresholds["youden"])
    assert list(joined.thresholds) == ["youden"]
    assert np.isnan(joined.sensitivity)
    without = replace(second, thresholds={}, sensitivity=NAN)
    for parts in ([first, without], [without, first]):
        assert join_images(parts).thresholds == {}


def test_no_images_are_images_too(tmp_path: Path) -> None:
    images = example()
    none = images.select(np.zeros(3, dtype=bool))
    write_scored_images(tmp_path / "x.parquet", none)
    assert read_scored_images(tmp_path / "x.parquet").scores.shape == (0, 2)


def test_other_shapes_and_values_are_refused() -> None:
    one = (("Mass",), ("a.png",), ("1",), np.array([0]))
    with pytest.raises(ValueError, match=r"labels: shape \(1, 2\), expected \(images, diseases\)"):
        ScoredImages(*one, np.array([[0.5]]), np.array([[1.0, 0.0]]))
    for score in (NAN, 1.5):
        with pytest.raises(ValueError, match=r"expected probabilities in 0\.\.1"):
            ScoredImages(*one, np.array([[score]]), np.array([[1.0]]))


def test_a_missing_file_or_another_parquet_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cxrloc train-gate with the run's config"):
        read_scored_images(tmp_path / "x.parquet")
    pq.write_table(pa.table({"image_id": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="version None, expected version 1"):
        read_scored_images(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match="is not a readable Parquet file"):
        read_scored_images(tmp_path / "x.parquet")
