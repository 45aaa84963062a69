"""Orders of images: by seed and epoch alone, as long in every epoch, and balanced as they say."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.samplers import (
    SAMPLERS,
    Capped,
    InverseFrequency,
    findings,
    image_weights,
    make_order,
)

NAN = math.nan
# 6 normal images, 3 with Effusion (one of which has a Mass too), 1 with an unknown label alone
LABELS = np.array([[0, 0]] * 6 + [[1, 0]] * 2 + [[1, 1]] + [[0, NAN]])


def test_a_image_without_a_finding_has_the_disease_none() -> None:
    assert findings(LABELS)[[0, 6, 8, 9]].tolist() == [
        [False, False, True],
        [True, False, False],
        [True, True, False],
        [False, False, True],
    ]


def test_of_soft_labels_those_over_one_half_count_and_the_class_uncertain_does_not() -> None:
    soft = np.array([[0.7, 0.2], [2.0, 0.3], [2.0, 1.0]])
    assert findings(soft).tolist() == [
        [True, False, False],
        [False, False, True],
        [False, True, False],
    ]


def test_a_image_weighs_the_mean_over_its_diseases_of_one_over_their_frequency() -> None:
    # of 10 images, 7 have none, 3 Effusion and 1 a Mass
    weights = image_weights(LABELS)
    expected = [10 / 7] * 6 + [10 / 3] * 2 + [(10 / 3 + 10 / 1) / 2] + [10 / 7]
    np.testing.assert_allclose(weights, expected)


def test_images_are_drawn_in_proportion_to_their_weights() -> None:
    labels = np.tile(LABELS, (200, 1))
    drawn = InverseFrequency(labels, seed=0).positions(0)
    assert len(drawn) == 2000
    # weights of 10 images sum to 10 + 20 / 3 + 20 / 3 = 23.3, of which the one with a Mass has 6.67
    share = np.isin(drawn % 10, [8]).mean()
    assert share == pytest.approx((20 / 3) / (70 / 3), abs=0.03)


def test_labels_with_one_disease_each_come_equally_often() -> None:
    labels = np.repeat(np.eye(3)[:, :2], [10, 100, 1000], axis=0)  # the third row has none
    shares = findings(labels)[InverseFrequency(labels, seed=1).positions(0)].mean(axis=0)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.05)


def random_labels() -> npt.NDArray[np.float64]:
    """400 images; half have the first disease, a fifth the second, few the third."""
    uniform = np.random.default_rng(0).uniform(size=(400, 3))
    return (uniform < [0.5, 0.2, 0.02]).astype(float)


def test_no_disease_has_more_images_than_the_cap_and_none_comes_twice() -> None:
    labels = random_labels()
    order = Capped(labels, cap=40, seed=0, epochs=5)
    for epoch in range(5):
        positions = order.positions(epoch)
        assert len(positions) == len(set(positions.tolist())) == len(order)
        assert (findings(labels)[positions].sum(axis=0) <= 40).all()


def test_under_a_cap_rare_diseases_have_all_their_images_and_normal_images_fill_theirs() -> None:
    labels = random_labels()
    counts = findings(labels)[Capped(labels, cap=40, seed=0, epochs=1).positions(0)].sum(axis=0)
    assert counts[2] == labels[:, 2].sum() < 40
    assert counts[3] == 40  # nothing else stands in their way


def test_a_cap_that_nothing_reaches_keeps_every_image() -> None:
    order = Capped(LABELS, cap=100, seed=0, epochs=2)
    assert sorted(order.positions(1).tolist()) == list(range(10))


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_order_depends_on_seed_and_epoch_alone_and_is_as_long_in_each(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxrloc.classification.training.samplers.CAP", 3)
    config = TrainConfig(sampler=name, epochs=4)  # type: ignore[arg-type]
    first, second = make_order(LABELS, config), make_order(LABELS, config)
    for _ in range(2):  # second asks for epochs 0 and 1 before, as a run that was not killed does
        second.positions(0)
        second.positions(1)
    assert first.positions(2).tolist() == second.positions(2).tolist()
    orders = [first.positions(epoch).tolist() for epoch in range(4)]
    assert {len(order) for order in orders} == {len(first)}
    assert len(set(map(tuple, orders))) > 1
