"""A diagnosis under the names of another data set."""

from __future__ import annotations

import numpy as np

from cxrloc.localization.diagnosis.diagnoser import Diagnosis, Finding
from cxrloc.localization.diagnosis.relabelled import relabelled
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.relabelled import Counterparts

BOX = (1.0, 2.0, 11.0, 22.0)
PASSED = ("Mass", "Nodule", "Edema")
BOXES = [Localization("a.png", d, BOX, s) for d, s in zip(PASSED, (0.2, 0.4, 0.9), strict=True)]
DIAGNOSIS = Diagnosis(
    "a.png",
    (40, 60),
    (
        Finding("Mass", 0.6, 0.5, True),
        Finding("Nodule", 0.3, 0.2, True),
        Finding("Effusion", 0.9, 0.95, False),
        Finding("Edema", 0.8, 0.5, True),
    ),
    {"grad_cam": tuple(BOXES), "mask_rcnn": ()},
    {disease: np.full((40, 60), n, np.float32) for n, disease in enumerate(PASSED)},
)


def test_a_merged_name_has_the_finding_that_passes_and_all_boxes_and_the_map_of_the_best() -> None:
    of_model = {"Mass": "Opacity", "Nodule": "Opacity", "Effusion": "Opacity", "Edema": None}
    renamed = relabelled(DIAGNOSIS, Counterparts(of_model, ("Opacity",)))

    assert renamed.findings == (Finding("Opacity", 0.6, 0.5, True),)
    boxes = [(box.disease, box.score) for box in renamed.boxes["grad_cam"]]
    assert boxes == [("Opacity", 0.4), ("Opacity", 0.2)]
    assert {name: heat.max() for name, heat in renamed.heat_maps.items()} == {
        "Opacity": 1
    }  # Nodule's


def test_a_name_that_nothing_passes_for_has_the_most_probable_finding_and_no_box() -> None:
    of_model = {"Mass": None, "Nodule": None, "Effusion": "Fluid", "Edema": None}
    renamed = relabelled(DIAGNOSIS, Counterparts(of_model, ("Fluid",)))

    assert renamed.findings == (Finding("Fluid", 0.9, 0.95, False),)
    assert renamed.boxes == {"grad_cam": (), "mask_rcnn": ()}
    assert dict(renamed.heat_maps) == {}
