"""The pictures of one film: what is on them, where, and that it stays on them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from cxrloc.datasets.labels import NIH_DISEASES
from cxrloc.datasets.radiograph import Film
from cxrloc.localization.diagnose import Diagnosis, Finding
from cxrloc.localization.drawing import draw_boxes, draw_heat_maps
from cxrloc.localization.localizer import Localization
from cxrloc.localization.words import RESEARCH_USE

ORANGE, BLUE = "#e69f00", "#56b4e9"


def _case(size_hw: tuple[int, int], present: tuple[str, ...]) -> tuple[Film, Diagnosis]:
    """A film of half the frame's resolution with both localizers' boxes of the present diseases."""
    height, width = size_hw
    pixels = np.full((max(1, height // 2), max(1, width // 2)), 90, np.uint8)
    findings = tuple(
        Finding(d, 0.83 if d in present else 0.12, None if d == "Hernia" else 0.41, d in present)
        for d in NIH_DISEASES
    )
    box = (width / 4, height / 4, width / 2, height / 2)
    boxes = {
        name: tuple(Localization("film.png", d, box, 0.5) for d in present)
        for name in ("grad_cam", "mask_rcnn")
    }
    heat = {d: np.full(size_hw, 0.5, np.float32) for d in present}
    return Film("film.png", pixels, size_hw), Diagnosis("film.png", size_hw, findings, boxes, heat)


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]  # type: ignore[attr-defined]


def _outlines(axis: Axes) -> list[tuple[str, str, tuple[float, ...]]]:
    """Colour, line and xyxy of the coloured boxes on a film."""
    found = []
    for patch in axis.patches:
        colour = to_hex(patch.get_edgecolor())
        if isinstance(patch, Rectangle) and colour in (ORANGE, BLUE):
            (x, y), w, h = patch.get_xy(), patch.get_width(), patch.get_height()
            line = "solid" if patch.get_linestyle() in ("-", "solid") else "dashed"
            found.append((colour, line, (x, y, x + w, y + h)))
    return found


def test_both_localizers_are_drawn_in_two_colours_and_two_lines_in_the_original_frame() -> None:
    figure = draw_boxes(*_case((400, 300), ("Mass",)))

    box = (75.0, 100.0, 150.0, 200.0)
    assert _outlines(figure.axes[0]) == [(ORANGE, "dashed", box), (BLUE, "solid", box)]
    assert figure.axes[0].get_xlim() == (0, 300)
    assert figure.axes[0].get_ylim() == (400, 0)


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


def test_a_film_with_nothing_says_so_on_both_pictures() -> None:
    case = _case((400, 400), ())

    assert "No disease passed the gate:\nno boxes" in _texts(draw_boxes(*case))
    assert "No disease passed the gate:\nno heat map" in _texts(draw_heat_maps(*case))
    assert _outlines(draw_boxes(*case).axes[0]) == []
    for figure in (draw_boxes(*case), draw_heat_maps(*case)):
        assert RESEARCH_USE in _texts(figure)


def test_a_disease_that_a_localizer_did_not_box_is_named() -> None:
    film, found = _case((400, 400), ("Mass",))
    found = Diagnosis(
        "film.png", found.size_hw, found.findings, {**found.boxes, "mask_rcnn": ()}, {}
    )

    assert "no box: Mass" in _texts(draw_boxes(film, found))


def test_there_is_one_heat_map_per_present_disease_and_only_the_cams_box_is_on_it() -> None:
    figure = draw_heat_maps(
        *_case((400, 400), ("Mass", "Effusion", "Nodule", "Edema", "Hernia")[:4])
    )

    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [f"{d}  0.83" for d in ("Mass", "Effusion", "Nodule", "Edema")]
    for axis in figure.axes:
        assert [colour for colour, _, _ in _outlines(axis)] == [ORANGE]
        assert len(axis.images) == 2  # the film and the map


@pytest.mark.parametrize(
    "size_hw", [(300, 300), (1024, 1024), (3000, 2000), (200, 900), (900, 200)]
)
def test_every_text_is_on_the_picture_and_labels_do_not_hide_each_other(
    size_hw: tuple[int, int],
) -> None:
    case = _case(size_hw, ("Cardiomegaly", "Effusion", "Pneumothorax"))
    for draw in (draw_boxes, draw_heat_maps):
        figure = draw(*case)
        figure.canvas.draw()
        for text in _drawn(figure):
            place = text.get_window_extent()
            assert place.x0 >= -1, text
            assert place.y0 >= -1, text
            assert place.x1 <= figure.bbox.x1 + 1, text
            assert place.y1 <= figure.bbox.y1 + 1, text
    labels = [text.get_window_extent() for text in draw_boxes(*case).axes[0].texts]
    assert len(labels) == 6
    for first, second in combinations(labels, 2):
        assert not first.overlaps(second)


def _drawn(figure: Figure) -> list[Text]:
    """All texts but the ticks of the hidden axes."""
    in_axes = [text for axis in figure.axes for text in (*axis.texts, axis.title)]
    return [text for text in (*in_axes, *figure.texts) if text.get_text()]


def test_the_picture_has_the_same_size_for_small_and_large_films() -> None:
    small, large = (draw_boxes(*_case((s, s), ("Mass",))) for s in (300, 2048))

    assert small.get_size_inches().tolist() == large.get_size_inches().tolist()
