"""The canvas: lines, fills and letters land where they are told to, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builders import read_pixels
from cxrloc.localization.diagnosis.canvas import BLACK, Canvas, Place, rgb, shortened, text_width

RED = (255, 0, 0)


def test_a_fill_covers_its_place_and_what_is_over_the_border_is_cut_off() -> None:
    canvas = Canvas(10, 6)
    canvas.fill(Place(8, 4, 99, 99), RED)
    canvas.fill(Place(-5, -5, 1, 1), BLACK, 0.5)

    assert (canvas.pixels == RED).all(axis=2).sum() == 4
    assert (canvas.pixels[4:, 8:] == RED).all()
    assert canvas.pixels[0, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize(("line", "share"), [("solid", 1.0), ("dashed", 0.65), ("dotted", 0.4)])
def test_lines_are_told_apart_by_their_gaps(line: str, share: float) -> None:
    canvas = Canvas(240, 9)
    canvas.line((0, 4), (239, 4), RED, line, width=1)  # type: ignore[arg-type]

    drawn = (canvas.pixels[4] == RED).all(axis=1)
    assert drawn.mean() == pytest.approx(share, abs=0.12)
    assert drawn[0]


def test_a_box_that_ends_before_it_began_a_line_is_still_drawn() -> None:
    canvas = Canvas(20, 20)
    canvas.box(Place(10, 10, 10, 10), RED, "dashed")
    assert (canvas.pixels == RED).all(axis=2).any()


def test_text_stands_with_its_capitals_around_y_and_is_noted() -> None:
    canvas = Canvas(200, 60)
    place = canvas.text(20, 30, "HHH", 20)

    rows, columns = np.nonzero(canvas.pixels[:, :, 0] < 128)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(30, abs=1)
    assert columns.min() >= place.left >= 20
    assert columns.max() < place.right
    assert canvas.texts == [("HHH", place)]
    assert place.right - place.left == text_width("HHH", 20)


def test_centred_text_is_centred_and_text_over_the_border_is_cut_off() -> None:
    canvas = Canvas(100, 40)
    canvas.text(50, 20, "middle", 12, anchor="middle")
    columns = np.nonzero((canvas.pixels[:, :, 0] < 128).any(axis=0))[0]
    assert (columns.min() + columns.max()) / 2 == pytest.approx(50, abs=2)

    for x, y in ((-30, 20), (90, 20), (40, -2), (40, 39)):
        canvas.text(x, y, "over the border", 14)


def test_a_picture_is_saved_whole_with_its_colours(tmp_path: Path) -> None:
    canvas = Canvas(32, 16)
    canvas.fill(Place(0, 0, 16, 16), rgb("#56B4E9"))
    canvas.save(tmp_path / "a.png")
    canvas.save(tmp_path / "a.jpg")

    exact = read_pixels(tmp_path / "a.png")
    assert exact is not None
    np.testing.assert_array_equal(exact[:, :, ::-1], canvas.pixels)
    close = read_pixels(tmp_path / "a.jpg")
    assert close is not None
    assert np.abs(close[:, :, ::-1].astype(int) - canvas.pixels).max() < 8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a.png"]


def test_a_text_that_is_too_wide_keeps_as_much_of_both_ends_as_has_room() -> None:
    assert shortened("image.png", 18, text_width("image.png", 18) + 2) == "image.png"

    short = shortened(f"image{50 * 'W'}.png", 18, 300)

    assert short.startswith("imageWW")
    assert short.endswith("WW.png")
    assert 300 - text_width("WW", 18) < text_width(short, 18) <= 300
    assert shortened("image.png", 18, 0) == "…"


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "a\udcffb", "a\u202eb"])
def test_what_cannot_be_written_in_one_line_stands_as_a_question_mark(text: str) -> None:
    canvas = Canvas(100, 30)
    asked = Canvas(100, 30)
    canvas.text(5, 15, text, 16)
    asked.text(5, 15, "a?b", 16)

    np.testing.assert_array_equal(canvas.pixels, asked.pixels)
    assert shortened(text, 16, 90) == "a?b"
