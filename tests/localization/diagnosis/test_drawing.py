"""The pictures of one image: what is on them, where, and that it stays on them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.labels.names import NIH_DISEASES
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.cam.heat_maps import FrameMaps
from cxrloc.localization.diagnosis.canvas import Canvas, rgb
from cxrloc.localization.diagnosis.diagnoser import Diagnosis, Finding
from cxrloc.localization.diagnosis.drawing import draw_boxes, draw_heat_maps
from cxrloc.localization.localizer import Localization

ORANGE, BLUE, RED = rgb("#e69f00"), rgb("#56b4e9"), rgb("#b00020")


def _case(size_hw: tuple[int, int], present: tuple[str, ...]) -> tuple[LoadedImage, Diagnosis]:
    """An image of half the frame's resolution with both localizers' boxes of what is present."""
    height, width = size_hw
    pixels = np.full((max(1, height // 2), max(1, width // 2)), 90, np.uint8)
    findings = tuple(
        Finding(d, 0.83 if d in present else 0.12, None if d == "Hernia" else 0.41, d in present)
        for d in NIH_DISEASES
    )
    box = (width / 4, height / 4, width / 2, height / 2)
    boxes = {
        name: tuple(Localization("image.png", d, box, 0.5) for d in present)
        for name in ("grad_cam", "mask_rcnn")
    }
    heat = {d: np.full(size_hw, 0.5, np.float32) for d in present}
    return LoadedImage("image.png", pixels, size_hw), Diagnosis(
        "image.png", size_hw, findings, boxes, heat
    )


def _texts(canvas: Canvas) -> list[str]:
    return [text for text, _ in canvas.texts]


def _is(canvas: Canvas, colour: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """(H, W) where a pixel has this colour."""
    return np.asarray((canvas.pixels == colour).all(axis=2))


def test_both_localizers_are_drawn_in_two_colours_and_two_lines_where_their_boxes_are() -> None:
    image, diagnosis = _case((400, 300), ("Mass",))
    other = Localization("image.png", "Mass", (30, 220, 120, 380), 0.5)
    diagnosis = replace(diagnosis, boxes={**diagnosis.boxes, "mask_rcnn": (other,)})

    canvas = draw_boxes(image, diagnosis)

    scale = 1024 / 400
    for colour, (x1, y1, x2, y2), least, most in (
        (ORANGE, (75, 100, 150, 200), 0.6, 0.9),  # dashed
        (BLUE, (30, 220, 120, 380), 1.0, 1.0),
    ):
        inner = _is(canvas, colour)[round(y1 * scale) + 30 : round(y2 * scale) - 30]
        for x in (x1, x2):  # the left and the right side, away from corners and labels
            assert least <= inner[:, round(x * scale)].mean() <= most
        assert not inner[:, round(x1 * scale) + 5 : round(x2 * scale) - 5].any()


def test_the_panel_lists_diseases_probabilities_thresholds_and_the_legend() -> None:
    texts = _texts(draw_boxes(*_case((400, 400), ("Mass", "Effusion"))))

    assert texts.count("Mass") == 1
    assert texts.count("Mass 0.50") == 2  # on the two boxes, with their scores
    assert texts.count("present") == 2
    assert texts.count("0.83") == 2
    assert texts.count("0.41") == 13
    assert texts.count("none") == 1  # Hernia has no threshold
    assert "Pleural Thickening" in texts
    for expected in ("grad_cam", "mask_rcnn", "2 of 14 diseases pass the gate", RESEARCH_USE):
        assert expected in texts


def test_a_image_with_nothing_says_so_on_both_pictures() -> None:
    case = _case((400, 400), ())

    boxes, heat = draw_boxes(*case), draw_heat_maps(*case)

    assert "No disease passed the gate: no boxes" in _texts(boxes)
    assert "No disease passed the gate: no heat map" in _texts(heat)
    assert not _is(boxes, BLUE)[:, :1024].any()
    for canvas in (boxes, heat):
        assert RESEARCH_USE in _texts(canvas)
        place = dict(canvas.texts)[RESEARCH_USE]
        assert _is(canvas, RED)[int(place.top) : int(place.bottom)].any()


def test_a_disease_that_a_localizer_did_not_box_is_named() -> None:
    image, diagnosis = _case((400, 400), ("Mass",))

    diagnosis = replace(diagnosis, boxes={**diagnosis.boxes, "mask_rcnn": ()})

    assert "no box: Mass" in _texts(draw_boxes(image, diagnosis))


def test_there_is_one_heat_map_per_present_disease_and_only_the_cams_box_is_on_it() -> None:
    diseases = ("Mass", "Effusion", "Nodule", "Edema")

    canvas = draw_heat_maps(*_case((400, 400), diseases))

    assert [t for t in _texts(canvas) if "0.83" in t] == [f"{d}  0.83" for d in diseases]
    assert _is(canvas, ORANGE).any()
    assert not _is(canvas, BLUE).any()


def test_heat_colours_the_image_where_it_is_and_leaves_it_grey_where_it_is_not() -> None:
    image, diagnosis = _case((512, 512), ("Mass",))
    cells = np.zeros((16, 16), np.float32)
    cells[2:6, 8:14] = 1
    maps = FrameMaps({"Mass": cells}, image.size_hw)
    whole = {"Mass": maps["Mass"]}

    lazy = draw_heat_maps(image, replace(diagnosis, heat_maps=maps, boxes={"grad_cam": ()}))
    plain = draw_heat_maps(image, replace(diagnosis, heat_maps=whole, boxes={"grad_cam": ()}))

    panel = lazy.pixels[80:592, 12:524].astype(int)  # 512 x 512 px under the title
    assert panel[300, 100].tolist() == [90, 90, 90]
    warm = panel[round(512 * 4 / 16), round(512 * 11 / 16)]
    assert warm[0] > warm[2] + 50  # inferno's hot end is yellow: red over blue
    hottest = 0.65 * np.array([252, 255, 164]) + 0.35 * 90  # inferno's last colour over the image
    assert np.abs(panel - hottest).max(axis=2).min() <= 1
    assert np.abs(panel - plain.pixels[80:592, 12:524]).mean() < 1


@pytest.mark.parametrize(
    "size_hw", [(300, 300), (1024, 1024), (3000, 2000), (200, 900), (900, 200)]
)
def test_every_text_is_on_the_picture_and_labels_do_not_hide_each_other(
    size_hw: tuple[int, int],
) -> None:
    case = _case(size_hw, ("Cardiomegaly", "Effusion", "Pneumothorax"))
    for canvas in (draw_boxes(*case), draw_heat_maps(*case)):
        height, width = canvas.pixels.shape[:2]
        for text, place in canvas.texts:
            assert place.left >= 0, text
            assert place.top >= 0, text
            assert place.right <= width, text
            assert place.bottom <= height, text
    labels = [place for text, place in draw_boxes(*case).texts if text.endswith("0.50")]
    assert len(labels) == 6
    for first, second in combinations(labels, 2):
        assert first.overlap(second) == 0


@pytest.mark.parametrize("size_hw", [(400, 400), (900, 200)])
@pytest.mark.parametrize("letter", ["W", "i"])
def test_long_names_are_shortened_to_their_places_however_wide_their_letters(
    letter: str, size_hw: tuple[int, int]
) -> None:
    image, diagnosis = _case(size_hw, ())
    disease, name = f"Mass_{200 * letter}", f"image_{200 * letter}.png"
    first, second = f"cam_{200 * letter}", f"detector_{200 * letter}"
    findings = (Finding(disease, 0.83, 0.41, True), Finding(f"{disease}_2", 0.12, 0.41, False))
    box = Localization(name, disease, (40, 40, 90, 90), 0.5)
    diagnosis = replace(
        diagnosis,
        image_id=name,
        findings=findings,
        boxes={first: (box,), second: ()},
        heat_maps={disease: np.full(size_hw, 0.5, np.float32)},
    )

    for canvas in (draw_boxes(image, diagnosis), draw_heat_maps(image, diagnosis)):
        height, width = canvas.pixels.shape[:2]
        assert sum("…" in text for text, _ in canvas.texts) >= 3
        for text, place in canvas.texts:
            assert min(place.left, place.top, width - place.right, height - place.bottom) >= 0, text
        for (text, place), (other, under) in combinations(canvas.texts, 2):
            assert place.overlap(under) == 0, (text, other)
    assert any(text.startswith("image") and text.endswith(".png") for text in _texts(canvas))


def test_the_picture_has_the_same_size_for_small_and_large_images() -> None:
    small, large = (draw_boxes(*_case((s, s), ("Mass",))) for s in (300, 2048))

    assert small.pixels.shape == large.pixels.shape == (1024, 1024 + 530, 3)
