"""A drawn chest: the finding is in its box, the box is tight, one patient has one chest."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.datasets.phantoms.drawing.chest import PhantomImage, render_image
from cxrloc.datasets.phantoms.drawing.statistics import (
    BOX_STATISTICS,
)


@pytest.mark.parametrize("disease", NIH_BOXED_DISEASES)
def test_a_image_changes_inside_the_box_and_hardly_outside(disease: str) -> None:
    for patient in (1, 2, 3):
        without, shown = images(disease, patient)
        (box,) = shown.boxes
        x1, y1, x2, y2 = (value / 4 for value in box.box_xyxy)
        assert box.disease == disease
        assert x1 >= 0
        assert y1 >= 0
        assert x2 <= 256
        assert y2 <= 256
        change = np.abs(shown.pixels.astype(float) - without.pixels.astype(float))
        x1, y1, x2, y2 = round(x1), round(y1), round(x2), round(y2)
        inside = change[y1:y2, x1:x2]
        outside = change.copy()
        outside[max(y1 - 3, 0) : y2 + 3, max(x1 - 3, 0) : x2 + 3] = 0
        assert np.percentile(inside, 90) > 15
        assert (outside > 15).sum() < 0.03 * inside.size


def images(disease: str, patient: int) -> tuple[PhantomImage, PhantomImage]:
    """The same image without and with a disease."""
    return (
        render_image(patient=patient, image_size=256),
        render_image([disease], patient=patient, image_size=256),
    )


@pytest.mark.parametrize("disease", [d for d in NIH_BOXED_DISEASES if d != "Cardiomegaly"])
def test_the_box_is_tight_on_all_four_sides(disease: str) -> None:
    without, shown = images(disease, 5)
    change = np.abs(shown.pixels.astype(float) - without.pixels.astype(float))
    seen = cv2.GaussianBlur(change, (0, 0), 1.0) > 6
    extent = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    x1, y1, x2, y2 = (value / 4 for value in shown.boxes[0].box_xyxy)
    assert [extent[0][0], extent[0][-1] + 1] == pytest.approx([x1, x2], abs=6)
    if disease != "Effusion":  # its lower part lies over the belly, which is as dense
        assert [extent[1][0], extent[1][-1] + 1] == pytest.approx([y1, y2], abs=6)


def test_a_image_without_a_disease_has_no_box() -> None:
    assert render_image(image_size=64).boxes == ()


def test_boxes_do_not_depend_on_the_image_size() -> None:
    diseases = ("Atelectasis", "Cardiomegaly", "Effusion")
    small = render_image(diseases, patient=7, image_size=64)
    assert small.boxes == render_image(diseases, patient=7, image_size=300).boxes
    assert [box.disease for box in small.boxes] == list(diseases)


def test_an_enlarged_heart_is_over_half_the_thorax_wide() -> None:
    box = render_image(["Cardiomegaly"], patient=4, image_size=64).boxes[0].box_xyxy
    assert 370 < box[2] - box[0] < 640
    assert box[0] < 512 < box[2]
    assert 512 - box[0] < box[2] - 512  # the apex points to the patient's left


def test_the_images_of_one_patient_show_one_chest_in_other_poses() -> None:
    first, second = (render_image(patient=9, image=n, image_size=128) for n in (0, 1))
    stranger = render_image(patient=10, image_size=128)
    assert (first.sex, first.age_years) == (second.sex, second.age_years)
    assert not np.array_equal(first.pixels, second.pixels)
    assert not np.array_equal(first.pixels, stranger.pixels)


@pytest.mark.parametrize("disease", ["Atelectasis", "Cardiomegaly", "Mass", "Nodule"])
def test_drawn_boxes_have_about_nihs_median_size(disease: str) -> None:
    boxes = np.array(
        [render_image([disease], patient=p, image_size=64).boxes[0].box_xyxy for p in range(1, 41)]
    )
    numbers = BOX_STATISTICS[disease]
    expected = np.exp([numbers.log_width[0], numbers.log_height[0]])
    assert np.median(boxes[:, 2:] - boxes[:, :2], axis=0) == pytest.approx(expected, rel=0.25)
