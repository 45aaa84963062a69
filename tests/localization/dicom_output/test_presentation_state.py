"""The presentation state: boxes in layers, over the grey that the models saw."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from highdicom._standard_utils import check_required_attributes

from builders import read_pixels
from cxrloc.datasets.dicom.grayscale import usable_window
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.dicom_output.source import parse_source
from datasets.dicom.builders import lookup_table, write_dicom
from localization.dicom_output.written import (
    STORED,
    WINDOWED,
    Written,
    check_by_dciodvfy,
    written,
)


def test_the_presentation_state_draws_the_strongest_boxes_in_a_layer_per_localizer(
    made: Written,
) -> None:
    state = made["pr"]
    layers = {annotation.GraphicLayer: annotation for annotation in state.GraphicAnnotationSequence}
    assert list(layers) == ["GRAD_CAM", "MASK_RCNN", "NOTE"]
    [drawn] = layers["GRAD_CAM"].GraphicObjectSequence
    assert drawn.GraphicAnnotationUnits == "PIXEL"
    assert list(drawn.GraphicData) == [10, 20, 30, 20, 30, 25, 10, 25, 10, 20]
    [text] = layers["MASK_RCNN"].TextObjectSequence
    assert text.UnformattedTextValue == "Mass, score 0.90 of mask_rcnn"
    assert layers["NOTE"].TextObjectSequence[0].UnformattedTextValue == RESEARCH_USE
    assert [layer.GraphicLayer for layer in state.GraphicLayerSequence] == list(layers)


def test_names_of_boxes_that_begin_at_one_corner_stand_below_each_other(made: Written) -> None:
    layers = {a.GraphicLayer: a for a in made["pr"].GraphicAnnotationSequence}
    anchors = [layers[k].TextObjectSequence[0].AnchorPoint for k in ("GRAD_CAM", "MASK_RCNN")]
    # corners (10, 20) and (11.5, 21) of an image of 60 rows, a line being 2
    assert [list(anchor) for anchor in anchors] == [[10, 20], [11.5, 23]]


def test_the_presentation_state_shows_the_grey_that_the_models_saw(made: Written) -> None:
    state = made["pr"]
    assert state.PresentationLUTShape == "INVERSE"  # MONOCHROME1
    [shown] = state.SoftcopyVOILUTSequence
    assert usable_window(shown) == (2000, 4000, "LINEAR")  # the first of two
    area = state.DisplayedAreaSelectionSequence[0]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [80, 60]


def test_a_image_without_a_window_is_presented_with_the_range_that_was_read(
    negative: Written,
) -> None:
    [shown] = negative["pr"].SoftcopyVOILUTSequence
    # 2 to 4091, without the outermost .1 % at each side: center and width of LINEAR_EXACT
    assert usable_window(shown) == (2046.5, 4089, "LINEAR_EXACT")
    assert negative["pr"].PresentationLUTShape == "IDENTITY"


table = partial(lookup_table, packed=True)
WINDOW = {"WindowCenter": 5, "WindowWidth": 10}


RISING = table([0, *range(0, 1024, 4), 1023], 1900, 10)


GREYS: dict[str, dict[str, Any]] = {
    "window": WINDOWED,
    "exact window, rescaled": {
        "WindowCenter": 900,
        "WindowWidth": 1500,
        "VOILUTFunction": "LINEAR_EXACT",
        "RescaleSlope": 0.5,
        "RescaleIntercept": -10.5,
    },
    "no window": {},
    "lookup table before a window": {"VOILUTSequence": [RISING, table([9, 9], 0, 8)], **WINDOW},
    "inverted lookup table": {
        "VOILUTSequence": [RISING],
        "PhotometricInterpretation": "MONOCHROME1",
        "PresentationLUTShape": "INVERSE",
    },
    "lookup table of negative values": {
        "VOILUTSequence": [table([0, 100, *range(200, 800), 1023], -300, 10)],
        "RescaleSlope": 1,
        "RescaleIntercept": -2000,
    },
    "long lookup table": {"VOILUTSequence": [table([min(i, 4095) for i in range(40955)], 0, 12)]},
    "sigmoid behind a modality table": {
        "ModalityLUTSequence": [table([*range(4095, -1, -1)], 0, 12)],
        "VOILUTFunction": "SIGMOID",
        **WINDOWED,
    },
    "modality table": {
        "ModalityLUTSequence": [table([*range(4095, -1, -1)], 0, 12)],
        **WINDOWED,
    },
}


@pytest.mark.parametrize("case", GREYS)
def test_a_viewer_shows_the_image_through_it_as_the_models_saw_it(
    tmp_path: Path, case: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", STORED, bits=12, **GREYS[case])
    objects = written(path)
    check_required_attributes(objects["pr"], "softcopy-voi-lut")
    check_by_dciodvfy(objects, "pr")
    if shutil.which("dcmp2pgm") is None:
        pytest.skip("dcmp2pgm is not installed (Debian: apt-get install dcmtk)")
    command = ["dcmp2pgm", "-p", str(objects.path("pr")), str(path), str(tmp_path / "a.pgm")]
    subprocess.run(command, capture_output=True, check=True)
    shown = read_pixels(tmp_path / "a.pgm", cv2.IMREAD_UNCHANGED)
    assert objects.image.pixels.std() > 10
    np.testing.assert_allclose(shown.astype(int), objects.image.pixels, atol=1)


def test_a_table_that_no_presentation_state_can_hold_is_an_error(tmp_path: Path) -> None:
    signed = STORED.astype(np.int16) - 2000
    path = write_dicom(tmp_path / "a.dcm", signed, bits=15, VOILUTSequence=[RISING])
    with pytest.raises(ValueError, match=r"a\.dcm: its lookup table has 15 bits and a sign"):
        parse_source(path.read_bytes(), path.name)
