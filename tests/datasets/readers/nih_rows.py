"""The rows of a small tree in NIH's layout."""

from __future__ import annotations

A, B, C = "00000001_000.png", "00000001_001.png", "00000002_000.png"


ROWS = [(A, "Mass|Infiltration"), (B, "No Finding"), (C, "Pleural_Thickening")]


LISTS = ((A, B), (C,))
