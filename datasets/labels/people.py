"""What data sets usually say of a patient and a projection; other values are counted."""

from __future__ import annotations

MAXIMUM_AGE_YEARS = 120  # a higher age is a typing error
SEXES = ("F", "M")
VIEWS = ("PA", "AP", "LATERAL", "LL", "RL", "Lateral", "Frontal")
