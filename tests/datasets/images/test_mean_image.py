"""The mean image: numpy's figures in one pass, also where a naive sum of squares fails."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from cxrloc.datasets.images.mean_image import MeanImage, mean_image


def exact(values: list[float]) -> tuple[float, float]:
    """Mean and population deviation in rational numbers, rounded once."""
    numbers = [Fraction(v) for v in values]
    mean = sum(numbers) / len(numbers)
    variance = sum((x - mean) ** 2 for x in numbers) / len(numbers)
    return float(mean), math.sqrt(variance)


def test_three_images_by_hand() -> None:
    images = [np.array([[0, 10]]), np.array([[3, 10]]), np.array([[6, 40]])]
    image_mean = mean_image(images)
    np.testing.assert_allclose(image_mean.mean, [[3, 20]])
    np.testing.assert_allclose(image_mean.deviation, [[math.sqrt(6), math.sqrt(200)]])


def test_grey_images_give_numpys_float64_figures() -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 16, 16), dtype=np.uint8)
    images[:, :2] = 0  # padding
    image_mean = mean_image(images)
    np.testing.assert_allclose(
        image_mean.mean, images.mean(axis=0, dtype=np.float64), rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        image_mean.deviation, images.std(axis=0, dtype=np.float64), atol=1e-12
    )


@pytest.mark.parametrize("offset", [0.0, 1e9, -3e12])
@pytest.mark.parametrize("first", [0.0, 1.0])
def test_a_tiny_variance_on_a_huge_offset_is_not_lost(offset: float, first: float) -> None:
    noise = np.random.default_rng(1).normal(0, 0.01, (400, 1, 1))
    images = offset + noise
    images[0] *= first  # also when the first image lies far from all others
    mean, deviation = exact(images.ravel().tolist())
    image_mean = mean_image(images)
    assert image_mean.mean[0, 0] == pytest.approx(mean, rel=1e-15, abs=1e-12)
    assert image_mean.deviation[0, 0] == pytest.approx(deviation, rel=1e-9)


def test_many_images_of_small_steps_are_all_counted() -> None:
    # each step of the mean, 1e-3 / n, is far under the spacing of float64 at 1e9, 1.2e-7
    count = 60_000
    low, high = 1e9, 1e9 + 2.0**-10
    images = (np.array([[high if n % 4 == 0 else low]]) for n in range(count))
    image_mean = mean_image(images)
    step = high - low
    assert image_mean.mean[0, 0] - low == pytest.approx(
        step / 4, abs=2e-7
    )  # as near as a float gets
    assert image_mean.deviation[0, 0] == pytest.approx(step * math.sqrt(3) / 4, rel=1e-9)


def test_images_are_taken_one_by_one_and_not_kept() -> None:
    alive = []

    def images() -> Iterator[npt.NDArray[np.float64]]:
        import weakref

        for n in range(50):
            image = np.full((4, 4), float(n))
            alive.append(weakref.ref(image))
            yield image
            del image
            assert sum(reference() is not None for reference in alive) <= 1

    assert mean_image(images()).mean[0, 0] == 24.5


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "cannot average zero images"),
        ([np.zeros((2, 2)), np.zeros((2, 3))], r"image 2 has shape \(2, 3\), the first \(2, 2\)"),
        ([np.array([[np.inf]])], "image 1 has values that are not finite"),
    ],
)
def test_what_has_no_mean_is_refused(images: list[npt.NDArray[np.float64]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_image(images)


def test_two_mean_images_are_equal_by_value() -> None:
    one, same = (MeanImage(np.ones((2, 2)), np.ones((2, 2))) for _ in range(2))
    assert one == same
    assert one != MeanImage(np.ones((2, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"mean image \(1,\) and deviation image \(2,\)"):
        MeanImage(np.zeros(1), np.zeros(2))
