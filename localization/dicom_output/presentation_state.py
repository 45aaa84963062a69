"""Make a diagnosis a grayscale softcopy presentation state: boxes drawn over the image itself.

A viewer shows the image with the strongest box of each localizer and disease, one layer per
localizer, and the research-use notice. Grey values follow the image's own first window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.diagnosis.canvas import rgb
from cxrloc.localization.diagnosis.diagnoser import Diagnosis
from cxrloc.localization.diagnosis.drawing import BOX_COLOURS
from cxrloc.localization.dicom_output.origin import NAME
from cxrloc.localization.dicom_output.source import SourceImage, identified, series
from cxrloc.localization.dicom_output.structured_report import corners
from cxrloc.localization.localizer import Localization

if TYPE_CHECKING:
    from pydicom import Dataset

Point = tuple[float, float]


def presentation_state(
    diagnosis: Diagnosis, source: SourceImage, uid: Callable[[str], str]
) -> Dataset:
    """Make the presentation state; `uid` is as for `source.series`."""
    from highdicom import pr
    from highdicom.content import PresentationLUTTransformation

    layers = [_layer(name, f"Boxes of {name}", i) for i, name in enumerate(diagnosis.boxes)]
    layers.append(_layer("NOTE", RESEARCH_USE, len(layers)))
    taken: list[Point] = []
    annotations = [
        _boxes(name, diagnosis, layer, source, taken)
        for name, layer in zip(diagnosis.boxes, layers, strict=False)
        if diagnosis.boxes[name]
    ]
    annotations.append(_note(layers[-1], source))
    used = {annotation.GraphicLayer for annotation in annotations}
    inverse = source.image.PhotometricInterpretation == "MONOCHROME1"
    made = pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[source.image],
        content_label="CXRLOC BOXES",
        content_description=RESEARCH_USE,
        graphic_annotations=annotations,
        graphic_layers=[layer for layer in layers if layer.GraphicLayer in used],
        presentation_lut_transformation=PresentationLUTTransformation(
            presentation_lut_shape="INVERSE" if inverse else "IDENTITY"
        ),
        **series("PR", f"{NAME} boxes: research use only", uid),
    )
    if source.voi is not None:
        made.SoftcopyVOILUTSequence = [source.voi]
    return identified(made, source)


def _layer(name: str, description: str, order: int) -> Any:
    from highdicom import pr
    from highdicom.color import CIELabColor

    code = "".join(c if c.isalnum() else "_" for c in name.upper())[:16]
    colour = CIELabColor.from_rgb(*rgb(BOX_COLOURS[order % len(BOX_COLOURS)]))
    return pr.GraphicLayer(code, order + 1, description, display_color=colour)


def _boxes(
    name: str, diagnosis: Diagnosis, layer: Any, source: SourceImage, taken: list[Point]
) -> Any:
    """Draw a localizer's strongest boxes with names; adds the names' anchors to `taken`."""
    from highdicom import pr

    boxes = diagnosis.best(name).values()
    outlines = [
        pr.GraphicObject(pr.GraphicTypeValues.POLYLINE, corners(box.box_xyxy), "PIXEL")
        for box in boxes
    ]
    labels = []
    for box in boxes:
        taken.append(_anchor(box, taken, diagnosis.size_hw))
        text = f"{box.disease.replace('_', ' ')}, score {box.score:.2f} of {name}"
        labels.append(
            pr.TextObject(text, "PIXEL", anchor_point=taken[-1], anchor_point_visible=False)
        )
    return pr.GraphicAnnotation(
        [source.image], layer, graphic_objects=outlines, text_objects=labels
    )


def _anchor(box: Localization, taken: Sequence[Point], size_hw: tuple[int, int]) -> Point:
    """Upper left corner of the box, moved down until no other name is on the line.

    The viewer chooses the text size; this takes a line as a thirtieth of the image.
    """
    height, width = size_hw
    x, y = box.box_xyxy[:2]
    while any(abs(x - a) < width / 4 and abs(y - b) < height / 30 for a, b in taken):
        y += height / 30
    return x, min(y, float(height))


def _note(layer: Any, source: SourceImage) -> Any:
    """Write the research-use notice along the lower edge of the shown part of the image."""
    from highdicom import pr

    text = pr.TextObject(RESEARCH_USE, "DISPLAY", bounding_box=(0.02, 0.94, 0.98, 0.99))
    return pr.GraphicAnnotation([source.image], layer, text_objects=[text])
