"""The table that `predict` ends with."""

from __future__ import annotations

from typing import Any

from cxrloc.localization.diagnosis.prediction_table import prediction_table


def record(name: str, probabilities: dict[str, float], boxes: list[str]) -> dict[str, Any]:
    return {
        "images": [{"file_name": name}],
        "findings": [
            {"disease": disease, "probability": value, "present": value >= 0.5}
            for disease, value in probabilities.items()
        ],
        "annotations": [{"localizer": localizer} for localizer in boxes],
        "localizers": ["grad_cam", "mask_rcnn"],
    }


def test_a_line_has_the_strongest_findings_first_and_the_boxes_of_each_localizer() -> None:
    many = {"Mass": 0.51, "Effusion": 0.9, "Nodule": 0.2, "Edema": 0.6, "Hernia": 0.7}
    table = prediction_table(
        [
            record("a.png", many, ["mask_rcnn", "grad_cam", "grad_cam"]),
            record("longer.png", {"Mass": 0.1}, []),
        ]
    )
    assert table.splitlines() == [
        "image       findings (probability)                          boxes",
        "a.png       Effusion 0.90, Hernia 0.70, Edema 0.60, 1 more  2 by grad_cam, 1 by mask_rcnn",
        "longer.png  none                                            -",
    ]
