"""The label that is not stored: `No Finding` follows from the others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cxrloc.datasets.labels.names import no_finding
from cxrloc.datasets.radiograph import Radiograph, label_matrix

NAN = math.nan


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"Mass": 0.0, "Edema": 0.0}, 1.0),
        ({"Mass": 0.0, "Edema": 1.0}, 0.0),
        ({"Mass": NAN, "Edema": 1.0}, 0.0),  # one finding is enough
        ({"Mass": NAN, "Edema": 0.0}, NAN),
        ({}, NAN),
    ],
)
def test_no_finding_is_the_absence_of_every_label(
    labels: dict[str, float], expected: float
) -> None:
    np.testing.assert_equal(no_finding(labels), expected)


def test_a_label_matrix_derives_it_unless_it_is_given() -> None:
    images = [
        Radiograph("a.png", None, "1", "", {"Mass": 0.0}),
        Radiograph("b.png", None, "1", "", {"Mass": 1.0}),
        Radiograph("c.png", None, "2", "", {"Mass": 0.0, "No Finding": 0.0}),
    ]
    matrix = label_matrix(images, ["No Finding", "Mass", "Gout"])
    np.testing.assert_equal(matrix, [[1, 0, NAN], [0, 1, NAN], [0, 0, NAN]])
